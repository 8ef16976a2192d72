//! The eight categories and the codes within them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::retry::{BackoffStrategy, RetryPolicy};

/// What kind of thing went wrong. Each category has a default retry policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum ErrorCategory {
    LlmError,
    ToolError,
    PolicyViolation,
    Timeout,
    QuotaExceeded,
    KernelInternal,
    ValidationError,
    NetworkError,
}

impl ErrorCategory {
    pub const ALL: [ErrorCategory; 8] = [
        ErrorCategory::LlmError,
        ErrorCategory::ToolError,
        ErrorCategory::PolicyViolation,
        ErrorCategory::Timeout,
        ErrorCategory::QuotaExceeded,
        ErrorCategory::KernelInternal,
        ErrorCategory::ValidationError,
        ErrorCategory::NetworkError,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            ErrorCategory::LlmError => "LlmError",
            ErrorCategory::ToolError => "ToolError",
            ErrorCategory::PolicyViolation => "PolicyViolation",
            ErrorCategory::Timeout => "Timeout",
            ErrorCategory::QuotaExceeded => "QuotaExceeded",
            ErrorCategory::KernelInternal => "KernelInternal",
            ErrorCategory::ValidationError => "ValidationError",
            ErrorCategory::NetworkError => "NetworkError",
        }
    }

    /// A fatal error is not tried again unless its code says otherwise.
    pub const fn is_fatal(self) -> bool {
        match self {
            ErrorCategory::PolicyViolation
            | ErrorCategory::QuotaExceeded
            | ErrorCategory::KernelInternal
            | ErrorCategory::ValidationError => true,
            ErrorCategory::LlmError
            | ErrorCategory::ToolError
            | ErrorCategory::Timeout
            | ErrorCategory::NetworkError => false,
        }
    }

    pub const fn http_status(self) -> u16 {
        match self {
            ErrorCategory::LlmError => 502,
            ErrorCategory::ToolError | ErrorCategory::KernelInternal => 500,
            ErrorCategory::PolicyViolation => 403,
            ErrorCategory::Timeout => 504,
            ErrorCategory::QuotaExceeded => 429,
            ErrorCategory::ValidationError => 400,
            ErrorCategory::NetworkError => 503,
        }
    }

    /// The policy of a step that declares none.
    pub const fn retry_policy(self) -> RetryPolicy {
        let (max_retries, backoff, base_ms, max_ms, key) = match self {
            ErrorCategory::LlmError => (3, BackoffStrategy::Exponential, 1000, 30_000, false),
            ErrorCategory::ToolError => (2, BackoffStrategy::Constant, 500, 5000, true),
            ErrorCategory::Timeout => (1, BackoffStrategy::Constant, 0, 0, true),
            ErrorCategory::NetworkError => (3, BackoffStrategy::Exponential, 500, 15_000, true),
            ErrorCategory::PolicyViolation
            | ErrorCategory::QuotaExceeded
            | ErrorCategory::KernelInternal
            | ErrorCategory::ValidationError => (0, BackoffStrategy::None, 0, 0, false),
        };
        RetryPolicy::new(max_retries + 1, backoff, base_ms, max_ms).requiring_idempotency_key(key)
    }
}

impl fmt::Display for ErrorCategory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ErrorCategory {
    type Err = UnknownCategory;

    fn from_str(text: &str) -> Result<Self, UnknownCategory> {
        Self::ALL.into_iter().find(|category| category.name() == text).ok_or_else(|| UnknownCategory(text.to_owned()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no error category; there are LlmError, ToolError, PolicyViolation, Timeout, QuotaExceeded, KernelInternal, ValidationError and NetworkError"
)]
pub struct UnknownCategory(String);

/// A closer name for what went wrong, in snake case. Known codes decide whether another attempt can help; others are
/// carried and shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(String);

impl ErrorCode {
    pub fn new(code: impl Into<String>) -> Self {
        ErrorCode(code.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a known code says about another attempt; `None` for codes only the user knows.
    pub fn is_retryable(&self) -> Option<bool> {
        match self.0.as_str() {
            "rate_limit" | "model_unavailable" | "provider_error" | "execution_failed" | "timeout" => Some(true),
            "context_overflow" | "content_filtered" | "invalid_request" | "auth_failed" | "not_found"
            | "permission_denied" | "invalid_input" | "output_invalid" => Some(false),
            _ => None,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
