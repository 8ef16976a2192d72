//! Schedules over the same connection.

use async_trait::async_trait;
use stepstream_coordinator::ports::{DueCursor, ScheduleStore, ScheduleWritten, StoreError, StoredSchedule};
use stepstream_shared::id::{PartitionId, TenantId, TriggerId};
use stepstream_shared::time::Timestamp;

use super::{Connection, READING, WRITING};

#[async_trait]
impl ScheduleStore for Connection {
    async fn write_schedule(&self, row: &StoredSchedule) -> Result<ScheduleWritten, StoreError> {
        self.ask("write schedule", &WRITING, self.inner().write_schedule(row)).await
    }

    async fn remove_schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<bool, StoreError> {
        self.ask("remove schedule", &WRITING, self.inner().remove_schedule(tenant, id)).await
    }

    async fn schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<Option<StoredSchedule>, StoreError> {
        self.ask("schedule", &READING, self.inner().schedule(tenant, id)).await
    }

    async fn schedule_named(&self, tenant: &TenantId, name: &str) -> Result<Option<StoredSchedule>, StoreError> {
        self.ask("schedule", &READING, self.inner().schedule_named(tenant, name)).await
    }

    async fn list_schedules(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        self.ask("schedules", &READING, self.inner().list_schedules(tenant, after, limit)).await
    }

    async fn due_schedules(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<DueCursor>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        self.ask("schedules", &READING, self.inner().due_schedules(partitions, before, after, limit)).await
    }
}
