//! What a store keeps of schedules: a row for each, changed by whoever has seen what it says.

use async_trait::async_trait;
use stepstream_shared::id::{PartitionId, TenantId, TriggerId};
use stepstream_shared::time::Timestamp;

use super::StoreError;

/// Most schedules of a tenant.
pub const MAX_SCHEDULES: u32 = 10_000;

/// A schedule as it lies in the store. What the two documents say is not the store's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSchedule {
    pub tenant: TenantId,
    pub id: TriggerId,
    /// Whoever owns it carries out the schedule.
    pub partition: PartitionId,
    /// Unique for its tenant.
    pub name: String,
    /// Grows by one with every change, from 1.
    pub version: u64,
    /// When somebody is to look at it; never, if there is none.
    pub next_at: Option<Timestamp>,
    /// The definition: JSON.
    pub definition: String,
    /// How far it has come: JSON.
    pub state: String,
}

/// What became of writing a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleWritten {
    Done,
    /// It is there already, not there any more, or not as the writer has seen it.
    Conflict,
    /// Another schedule of the tenant has the name.
    NameTaken,
    /// The tenant has [`MAX_SCHEDULES`].
    Full,
}

/// Where a page of the schedules that are due begins: after this row, in ascending order of (next_at, id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueCursor {
    pub next_at: Timestamp,
    pub id: TriggerId,
}

/// The schedules of a store. They are definitions and not derived from any log; rebuilding does not touch them.
#[async_trait]
pub trait ScheduleStore: Send + Sync + 'static {
    /// Writes a row: as a new one if its version is 1, otherwise in the place of the version before it. Neither tenant,
    /// id nor partition of a row ever change.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when it may have been written: the row says.
    async fn write_schedule(&self, row: &StoredSchedule) -> Result<ScheduleWritten, StoreError>;

    /// Removes a schedule, whatever its version; false when it was not there.
    async fn remove_schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<bool, StoreError>;

    async fn schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<Option<StoredSchedule>, StoreError>;

    async fn schedule_named(&self, tenant: &TenantId, name: &str) -> Result<Option<StoredSchedule>, StoreError>;

    /// A tenant's schedules by name, after this one.
    async fn list_schedules(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError>;

    /// The schedules of these partitions, of all tenants, that are to be looked at before this moment, the earliest
    /// first.
    async fn due_schedules(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<DueCursor>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError>;
}
