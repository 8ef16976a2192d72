//! What a tenant may have, and what it has used today.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use stepstream_shared::cost::Money;
use stepstream_shared::fairness::Weight;
use stepstream_shared::graph::OnLimit;
use utoipa::ToSchema;

use super::Api;
use super::body::Json as Body;
use super::problem::Problem;
use super::query::Parameters;
use super::request::Tenant;
use crate::ports::{TenantAccount, TenantLimits};

/// Limits over all executions of a tenant. What is absent is not limited.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Executions that no step started and that are not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    max_concurrent_executions: Option<u32>,
    /// From midnight to midnight in UTC, in dollars, as text: at most six decimals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "50.00")]
    cost_usd_per_day: Option<Money>,
    /// From midnight to midnight in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    tokens_per_day: Option<u64>,
    /// Percent of a day's budget at which the usage says so.
    #[serde(default = "eighty")]
    #[schema(minimum = 1, maximum = 100, default = 80)]
    warn_at: u32,
    /// What becomes of an execution whose step finds the day's budget used up: stop, pause, approve or fail_step.
    #[serde(default)]
    #[schema(value_type = String, example = "stop")]
    on_limit: OnLimit,
    /// Its share of the places of background executions, in proportion to other tenants that have some queued.
    #[serde(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 1000, default = 1)]
    weight: Weight,
}

const fn eighty() -> u32 {
    80
}

impl From<TenantLimits> for Limits {
    fn from(limits: TenantLimits) -> Self {
        let TenantLimits { max_concurrent_executions, cost_usd_per_day, tokens_per_day, warn_at, on_limit, weight } =
            limits;
        Limits { max_concurrent_executions, cost_usd_per_day, tokens_per_day, warn_at, on_limit, weight }
    }
}

impl From<Limits> for TenantLimits {
    fn from(limits: Limits) -> Self {
        let Limits { max_concurrent_executions, cost_usd_per_day, tokens_per_day, warn_at, on_limit, weight } = limits;
        TenantLimits { max_concurrent_executions, cost_usd_per_day, tokens_per_day, warn_at, on_limit, weight }
    }
}

/// What a tenant has used today.
#[derive(Serialize, ToSchema)]
pub(super) struct Usage {
    /// The day in UTC, by the store's clock.
    #[schema(example = "2026-12-24")]
    day: String,
    /// In dollars.
    #[schema(value_type = String, example = "12.5")]
    cost_usd: Money,
    tokens: u64,
    /// Set aside for steps that are open, in dollars.
    #[schema(value_type = String)]
    reserved_cost_usd: Money,
    reserved_tokens: u64,
    /// A budget of the day is used to the percentage that the limits name.
    warned: bool,
    limits: Limits,
}

impl Usage {
    pub(super) fn of(account: TenantAccount, limits: TenantLimits) -> Self {
        Usage {
            day: account.day_name(),
            cost_usd: account.cost,
            tokens: account.tokens,
            reserved_cost_usd: account.reserved_cost,
            reserved_tokens: account.reserved_tokens,
            warned: account.warns(&limits),
            limits: limits.into(),
        }
    }
}

/// Get the limits of the tenant.
#[utoipa::path(
    get,
    path = "/v1/tenant/limits",
    operation_id = "getTenantLimits",
    tag = "tenant",
    responses((status = 200, description = "Its limits", body = Limits)),
)]
pub(super) async fn limits(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    query: Parameters,
) -> Result<Json<Limits>, Problem> {
    query.finish()?;
    Ok(Json(api.service.tenant_limits(&tenant).await?.into()))
}

/// Set the limits of the tenant, all of them: what is absent is not limited any more.
///
/// Every coordinator follows within two seconds. Executions that began before the tenant had limits stay without.
#[utoipa::path(
    put,
    path = "/v1/tenant/limits",
    operation_id = "setTenantLimits",
    tag = "tenant",
    request_body = Limits,
    responses((status = 200, description = "Its limits", body = Limits)),
)]
pub(super) async fn set(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    query: Parameters,
    Body(limits): Body<Limits>,
) -> Result<Json<Limits>, Problem> {
    query.finish()?;
    let limits = TenantLimits::from(limits);
    api.service.set_tenant_limits(&tenant, limits.clone()).await?;
    Ok(Json(limits.into()))
}

/// Get what the tenant has used today.
#[utoipa::path(
    get,
    path = "/v1/tenant/usage",
    operation_id = "getTenantUsage",
    tag = "tenant",
    responses((status = 200, description = "Its usage of the day", body = Usage)),
)]
pub(super) async fn usage(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    query: Parameters,
) -> Result<Json<Usage>, Problem> {
    query.finish()?;
    let limits = api.service.tenant_limits(&tenant).await?;
    Ok(Json(Usage::of(api.service.tenant_account(&tenant).await?, limits)))
}
