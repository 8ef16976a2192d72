//! Background executions: how they are asked for, listed and shown.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use stepstream_shared::background::{BackgroundMode, BackgroundRequest, BackgroundStatus};
use stepstream_shared::execution::Steering;
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::ExecutionId;
use stepstream_shared::time::Timestamp;
use utoipa::ToSchema;

use super::Api;
use super::asking::{Asked, Asking};
use super::cursor::{AfterExecution, page};
use super::limits::PAGE_MAX;
use super::problem::{Fault, Problem};
use super::query::Parameters;
use super::request::Tenant;
use crate::ports::{BackgroundFilter, ListCursor, Listed};

/// What a body asks for.
pub(super) fn request(body: Option<Value>) -> Result<Option<BackgroundRequest>, Problem> {
    let Some(body) = body.filter(|body| !body.is_null()) else { return Ok(None) };
    let wrong = |error: serde_json::Error| Problem::invalid_body(Fault::at("#/background", error.to_string()));
    serde_json::from_value(body).map(Some).map_err(wrong)
}

/// A background execution in the list.
#[derive(Serialize, ToSchema)]
pub(super) struct ListedBackground {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    execution_id: ExecutionId,
    /// `fire_and_forget`, `silent` or `deferred`.
    #[schema(value_type = String)]
    mode: BackgroundMode,
    /// `queued`, `running`, `completed`, `failed`, `cancelled` or `timeout`.
    #[schema(value_type = String)]
    status: BackgroundStatus,
    /// Created, Planning, Running, Paused, Waiting, Completed, Failed or Cancelled.
    state: String,
    /// The graph's name.
    graph: String,
    #[schema(value_type = String)]
    graph_id: GraphDigest,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the status last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A page of background executions, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct BackgroundPage {
    items: Vec<ListedBackground>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List background executions, newest first.
#[utoipa::path(
    get,
    path = "/v1/background",
    operation_id = "listBackground",
    tag = "executions",
    params(
        ("mode" = Option<String>, Query, description = "`fire_and_forget`, `silent` or `deferred`"),
        ("status" = Option<String>, Query,
            description = "`queued`, `running`, `completed`, `failed`, `cancelled` or `timeout`"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Most items on the page (100)"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = BackgroundPage)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    mut query: Parameters,
) -> Result<Json<BackgroundPage>, Problem> {
    let mode = query.take_with("mode", |text| {
        BackgroundMode::named(text).ok_or_else(|| "the modes are fire_and_forget, silent and deferred".to_owned())
    });
    let status = query.take_with("status", |text| {
        let known = BackgroundStatus::ALL.map(BackgroundStatus::name).join(", ");
        BackgroundStatus::named(text).ok_or_else(|| format!("the statuses are {known}"))
    });
    let limit = query.limit(PAGE_MAX);
    let after = query.take::<AfterExecution>("cursor");
    query.finish()?;
    let filter = BackgroundFilter { mode, status };
    let rows = api.service.reader().list_background(&tenant, filter, after.map(|after| after.0), limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| {
        AfterExecution(ListCursor { created_at: row.summary.created_at, execution: row.execution })
    });
    Ok(Json(BackgroundPage { items: rows.into_iter().filter_map(listed).collect(), next_cursor }))
}

fn listed(row: Listed) -> Option<ListedBackground> {
    let of = row.summary.background?;
    Some(ListedBackground {
        execution_id: row.execution,
        mode: of.mode,
        status: of.status,
        state: row.summary.state,
        graph: row.summary.graph_name,
        graph_id: row.summary.graph,
        created_at: row.summary.created_at,
        updated_at: row.summary.updated_at,
    })
}

/// Make a callback once more.
///
/// For one that was given up, or was delivered and is wanted again: it is due at once, with the same `webhook-id`.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/callback/retry",
    operation_id = "retryCallback",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    responses(
        (status = 202, description = "It is due", body = Asked),
        (status = 409, description = "Nobody is to be called back", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn retry_callback(asking: Asking) -> Result<Response, Problem> {
    asking.carry_out(Steering::RetryCallback).await
}
