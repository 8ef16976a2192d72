//! What tenants may have, as the coordinator remembers it for a moment, and the place that each execution takes among
//! those of its tenant.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stepstream_shared::event::{PermitAsk, Place};
use stepstream_shared::execution::EXECUTION_PERMIT;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use tokio::time::Instant;

use crate::error::ServiceError;
use crate::ports::{AttemptRef, EndOf, PermitEnd, PermitRequest, StoreError, TenantAccount, TenantLimits};
use crate::service::Service;

/// For how long limits are remembered: another coordinator's change is known this much later here.
pub(crate) const LIMITS_STALE: Duration = Duration::from_secs(2);
/// Tenants whose limits are remembered.
const REMEMBERED: usize = 4096;
/// The key of a tenant's executions. No key of a graph has control characters in it.
const EXECUTIONS: &str = "\u{1}executions";

/// Limits that were read lately.
#[derive(Default)]
pub(crate) struct RememberedLimits(Mutex<HashMap<TenantId, (Instant, TenantLimits)>>);

impl RememberedLimits {
    fn get(&self, tenant: &TenantId) -> Option<TenantLimits> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(tenant).filter(|(read, _)| read.elapsed() < LIMITS_STALE).map(|(_, limits)| limits.clone())
    }

    /// Whether a place is taken for each execution, as far as it is remembered.
    pub(crate) fn limits_executions(&self, tenant: &TenantId) -> bool {
        self.get(tenant).is_none_or(|limits| limits.max_concurrent_executions.is_some())
    }

    fn put(&self, tenant: &TenantId, limits: TenantLimits) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(tenant.clone(), (Instant::now(), limits));
    }
}

/// The place of an execution, by the name under which the store keeps it.
pub(crate) fn place_of(tenant: &TenantId, execution: ExecutionId) -> AttemptRef {
    AttemptRef { tenant: tenant.clone(), execution, step: EXECUTION_PERMIT, attempt: 0 }
}

impl Service {
    /// What a tenant may have. Read from the store when it was read more than two seconds ago.
    pub async fn tenant_limits(&self, tenant: &TenantId) -> Result<TenantLimits, ServiceError> {
        if let Some(known) = self.remembered_limits().get(tenant) {
            return Ok(known);
        }
        let limits = self.reader().store().permits().tenant_limits(tenant).await?;
        self.remembered_limits().put(tenant, limits.clone());
        Ok(limits)
    }

    /// Sets all of a tenant's limits; what is not named is not limited any more. Durable when this returns; other
    /// coordinators follow within two seconds. Executions that have begun before a tenant had limits stay without.
    ///
    /// # Errors
    /// [`ServiceError::InvalidForm`] for limits that no tenant can have.
    pub async fn set_tenant_limits(&self, tenant: &TenantId, limits: TenantLimits) -> Result<(), ServiceError> {
        if let Some(problem) = limits.problem() {
            return Err(ServiceError::InvalidForm(vec![problem]));
        }
        self.reader().store().permits().set_tenant_limits(tenant, &limits).await?;
        self.remembered_limits().put(tenant, limits);
        Ok(())
    }

    /// What a tenant has used today.
    pub async fn tenant_account(&self, tenant: &TenantId) -> Result<TenantAccount, ServiceError> {
        Ok(self.reader().store().permits().tenant_account(tenant).await?)
    }

    /// Takes a place for an execution that is about to begin. True: it has one now that it did not have.
    ///
    /// # Errors
    /// [`ServiceError::TooMany`] when the tenant has as many executions as it may; nothing has changed then.
    pub(crate) async fn enter(&self, tenant: &TenantId, execution: ExecutionId) -> Result<bool, ServiceError> {
        let Some(max) = self.tenant_limits(tenant).await?.max_concurrent_executions else { return Ok(false) };
        let place = Some(Place { key: EXECUTIONS.to_owned(), max });
        let ask = PermitAsk { place, pace: None, need: None, priority: Priority::Normal };
        let partition = PartitionId::of(execution, self.partitions());
        let attempt = place_of(tenant, execution);
        let permits = self.reader().store().permits();
        let settled = permits
            .settle_permits(&[], &[PermitRequest { attempt: attempt.clone(), partition, sequence: 0, ask }])
            .await?;
        match settled.granted.iter().find(|granted| granted.attempt == attempt) {
            Some(granted) => Ok(granted.grant == 1),
            None => {
                // Executions are not queued: it does not wait for a place.
                self.leave(tenant, execution).await?;
                Err(ServiceError::TooMany(format!(
                    "the tenant has {max} executions that are not over, as many as it may (max_concurrent_executions)"
                )))
            }
        }
    }

    /// Gives back the place of an execution that has not begun.
    pub(crate) async fn leave(&self, tenant: &TenantId, execution: ExecutionId) -> Result<(), StoreError> {
        let end = PermitEnd { attempt: place_of(tenant, execution), why: EndOf::Attempt };
        self.reader().store().permits().settle_permits(&[end], &[]).await.map(drop)
    }
}
