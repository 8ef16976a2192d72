//! Limits by name.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCategory;

/// A limit that stands in the way, under the name that its error carries as its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    TokenLimit,
    /// The whole budget.
    CostLimit,
    /// The amount at which somebody is to be asked.
    CostThreshold,
    DiscoveredStepLimit,
    DiscoveryDepthLimit,
    /// The same work was discovered again and again.
    SameStepLoop,
    /// As many run at the same time as may.
    ConcurrencyLimit,
    /// As many were begun in a time as may.
    RateLimit,
}

impl Violation {
    pub const fn name(self) -> &'static str {
        match self {
            Violation::TokenLimit => "token_limit",
            Violation::CostLimit => "cost_limit",
            Violation::CostThreshold => "cost_threshold",
            Violation::DiscoveredStepLimit => "discovered_step_limit",
            Violation::DiscoveryDepthLimit => "discovery_depth_limit",
            Violation::SameStepLoop => "same_step_loop",
            Violation::ConcurrencyLimit => "concurrency_limit",
            Violation::RateLimit => "rate_limit",
        }
    }

    /// Of the error that it becomes.
    pub const fn category(self) -> ErrorCategory {
        match self {
            // Later it may do, so it can be tried again.
            Violation::RateLimit => ErrorCategory::LlmError,
            _ => ErrorCategory::QuotaExceeded,
        }
    }
}
