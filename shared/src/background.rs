//! Background executions: those that nobody stands by.
//!
//! What was asked for is recorded when the execution is created and means something by fold alone: its status follows from
//! its state, its timeout is a deadline, being deferred is a timer. `request` is what people say, `binding` what becomes
//! of an output, `Background` what is recorded.

mod binding;
mod request;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::event::parts::is_default;
use crate::id::{ExecutionId, TriggerId};
use crate::time::Timestamp;

pub use binding::{Applied, MAX_APPLIED_CHARS, TargetBinding, TargetType, Transform};
pub use request::{BackgroundProblem, BackgroundRequest, BindingRequest, RetryRequest};

/// Priority unless somebody says otherwise; higher is sooner.
pub const DEFAULT_PRIORITY: u8 = 50;
/// How long an execution may run, from its start on, unless somebody says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest timeout that may be asked for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Furthest that a start may be deferred.
pub const MAX_DEFERRAL: Duration = Duration::from_secs(5 * 366 * 24 * 3600);
/// Most attempts at one execution that may be asked for, the first one included.
pub const MAX_ATTEMPTS: u32 = 100;
/// Longest wait between two attempts.
pub const MAX_BACKOFF: Duration = Duration::from_secs(24 * 3600);
/// Longest callback URL, in bytes.
pub const MAX_URL_BYTES: usize = 2048;
/// What one step of priority is worth in waiting: whoever has waited for so much longer goes first although its priority
/// is one lower. So the lowest priority starts at most two hours and a quarter behind everything that came after it.
pub const AGEING: Duration = Duration::from_secs(32);

/// How an execution runs that nobody stands by. By the names of the original specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackgroundMode {
    /// Nobody waits for what it gives.
    #[default]
    FireAndForget,
    /// Somebody waits for what it gives, and nobody watches it.
    Silent,
    /// Begins later.
    Deferred,
}

impl BackgroundMode {
    pub const ALL: [BackgroundMode; 3] =
        [BackgroundMode::FireAndForget, BackgroundMode::Silent, BackgroundMode::Deferred];

    pub const fn name(self) -> &'static str {
        match self {
            BackgroundMode::FireAndForget => "fire_and_forget",
            BackgroundMode::Silent => "silent",
            BackgroundMode::Deferred => "deferred",
        }
    }

    /// The mode of this name.
    pub fn named(name: &str) -> Option<Self> {
        BackgroundMode::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Its events are not published as they happen. The log has them all the same.
    pub const fn is_silent(self) -> bool {
        matches!(self, BackgroundMode::FireAndForget | BackgroundMode::Silent)
    }

    /// Somebody waits for what it gives.
    pub const fn requires_result(self) -> bool {
        matches!(self, BackgroundMode::Silent)
    }
}

/// Where a background execution stands: a projection of its state, never set by anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackgroundStatus {
    /// Not started: it waits for its moment, or for a place among those that run.
    #[default]
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
    /// Failed because it ran for longer than its timeout.
    Timeout,
}

impl BackgroundStatus {
    pub const ALL: [BackgroundStatus; 6] = [
        BackgroundStatus::Queued,
        BackgroundStatus::Running,
        BackgroundStatus::Completed,
        BackgroundStatus::Failed,
        BackgroundStatus::Cancelled,
        BackgroundStatus::Timeout,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            BackgroundStatus::Queued => "queued",
            BackgroundStatus::Running => "running",
            BackgroundStatus::Completed => "completed",
            BackgroundStatus::Failed => "failed",
            BackgroundStatus::Cancelled => "cancelled",
            BackgroundStatus::Timeout => "timeout",
        }
    }

    /// The status of this name.
    pub fn named(name: &str) -> Option<Self> {
        BackgroundStatus::ALL.into_iter().find(|status| status.name() == name)
    }

    pub const fn is_finished(self) -> bool {
        !matches!(self, BackgroundStatus::Queued | BackgroundStatus::Running)
    }
}

/// What was asked for, checked, as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Background {
    #[serde(rename = "m", default, skip_serializing_if = "is_default")]
    pub mode: BackgroundMode,
    #[serde(rename = "p", default = "default_priority", skip_serializing_if = "is_default_priority")]
    pub priority: u8,
    /// From its start on, pauses apart.
    #[serde(rename = "t", default = "default_timeout_ms", skip_serializing_if = "is_default_timeout")]
    pub timeout_ms: u64,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<BackgroundRetry>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub target_binding: Option<TargetBinding>,
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub trigger_id: Option<TriggerId>,
    /// From 1.
    #[serde(rename = "n", default = "first_attempt", skip_serializing_if = "is_first_attempt")]
    pub attempt: u32,
    /// The first attempt, of a later one.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub first: Option<ExecutionId>,
}

