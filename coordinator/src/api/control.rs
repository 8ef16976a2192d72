//! Executions from outside while they run: cancelled, paused, resumed.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use stepstream_shared::id::ExecutionId;
use utoipa::ToSchema;

use super::Api;
use super::body::OptionalJson;
use super::problem::Problem;
use super::query::Parameters;
use super::request::{Caller, OfExecution, Tenant};

/// Why this is asked for.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// For people; stands in the log.
    #[serde(default)]
    reason: Option<String>,
}

impl Reason {
    fn or(self, default: &str) -> String {
        self.reason.unwrap_or_else(|| default.to_owned())
    }
}

/// The execution that this was done to.
#[derive(Serialize, ToSchema)]
pub(super) struct Controlled {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    execution_id: ExecutionId,
}

fn accepted(execution_id: ExecutionId) -> Response {
    (StatusCode::ACCEPTED, Json(Controlled { execution_id })).into_response()
}

/// Cancel an execution.
///
/// It is durable when this answers; attempts that are running are told to stop. Where steps have completed that can be
/// undone, they are, before the execution is over.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/cancel",
    operation_id = "cancelExecution",
    tag = "executions",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Option<Reason>,
    responses(
        (status = 202, description = "Cancelled", body = Controlled),
        (status = 409, description = "It is over already, or undoes what it has done", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The reason is too large", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    Caller(by): Caller,
    query: Parameters,
    OptionalJson(body): OptionalJson<Reason>,
) -> Result<Response, Problem> {
    query.finish()?;
    api.service.cancel(&tenant, id, body.or("cancelled by request"), &by).await?;
    Ok(accepted(id))
}

/// Pause an execution.
///
/// Nothing is dispatched and its time stands still until it is resumed; attempts that workers have already end and are
/// recorded.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/pause",
    operation_id = "pauseExecution",
    tag = "executions",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Option<Reason>,
    responses(
        (status = 202, description = "Paused", body = Controlled),
        (status = 409, description = "It is paused or over", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The reason is too large", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn pause(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    Caller(by): Caller,
    query: Parameters,
    OptionalJson(body): OptionalJson<Reason>,
) -> Result<Response, Problem> {
    query.finish()?;
    api.service.pause(&tenant, id, body.or("paused by request"), &by).await?;
    Ok(accepted(id))
}

/// Resume a paused execution.
///
/// It goes on with the time that it had left.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/resume",
    operation_id = "resumeExecution",
    tag = "executions",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    responses(
        (status = 202, description = "Resumed", body = Controlled),
        (status = 409, description = "It is not held", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn resume(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    Caller(by): Caller,
    query: Parameters,
) -> Result<Response, Problem> {
    query.finish()?;
    api.service.resume(&tenant, id, &by).await?;
    Ok(accepted(id))
}
