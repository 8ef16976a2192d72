//! A background execution, as people and programs outside read it.

use serde::Serialize;
use serde_json::Value;
use stepstream_shared::background::{BackgroundMode, BackgroundStatus};
use stepstream_shared::data::Data;
use stepstream_shared::execution::{BackgroundRun, CallbackRun, CallbackState, Execution};
use stepstream_shared::id::ExecutionId;
use stepstream_shared::time::Timestamp;
use utoipa::ToSchema;

/// How an execution runs that nobody stands by. Everything may be left out.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the core's request to readers of the OpenAPI document")]
pub struct BackgroundOptions {
    /// `fire_and_forget`, `silent` or `deferred`. Unless given: `deferred` with a `run_at`, `silent` with a `trigger_id`,
    /// `fire_and_forget` otherwise.
    mode: Option<String>,
    /// Higher is sooner (50).
    priority: Option<u8>,
    /// How long it may run from its start on, pauses apart (300000).
    timeout_ms: Option<u64>,
    /// When it begins; for `deferred`.
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Timestamp>,
    /// Try again, as another execution, when it fails of something that another attempt can mend.
    retry: Option<RetryOptions>,
    /// Where its end is told, by a signed request.
    callback_url: Option<String>,
    /// What is made of its output, and for which place.
    target_binding: Option<TargetBindingOptions>,
    /// `trigger_…`: what has started it.
    trigger_id: Option<String>,
}

/// When a background execution is tried again.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the core's request to readers of the OpenAPI document")]
pub struct RetryOptions {
    /// In all, the first one included (3).
    max_attempts: Option<u32>,
    /// Before the second attempt (1000).
    backoff_ms: Option<u64>,
    /// Each later wait is so many times the one before (2.0).
    backoff_multiplier: Option<f64>,
}

/// A place for an output, and what the output is made into for it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the core's request to readers of the OpenAPI document")]
pub struct TargetBindingOptions {
    /// `thread.title`, `thread.summary`, `execution.summary`, `message.metadata`, `artifact.create`, `memory.write` or
    /// `custom`.
    target_type: String,
    /// The type of an artifact, the key of a memory, the place of what is custom.
    target_path: Option<String>,
    /// `none`, `first_line`, `truncate` or `json_extract`; each type has its own preset.
    transform: Option<String>,
    /// In characters.
    max_length: Option<u32>,
    /// For `json_extract`: `$`, `.field`, `[3]` and `[*]`.
    json_path: Option<String>,
    /// `thread_…`
    thread_id: Option<String>,
    /// `exec_…`
    execution_id: Option<String>,
}

/// How an execution in the background stands.
#[derive(Serialize, ToSchema)]
pub struct Background {
    /// `fire_and_forget`, `silent` or `deferred`.
    #[schema(value_type = String)]
    mode: BackgroundMode,
    /// `queued`, `running`, `completed`, `failed`, `cancelled` or `timeout`.
    #[schema(value_type = String)]
    status: BackgroundStatus,
    /// Somebody waits for what it gives.
    requires_result: bool,
    /// All that was asked for.
    #[schema(value_type = BackgroundOptions)]
    config: Value,
    /// Since when it waits for a place among those that run; null before its moment.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    queued_at: Option<Timestamp>,
    /// Which attempt this is, from 1.
    attempt: u32,
    /// The first attempt, of a later one.
    #[schema(value_type = Option<String>, required)]
    first_execution_id: Option<ExecutionId>,
    /// The attempt that follows this one, which has failed.
    #[schema(value_type = Option<String>, required)]
    next_execution_id: Option<ExecutionId>,
    /// What became of the target binding.
    #[schema(required)]
    target_binding: Option<BoundTarget>,
    /// How the callback stands, once the last attempt is over.
    #[schema(required)]
    callback: Option<Callback>,
}

/// What became of a target binding.
#[derive(Serialize, ToSchema)]
pub struct BoundTarget {
    target_type: &'static str,
    #[schema(required)]
    target_path: Option<String>,
    success: bool,
    applied_value: Value,
    #[schema(required)]
    error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    applied_at: Timestamp,
}

/// How a callback stands.
#[derive(Serialize, ToSchema)]
pub struct Callback {
    /// `owed`, `delivered` or `given_up`.
    #[schema(value_type = String)]
    state: CallbackState,
    /// Attempts made.
    attempts: u32,
    /// What the other side answered last.
    #[schema(required)]
    http_status: Option<u16>,
    /// What went wrong with the last attempt.
    #[schema(required)]
    error: Option<String>,
    /// When the last attempt had ended.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    attempted_at: Option<Timestamp>,
    /// When the next attempt is due.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    due: Option<Timestamp>,
    /// The same in every attempt.
    webhook_id: String,
}

impl Background {
    /// Of an execution that runs in the background.
    pub fn of(execution: &Execution) -> Option<Self> {
        let (run, status) = (execution.background()?, execution.background_status()?);
        let config = run.config();
        Some(Background {
            mode: config.mode,
            status,
            requires_result: config.mode.requires_result(),
            config: config.to_json(),
            queued_at: run.queued_at(),
            attempt: config.attempt,
            first_execution_id: config.first,
            next_execution_id: run.next().map(|next| next.execution),
            target_binding: bound(execution, run),
            callback: run.callback().map(|callback| shown(execution, callback)),
        })
    }
}

fn bound(execution: &Execution, run: &BackgroundRun) -> Option<BoundTarget> {
    let (binding, bound) = (run.config().target_binding.as_ref()?, run.bound()?);
    Some(BoundTarget {
        target_type: binding.target.name(),
        target_path: binding.path.clone(),
        success: bound.success(),
        applied_value: execution.bound_value().map_or(Value::Null, Data::to_json),
        error: bound.error.clone(),
        applied_at: bound.applied_at,
    })
}

fn shown(execution: &Execution, callback: &CallbackRun) -> Callback {
    Callback {
        state: callback.state(),
        attempts: callback.attempts(),
        http_status: callback.status(),
        error: callback.error().map(str::to_owned),
        attempted_at: callback.at(),
        due: callback.due(),
        webhook_id: crate::callback::callback_id(execution.id()),
    }
}
