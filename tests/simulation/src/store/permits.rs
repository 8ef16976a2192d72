//! Permits over the same connection.

use std::time::Duration;

use async_trait::async_trait;
use stepstream_coordinator::ports::{
    Crossed, EventStore, PermitCursor, PermitEnd, PermitRequest, PermitRow, PermitStore, Settled, Spent, StoreError,
    TenantAccount, TenantLimits,
};
use stepstream_shared::fairness::Weight;
use stepstream_shared::id::{PartitionId, TenantId};

use super::{Connection, READING, WRITING};

#[async_trait]
impl PermitStore for Connection {
    async fn settle_permits(&self, ends: &[PermitEnd], asks: &[PermitRequest]) -> Result<Settled, StoreError> {
        self.ask("permits", &WRITING, self.inner().permits().settle_permits(ends, asks)).await
    }

    async fn standing_permits(
        &self,
        partitions: &[PartitionId],
        granted: bool,
        older: Duration,
        after: Option<PermitCursor>,
        limit: u32,
    ) -> Result<Vec<PermitRow>, StoreError> {
        let work = self.inner().permits().standing_permits(partitions, granted, older, after, limit);
        self.ask("permits", &READING, work).await
    }

    async fn record_spent(&self, spent: &[Spent]) -> Result<Vec<Crossed>, StoreError> {
        self.ask("spent", &WRITING, self.inner().permits().record_spent(spent)).await
    }

    async fn tenant_limits(&self, tenant: &TenantId) -> Result<TenantLimits, StoreError> {
        self.ask("limits", &READING, self.inner().permits().tenant_limits(tenant)).await
    }

    async fn tenant_weights(&self, tenants: &[TenantId]) -> Result<Vec<(TenantId, Weight)>, StoreError> {
        self.ask("limits", &READING, self.inner().permits().tenant_weights(tenants)).await
    }

    async fn set_tenant_limits(&self, tenant: &TenantId, limits: &TenantLimits) -> Result<(), StoreError> {
        self.ask("limits", &WRITING, self.inner().permits().set_tenant_limits(tenant, limits)).await
    }

    async fn tenant_account(&self, tenant: &TenantId) -> Result<TenantAccount, StoreError> {
        self.ask("account", &READING, self.inner().permits().tenant_account(tenant)).await
    }

    async fn forget_idle_keys(&self) -> Result<(), StoreError> {
        self.ask("permits", &READING, self.inner().permits().forget_idle_keys()).await
    }
}
