//! The list of executions: derived from the log, so it can be emptied and written anew.

use sqlx::PgPool;
use sqlx::postgres::PgBindIterExt;
use stepstream_shared::background::{BackgroundMode, BackgroundStatus};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};

use super::failure;
use crate::ports::{BackgroundFilter, ListCursor, Listed, StoreError};
use crate::store::rows::{self, ListRow};

pub(super) async fn find(
    pool: &PgPool,
    tenant: &TenantId,
    execution: ExecutionId,
) -> Result<Option<Listed>, StoreError> {
    let row: Option<ListRow> = sqlx::query_as(
        "select tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters
         from executions where tenant = $1 and execution = $2",
    )
    .bind(tenant.as_str())
    .bind(execution.as_bytes().as_slice())
    .fetch_optional(pool)
    .await
    .map_err(failure::reading)?;
    row.map(rows::listed).transpose()
}

pub(super) async fn page(
    pool: &PgPool,
    tenant: &TenantId,
    state: Option<&str>,
    after: Option<ListCursor>,
    limit: u32,
) -> Result<Vec<Listed>, StoreError> {
    // Two statements, so that each has the plan that follows its index.
    let sql = match state {
        None => {
            "select tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters
             from executions where tenant = $1 and (created_at, execution) < ($2, $3)
             order by created_at desc, execution desc limit $4"
        }
        Some(_) => {
            "select tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters
             from executions where tenant = $1 and (created_at, execution) < ($2, $3) and state = $5
             order by created_at desc, execution desc limit $4"
        }
    };
    let (created_at, execution) = rows::list_after(after);
    let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(created_at).bind(execution).bind(i64::from(limit));
    let query = match state {
        None => query,
        Some(state) => query.bind(state),
    };
    let found: Vec<ListRow> = query.fetch_all(pool).await.map_err(failure::reading)?;
    rows::collect(found, rows::listed)
}

pub(super) async fn background(
    pool: &PgPool,
    tenant: &TenantId,
    filter: BackgroundFilter,
    after: Option<ListCursor>,
    limit: u32,
) -> Result<Vec<Listed>, StoreError> {
    let (created_at, execution) = rows::list_after(after);
    let found: Vec<ListRow> = sqlx::query_as(concat!(
        "select ",
        rows::list_columns!(),
        " from executions
          where tenant = $1 and mode is not null and (created_at, execution) < ($2, $3)
            and ($4::text is null or mode = $4) and ($5::text is null or status = $5)
          order by created_at desc, execution desc limit $6"
    ))
    .bind(tenant.as_str())
    .bind(created_at)
    .bind(execution)
    .bind(filter.mode.map(BackgroundMode::name))
    .bind(filter.status.map(BackgroundStatus::name))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
    .map_err(failure::reading)?;
    rows::collect(found, rows::listed)
}

pub(super) async fn dead(
    pool: &PgPool,
    tenant: &TenantId,
    after: Option<ListCursor>,
    limit: u32,
) -> Result<Vec<Listed>, StoreError> {
    let (created_at, execution) = rows::list_after(after);
    let found: Vec<ListRow> = sqlx::query_as(concat!(
        "select ",
        rows::list_columns!(),
        " from executions
          where tenant = $1 and dead_letters > 0 and (created_at, execution) < ($2, $3)
          order by created_at desc, execution desc limit $4"
    ))
    .bind(tenant.as_str())
    .bind(created_at)
    .bind(execution)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
    .map_err(failure::reading)?;
    rows::collect(found, rows::listed)
}

pub(super) async fn queued(
    pool: &PgPool,
    partitions: &[PartitionId],
    each: u32,
    limit: u32,
) -> Result<Vec<Listed>, StoreError> {
    // One step along the index for each tenant that has something queued, and a walk along its part of it.
    let found: Vec<ListRow> = sqlx::query_as(concat!(
        "with recursive who (tenant) as (
             (select tenant from executions where queue_rank is not null order by tenant limit 1)
             union all
             select next.tenant from who cross join lateral (
                 select tenant from executions where queue_rank is not null and tenant > who.tenant
                 order by tenant limit 1) next
         )
         select ",
        rows::list_columns!(),
        " from (select row.*, row_number() over (partition by row.tenant order by row.queue_rank, row.execution) as place
                from who cross join lateral (
                    select * from executions e
                    where e.tenant = who.tenant and e.queue_rank is not null and e.partition = any ($1::int8[])
                    order by e.queue_rank, e.execution limit $2) row) rows
          order by place, queue_rank, execution limit $3"
    ))
    .bind(partitions.iter().map(|partition| i64::from(partition.0)).bind_iter())
    .bind(i64::from(each))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
    .map_err(failure::reading)?;
    rows::collect(found, rows::listed)
}

