//! Executions, looked at.

use std::fmt;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use stepstream_shared::error::ExecutionError;
use stepstream_shared::execution::WaitReason;
use stepstream_shared::id::{ExecutionId, StepId};
use stepstream_shared::time::Timestamp;

use crate::answer::Answer;
use crate::client::{Client, percent};
use crate::error::Error;

/// How long the server holds one request that waits for the end.
const HELD: Duration = Duration::from_secs(25);
/// Between two tries while the server is away; doubled each time.
const FIRST_REST: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(3);

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum State {
    /// Exists, not started.
    Created,
    /// Somebody still decides what it shall do.
    Planning,
    Running,
    Paused,
    /// Blocked on something outside; `waiting_for` says what.
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

impl State {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Created => "Created",
            State::Planning => "Planning",
            State::Running => "Running",
            State::Paused => "Paused",
            State::Waiting => "Waiting",
            State::Completed => "Completed",
            State::Failed => "Failed",
            State::Cancelled => "Cancelled",
        }
    }

    /// Whether nothing more happens to it.
    pub const fn is_over(self) -> bool {
        matches!(self, State::Completed | State::Failed | State::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An execution as it stands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Execution {
    pub execution_id: ExecutionId,
    pub state: State,
    /// Why it is paused, was cancelled, or waits.
    pub reason: Option<String>,
    /// What it waits for, also while it is paused.
    pub waiting_for: Option<WaitReason>,
    /// It is paused, and no worker has anything of it left.
    #[serde(default)]
    pub quiescent: bool,
    /// Nodes before which it is paused.
    #[serde(default)]
    pub breakpoints: Vec<String>,
    /// The graph's name.
    pub graph: String,
    pub graph_id: String,
    pub inputs: Value,
    /// Null until it has completed.
    pub output: Value,
    /// Why it failed.
    pub error: Option<ExecutionError>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// The last event this is the state after.
    pub sequence: u64,
    pub steps: StepCounts,
}

/// How many steps ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct StepCounts {
    pub completed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Those included that have not ended.
    pub total: u64,
}

/// An execution in the list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Listed {
    pub execution_id: ExecutionId,
    pub state: State,
    /// The graph's name.
    pub graph: String,
    pub graph_id: String,
    pub created_at: Timestamp,
    /// When the state last changed.
    pub updated_at: Timestamp,
}

/// One run of one node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Step {
    pub step_id: StepId,
    /// The node's name in the graph.
    pub node: String,
    /// Scheduled, Claimed, Running, Waiting, InDoubt, Completed, Failed or Skipped.
    pub state: String,
    /// The completed step of the same node that this one undoes.
    pub undoes: Option<StepId>,
    /// The present or last try, from 1.
    pub attempt: u32,
    /// The iteration of each loop around the node, outermost first.
    pub iteration: Vec<u32>,
    /// The place of its item, in a map.
    pub index: Option<u32>,
    /// Who ran the attempt.
    pub worker: Option<String>,
    /// Of the last attempt that failed.
    pub error: Option<ExecutionError>,
}

impl Client {
    /// Executions, newest first, at most `limit`; with a state, only those in it.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal.
    pub async fn executions(&self, state: Option<&str>, limit: usize) -> Result<Vec<Answer<Listed>>, Error> {
        let filter = state.map(|state| format!("&state={}", percent(state))).unwrap_or_default();
        self.pages("/v1/executions", &filter, limit).await
    }

    pub(crate) async fn look(&self, id: ExecutionId) -> Result<Answer<Execution>, Error> {
        self.ask(self.request(Method::GET, &format!("/v1/executions/{id}"))).await
    }

    pub(crate) async fn steps_of(&self, id: ExecutionId) -> Result<Vec<Answer<Step>>, Error> {
        self.pages(&format!("/v1/executions/{id}/steps"), "", usize::MAX).await
    }

    /// A server that goes away after it has answered once is waited for.
    pub(crate) async fn finish_of(&self, id: ExecutionId) -> Result<Answer<Execution>, Error> {
        let path = format!("/v1/executions/{id}/wait?timeout_ms={}", HELD.as_millis());
        let (mut met, mut rest) = (false, FIRST_REST);
        loop {
            match self.ask::<Execution>(self.request(Method::GET, &path)).await {
                Ok(execution) if execution.state.is_over() => return Ok(execution),
                Ok(_) => (met, rest) = (true, FIRST_REST),
                Err(error) if met && error.is_passing() => {
                    tokio::time::sleep(rest).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
