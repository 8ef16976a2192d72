//! Executions from outside while they run: cancelled, paused, resumed, held.

use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use stepstream_shared::execution::{Steering, WaitReason};
use utoipa::ToSchema;

use super::asking::{Asked, Asking, data};
use super::body::{Json, OptionalJson};
use super::problem::Problem;

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

/// Why it is held.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Hold {
    /// approval, user_input, rate_limit, external, checkpoint, cost_threshold, memory_pressure, sub_agent, timer or
    /// signal.
    #[schema(value_type = String, example = "external")]
    reason: WaitReason,
}

/// What a held execution is given.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenInput {
    #[serde(default)]
    #[schema(required = false)]
    input: Value,
}

/// Cancel an execution.
///
/// It is durable when this answers; attempts that are running are told to stop. Where steps have completed that can be
/// undone, they are, before the execution is over.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/cancel",
    operation_id = "cancelExecution",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Option<Reason>,
    responses(
        (status = 202, description = "Cancelled", body = Asked),
        (status = 409, description = "It is over already, or undoes what it has done", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The reason is too large", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn cancel(asking: Asking, OptionalJson(body): OptionalJson<Reason>) -> Result<Response, Problem> {
    asking.carry_out(Steering::Cancel { reason: body.or("cancelled by request") }).await
}

/// Pause an execution.
///
/// Nothing is dispatched and its time stands still until it is resumed; attempts that workers have already end and are
/// recorded. `quiescent` says when none is left.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/pause",
    operation_id = "pauseExecution",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Option<Reason>,
    responses(
        (status = 202, description = "Paused", body = Asked),
        (status = 409, description = "It is paused or over", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The reason is too large", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn pause(asking: Asking, OptionalJson(body): OptionalJson<Reason>) -> Result<Response, Problem> {
    asking.carry_out(Steering::Pause { reason: body.or("paused by request") }).await
}

/// Resume a paused or held execution.
///
/// It goes on with the time that it had left. What a step waits for is not brought by this.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/resume",
    operation_id = "resumeExecution",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Option<Reason>,
    responses(
        (status = 202, description = "Resumed", body = Asked),
        (status = 409, description = "It is neither paused nor held", body = Problem,
            content_type = "application/problem+json"),
        (status = 413, description = "The reason is too large", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn resume(asking: Asking, OptionalJson(body): OptionalJson<Reason>) -> Result<Response, Problem> {
    asking.carry_out(Steering::Resume { reason: body.reason }).await
}

/// Hold a running execution for a reason of one's own.
///
/// Nothing is dispatched until it is given its input or resumed; its time goes on.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/hold",
    operation_id = "holdExecution",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Hold,
    responses(
        (status = 202, description = "Held", body = Asked),
        (status = 409, description = "It is not running", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn hold(asking: Asking, Json(body): Json<Hold>) -> Result<Response, Problem> {
    asking.carry_out(Steering::Wait { reason: body.reason }).await
}

/// Give a held execution the input that it waits for.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/input",
    operation_id = "giveInput",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Option<GivenInput>,
    responses(
        (status = 202, description = "It goes on", body = Asked),
        (status = 409, description = "It is not held", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn input(asking: Asking, OptionalJson(body): OptionalJson<GivenInput>) -> Result<Response, Problem> {
    let input = data(&body.input, "input")?;
    asking.carry_out(Steering::Input { input }).await
}
