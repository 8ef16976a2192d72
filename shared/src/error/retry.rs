//! Whether and when an attempt is made again. Pure: chance comes in as an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ExecutionError;

/// Most attempts at one step that a policy may ask for.
pub const MAX_ATTEMPTS: u32 = 1000;
/// Longest delay between attempts.
pub const MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackoffStrategy {
    #[default]
    None,
    Constant,
    Linear,
    Exponential,
}

/// How chance spreads the delays of attempts that failed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    #[default]
    None,
    /// Anywhere between zero and the delay (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
    Full,
}

/// When to try again, and how often in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; at least 1.
    pub max_attempts: u32,
    pub backoff: BackoffStrategy,
    /// Delay of the first retry, in milliseconds.
    pub base_ms: u64,
    /// No delay is longer, in milliseconds.
    pub max_ms: u64,
    #[serde(default)]
    pub jitter: Jitter,
    /// The callable should hand its idempotency key to whatever it changes.
    #[serde(default)]
    pub requires_idempotency_key: bool,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    Retry { delay: Duration },
    GiveUp,
}

impl RetryPolicy {
    pub const fn new(max_attempts: u32, backoff: BackoffStrategy, base_ms: u64, max_ms: u64) -> Self {
        RetryPolicy { max_attempts, backoff, base_ms, max_ms, jitter: Jitter::None, requires_idempotency_key: false }
    }

    pub const fn requiring_idempotency_key(mut self, required: bool) -> Self {
        self.requires_idempotency_key = required;
        self
    }

    /// The delay after attempt number `failed` (from 1). `chance` in 0.0..=1.0 matters under full jitter only.
    pub fn delay(&self, failed: u32, chance: f64) -> Duration {
        let retry = u64::from(failed.max(1));
        let raw = match self.backoff {
            BackoffStrategy::None => 0,
            BackoffStrategy::Constant => self.base_ms,
            BackoffStrategy::Linear => self.base_ms.saturating_mul(retry),
            BackoffStrategy::Exponential => match 1_u64.checked_shl(failed.max(1) - 1) {
                Some(factor) => self.base_ms.saturating_mul(factor),
                None if self.base_ms == 0 => 0,
                None => u64::MAX,
            },
        };
        let capped = raw.min(self.max_ms).min(MAX_DELAY.as_millis() as u64);
        let spread = match self.jitter {
            Jitter::None => capped,
            Jitter::Full => (capped as f64 * chance.clamp(0.0, 1.0)) as u64,
        };
        Duration::from_millis(spread)
    }

    /// Whether attempt number `failed` (from 1), which ended in `error`, is followed by another.
    pub fn decide(&self, error: &ExecutionError, failed: u32, chance: f64) -> RetryDecision {
        if !error.is_retryable() || failed >= self.max_attempts {
            return RetryDecision::GiveUp;
        }
        let asked = Duration::from_millis(error.retry_after_ms.unwrap_or(0)).min(MAX_DELAY);
        RetryDecision::Retry { delay: self.delay(failed, chance).max(asked) }
    }
}
