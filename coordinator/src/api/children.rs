//! The executions that an execution has started.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::problem::Problem;
use super::query::Parameters;
use super::request::{OfExecution, Tenant};
use crate::reading::Children;

/// Get the executions that the steps of one have started.
#[utoipa::path(
    get,
    path = "/v1/executions/{execution_id}/children",
    operation_id = "getChildren",
    tag = "executions",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    responses((status = 200, description = "Its children", body = Children)),
)]
pub(super) async fn get(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    query: Parameters,
) -> Result<Json<Children>, Problem> {
    query.finish()?;
    let loaded = api.service.load(&tenant, id, None).await?;
    Ok(Json(api.service.reader().children(&loaded).await?))
}
