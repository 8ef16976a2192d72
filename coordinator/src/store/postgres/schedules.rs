//! Schedules: a row for each, changed by whoever has seen its version.

use async_trait::async_trait;
use sqlx::PgPool;
use stepstream_shared::id::{PartitionId, TenantId, TriggerId};
use stepstream_shared::time::Timestamp;

use super::{PostgresStore, failure, patiently};
use crate::ports::{DueCursor, MAX_SCHEDULES, ScheduleStore, ScheduleWritten, StoreError, StoredSchedule};
use crate::store::rows::{self, ScheduleRow};

const BY_NAME: &str = "schedules_by_name";

#[async_trait]
impl ScheduleStore for PostgresStore {
    async fn write_schedule(&self, row: &StoredSchedule) -> Result<ScheduleWritten, StoreError> {
        patiently(write(&self.pool, row)).await
    }

    async fn remove_schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<bool, StoreError> {
        patiently(async {
            let done = sqlx::query("delete from schedules where id = $1 and tenant = $2")
                .bind(id.as_bytes().as_slice())
                .bind(tenant.as_str())
                .execute(&self.pool)
                .await
                .map_err(failure::committing)?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    async fn schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<Option<StoredSchedule>, StoreError> {
        patiently(async {
            let row: Option<ScheduleRow> = sqlx::query_as(
                "select tenant, id, partition::int8, name, version, next_at, definition, state from schedules
                 where id = $1 and tenant = $2",
            )
            .bind(id.as_bytes().as_slice())
            .bind(tenant.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(failure::reading)?;
            row.map(rows::schedule).transpose()
        })
        .await
    }

    async fn schedule_named(&self, tenant: &TenantId, name: &str) -> Result<Option<StoredSchedule>, StoreError> {
        patiently(async {
            let row: Option<ScheduleRow> = sqlx::query_as(
                "select tenant, id, partition::int8, name, version, next_at, definition, state from schedules
                 where tenant = $1 and name = $2",
            )
            .bind(tenant.as_str())
            .bind(name)
            .fetch_optional(&self.pool)
            .await
            .map_err(failure::reading)?;
            row.map(rows::schedule).transpose()
        })
        .await
    }

    async fn list_schedules(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        patiently(async {
            // No name is empty.
            let found: Vec<ScheduleRow> = sqlx::query_as(
                "select tenant, id, partition::int8, name, version, next_at, definition, state from schedules
                 where tenant = $1 and name > $2 order by name limit $3",
            )
            .bind(tenant.as_str())
            .bind(after.unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(failure::reading)?;
            rows::collect(found, rows::schedule)
        })
        .await
    }

    async fn due_schedules(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<DueCursor>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        patiently(async {
            let numbers: Vec<i32> = partitions.iter().map(|partition| i32::from(partition.0)).collect();
            let (next_at, id) = rows::due_after(after);
            // As the timers are read: a walk along the index in each partition, which ends after a page.
            let found: Vec<ScheduleRow> = sqlx::query_as(
                "select row.tenant, row.id, row.partition::int8, row.name, row.version, row.next_at, row.definition,
                        row.state
                 from unnest($1::int4[]) as wanted(partition) cross join lateral (
                     select * from schedules s
                     where s.partition = wanted.partition and s.next_at < $2 and (s.next_at, s.id) > ($3, $4)
                     order by s.next_at, s.id limit $5) row
                 order by row.next_at, row.id limit $5",
            )
            .bind(numbers)
            .bind(before.as_micros())
            .bind(next_at)
            .bind(id)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(failure::reading)?;
            rows::collect(found, rows::schedule)
        })
        .await
    }
}

async fn write(pool: &PgPool, row: &StoredSchedule) -> Result<ScheduleWritten, StoreError> {
    let version = rows::schedule_version(row)?;
    let next_at = row.next_at.map(Timestamp::as_micros);
    let written = if version == 1 {
        // Two that come at the same moment may both be let in as the last: the limit keeps the table in bounds.
        let counted: (i64,) = sqlx::query_as("select count(*) from schedules where tenant = $1")
            .bind(row.tenant.as_str())
            .fetch_one(pool)
            .await
            .map_err(failure::reading)?;
        if counted.0 >= i64::from(MAX_SCHEDULES) {
            return Ok(ScheduleWritten::Full);
        }
        sqlx::query(
            "insert into schedules (id, tenant, partition, name, version, next_at, definition, state)
             values ($1, $2, $3, $4, 1, $5, $6, $7) on conflict (id) do nothing",
        )
        .bind(row.id.as_bytes().as_slice())
        .bind(row.tenant.as_str())
        .bind(i32::from(row.partition.0))
        .bind(&row.name)
        .bind(next_at)
        .bind(&row.definition)
        .bind(&row.state)
        .execute(pool)
        .await
    } else {
        sqlx::query(
            "update schedules set name = $1, version = $2, next_at = $3, definition = $4, state = $5
             where id = $6 and tenant = $7 and version = $2 - 1",
        )
        .bind(&row.name)
        .bind(version)
        .bind(next_at)
        .bind(&row.definition)
        .bind(&row.state)
        .bind(row.id.as_bytes().as_slice())
        .bind(row.tenant.as_str())
        .execute(pool)
        .await
    };
    match written {
        Ok(done) if done.rows_affected() > 0 => Ok(ScheduleWritten::Done),
        Ok(_) => Ok(ScheduleWritten::Conflict),
        Err(error) if is_name_taken(&error) => Ok(ScheduleWritten::NameTaken),
        Err(error) => Err(failure::committing(error)),
    }
}

fn is_name_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation() && error.constraint() == Some(BY_NAME))
}
