//! What an execution waits for.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::problem::Problem;
use super::query::Parameters;
use super::request::{OfExecution, Tenant};
use crate::reading::Waits;

/// Get what an execution waits for, and what has come for it that no step has taken yet.
#[utoipa::path(
    get,
    path = "/v1/executions/{execution_id}/waits",
    operation_id = "getWaits",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    responses((status = 200, description = "Its waits, signals, inbox and breakpoints", body = Waits)),
)]
pub(super) async fn get(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    query: Parameters,
) -> Result<Json<Waits>, Problem> {
    query.finish()?;
    Ok(Json(Waits::of(&api.service.load(&tenant, id, None).await?)))
}