/// Bytes before every id, when there is no id to come after.
fn above(after: Option<ExecutionId>) -> Vec<u8> {
    after.map_or_else(Vec::new, |after| after.as_bytes().to_vec())
}

pub(super) async fn logged(
    pool: &PgPool,
    partitions: u16,
    after: Option<ExecutionId>,
    limit: u32,
) -> Result<Vec<(TenantId, ExecutionId, PartitionId)>, StoreError> {
    // One step of the key per execution, however long its log is: a plain scan would walk over every row.
    const SQL: &str = "
        with recursive walk as (
            (select tenant, execution from events where execution > $1 order by execution, first_seq limit 1)
            union all
            select next.tenant, next.execution from walk cross join lateral (
                select tenant, execution from events where execution > walk.execution
                order by execution, first_seq limit 1) next
        )
        select tenant, execution from walk limit $2";
    let found: Vec<(String, Vec<u8>)> = sqlx::query_as(SQL)
        .bind(above(after))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
        .map_err(failure::reading)?;
    found
        .into_iter()
        .map(|(tenant, execution)| {
            let execution = rows::id(&execution, "an execution")?;
            Ok((rows::tenant(&tenant)?, execution, PartitionId::of(execution, partitions)))
        })
        .collect()
}

pub(super) async fn clear(pool: &PgPool) -> Result<(), StoreError> {
    // Unlike a delete it takes one lock, in an order that cannot cross that of an append.
    sqlx::query("truncate executions").execute(pool).await.map_err(failure::reading)?;
    Ok(())
}

/// Writes rows as a rebuild computes them; one that an append has made newer meanwhile stays.
pub(super) async fn write(pool: &PgPool, list: &[Listed]) -> Result<(), StoreError> {
    const SQL: &str = "
        insert into executions (tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at,
                 mode, status, queue_rank, dead_letters)
        select * from unnest($1::text[], $2::bytea[], $3::int8[], $4::text[], $5::bool[], $6::bytea[], $7::text[],
                             $8::int8[], $9::int8[], $10::text[], $11::text[], $12::int8[], $13::int8[])
        on conflict (execution) do update set
            state = excluded.state, terminal = excluded.terminal, graph = excluded.graph,
            graph_name = excluded.graph_name, created_at = excluded.created_at, updated_at = excluded.updated_at,
            mode = excluded.mode, status = excluded.status, queue_rank = excluded.queue_rank, dead_letters = excluded.dead_letters
        where executions.tenant = excluded.tenant and executions.updated_at <= excluded.updated_at";
    let mut ordered: Vec<&Listed> = list.iter().collect();
    ordered.sort_by_key(|row| row.execution); // Appends write list rows in this order too.
    let list = || ordered.iter();
    let mut tries = failure::Tries::default();
    loop {
        let written = sqlx::query(SQL)
            .bind(list().map(|row| row.tenant.as_str()).bind_iter())
            .bind(list().map(|row| row.execution.as_bytes().as_slice()).bind_iter())
            .bind(list().map(|row| i64::from(row.partition.0)).bind_iter())
            .bind(list().map(|row| row.summary.state.as_str()).bind_iter())
            .bind(list().map(|row| row.summary.terminal).bind_iter())
            .bind(list().map(|row| row.summary.graph.as_bytes().as_slice()).bind_iter())
            .bind(list().map(|row| row.summary.graph_name.as_str()).bind_iter())
            .bind(list().map(|row| row.summary.created_at.as_micros()).bind_iter())
            .bind(list().map(|row| row.summary.updated_at.as_micros()).bind_iter())
            .bind(list().map(|row| rows::background_columns(&row.summary).0).bind_iter())
            .bind(list().map(|row| rows::background_columns(&row.summary).1).bind_iter())
            .bind(list().map(|row| rows::background_columns(&row.summary).2).bind_iter())
            .bind(list().map(|row| rows::dead_column(&row.summary)).bind_iter())
            .execute(pool)
            .await;
        match written {
            Ok(_) => return Ok(()),
            Err(error) if tries.again(&error) => {}
            Err(error) => return Err(failure::reading(error)),
        }
    }
}
