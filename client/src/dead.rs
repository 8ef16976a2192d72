//! Dead letters, listed.

use serde::Deserialize;
use stepstream_shared::error::ExecutionError;
use stepstream_shared::id::{ExecutionId, StepId};
use stepstream_shared::time::Timestamp;

use crate::answer::Answer;
use crate::client::{Client, percent};
use crate::error::Error;

/// A step that is held because it has failed for good.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DeadLetter {
    pub execution_id: ExecutionId,
    pub step_id: StepId,
    /// The graph's name.
    pub graph: String,
    /// The node's name in it.
    pub node: String,
    pub attempt: u32,
    /// `poison` or `exhausted`.
    pub reason: String,
    pub error: Option<ExecutionError>,
    pub callable: String,
    pub queue: String,
    pub since: Timestamp,
}

impl Client {
    /// Dead letters of the tenant, those of the newest execution first, about `limit` of them: an execution's are told
    /// together. Of one graph, where it is named.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal.
    pub async fn dead_letters(&self, graph: Option<&str>, limit: usize) -> Result<Vec<Answer<DeadLetter>>, Error> {
        let filter = graph.map(|graph| format!("&graph={}", percent(graph))).unwrap_or_default();
        self.pages("/v1/dead-letters", &filter, limit).await
    }
}
