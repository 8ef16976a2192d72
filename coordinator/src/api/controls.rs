//! Many executions paused, resumed, cancelled or redriven by one request.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use stepstream_shared::id::ExecutionId;
use utoipa::ToSchema;

use super::Api;
use super::body::Json as JsonBody;
use super::cursor::AfterExecution;
use super::executions::STATES;
use super::problem::{Fault, Problem};
use super::query::{Parameters, shown};
use super::request::{Caller, IdempotencyKey, Tenant};
use crate::service::{BULK_MOST, Bulk, BulkAction};

/// What is asked of which executions.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlsBody {
    action: Action,
    /// All of them where it is empty.
    filter: Filter,
    /// For people; stands in the log of each.
    #[serde(default)]
    reason: Option<String>,
    /// Most executions that this request asks (100).
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the request before.
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Deserialize, ToSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Pause,
    Resume,
    Cancel,
    /// Another attempt at each dead letter, of those that have any.
    Redrive,
}

/// Which executions.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Only those in this state, such as `Running`. Not given: to pause, those that run or wait; to resume, those that
    /// are paused; to cancel, those that are not over.
    #[serde(default)]
    state: Option<String>,
    /// Only those of the graph with this name, or this id.
    #[serde(default)]
    graph: Option<String>,
    /// Only this execution, the executions that its steps have started, and theirs, from the head down; at most a
    /// thousand, all in one request.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    subtree_of: Option<ExecutionId>,
}

/// What became of each, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct ControlsPart {
    items: Vec<Controlled>,
    /// Where the next request goes on; null when every execution was looked at. There may be more even where there are
    /// no items.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// An execution that was asked.
#[derive(Serialize, ToSchema)]
pub(super) struct Controlled {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    execution_id: ExecutionId,
    ok: bool,
    /// Why not.
    #[schema(required)]
    problem: Option<Problem>,
}

/// Pause, resume, cancel or redrive many executions.
///
/// Goes through the tenant's executions from the newest to the oldest, a part of them with each request. One that
/// refuses stops no other.
#[utoipa::path(
    post,
    path = "/v1/controls",
    operation_id = "controlExecutions",
    tag = "steering",
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255,
        description = "The same key again does to each execution what it did, once")),
    request_body = ControlsBody,
    responses((status = 200, description = "What became of each", body = ControlsPart)),
)]
pub(super) async fn control(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Caller(by): Caller,
    query: Parameters,
    JsonBody(body): JsonBody<ControlsBody>,
) -> Result<Json<ControlsPart>, Problem> {
    query.finish()?;
    let wrong = |pointer: &str, detail: String| Problem::invalid_body(Fault::at(pointer, detail));
    let limit = match body.limit {
        Some(limit) if !(1..=BULK_MOST).contains(&limit) => {
            return Err(wrong("#/limit", format!("`limit` is {limit}; a request asks 1 to {BULK_MOST} executions")));
        }
        limit => limit.unwrap_or(BULK_MOST),
    };
    if let Some(state) = &body.filter.state
        && !STATES.contains(&state.as_str())
    {
        let detail = format!("`{}` is no state; the states are {}", shown(state), STATES.join(", "));
        return Err(wrong("#/filter/state", detail));
    }
    let after = match body.cursor.map(|text| text.parse::<AfterExecution>()) {
        Some(Err(error)) => return Err(wrong("#/cursor", error.to_string())),
        Some(Ok(AfterExecution(after))) => Some(after),
        None => None,
    };
    let action = match body.action {
        Action::Pause => BulkAction::Pause,
        Action::Resume => BulkAction::Resume,
        Action::Cancel => BulkAction::Cancel,
        Action::Redrive => BulkAction::Redrive,
    };
    let Filter { state, graph, subtree_of } = body.filter;
    let bulk = Bulk { action, state, graph, subtree_of, reason: body.reason, by, idempotency_key };
    let part = api.service.steer_all(&tenant, &bulk, after, limit).await?;
    let items = part.done.into_iter().map(|(execution_id, outcome)| {
        let problem = outcome.err().map(Problem::from);
        Controlled { execution_id, ok: problem.is_none(), problem }
    });
    Ok(Json(ControlsPart {
        items: items.collect(),
        next_cursor: part.next.map(|next| AfterExecution(next).to_string()),
    }))
}
