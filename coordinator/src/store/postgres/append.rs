//! The append: one statement, one round trip, one transaction, whatever the number of executions.
//!
//! The statement (a) locks the partitions of the batch `FOR SHARE` in id order, which a takeover (`UPDATE … epoch + 1`)
//! waits for and, once it has come first, shows through the new epoch; (b) inserts the rows whose partition is still
//! ours and whose predecessor ends right before them, leaving out those whose place is taken; (c) writes the list rows
//! of what was inserted, and only of that, and where those executions stand on the agenda. One statement instead of five means that no client can stop in the middle
//! and keep a partition locked, and that an append costs one round trip and one fsync.
//!
//! Why one statement is as good as several at READ COMMITTED: the snapshot is taken before the lock is waited for, but
//! a lock that had to be waited for belongs to a takeover, which gives the row another epoch, and then nothing of that
//! partition is inserted. Where there was nothing to wait for, all that earlier owners committed is in the snapshot.
//!
//! Deadlocks: every transaction takes partitions in id order, then rows of the log in the order of executions, then list
//! rows and places on the agenda in the same order. A deadlock or serialization failure that still happens is undone by the server and the
//! statement is run again.

mod texts;

use std::collections::HashSet;
use std::time::Duration;

use sqlx::postgres::{PgBindIterExt, PgConnectOptions};
use sqlx::{Connection, PgConnection};
use stepstream_shared::id::{ExecutionId, ID_BYTES};
use stepstream_shared::time::Timestamp;
use tokio::sync::{Mutex, MutexGuard};

use super::{failure, session};
use crate::ports::{Agenda, AgendaMove, Append, Appended, LINEAGE_DEPTH, StoreError, Summary};
use crate::store::rows::{self, PlaceRow, background_columns, dead_column, signed};

/// Connections that append. More than the usual two lanes, so that callers without lanes do not wait for each other.
const WRITERS: usize = 4;

/// Longest that one append may take. A commit that waits for a standby can take long and must not be cancelled; past
/// this the connection is given up, and the fate of the batch is asked for on a new one.
const APPEND_PATIENCE: Duration = Duration::from_secs(30);

/// The connections that append. A slot is empty while its connection is in use or after it broke, so an append that is
/// dropped half way takes its connection with it instead of leaving it in an unknown state.
pub(super) struct Writers {
    options: PgConnectOptions,
    slots: [Mutex<Option<PgConnection>>; WRITERS],
}

impl Writers {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Writers { options, slots: std::array::from_fn(|_| Mutex::new(None)) }
    }

    pub(super) async fn close(&self) {
        for slot in &self.slots {
            if let Some(connection) = slot.lock().await.take()
                && let Err(error) = connection.close().await
            {
                tracing::debug!(%error, "a connection was closed without a goodbye");
            }
        }
    }

    async fn slot(&self, batch: &[Append]) -> MutexGuard<'_, Option<PgConnection>> {
        if let Some(free) = self.slots.iter().find_map(|slot| slot.try_lock().ok()) {
            return free;
        }
        let partition = batch.first().map_or(0, |append| usize::from(append.partition.0));
        self.slots[partition % WRITERS].lock().await
    }

    pub(super) async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let mut slot = self.slot(batch).await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => session::connect(&self.options).await?,
        };
        match tokio::time::timeout(APPEND_PATIENCE, write(&mut connection, batch)).await {
            Ok(Ok(appended)) => {
                *slot = Some(connection);
                Ok(appended)
            }
            Ok(Err(error)) => {
                if failure::leaves_session_usable(&error) {
                    *slot = Some(connection);
                }
                Err(failure::committing(error))
            }
            Err(_) => Err(StoreError::Unknown(anyhow::anyhow!(
                "PostgreSQL did not answer an append within {} s",
                APPEND_PATIENCE.as_secs()
            ))),
        }
    }
}

async fn write(connection: &mut PgConnection, batch: &[Append]) -> Result<Vec<Appended>, sqlx::Error> {
    let mut ordered: Vec<&Append> = batch.iter().collect();
    ordered.sort_unstable_by_key(|append| append.execution);
    let mut tries = failure::Tries::default();
    let written = loop {
        match insert(connection, &ordered).await {
            Ok(written) => break written,
            Err(error) if tries.again(&error) => {}
            Err(error) => return Err(error),
        }
    };
    if written.len() == batch.len() * ID_BYTES {
        return Ok(vec![Appended::Committed; batch.len()]);
    }
    let written: HashSet<ExecutionId> =
        written.chunks_exact(ID_BYTES).filter_map(|id| id.try_into().ok()).map(ExecutionId::from_bytes).collect();
    look_up(connection, batch, &written).await
}

