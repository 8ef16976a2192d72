//! What an execution waits for.

use serde::Deserialize;
use serde_json::Value;
use stepstream_shared::execution::WaitReason;
use stepstream_shared::id::{ExecutionId, StepId};
use stepstream_shared::time::Timestamp;

use crate::executions::State;

/// What an execution waits for, and what waits for it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Waits {
    pub execution_id: ExecutionId,
    pub state: State,
    /// What it waits for as a whole; nothing while something goes on.
    pub waiting_for: Option<WaitReason>,
    /// It waits because somebody, or its budget, holds it.
    pub held: bool,
    pub paused: bool,
    /// It is paused, and no worker has anything of it left.
    pub quiescent: bool,
    /// Each step that waits, the one that began first first.
    pub waits: Vec<StepWait>,
    /// Signals that have come before a step waited for them.
    pub signals: Vec<KeptSignal>,
    /// Messages that no step has taken yet, the most urgent first.
    pub inbox: Vec<Value>,
    /// Nodes before which it is paused.
    pub breakpoints: Vec<String>,
    /// There was too much to show; the events have all of it.
    #[serde(default)]
    pub left_out: bool,
}

/// A step that waits.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StepWait {
    pub step_id: StepId,
    pub node: String,
    pub iteration: Vec<u32>,
    pub reason: WaitReason,
    /// The wait as it was decided when it began: who is assigned, which signal, and so on.
    pub wait: Value,
    pub since: Timestamp,
    /// When it ends by itself.
    pub due: Option<Timestamp>,
    /// What whoever decides or answers is shown.
    pub shown: Value,
    /// The JSON Schema of what is asked for; null where anything fits.
    pub form: Value,
    /// What was said so far.
    pub decisions: Vec<Said>,
}

/// One voice in an approval.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Said {
    pub by: String,
    pub approved: bool,
    pub comment: Option<String>,
    pub form: Value,
    pub at: Timestamp,
}

/// A signal that no step has taken yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeptSignal {
    pub name: String,
    pub correlation: Option<String>,
}
