//! The agenda, `outbox` and `timers`: derived from the log, so it can be emptied and written anew.

use sqlx::PgPool;
use sqlx::postgres::PgBindIterExt;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;

use super::failure;
use crate::ports::{Agenda, AgendaRow, StoreError, TimerCursor};
use crate::store::rows::{self, OutboxRow, TimerRow};

pub(super) async fn outbox(
    pool: &PgPool,
    partitions: &[PartitionId],
    after: Option<ExecutionId>,
    limit: u32,
) -> Result<Vec<AgendaRow>, StoreError> {
    // A walk along the key in each partition, which ends after a page: what is behind it is not looked at.
    let found: Vec<OutboxRow> = sqlx::query_as(
        "select row.tenant, row.execution, row.partition::int8
         from unnest($1::int4[]) as wanted(partition) cross join lateral (
             select * from outbox o where o.partition = wanted.partition and o.execution > $2
             order by o.execution limit $3) row
         order by row.execution limit $3",
    )
    .bind(numbers(partitions))
    .bind(after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
    .map_err(failure::reading)?;
    rows::collect(found, rows::owing)
}

pub(super) async fn timers(
    pool: &PgPool,
    partitions: &[PartitionId],
    before: Timestamp,
    after: Option<TimerCursor>,
    limit: u32,
) -> Result<Vec<AgendaRow>, StoreError> {
    let (due_at, execution) = rows::timers_after(after);
    let found: Vec<TimerRow> = sqlx::query_as(
        "select row.tenant, row.execution, row.partition::int8, row.due_at
         from unnest($1::int4[]) as wanted(partition) cross join lateral (
             select * from timers t
             where t.partition = wanted.partition and t.due_at < $2 and (t.due_at, t.execution) > ($3, $4)
             order by t.due_at, t.execution limit $5) row
         order by row.due_at, row.execution limit $5",
    )
    .bind(numbers(partitions))
    .bind(before.as_micros())
    .bind(due_at)
    .bind(execution)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
    .map_err(failure::reading)?;
    rows::collect(found, rows::resting)
}

fn numbers(partitions: &[PartitionId]) -> Vec<i32> {
    partitions.iter().map(|partition| i32::from(partition.0)).collect()
}

pub(super) async fn find(
    pool: &PgPool,
    tenant: &TenantId,
    execution: ExecutionId,
    partition: PartitionId,
) -> Result<Agenda, StoreError> {
    let (owes, due_at): (bool, Option<i64>) = sqlx::query_as(
        "select exists (select 1 from outbox where partition = $1 and execution = $2 and tenant = $3),
                (select due_at from timers where execution = $2 and tenant = $3)",
    )
    .bind(i32::from(partition.0))
    .bind(execution.as_bytes().as_slice())
    .bind(tenant.as_str())
    .fetch_one(pool)
    .await
    .map_err(failure::reading)?;
    Ok(rows::agenda(owes, due_at))
}

pub(super) async fn clear(pool: &PgPool) -> Result<(), StoreError> {
    // Unlike a delete it takes one lock for each, in the order in which an append takes them.
    sqlx::query("truncate outbox, timers").execute(pool).await.map_err(failure::reading)?;
    Ok(())
}

pub(super) async fn write(pool: &PgPool, agenda: &[AgendaRow]) -> Result<(), StoreError> {
    const SQL: &str = "
        with agenda as (
            select * from unnest($1::text[], $2::bytea[], $3::int4[], $4::int8[]) as a(tenant, execution, partition, due_at)
        ), owing as (
            insert into outbox (partition, execution, tenant)
            select a.partition, a.execution, a.tenant from agenda a
            where a.due_at is null and not exists (select 1 from timers t where t.execution = a.execution)
            order by a.execution
            on conflict do nothing
        )
        insert into timers (execution, tenant, partition, due_at)
        select a.execution, a.tenant, a.partition, a.due_at from agenda a
        where a.due_at is not null
          and not exists (select 1 from outbox o where o.partition = a.partition and o.execution = a.execution)
        order by a.execution
        on conflict do nothing";
    let mut ordered: Vec<&AgendaRow> = agenda.iter().filter(|row| row.agenda != Agenda::Nothing).collect();
    ordered.sort_by_key(|row| row.execution); // Appends write these rows in this order too.
    let rows = || ordered.iter();
    let mut tries = failure::Tries::default();
    loop {
        let written = sqlx::query(SQL)
            .bind(rows().map(|row| row.tenant.as_str()).bind_iter())
            .bind(rows().map(|row| row.execution.as_bytes().as_slice()).bind_iter())
            .bind(rows().map(|row| i32::from(row.partition.0)).bind_iter())
            .bind(rows().map(|row| row.agenda.due_at().map(Timestamp::as_micros)).bind_iter())
            .execute(pool)
            .await;
        match written {
            Ok(_) => return Ok(()),
            Err(error) if tries.again(&error) => {}
            Err(error) => return Err(failure::reading(error)),
        }
    }
}
