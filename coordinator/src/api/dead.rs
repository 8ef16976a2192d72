//! Dead letters and doubts: what is held, and what somebody says becomes of it.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepstream_shared::error::{ErrorCategory, ExecutionError};
use stepstream_shared::execution::{Steering, Verdict};
use utoipa::ToSchema;

use super::Api;
use super::asking::{Asked, Asking, data};
use super::body::Json as JsonBody;
use super::cursor::AfterExecution;
use super::problem::{Fault, Problem};
use super::query::Parameters;
use super::request::Tenant;
use crate::reading::DeadLetter;

/// Executions whose dead letters one page tells at most: each is folded from its log.
const PAGE_MAX: u32 = 100;

/// Dead letters, and where to go on.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetterPage {
    items: Vec<DeadLetter>,
    /// Null at the end. There may be more even where there are no items.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// What became of a step, or is to become of it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolutionBody {
    /// `step_…` as `waits` shows it; or the node's name, from the second round of a loop on refused.
    step: String,
    outcome: Outcome,
    /// What the step gave; with `completed`.
    #[serde(default)]
    #[schema(required = false)]
    output: Value,
    /// Why it failed; with `failed`.
    #[serde(default)]
    error: Option<GivenFailure>,
}

/// `completed`: it happened. `failed`: it did not, and the step fails, which an error edge may take. `retry`: another
/// attempt, at once.
#[derive(Deserialize, ToSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Completed,
    Failed,
    Retry,
}

/// Why a step failed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenFailure {
    /// One of eight categories, such as Timeout or ToolError (ToolError).
    #[serde(default = "tool_error")]
    #[schema(value_type = String, required = false, example = "ToolError")]
    category: ErrorCategory,
    message: String,
}

fn tool_error() -> ErrorCategory {
    ErrorCategory::ToolError
}

/// Which dead letters are tried again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedriveBody {
    /// `step_…` or the node's name. Not given: all that the execution has.
    #[serde(default)]
    step: Option<String>,
}

/// List dead letters, those of the newest execution first.
///
/// Steps that have failed for good and are held instead of failing their execution, for somebody to put right what they
/// failed of and redrive them. An execution's letters are told together.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    operation_id = "listDeadLetters",
    tag = "executions",
    params(
        ("graph" = Option<String>, Query, description = "Only those of the graph with this name, or this id"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Most executions that are looked at (100)"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = DeadLetterPage)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    mut query: Parameters,
) -> Result<Json<DeadLetterPage>, Problem> {
    let graph = query.take::<String>("graph");
    let limit = query.limit(PAGE_MAX);
    let after = query.take::<AfterExecution>("cursor");
    query.finish()?;
    let (items, next) =
        api.service.reader().dead_letters(&tenant, graph.as_deref(), after.map(|after| after.0), limit).await?;
    Ok(Json(DeadLetterPage { items, next_cursor: next.map(|next| AfterExecution(next).to_string()) }))
}

/// Say what became of a step that is in doubt, or is to become of one that is a dead letter.
///
/// A step is in doubt whose worker is lost and which must not run twice. `retry` is safe only if what the step changes
/// refuses its idempotency key, or a lower number of the attempt: whoever was lost may still wake up.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/resolutions",
    operation_id = "resolveStep",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = ResolutionBody,
    responses(
        (status = 202, description = "Recorded", body = Asked),
        (status = 404, description = "The graph has no such node", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The step is neither in doubt nor a dead letter", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn resolve(asking: Asking, JsonBody(body): JsonBody<ResolutionBody>) -> Result<Response, Problem> {
    let wrong = |pointer: &str, detail: &str| Err(Problem::invalid_body(Fault::at(pointer, detail)));
    let ResolutionBody { step, outcome, output, error } = body;
    if !output.is_null() && outcome != Outcome::Completed {
        return wrong("#/output", "only what is `completed` has an `output`");
    }
    let verdict = match (outcome, error) {
        (Outcome::Failed, Some(GivenFailure { category, message })) => {
            Verdict::Failed { error: ExecutionError::new(category, message) }
        }
        (Outcome::Failed, None) => return wrong("#/error", "say why it failed: `{\"error\": {\"message\": …}}`"),
        (_, Some(_)) => return wrong("#/error", "only what is `failed` has an `error`"),
        (Outcome::Completed, None) => Verdict::Completed { output: data(&output, "output")? },
        (Outcome::Retry, None) => Verdict::Retry,
    };
    asking.carry_out(Steering::Resolve { step, verdict }).await
}

/// Try dead letters again.
///
/// Each is another attempt at its step, at once. An execution that is over has none: start it anew.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/redrive",
    operation_id = "redriveExecution",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = RedriveBody,
    responses(
        (status = 202, description = "They are tried again", body = Asked),
        (status = 404, description = "The graph has no such node", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There is no dead letter, or the execution is over", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn redrive(asking: Asking, JsonBody(body): JsonBody<RedriveBody>) -> Result<Response, Problem> {
    asking.carry_out(Steering::Redrive { step: body.step }).await
}
