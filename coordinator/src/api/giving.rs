//! What steps wait for, brought: signals, decisions, answers.

use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use stepstream_shared::error::{ErrorCategory, ExecutionError};
use stepstream_shared::execution::Steering;
use utoipa::ToSchema;

use super::asking::{Asked, Asking, data};
use super::body::Json;
use super::problem::{Fault, Problem};

/// Something has happened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Signal {
    /// As a `wait` of the graph names it.
    name: String,
    /// Which of several it belongs to; the step must wait for the same.
    #[serde(default)]
    correlation: Option<String>,
    #[serde(default)]
    #[schema(required = false)]
    payload: Value,
}

/// Yes or no.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Decision {
    /// `step_…` as `waits` shows it; or the node's name, from the second round of a loop on refused: it may have been
    /// meant for the round before.
    step: String,
    approve: bool,
    #[serde(default)]
    comment: Option<String>,
    /// What the approval asks whoever agrees to fill in.
    #[serde(default)]
    #[schema(required = false)]
    form: Value,
}

/// What a step waits for from a person or a program, or why it will not come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// `step_…` as `waits` shows it; or the node's name, from the second round of a loop on refused: it may have been
    /// meant for the round before.
    step: String,
    /// What the step gives.
    #[serde(default)]
    #[schema(required = false)]
    value: Value,
    /// Instead of a value, for what a program was to bring.
    #[serde(default)]
    error: Option<GivenError>,
}

/// What has gone wrong outside.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenError {
    /// One of eight categories, such as Timeout or ToolError.
    #[schema(value_type = String, example = "ToolError")]
    category: ErrorCategory,
    message: String,
}

/// Tell an execution that something has happened.
///
/// A signal that comes before a step waits for it is kept.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/signals",
    operation_id = "signalExecution",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Signal,
    responses(
        (status = 202, description = "Taken or kept", body = Asked),
        (status = 400, description = "The payload does not fit", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No wait of the graph takes it", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "It is over", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many are kept", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn signal(asking: Asking, Json(body): Json<Signal>) -> Result<Response, Problem> {
    let payload = data(&body.payload, "payload")?;
    let what = Steering::Signal { name: body.name, correlation: body.correlation, payload };
    asking.carry_out(what).await
}

/// Approve or reject what a step asks for.
///
/// Whoever decides is named by `Stepstream-Actor`.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/decisions",
    operation_id = "decide",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Decision,
    responses(
        (status = 202, description = "Recorded", body = Asked),
        (status = 400, description = "The form is not filled in as asked", body = Problem,
            content_type = "application/problem+json"),
        (status = 403, description = "It is not assigned to this person", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "The graph has no such node", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The step does not wait for a decision, this person has decided, or the node waits in a later round of
            its loop and the step has to be named", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn decide(asking: Asking, Json(body): Json<Decision>) -> Result<Response, Problem> {
    let form = data(&body.form, "form")?;
    let Decision { step, approve, comment, .. } = body;
    asking.carry_out(Steering::Decide { step, approve, comment, form }).await
}

/// Bring what a step waits for from a person (`input`) or a program (`external`).
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/answers",
    operation_id = "answer",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Answer,
    responses(
        (status = 202, description = "The step has ended with it", body = Asked),
        (status = 400, description = "The value does not fit", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "It is not asked of this person", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "The graph has no such node", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The step does not wait for an answer, or the node waits in a later round of its loop and the step
            has to be named", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn answer(asking: Asking, Json(body): Json<Answer>) -> Result<Response, Problem> {
    let what = match body {
        Answer { step, value: Value::Null, error: Some(GivenError { category, message }) } => {
            Steering::GiveUp { step, error: ExecutionError::new(category, message) }
        }
        Answer { error: Some(_), .. } => {
            let detail = "an answer has a `value` or an `error`, not both";
            return Err(Problem::invalid_body(Fault::at("#/error", detail)));
        }
        Answer { step, value, error: None } => Steering::Answer { step, value: data(&value, "value")? },
    };
    asking.carry_out(what).await
}
