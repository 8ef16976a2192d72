//! The append: one transaction for the batch, in two statements (each a hop to the connection's thread).
//!
//! The first begins and inserts all rows whose partition is still ours and whose predecessor ends right before them,
//! leaving out those whose place is taken. When every row went in, the second writes what is derived and commits. When
//! one did not, the transaction is undone and the batch is written again with the names of the inserted rows asked
//! for: that happens only when another writer was faster or a commit's answer was lost, and for batches in which some
//! append continues another log (`heirs`).

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Executor, Sqlite, SqliteConnection};
use stepstream_shared::id::ExecutionId;

use super::session::Session;
use super::{derived, heirs};
use crate::ports::{Append, Appended, StoreError};
use crate::store::rows::{self, PlaceRow, signed};

/// Most rows of one statement; a longer batch takes several inside its transaction. With nine columns far below
/// SQLite's limit of 32,766 parameters.
pub(super) const MOST_ROWS: usize = 512;

/// The texts, by the power of two of their number of rows: a batch is filled up with rows of nothing, which the
/// statement skips, so that few texts exist and each is prepared once.
pub(super) struct Statements {
    begin_and_insert: Vec<Arc<str>>,
    insert: Vec<Arc<str>>,
    insert_and_name: Vec<Arc<str>>,
}

impl Statements {
    pub(super) fn new() -> Self {
        let sizes = || (0..=MOST_ROWS.ilog2()).map(|power| 1_usize << power);
        Statements {
            begin_and_insert: sizes().map(|size| format!("begin immediate; {}", insert(size, "")).into()).collect(),
            insert: sizes().map(|size| insert(size, "").into()).collect(),
            insert_and_name: sizes().map(|size| insert(size, "returning execution").into()).collect(),
        }
    }
}

fn pick(texts: &[Arc<str>], rows: usize) -> AssertSqlSafe<Arc<str>> {
    let power = rows.next_power_of_two().ilog2() as usize;
    AssertSqlSafe(Arc::clone(&texts[power.min(texts.len() - 1)]))
}

fn insert(rows: usize, returning: &str) -> String {
    // `cross join` keeps the order: the batch outside, its partition by key inside.
    format!(
        "insert into events (tenant, execution, first_seq, last_seq, epoch, hash, body)
         select a.column1, a.column2, a.column5, a.column6, a.column4, a.column8, a.column9
         from (values {}) as a cross join partitions p on p.id = a.column3 and p.epoch = a.column4
         where a.column2 is not null and (a.column5 = 1 or
            (select e.last_seq from events e
             where e.execution = a.column2 and e.first_seq = a.column7 and e.tenant = a.column1) = a.column5 - 1)
         on conflict do nothing {returning}",
        vec!["(?,?,?,?,?,?,?,?,?)"; rows].join(",")
    )
}

pub(super) type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind_append<'q>(query: Bound<'q>, append: &'q Append) -> Bound<'q> {
    query
        .bind(append.tenant.as_str())
        .bind(append.execution.as_bytes().as_slice())
        .bind(i64::from(append.partition.0))
        .bind(signed(append.epoch))
        .bind(signed(append.first_seq))
        .bind(signed(append.last_seq))
        .bind(signed(append.previous_first_seq))
        .bind(append.hash.as_slice())
        .bind(append.body.as_ref())
}

impl Session {
    pub(super) async fn append(&self, statements: &Statements, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        self.write(async |connection| {
            let continues = batch.iter().any(|append| append.origin.is_some());
            if !continues && write_all(connection, statements, batch).await? {
                return Ok(vec![Appended::Committed; batch.len()]);
            }
            write_some(connection, statements, batch).await
        })
        .await
    }
}

/// Writes the whole batch or nothing; `false` when a row cannot go in.
async fn write_all(
    connection: &mut SqliteConnection,
    statements: &Statements,
    batch: &[Append],
) -> Result<bool, sqlx::Error> {
    let mut written = 0;
    for (place, rows) in batch.chunks(MOST_ROWS).enumerate() {
        let texts = if place == 0 { &statements.begin_and_insert } else { &statements.insert };
        let query = rows.iter().fold(sqlx::query(pick(texts, rows.len())), bind_append);
        // Of the text's last statement: `begin` reports what the statement before it has changed.
        let mut last = 0;
        let mut results = (&mut *connection).fetch_many(query);
        while let Some(result) = results.try_next().await? {
            last = result.left().map_or(0, |result| result.rows_affected());
        }
        written += last;
    }
    if written != batch.len() as u64 {
        sqlx::query("rollback").execute(connection).await?;
        return Ok(false);
    }
    derived::write_and_commit(connection, batch.iter()).await?;
    Ok(true)
}

/// Writes what can be written, and finds out why the rest cannot.
async fn write_some(
    connection: &mut SqliteConnection,
    statements: &Statements,
    batch: &[Append],
) -> Result<Vec<Appended>, sqlx::Error> {
    use sqlx::Row;

    sqlx::query("begin immediate").execute(&mut *connection).await?;
    let mut written: HashSet<ExecutionId> = HashSet::new();
    let (heirs, others): (Vec<&Append>, Vec<&Append>) = batch.iter().partition(|append| append.origin.is_some());
    // First, so that they see the logs that they continue as these were before the batch.
    for append in heirs {
        if heirs::begin(connection, append).await? {
            written.insert(append.execution);
        }
    }
    for rows in others.chunks(MOST_ROWS) {
        let query = sqlx::query(pick(&statements.insert_and_name, rows.len()));
        let inserted = rows.iter().copied().fold(query, bind_append).fetch_all(&mut *connection).await?;
        for row in inserted {
            let execution: Vec<u8> = row.try_get(0)?;
            written.extend(execution.as_slice().try_into().ok().map(ExecutionId::from_bytes));
        }
    }
    let mut places: Vec<PlaceRow> = Vec::new();
    let mut epochs: Vec<(i64, i64)> = Vec::new();
    for append in batch.iter().filter(|append| !written.contains(&append.execution)) {
        let place: Option<PlaceRow> = sqlx::query_as(
            "select execution, first_seq, tenant, hash from events where execution = ? and first_seq = ?",
        )
        .bind(append.execution.as_bytes().as_slice())
        .bind(signed(append.first_seq))
        .fetch_optional(&mut *connection)
        .await?;
        places.extend(place);
        let epoch: Option<(i64, i64)> = sqlx::query_as("select id, epoch from partitions where id = ?")
            .bind(i64::from(append.partition.0))
            .fetch_optional(&mut *connection)
            .await?;
        epochs.extend(epoch);
    }
    let committed = batch.iter().filter(|append| written.contains(&append.execution));
    derived::write_and_commit(connection, committed).await?;
    Ok(rows::verdicts(batch, &written, &places, &epochs))
}
