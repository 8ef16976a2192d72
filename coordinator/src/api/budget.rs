//! What an execution may spend.

use axum::response::Response;
use serde::Deserialize;
use stepstream_shared::cost::Money;
use stepstream_shared::execution::Steering;
use utoipa::ToSchema;

use super::asking::{Asked, Asking};
use super::body::Json;
use super::problem::Problem;

/// Another budget: money, tokens or both; what is not given stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Budget {
    /// In dollars, as text: at most six decimals.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "5.00")]
    max_cost: Option<Money>,
    #[serde(default)]
    max_tokens: Option<u64>,
}

/// Give an execution another budget.
///
/// One that was held for want of it goes on.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/budget",
    operation_id = "setBudget",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = Budget,
    responses(
        (status = 202, description = "It has this budget", body = Asked),
        (status = 400, description = "It sets nothing", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is over", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn set(asking: Asking, Json(body): Json<Budget>) -> Result<Response, Problem> {
    let Budget { max_cost, max_tokens } = body;
    asking.carry_out(Steering::Budget { max_cost, max_tokens }).await
}
