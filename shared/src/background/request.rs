//! What people and programs say when they ask for a background execution, and what is wrong with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::binding::check_path;
use super::{
    Background, BackgroundMode, BackgroundRetry, DEFAULT_PRIORITY, DEFAULT_TIMEOUT, MAX_ATTEMPTS, MAX_BACKOFF,
    MAX_DEFERRAL, MAX_TIMEOUT, MAX_URL_BYTES, TargetBinding, TargetType, Transform,
};
use crate::id::{ExecutionId, ThreadId, TriggerId};
use crate::time::Timestamp;

/// Longest path of a target or into an output, in bytes.
const MAX_PATH_BYTES: usize = 256;
/// Longest text that a binding may ask for, in characters.
const MAX_LENGTH: u32 = super::MAX_APPLIED_CHARS as u32;

/// What is asked for; everything may be left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackgroundRequest {
    /// `fire_and_forget`; `silent` where there is a `trigger_id`, `deferred` where there is a `run_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<BackgroundMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_binding: Option<BindingRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_id: Option<TriggerId>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_multiplier: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingRequest {
    pub target_type: TargetType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<Transform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<ThreadId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
}

/// What is wrong with a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {why}")]
pub struct BackgroundProblem {
    /// Such as `retry.max_attempts`.
    pub field: &'static str,
    pub why: String,
}

impl BackgroundRequest {
    /// What is recorded.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn check(self, now: Timestamp) -> Result<Background, Vec<BackgroundProblem>> {
        let mut problems = Problems::default();
        let mode = self.mode.unwrap_or(match (self.run_at, self.trigger_id) {
            (Some(_), _) => BackgroundMode::Deferred,
            (None, Some(_)) => BackgroundMode::Silent,
            (None, None) => BackgroundMode::FireAndForget,
        });
        match self.run_at {
            Some(_) if mode != BackgroundMode::Deferred => {
                problems.add("run_at", format!("only what is `deferred` begins later, not what is `{}`", mode.name()));
            }
            Some(at) if at.since(now) > MAX_DEFERRAL => {
                problems.add("run_at", "lies more than five years ahead".to_owned());
            }
            None if mode == BackgroundMode::Deferred => {
                problems.add("run_at", "what is `deferred` needs a moment, such as 2026-12-24T18:00:00Z".to_owned());
            }
            _ => {}
        }
        let timeout_ms = self.timeout_ms.unwrap_or_else(|| millis(DEFAULT_TIMEOUT));
        if !(1..=millis(MAX_TIMEOUT)).contains(&timeout_ms) {
            problems.add("timeout_ms", format!("is a number from 1 to {}, not {timeout_ms}", millis(MAX_TIMEOUT)));
        }
        let retry = self.retry.map(|retry| retry.check(&mut problems));
        if let Some(url) = &self.callback_url
            && (url.is_empty() || url.len() > MAX_URL_BYTES)
        {
            problems.add("callback_url", format!("has {} bytes; it has 1 to {MAX_URL_BYTES}", url.len()));
        }
        let target_binding = self.target_binding.map(|binding| binding.check(&mut problems));
        let background = Background {
            mode,
            priority: self.priority.unwrap_or(DEFAULT_PRIORITY),
            timeout_ms,
            run_at: self.run_at,
            retry,
            callback_url: self.callback_url,
            target_binding,
            trigger_id: self.trigger_id,
            ..Background::default()
        };
        if problems.0.is_empty() { Ok(background) } else { Err(problems.0) }
    }
}

impl RetryRequest {
    fn check(self, problems: &mut Problems) -> BackgroundRetry {
        let default = BackgroundRetry::default();
        let max_attempts = self.max_attempts.unwrap_or(default.max_attempts);
        if !(1..=MAX_ATTEMPTS).contains(&max_attempts) {
            problems.add("retry.max_attempts", format!("is a number from 1 to {MAX_ATTEMPTS}, not {max_attempts}"));
        }
        let backoff_ms = self.backoff_ms.unwrap_or(default.backoff_ms);
        if backoff_ms > millis(MAX_BACKOFF) {
            problems.add("retry.backoff_ms", format!("is at most {}, not {backoff_ms}", millis(MAX_BACKOFF)));
        }
        let multiplier = self.backoff_multiplier.unwrap_or(default.multiplier);
        if !(1.0..=100.0).contains(&multiplier) {
            problems.add("retry.backoff_multiplier", format!("is a number from 1 to 100, not {multiplier}"));
        }
        BackgroundRetry { max_attempts, backoff_ms, multiplier }
    }
}

impl BindingRequest {
    fn check(self, problems: &mut Problems) -> TargetBinding {
        let (preset, preset_length) = self.target_type.preset();
        let transform =
            self.transform.unwrap_or(if self.json_path.is_some() { Transform::JsonExtract } else { preset });
        let max_length = self.max_length.or(preset_length.filter(|_| transform == preset));
        let path_is = self.target_type.path_is();
        match (&self.target_path, path_is) {
            (None, Some(what)) => {
                let name = self.target_type.name();
                problems.add("target_binding.target_path", format!("`{name}` needs one: {what}"));
            }
            (Some(path), _) if path.is_empty() || path.len() > MAX_PATH_BYTES => {
                let found = path.len();
                problems.add("target_binding.target_path", format!("has {found} bytes; it has 1 to {MAX_PATH_BYTES}"));
            }
            _ => {}
        }
        match &self.json_path {
            Some(path) if path.is_empty() || path.len() > MAX_PATH_BYTES => {
                let found = path.len();
                problems.add("target_binding.json_path", format!("has {found} bytes; it has 1 to {MAX_PATH_BYTES}"));
            }
            Some(path) => {
                if let Err(why) = check_path(path) {
                    problems.add("target_binding.json_path", why);
                }
                if transform != Transform::JsonExtract {
                    let why = format!("means nothing to the transform `{}`", transform.name());
                    problems.add("target_binding.json_path", why);
                }
            }
            None if transform == Transform::JsonExtract => {
                problems.add("target_binding.json_path", "the transform `json_extract` needs one".to_owned());
            }
            None => {}
        }
        match max_length {
            Some(_) if transform == Transform::None => {
                problems.add("target_binding.max_length", "means nothing to the transform `none`".to_owned());
            }
            Some(length) if !(1..=MAX_LENGTH).contains(&length) => {
                problems.add("target_binding.max_length", format!("is a number from 1 to {MAX_LENGTH}, not {length}"));
            }
            _ => {}
        }
        TargetBinding {
            target: self.target_type,
            path: self.target_path,
            transform,
            max_length,
            json_path: self.json_path,
            thread_id: self.thread_id,
            execution_id: self.execution_id,
        }
    }
}

#[derive(Default)]
struct Problems(Vec<BackgroundProblem>);

impl Problems {
    fn add(&mut self, field: &'static str, why: String) {
        self.0.push(BackgroundProblem { field, why });
    }
}

const fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
