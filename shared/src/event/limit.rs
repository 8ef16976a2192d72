//! Limits by name.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCategory;

/// A limit that stands in the way, under the name that its error carries as its code. Names and categories are those of
/// the original specification, with `cost_limit` (the whole budget) beside its `cost_threshold` (the alert).
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
    StepLimit,
    WallTimeLimit,
    /// Nothing has happened for too long.
    IdleTimeout,
    /// Memory, or the room in a model's context.
    MemoryLimit,
    /// Too many executions at a time.
    ConcurrencyLimit,
    RateLimit,
    /// An address that may not be reached.
    NetworkViolation,
}

impl Violation {
    pub const ALL: [Violation; 13] = [
        Violation::TokenLimit,
        Violation::CostLimit,
        Violation::CostThreshold,
        Violation::DiscoveredStepLimit,
        Violation::DiscoveryDepthLimit,
        Violation::SameStepLoop,
        Violation::StepLimit,
        Violation::WallTimeLimit,
        Violation::IdleTimeout,
        Violation::MemoryLimit,
        Violation::ConcurrencyLimit,
        Violation::RateLimit,
        Violation::NetworkViolation,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Violation::TokenLimit => "token_limit",
            Violation::CostLimit => "cost_limit",
            Violation::CostThreshold => "cost_threshold",
            Violation::DiscoveredStepLimit => "discovered_step_limit",
            Violation::DiscoveryDepthLimit => "discovery_depth_limit",
            Violation::SameStepLoop => "same_step_loop",
            Violation::StepLimit => "step_limit",
            Violation::WallTimeLimit => "wall_time_limit",
            Violation::IdleTimeout => "idle_timeout",
            Violation::MemoryLimit => "memory_limit",
            Violation::ConcurrencyLimit => "concurrency_limit",
            Violation::RateLimit => "rate_limit",
            Violation::NetworkViolation => "network_violation",
        }
    }

    /// Of the error that it becomes.
    pub const fn category(self) -> ErrorCategory {
        match self {
            Violation::WallTimeLimit => ErrorCategory::Timeout,
            // As a rate limit of a provider is: worth another try.
            Violation::RateLimit => ErrorCategory::LlmError,
            Violation::NetworkViolation => ErrorCategory::PolicyViolation,
            _ => ErrorCategory::QuotaExceeded,
        }
    }
}
