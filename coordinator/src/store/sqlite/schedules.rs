//! Schedules: a row for each, changed by whoever has seen its version.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};
use stepstream_shared::id::{PartitionId, TenantId, TriggerId};
use stepstream_shared::time::Timestamp;

use super::SqliteStore;
use super::agenda::numbers;
use crate::ports::{DueCursor, MAX_SCHEDULES, ScheduleStore, ScheduleWritten, StoreError, StoredSchedule};
use crate::store::rows::{self, ScheduleRow};

#[async_trait]
impl ScheduleStore for SqliteStore {
    async fn write_schedule(&self, row: &StoredSchedule) -> Result<ScheduleWritten, StoreError> {
        let version = rows::schedule_version(row)?;
        let next_at = row.next_at.map(Timestamp::as_micros);
        self.session
            .write(async |connection: &mut SqliteConnection| {
                // There is one writer: nothing happens between these statements.
                let taken: Option<(Vec<u8>,)> =
                    sqlx::query_as("select id from schedules where tenant = ? and name = ? and id <> ?")
                        .bind(row.tenant.as_str())
                        .bind(&row.name)
                        .bind(row.id.as_bytes().as_slice())
                        .fetch_optional(&mut *connection)
                        .await?;
                let written = if version == 1 {
                    let counted: (i64,) = sqlx::query_as("select count(*) from schedules where tenant = ?")
                        .bind(row.tenant.as_str())
                        .fetch_one(&mut *connection)
                        .await?;
                    if counted.0 >= i64::from(MAX_SCHEDULES) {
                        return Ok(ScheduleWritten::Full);
                    }
                    if taken.is_some() {
                        return Ok(ScheduleWritten::NameTaken);
                    }
                    sqlx::query(
                        "insert into schedules (id, tenant, partition, name, version, next_at, definition, state)
                         values (?, ?, ?, ?, 1, ?, ?, ?) on conflict do nothing",
                    )
                    .bind(row.id.as_bytes().as_slice())
                    .bind(row.tenant.as_str())
                    .bind(i64::from(row.partition.0))
                    .bind(&row.name)
                    .bind(next_at)
                    .bind(&row.definition)
                    .bind(&row.state)
                    .execute(connection)
                    .await?
                } else {
                    if taken.is_some() {
                        return Ok(ScheduleWritten::NameTaken);
                    }
                    sqlx::query(
                        "update schedules set name = ?1, version = ?2, next_at = ?3, definition = ?4, state = ?5
                         where id = ?6 and tenant = ?7 and version = ?2 - 1",
                    )
                    .bind(&row.name)
                    .bind(version)
                    .bind(next_at)
                    .bind(&row.definition)
                    .bind(&row.state)
                    .bind(row.id.as_bytes().as_slice())
                    .bind(row.tenant.as_str())
                    .execute(connection)
                    .await?
                };
                Ok(match written.rows_affected() {
                    0 => ScheduleWritten::Conflict,
                    _ => ScheduleWritten::Done,
                })
            })
            .await
    }

    async fn remove_schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<bool, StoreError> {
        self.session
            .write(async |connection: &mut SqliteConnection| {
                let done = sqlx::query("delete from schedules where id = ? and tenant = ?")
                    .bind(id.as_bytes().as_slice())
                    .bind(tenant.as_str())
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected() > 0)
            })
            .await
    }

    async fn schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<Option<StoredSchedule>, StoreError> {
        let row: Option<ScheduleRow> = sqlx::query_as(
            "select tenant, id, partition, name, version, next_at, definition, state from schedules
             where id = ? and tenant = ?",
        )
        .bind(id.as_bytes().as_slice())
        .bind(tenant.as_str())
        .fetch_optional(&self.session.readers)
        .await
        .map_err(|error| self.session.failure(error))?;
        row.map(rows::schedule).transpose()
    }

    async fn schedule_named(&self, tenant: &TenantId, name: &str) -> Result<Option<StoredSchedule>, StoreError> {
        let row: Option<ScheduleRow> = sqlx::query_as(
            "select tenant, id, partition, name, version, next_at, definition, state from schedules
             where tenant = ? and name = ?",
        )
        .bind(tenant.as_str())
        .bind(name)
        .fetch_optional(&self.session.readers)
        .await
        .map_err(|error| self.session.failure(error))?;
        row.map(rows::schedule).transpose()
    }

    async fn list_schedules(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        // No name is empty.
        let found: Vec<ScheduleRow> = sqlx::query_as(
            "select tenant, id, partition, name, version, next_at, definition, state from schedules
             where tenant = ? and name > ? order by name limit ?",
        )
        .bind(tenant.as_str())
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.session.readers)
        .await
        .map_err(|error| self.session.failure(error))?;
        rows::collect(found, rows::schedule)
    }

    async fn due_schedules(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<DueCursor>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        let (next_at, id) = rows::due_after(after);
        let sql = format!(
            "select tenant, id, partition, name, version, next_at, definition, state from schedules
             where partition in ({}) and next_at < ? and (next_at, id) > (?, ?) order by next_at, id limit ?",
            numbers(partitions)
        );
        let found: Vec<ScheduleRow> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .bind(before.as_micros())
            .bind(next_at)
            .bind(id)
            .bind(i64::from(limit))
            .fetch_all(&self.session.readers)
            .await
            .map_err(|error| self.session.failure(error))?;
        rows::collect(found, rows::schedule)
    }
}
