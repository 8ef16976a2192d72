//! Dead letters, as people and programs outside read them: the list of executions says who has any, their logs which.

use serde::Serialize;
use serde_json::Value;
use stepstream_shared::graph::NodeIx;
use stepstream_shared::id::{ExecutionId, StepId, TenantId};
use stepstream_shared::time::Timestamp;
use utoipa::ToSchema;

use super::{Loaded, ReadError, Reader};
use crate::ports::ListCursor;

/// A step that has failed for good and is held.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeadLetter {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    pub execution_id: ExecutionId,
    #[schema(value_type = String, example = "step_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    pub step_id: StepId,
    /// The graph's name.
    pub graph: String,
    /// The node's name in it.
    pub node: String,
    /// The iteration of each loop around the node, outermost first.
    pub iteration: Vec<u32>,
    /// The item's place in its map's list, from 0.
    #[schema(required)]
    pub index: Option<u32>,
    /// The attempt that failed.
    pub attempt: u32,
    /// `poison`: its job was delivered again and again, and nobody reported. `exhausted`: its failure is not tried again.
    pub reason: &'static str,
    /// Of the last attempt.
    #[schema(value_type = Object)]
    pub error: Value,
    pub callable: String,
    pub queue: String,
    /// Since when it is held.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

impl DeadLetter {
    /// Those of one execution, in the order of its steps.
    pub fn of(loaded: &Loaded) -> Vec<Self> {
        let (execution, graph) = (&loaded.execution, &loaded.graph);
        let letters = execution.dead_letters().filter_map(|(ordinal, letter)| {
            let step = execution.step(ordinal)?;
            let node = graph.node(NodeIx(step.node()))?;
            let task = execution.task_of(graph, ordinal)?;
            let since = execution.waits().find(|(of, _)| *of == ordinal)?.1.since();
            Some(DeadLetter {
                execution_id: execution.id(),
                step_id: execution.step_id(ordinal, &node.name)?,
                graph: graph.name.clone(),
                node: node.name.clone(),
                iteration: step.iterations().to_vec(),
                index: step.index(),
                attempt: step.attempt(),
                reason: letter.reason.name(),
                error: serde_json::to_value(step.error()).unwrap_or_default(),
                callable: task.callable.clone(),
                queue: task.queue.clone(),
                since,
            })
        });
        letters.collect()
    }
}

impl Reader {
    /// The dead letters of at most `most` executions, the newest first, and where to go on.
    pub async fn dead_letters(
        &self,
        tenant: &TenantId,
        graph: Option<&str>,
        after: Option<ListCursor>,
        most: u32,
    ) -> Result<(Vec<DeadLetter>, Option<ListCursor>), ReadError> {
        let rows = self.list_dead(tenant, after, most).await?;
        let complete = rows.len() < most as usize;
        let next = rows.last().filter(|_| !complete);
        let next = next.map(|row| ListCursor { created_at: row.summary.created_at, execution: row.execution });
        let mut letters = Vec::new();
        for row in rows {
            let summary = &row.summary;
            if graph.is_none_or(|graph| summary.graph_name == graph || summary.graph.to_string() == graph) {
                letters.extend(DeadLetter::of(&self.load(tenant, row.execution, None).await?));
            }
        }
        Ok((letters, next))
    }
}
