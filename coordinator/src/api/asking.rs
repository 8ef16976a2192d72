//! What every request to an execution has: for whom, about which one, by whom, and under which key.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use stepstream_shared::data::Data;
use stepstream_shared::execution::Steering;
use stepstream_shared::id::{ExecutionId, TenantId};
use utoipa::ToSchema;

use super::Api;
use super::problem::Problem;
use super::query::Parameters;
use super::request::{Caller, IdempotencyKey, OfExecution, Tenant};
use crate::service::Ask;

/// A request to an execution, before its body is read. It takes no parameters behind a `?`.
pub(super) struct Asking {
    api: Api,
    tenant: TenantId,
    pub(super) execution: ExecutionId,
    pub(super) by: String,
    key: Option<String>,
}

impl FromRequestParts<Api> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Api) -> Result<Self, Problem> {
        let Tenant(tenant) = Tenant::from_request_parts(parts, state).await?;
        let OfExecution(execution) = OfExecution::from_request_parts(parts, state).await?;
        let IdempotencyKey(key) = IdempotencyKey::from_request_parts(parts, state).await?;
        let Caller(by) = Caller::from_request_parts(parts, state).await?;
        Parameters::from_request_parts(parts, state).await?.finish()?;
        Ok(Asking { api: state.clone(), tenant, execution, by, key })
    }
}

/// The execution that this was done to.
#[derive(Serialize, ToSchema)]
pub(super) struct Asked {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    execution_id: ExecutionId,
}

impl Asking {
    /// Carries it out, durably.
    pub(super) async fn carry_out(self, what: Steering) -> Result<Response, Problem> {
        let Asking { api, tenant, execution, by, key } = self;
        api.service.steer(&tenant, execution, Ask { what, by, idempotency_key: key }).await?;
        Ok((StatusCode::ACCEPTED, Json(Asked { execution_id: execution })).into_response())
    }
}

/// A value of a user, out of the field of this name.
pub(super) fn data(value: &Value, field: &str) -> Result<Data, Problem> {
    Data::from_json(value).map_err(|error| Problem::from_data(&error, field))
}