/// When a background execution that failed is tried again, as another execution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BackgroundRetry {
    /// In all, the first one included.
    #[serde(rename = "n")]
    pub max_attempts: u32,
    /// Before the second attempt.
    #[serde(rename = "b")]
    pub backoff_ms: u64,
    /// Each later wait is so many times the one before.
    #[serde(rename = "x")]
    pub multiplier: f64,
}

impl Default for BackgroundRetry {
    fn default() -> Self {
        BackgroundRetry { max_attempts: 3, backoff_ms: 1000, multiplier: 2.0 }
    }
}

impl BackgroundRetry {
    /// The wait after attempt number `failed` (from 1); never longer than [`MAX_BACKOFF`].
    pub fn backoff(&self, failed: u32) -> Duration {
        let most = MAX_BACKOFF.as_millis() as f64;
        let mut wait = self.backoff_ms as f64;
        for _ in 1..failed {
            if wait >= most {
                break;
            }
            wait *= self.multiplier;
        }
        // A number that is none, which a log of another hand may hold, waits for the longest.
        Duration::from_millis(if wait < most { wait as u64 } else { most as u64 })
    }
}

impl Default for Background {
    fn default() -> Self {
        Background {
            mode: BackgroundMode::default(),
            priority: DEFAULT_PRIORITY,
            timeout_ms: default_timeout_ms(),
            run_at: None,
            retry: None,
            callback_url: None,
            target_binding: None,
            trigger_id: None,
            attempt: 1,
            first: None,
        }
    }
}

impl Background {
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Of a child that nobody waits for. A `wall_time` that its graph or whoever wants it has set decides in the place of
    /// the default timeout, however long it is: the timeout falls due no earlier.
    pub fn of_child(wall_time: Option<Duration>) -> Self {
        let timeout_ms = wall_time.map_or_else(default_timeout_ms, |limit| {
            u64::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
        });
        Background { timeout_ms, ..Background::default() }
    }

    /// The place in the queue of one that entered it at this moment: the lowest goes first. The higher priority goes
    /// first, of equal ones the one that came first, and whoever waits grows older (see [`AGEING`]): the order of two
    /// never changes while they wait, so it can be an index.
    pub fn rank(&self, queued_at: Timestamp) -> Timestamp {
        queued_at.before(AGEING * u32::from(self.priority))
    }

    /// The id of the next attempt, derived, so that it begins once whoever begins it how often.
    pub fn next_attempt_id(&self, tenant: &crate::id::TenantId, this: ExecutionId) -> ExecutionId {
        let first = self.first.unwrap_or(this);
        ExecutionId::derived(
            "stepstream 2026 background attempt",
            &[tenant.as_str().as_bytes(), first.as_bytes(), &(self.attempt + 1).to_le_bytes()],
        )
    }

    /// Under full names, for people and programs outside.
    pub fn to_json(&self) -> Value {
        let binding = self.target_binding.as_ref();
        let mut out = json!({
            "mode": self.mode,
            "priority": self.priority,
            "timeout_ms": self.timeout_ms,
            "run_at": self.run_at,
            "retry": self.retry.map(|retry| json!({
                "max_attempts": retry.max_attempts,
                "backoff_ms": retry.backoff_ms,
                "backoff_multiplier": retry.multiplier,
            })),
            "callback_url": self.callback_url,
            "target_binding": binding.map(TargetBinding::to_json),
            "trigger_id": self.trigger_id,
            "attempt": self.attempt,
            "first_execution_id": self.first,
        });
        without_nulls(&mut out);
        out
    }

    /// What the next attempt is asked for.
    pub fn for_next_attempt(&self, this: ExecutionId, due: Timestamp) -> Self {
        Background {
            run_at: Some(due),
            attempt: self.attempt.saturating_add(1),
            first: Some(self.first.unwrap_or(this)),
            ..self.clone()
        }
    }
}

const fn default_priority() -> u8 {
    DEFAULT_PRIORITY
}

fn is_default_priority(priority: &u8) -> bool {
    *priority == DEFAULT_PRIORITY
}

const fn default_timeout_ms() -> u64 {
    DEFAULT_TIMEOUT.as_millis() as u64
}

fn is_default_timeout(timeout_ms: &u64) -> bool {
    *timeout_ms == default_timeout_ms()
}

const fn first_attempt() -> u32 {
    1
}

fn is_first_attempt(attempt: &u32) -> bool {
    *attempt == 1
}

/// What was not said is not shown.
fn without_nulls(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}

#[cfg(test)]
mod tests;
