//! Schedules: a row for each, changed by whoever has seen its version.

use async_trait::async_trait;
use stepstream_shared::id::{PartitionId, TenantId, TriggerId};
use stepstream_shared::time::Timestamp;

use super::MemoryStore;
use crate::ports::{DueCursor, MAX_SCHEDULES, ScheduleStore, ScheduleWritten, StoreError, StoredSchedule};
use crate::store::rows;

#[async_trait]
impl ScheduleStore for MemoryStore {
    async fn write_schedule(&self, row: &StoredSchedule) -> Result<ScheduleWritten, StoreError> {
        rows::schedule_version(row)?;
        let mut kept = self.kept();
        let there = kept.schedules.get(&row.id);
        let mut others = kept.schedules.values().filter(|other| other.tenant == row.tenant && other.id != row.id);
        let fits = match there {
            None => row.version == 1,
            Some(there) => there.tenant == row.tenant && there.version + 1 == row.version,
        };
        if row.version == 1 && others.clone().count() >= MAX_SCHEDULES as usize {
            return Ok(ScheduleWritten::Full);
        }
        if others.any(|other| other.name == row.name) {
            return Ok(ScheduleWritten::NameTaken);
        }
        if !fits {
            return Ok(ScheduleWritten::Conflict);
        }
        kept.schedules.insert(row.id, row.clone());
        Ok(ScheduleWritten::Done)
    }

    async fn remove_schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<bool, StoreError> {
        let mut kept = self.kept();
        let there = kept.schedules.get(&id).is_some_and(|row| row.tenant == *tenant);
        if there {
            kept.schedules.remove(&id);
        }
        Ok(there)
    }

    async fn schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<Option<StoredSchedule>, StoreError> {
        Ok(self.kept().schedules.get(&id).filter(|row| row.tenant == *tenant).cloned())
    }

    async fn schedule_named(&self, tenant: &TenantId, name: &str) -> Result<Option<StoredSchedule>, StoreError> {
        Ok(self.kept().schedules.values().find(|row| row.tenant == *tenant && row.name == name).cloned())
    }

    async fn list_schedules(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        let kept = self.kept();
        let mut found: Vec<&StoredSchedule> = kept
            .schedules
            .values()
            .filter(|row| row.tenant == *tenant && after.is_none_or(|after| row.name.as_str() > after))
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found.into_iter().take(limit as usize).cloned().collect())
    }

    async fn due_schedules(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<DueCursor>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        let kept = self.kept();
        let mut found: Vec<(Timestamp, &StoredSchedule)> = kept
            .schedules
            .values()
            .filter(|row| partitions.contains(&row.partition))
            .filter_map(|row| Some((row.next_at?, row)))
            .filter(|(next_at, row)| {
                *next_at < before && after.is_none_or(|after| (*next_at, row.id) > (after.next_at, after.id))
            })
            .collect();
        found.sort_by_key(|(next_at, row)| (*next_at, row.id));
        Ok(found.into_iter().take(limit as usize).map(|(_, row)| row.clone()).collect())
    }
}
