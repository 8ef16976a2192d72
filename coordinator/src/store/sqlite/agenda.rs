//! The agenda, `outbox` and `timers`: derived from the log, so it can be emptied and written anew.

use sqlx::{AssertSqlSafe, SqliteConnection};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;

use super::session::Session;
use crate::ports::{Agenda, AgendaRow, StoreError, TimerCursor};
use crate::store::rows::{self, OutboxRow, TimerRow};

/// Numbers, so they may stand in a text; there are too many for one parameter each to be worth it.
pub(super) fn numbers(partitions: &[PartitionId]) -> String {
    partitions.iter().map(|partition| partition.0.to_string()).collect::<Vec<_>>().join(",")
}

impl Session {
    pub(super) async fn outbox(
        &self,
        partitions: &[PartitionId],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        let sql = format!(
            "select tenant, execution, partition from outbox where execution > ? and partition in ({})
             order by execution limit ?",
            numbers(partitions)
        );
        let found: Vec<OutboxRow> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .bind(after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.failure(error))?;
        rows::collect(found, rows::owing)
    }

    pub(super) async fn timers(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<TimerCursor>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        let (due_at, execution) = rows::timers_after(after);
        let sql = format!(
            "select tenant, execution, partition, due_at from timers
             where partition in ({}) and due_at < ? and (due_at, execution) > (?, ?)
             order by due_at, execution limit ?",
            numbers(partitions)
        );
        let found: Vec<TimerRow> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .bind(before.as_micros())
            .bind(due_at)
            .bind(execution)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.failure(error))?;
        rows::collect(found, rows::resting)
    }

    pub(super) async fn agenda(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Agenda, StoreError> {
        let (owes, due_at): (bool, Option<i64>) = sqlx::query_as(
            "select exists (select 1 from outbox where partition = ?1 and execution = ?2 and tenant = ?3),
                    (select due_at from timers where execution = ?2 and tenant = ?3)",
        )
        .bind(i64::from(PartitionId::of(execution, self.partitions).0))
        .bind(execution.as_bytes().as_slice())
        .bind(tenant.as_str())
        .fetch_one(&self.readers)
        .await
        .map_err(|error| self.failure(error))?;
        Ok(rows::agenda(owes, due_at))
    }

    pub(super) async fn clear_agenda(&self) -> Result<(), StoreError> {
        self.write(async |connection: &mut SqliteConnection| {
            sqlx::query("begin immediate; delete from outbox; delete from timers; commit").execute(connection).await?;
            Ok(())
        })
        .await
    }

    pub(super) async fn write_agenda(&self, agenda: &[AgendaRow]) -> Result<(), StoreError> {
        const OWES: &str = "
            insert into outbox (tenant, execution, partition) select ?1, ?2, ?3
            where not exists (select 1 from timers where execution = ?2)
            on conflict do nothing";
        const RESTS: &str = "
            insert into timers (tenant, execution, partition, due_at) select ?1, ?2, ?3, ?4
            where not exists (select 1 from outbox where partition = ?3 and execution = ?2)
            on conflict do nothing";
        self.write(async |connection: &mut SqliteConnection| {
            sqlx::query("begin immediate").execute(&mut *connection).await?;
            for row in agenda.iter().filter(|row| row.agenda != Agenda::Nothing) {
                let due_at = row.agenda.due_at();
                let query = sqlx::query(if due_at.is_some() { RESTS } else { OWES })
                    .bind(row.tenant.as_str())
                    .bind(row.execution.as_bytes().as_slice())
                    .bind(i64::from(row.partition.0));
                let query = match due_at {
                    Some(due_at) => query.bind(due_at.as_micros()),
                    None => query,
                };
                query.execute(&mut *connection).await?;
            }
            sqlx::query("commit").execute(connection).await?;
            Ok(())
        })
        .await
    }
}
