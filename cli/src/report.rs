//! What became of an execution, as one object: what `run` and `resume` print.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepstream_coordinator::reading::Loaded;
use stepstream_shared::execution::ExecutionState;

use crate::exit::Exit;

/// Fields may be added, never changed: programs read this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub execution_id: String,
    pub state: String,
    pub graph: String,
    /// `null` unless the execution completed.
    #[serde(default)]
    pub output: Value,
    /// `null` unless the execution failed.
    #[serde(default)]
    pub error: Value,
    /// Why it was cancelled, is paused, or waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub steps: Steps,
    pub events: u64,
    /// From its creation until its end, or until its last event where it has not ended.
    pub duration_ms: u64,
    pub created_at: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Steps {
    pub completed: u64,
    pub failed: u64,
    pub skipped: u64,
    pub total: u64,
}

impl Report {
    pub fn of(loaded: &Loaded) -> Self {
        let execution = &loaded.execution;
        let counts = execution.counts();
        let reason = match execution.state() {
            ExecutionState::Waiting(reason) => Some(reason.to_string()),
            _ => execution.reason().map(str::to_owned),
        };
        let until = execution.ended_at().unwrap_or_else(|| execution.last_at());
        Report {
            execution_id: execution.id().to_string(),
            state: execution.state().name().to_owned(),
            graph: execution.graph_name().to_owned(),
            output: execution.output().to_json(),
            error: execution.error().map_or(Value::Null, |error| serde_json::json!(error)),
            reason,
            steps: Steps {
                completed: counts.completed.into(),
                failed: counts.failed.into(),
                skipped: counts.skipped.into(),
                total: execution.steps().len() as u64,
            },
            events: execution.sequence(),
            duration_ms: u64::try_from(until.since(execution.created_at()).as_millis()).unwrap_or(u64::MAX),
            created_at: execution.created_at().to_string(),
        }
    }

    pub fn exit(&self) -> Exit {
        Exit::of_name(&self.state)
    }
}
