//! The steps of an execution, each as it stands.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use stepstream_shared::error::ExecutionError;
use stepstream_shared::graph::NodeIx;
use stepstream_shared::id::StepId;
use stepstream_shared::time::Timestamp;
use utoipa::ToSchema;

use super::Api;
use super::cursor::{AfterStep, page};
use super::limits::PAGE_MAX;
use super::problem::Problem;
use super::query::Parameters;
use super::request::{OfExecution, Tenant};
use crate::reading::Loaded;

/// One run of one node.
#[derive(Serialize, ToSchema)]
pub(super) struct Step {
    #[schema(value_type = String, example = "step_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    step_id: StepId,
    /// The node's name in the graph.
    node: String,
    /// Scheduled, Claimed, Running, Waiting, InDoubt, Completed, Failed or Skipped.
    state: &'static str,
    /// The completed step of the same node that this one undoes; null for a step of the graph.
    #[schema(value_type = Option<String>, required)]
    undoes: Option<StepId>,
    /// The step of the same node that is in doubt, and that this one asks about.
    #[schema(value_type = Option<String>, required)]
    reconciles: Option<StepId>,
    /// The present or last try, from 1.
    attempt: u32,
    /// The iteration of each loop around the node, outermost first; empty outside of loops.
    iteration: Vec<u32>,
    /// The place of its item, in a map.
    #[schema(required)]
    index: Option<u32>,
    /// Who ran the attempt.
    #[schema(required)]
    worker: Option<String>,
    /// When the attempt was scheduled.
    #[schema(value_type = String, format = DateTime)]
    scheduled_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    ended_at: Option<Timestamp>,
    /// Why it was skipped.
    #[schema(required)]
    skip_reason: Option<&'static str>,
    /// Of the last attempt that failed.
    #[schema(value_type = Option<super::executions::Failure>, required)]
    error: Option<ExecutionError>,
}

/// A page of steps, in the order they came to be.
#[derive(Serialize, ToSchema)]
pub(super) struct StepPage {
    items: Vec<Step>,
    /// Where the next page begins; null on the last one. Steps that come to be later are found by asking again.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List the steps of an execution.
#[utoipa::path(
    get,
    path = "/v1/executions/{execution_id}/steps",
    operation_id = "listSteps",
    tag = "executions",
    params(
        ("execution_id" = String, Path, description = "`exec_…`"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Most items on the page (100)"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = StepPage)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    mut query: Parameters,
) -> Result<Json<StepPage>, Problem> {
    let limit = query.limit(PAGE_MAX);
    let after = query.take::<AfterStep>("cursor");
    query.finish()?;
    let loaded = api.service.load(&tenant, id, None).await?;
    let begin = after.map_or(0, |AfterStep(ordinal)| ordinal.saturating_add(1));
    let ordinals: Vec<u32> = (begin..loaded.execution.steps().len() as u32).take(limit as usize + 1).collect();
    let (ordinals, next_cursor) = page(ordinals, limit, |ordinal| AfterStep(*ordinal));
    let items = ordinals.into_iter().filter_map(|ordinal| step(&loaded, ordinal)).collect();
    Ok(Json(StepPage { items, next_cursor }))
}

fn step(loaded: &Loaded, ordinal: u32) -> Option<Step> {
    let step = loaded.execution.step(ordinal)?;
    let node = &loaded.graph.node(NodeIx(step.node()))?.name;
    Some(Step {
        step_id: loaded.execution.step_id(ordinal, node)?,
        node: node.clone(),
        state: step.state().name(),
        undoes: step.undoes().and_then(|undone| loaded.execution.step_id(undone, node)),
        reconciles: step.reconciles().and_then(|doubted| loaded.execution.step_id(doubted, node)),
        attempt: step.attempt(),
        iteration: step.iterations().to_vec(),
        index: step.index(),
        worker: step.worker().map(str::to_owned),
        scheduled_at: step.scheduled_at(),
        started_at: step.started_at(),
        ended_at: step.ended_at(),
        skip_reason: step.skip_reason().map(|reason| reason.name()),
        error: step.error().cloned(),
    })
}