/// Writes the batch and answers with the executions of what was inserted, one after the other.
///
/// All rows are fetched, although there is only one: the answer to the commit comes after the last row, and stopping
/// before it would call an append durable that is not.
async fn insert(connection: &mut PgConnection, batch: &[&Append]) -> Result<Vec<u8>, sqlx::Error> {
    let mut partitions: Vec<i32> = batch.iter().map(|append| i32::from(append.partition.0)).collect();
    partitions.sort_unstable();
    partitions.dedup();
    let list: Vec<(&Append, &Summary)> =
        batch.iter().filter_map(|append| Some((*append, append.summary.as_ref()?))).collect();
    let agenda: Vec<(&Append, AgendaMove)> =
        batch.iter().filter_map(|append| Some((*append, append.agenda?))).collect();
    let continues = batch.iter().any(|append| append.origin.is_some());
    let derives = continues || !list.is_empty() || !agenda.is_empty();
    let text = match (continues, derives) {
        (true, _) => texts::WRITE_WITH_ORIGINS,
        (false, true) => texts::WRITE_AND_DERIVE,
        (false, false) => texts::WRITE,
    };
    let rows = || batch.iter();
    let query = sqlx::query_scalar(text)
        .bind(partitions)
        .bind(rows().map(|append| append.tenant.as_str()).bind_iter())
        .bind(rows().map(|append| append.execution.as_bytes().as_slice()).bind_iter())
        .bind(rows().map(|append| i32::from(append.partition.0)).bind_iter())
        .bind(rows().map(|append| signed(append.epoch)).bind_iter())
        .bind(rows().map(|append| signed(append.first_seq)).bind_iter())
        .bind(rows().map(|append| signed(append.last_seq)).bind_iter())
        .bind(rows().map(|append| signed(append.previous_first_seq)).bind_iter())
        .bind(rows().map(|append| append.hash.as_slice()).bind_iter())
        .bind(rows().map(|append| append.body.as_ref()).bind_iter());
    let query = if !derives {
        query
    } else {
        let rows = || list.iter();
        let query = query
            .bind(rows().map(|(append, _)| append.tenant.as_str()).bind_iter())
            .bind(rows().map(|(append, _)| append.execution.as_bytes().as_slice()).bind_iter())
            .bind(rows().map(|(append, _)| i64::from(append.partition.0)).bind_iter())
            .bind(rows().map(|(_, summary)| summary.state.as_str()).bind_iter())
            .bind(rows().map(|(_, summary)| summary.terminal).bind_iter())
            .bind(rows().map(|(_, summary)| summary.graph.as_bytes().as_slice()).bind_iter())
            .bind(rows().map(|(_, summary)| summary.graph_name.as_str()).bind_iter())
            .bind(rows().map(|(_, summary)| summary.created_at.as_micros()).bind_iter())
            .bind(rows().map(|(_, summary)| summary.updated_at.as_micros()).bind_iter())
            .bind(rows().map(|(_, summary)| background_columns(summary).0).bind_iter())
            .bind(rows().map(|(_, summary)| background_columns(summary).1).bind_iter())
            .bind(rows().map(|(_, summary)| background_columns(summary).2).bind_iter())
            .bind(rows().map(|(_, summary)| dead_column(summary)).bind_iter());
        let rows = || agenda.iter();
        query
            .bind(rows().map(|(append, _)| append.tenant.as_str()).bind_iter())
            .bind(rows().map(|(append, _)| append.execution.as_bytes().as_slice()).bind_iter())
            .bind(rows().map(|(append, _)| i32::from(append.partition.0)).bind_iter())
            .bind(rows().map(|(_, agenda)| agenda.to == Agenda::Now).bind_iter())
            .bind(rows().map(|(_, agenda)| agenda.to.due_at().map(Timestamp::as_micros)).bind_iter())
            .bind(rows().map(|(_, agenda)| agenda.leaves_outbox()).bind_iter())
            .bind(rows().map(|(_, agenda)| agenda.leaves_timers()).bind_iter())
    };
    let query = if continues {
        let origin = |append: &&Append| append.origin.map(|origin| origin.execution.as_bytes().to_vec());
        query.bind(rows().map(origin).bind_iter()).bind(signed(LINEAGE_DEPTH as u64))
    } else {
        query
    };
    let mut answer: Vec<Vec<u8>> = query.fetch_all(connection).await?;
    answer.pop().ok_or(sqlx::Error::RowNotFound)
}

/// Finds out why the others were not inserted. Rare, so it may cost two more round trips.
async fn look_up(
    connection: &mut PgConnection,
    batch: &[Append],
    written: &HashSet<ExecutionId>,
) -> Result<Vec<Appended>, sqlx::Error> {
    let others = || batch.iter().filter(|append| !written.contains(&append.execution));
    let places: Vec<PlaceRow> = sqlx::query_as(
        "select * from (
             select a.execution, a.first_seq,
                (select e.tenant from events e where e.execution = a.execution and e.first_seq = a.first_seq) tenant,
                (select e.hash from events e where e.execution = a.execution and e.first_seq = a.first_seq) hash
             from unnest($1::bytea[], $2::int8[]) as a(execution, first_seq)) places
         where hash is not null",
    )
    .bind(others().map(|append| append.execution.as_bytes().as_slice()).bind_iter())
    .bind(others().map(|append| signed(append.first_seq)).bind_iter())
    .fetch_all(&mut *connection)
    .await?;
    let epochs: Vec<(i64, i64)> = sqlx::query_as("select id::int8, epoch from partitions where id = any($1)")
        .bind(others().map(|append| i32::from(append.partition.0)).bind_iter())
        .fetch_all(connection)
        .await?;
    Ok(rows::verdicts(batch, written, &places, &epochs))
}
