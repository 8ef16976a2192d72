//! Whether this process lives, and whether it can do its work.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use stepstream_shared::wire::PROTOCOL;
use utoipa::ToSchema;

use super::Api;
use super::limits::READY_WITHIN;
use super::problem::Problem;
use super::query::Parameters;
use crate::refusals::{RefusedOutcomes, RefusedRequests};

/// What this server is.
#[derive(Serialize, ToSchema)]
pub(super) struct Version {
    /// `stepstream`
    name: &'static str,
    version: &'static str,
    /// The version of this API: the first part of its paths.
    api: &'static str,
    /// The version of the messages that coordinators and workers exchange.
    worker_protocol: u8,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// Whether the process lives. Asks nothing else: a store that is away is no reason to restart a coordinator.
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "health",
    responses((status = 200, description = "It does", body = Health)))]
pub(super) async fn livez() -> Json<Health> {
    OK
}

/// Whether requests can be carried out.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "health", responses(
    (status = 200, description = "They can", body = Health),
    (status = 503, description = "They cannot; `errors` says why", body = Problem,
        content_type = "application/problem+json"),
))]
pub(super) async fn readyz(State(api): State<Api>) -> Result<Json<Health>, Problem> {
    let reasons = tokio::time::timeout(READY_WITHIN, api.service.not_ready())
        .await
        .unwrap_or_else(|_| vec![format!("the checks did not end within {} s", READY_WITHIN.as_secs())]);
    if reasons.is_empty() { Ok(OK) } else { Err(Problem::not_ready(reasons)) }
}

/// How this coordinator stands.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// Slices of executions that this coordinator drives at present.
    partitions_held: usize,
    partitions: u16,
    /// Grows with every restore of the store.
    incarnation: u64,
    /// What an acknowledged write has survived, as read back from the store.
    durability: String,
    refused_outcomes: RefusedOutcomes,
    refused_requests: RefusedRequests,
}

/// How this coordinator stands.
#[utoipa::path(get, path = "/v1/status", operation_id = "status", tag = "health",
    responses((status = 200, description = "What it drives and what it refused", body = Status)))]
pub(super) async fn status(State(api): State<Api>, query: Parameters) -> Result<Json<Status>, Problem> {
    query.finish()?;
    Ok(Json(Status {
        partitions_held: api.service.partitions_held(),
        partitions: api.service.partitions(),
        incarnation: api.service.incarnation(),
        durability: api.service.durability().to_owned(),
        refused_outcomes: api.service.refused_outcomes(),
        refused_requests: api.service.refused_requests(),
    }))
}

/// What this server is.
#[utoipa::path(get, path = "/v1/version", operation_id = "version", tag = "health",
    responses((status = 200, description = "Its versions", body = Version)))]
pub(super) async fn version(query: Parameters) -> Result<Json<Version>, Problem> {
    query.finish()?;
    Ok(Json(Version { name: "stepstream", version: env!("CARGO_PKG_VERSION"), api: "v1", worker_protocol: PROTOCOL }))
}
