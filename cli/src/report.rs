//! What became of an execution, as one object: what `run` and `resume` print.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepstream_coordinator::reading::{Background, Loaded};
use stepstream_shared::execution::{Execution, ExecutionState};
use stepstream_shared::graph::NodeIx;

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
    /// What it waits for, also where it is paused meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// It is paused, and no worker has anything of it left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiescent: bool,
    /// Nodes before which it is paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakpoints: Vec<String>,
    /// Each step that waits, where nothing went on without somebody outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Value>,
    pub steps: Steps,
    /// Once it has begun to undo what it has done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Compensation>,
    /// Of one that runs in the background: as the API shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<Value>,
    pub events: u64,
    /// Bytes outside the log.
    #[serde(default, skip_serializing_if = "Artifacts::is_none")]
    pub artifacts: Artifacts,
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

/// What is on record of bytes outside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Artifacts {
    pub count: u64,
    /// Of all contents together.
    pub bytes: u64,
}

impl Artifacts {
    pub fn is_none(&self) -> bool {
        *self == Artifacts::default()
    }
}

/// What became of the steps that undo others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compensation {
    /// How the execution ends when everything is undone, or has ended.
    pub ending: String,
    pub done: u64,
    pub failed: u64,
    pub left: u64,
}

impl Compensation {
    fn of(execution: &Execution) -> Option<Self> {
        let compensation = execution.compensation()?;
        Some(Compensation {
            ending: compensation.ending().name().to_owned(),
            done: compensation.undone().done.into(),
            failed: compensation.undone().failed.into(),
            left: execution.undo_left() as u64 + u64::from(compensation.step().is_some()),
        })
    }
}

impl std::fmt::Display for Compensation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} undone, {} failed", self.done, self.failed)?;
        match self.left {
            0 => Ok(()),
            left => write!(f, ", {left} to go, then {}", self.ending),
        }
    }
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
            waiting_for: execution.waiting_for().map(|reason| reason.to_string()),
            quiescent: execution.is_quiescent(),
            breakpoints: execution
                .breakpoints()
                .filter_map(|ix| Some(loaded.graph.node(NodeIx(ix))?.name.clone()))
                .collect(),
            waits: None,
            steps: Steps {
                completed: counts.completed.into(),
                failed: counts.failed.into(),
                skipped: counts.skipped.into(),
                total: execution.graph_steps() as u64,
            },
            compensation: Compensation::of(execution),
            background: Background::of(execution).and_then(|background| serde_json::to_value(background).ok()),
            events: execution.sequence(),
            artifacts: Artifacts { count: execution.artifact_count() as u64, bytes: execution.artifact_bytes() },
            duration_ms: u64::try_from(until.since(execution.created_at()).as_millis()).unwrap_or(u64::MAX),
            created_at: execution.created_at().to_string(),
        }
    }

    pub fn exit(&self) -> Exit {
        Exit::of_name(&self.state)
    }
}
