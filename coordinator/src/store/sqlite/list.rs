//! The list of executions: derived from the log, so it can be emptied and written anew.

use sqlx::SqliteConnection;
use stepstream_shared::background::{BackgroundMode, BackgroundStatus};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};

use super::session::Session;
use crate::ports::{BackgroundFilter, ListCursor, Listed, StoreError};
use crate::store::rows::{self, ListRow};

impl Session {
    pub(super) async fn find(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Listed>, StoreError> {
        let row: Option<ListRow> = sqlx::query_as(
            "select tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters
             from executions where tenant = ? and execution = ?",
        )
        .bind(tenant.as_str())
        .bind(execution.as_bytes().as_slice())
        .fetch_optional(&self.readers)
        .await
        .map_err(|error| self.failure(error))?;
        row.map(rows::listed).transpose()
    }

    pub(super) async fn list(
        &self,
        tenant: &TenantId,
        state: Option<&str>,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        // Two statements, so that each has the plan that follows its index.
        let sql = match state {
            None => {
                "select tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters
                 from executions where tenant = ?1 and (created_at, execution) < (?2, ?3)
                 order by created_at desc, execution desc limit ?4"
            }
            Some(_) => {
                "select tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters
                 from executions where tenant = ?1 and (created_at, execution) < (?2, ?3) and state = ?5
                 order by created_at desc, execution desc limit ?4"
            }
        };
        let (created_at, execution) = rows::list_after(after);
        let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(created_at).bind(execution).bind(i64::from(limit));
        let query = match state {
            None => query,
            Some(state) => query.bind(state),
        };
        let found: Vec<ListRow> = query.fetch_all(&self.readers).await.map_err(|error| self.failure(error))?;
        rows::collect(found, rows::listed)
    }

    pub(super) async fn list_background(
        &self,
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
              where tenant = ?1 and mode is not null and (created_at, execution) < (?2, ?3)
                and (?4 is null or mode = ?4) and (?5 is null or status = ?5)
              order by created_at desc, execution desc limit ?6"
        ))
        .bind(tenant.as_str())
        .bind(created_at)
        .bind(execution)
        .bind(filter.mode.map(BackgroundMode::name))
        .bind(filter.status.map(BackgroundStatus::name))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.failure(error))?;
        rows::collect(found, rows::listed)
    }

    pub(super) async fn list_dead(
        &self,
        tenant: &TenantId,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        let (created_at, execution) = rows::list_after(after);
        let found: Vec<ListRow> = sqlx::query_as(concat!(
            "select ",
            rows::list_columns!(),
            " from executions
              where tenant = ?1 and dead_letters > 0 and (created_at, execution) < (?2, ?3)
              order by created_at desc, execution desc limit ?4"
        ))
        .bind(tenant.as_str())
        .bind(created_at)
        .bind(execution)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.failure(error))?;
        rows::collect(found, rows::listed)
    }

    pub(super) async fn queued(
        &self,
        partitions: &[PartitionId],
        each: u32,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        // A list of any length as one value: the text stays the same.
        let partitions: Vec<u16> = partitions.iter().map(|partition| partition.0).collect();
        // One step along the index for each tenant that has something queued, and a walk along its part of it.
        let found: Vec<ListRow> = sqlx::query_as(concat!(
            "with recursive who (tenant) as (
                 select min(tenant) from executions where queue_rank is not null
                 union all
                 select (select min(tenant) from executions where queue_rank is not null and tenant > who.tenant)
                 from who where who.tenant is not null
             )
             select ",
            rows::list_columns!(),
            " from (select e.*, row_number() over (partition by e.tenant order by e.queue_rank, e.execution) as place
                    from who cross join executions e
                    where e.execution in (
                        select x.execution from executions x
                        where x.tenant = who.tenant and x.queue_rank is not null
                          and x.partition in (select value from json_each(?1))
                        order by x.queue_rank, x.execution limit ?2))
              order by place, queue_rank, execution limit ?3"
        ))
        .bind(serde_json::json!(partitions).to_string())
        .bind(i64::from(each))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.failure(error))?;
        rows::collect(found, rows::listed)
    }

    pub(super) async fn logged(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<(TenantId, ExecutionId, PartitionId)>, StoreError> {
        // One step of the key per execution, however long its log is: a plain scan would walk over every row.
        const SQL: &str = "
            with recursive walk(execution) as (
                select min(execution) from events where execution > ?1
                union all
                select (select min(execution) from events where execution > walk.execution)
                from walk where walk.execution is not null
            )
            select e.tenant, e.execution from walk join events e on e.execution = walk.execution and e.first_seq = 1
            limit ?2";
        let found: Vec<(String, Vec<u8>)> = sqlx::query_as(SQL)
            .bind(above(after))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.failure(error))?;
        found
            .into_iter()
            .map(|(tenant, execution)| {
                let execution = rows::id(&execution, "an execution")?;
                Ok((rows::tenant(&tenant)?, execution, PartitionId::of(execution, self.partitions)))
            })
            .collect()
    }

    pub(super) async fn clear_list(&self) -> Result<(), StoreError> {
        self.write(async |connection: &mut SqliteConnection| {
            sqlx::query("delete from executions").execute(connection).await?;
            Ok(())
        })
        .await
    }

    /// Writes rows as a rebuild computes them; one that an append has made newer meanwhile stays.
    pub(super) async fn write_list(&self, list: &[Listed]) -> Result<(), StoreError> {
        const SQL: &str = "
            insert into executions
                (tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at,
                 mode, status, queue_rank, dead_letters)
            values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            on conflict (execution) do update set
                state = excluded.state, terminal = excluded.terminal, graph = excluded.graph,
                graph_name = excluded.graph_name, created_at = excluded.created_at, updated_at = excluded.updated_at,
            mode = excluded.mode, status = excluded.status, queue_rank = excluded.queue_rank, dead_letters = excluded.dead_letters
            where executions.tenant = excluded.tenant and executions.updated_at <= excluded.updated_at";
        self.write(async |connection: &mut SqliteConnection| {
            sqlx::query("begin immediate").execute(&mut *connection).await?;
            for row in list {
                let (mode, status, rank) = rows::background_columns(&row.summary);
                sqlx::query(SQL)
                    .bind(row.tenant.as_str())
                    .bind(row.execution.as_bytes().as_slice())
                    .bind(i64::from(row.partition.0))
                    .bind(row.summary.state.as_str())
                    .bind(row.summary.terminal)
                    .bind(row.summary.graph.as_bytes().as_slice())
                    .bind(row.summary.graph_name.as_str())
                    .bind(row.summary.created_at.as_micros())
                    .bind(row.summary.updated_at.as_micros())
                    .bind(mode)
                    .bind(status)
                    .bind(rank)
                    .bind(rows::dead_column(&row.summary))
                    .execute(&mut *connection)
                    .await?;
            }
            sqlx::query("commit").execute(connection).await?;
            Ok(())
        })
        .await
    }
}

/// Bytes before every id, when there is no id to come after.
fn above(after: Option<ExecutionId>) -> Vec<u8> {
    after.map_or_else(Vec::new, |after| after.as_bytes().to_vec())
}
