//! The second half of an append: the rows that follow from it, in the list and on the agenda, and the commit, as one text.
//!
//! Most appends change nothing here. What begins changes the list and enters the outbox, what ends changes the list and
//! leaves the agenda; a text holds only the parts that its batch needs.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::append::{Bound, MOST_ROWS};
use crate::ports::{Agenda, AgendaMove, Append};
use crate::store::rows::{background_columns, dead_column};

/// One kind of row that an append may change.
#[derive(Debug, Clone, Copy)]
enum Part {
    Listed,
    /// Into the outbox.
    Owing,
    /// Out of it.
    Paid,
    /// Into the timers.
    Resting,
    /// Out of them.
    Woken,
}

const PARTS: [Part; 5] = [Part::Listed, Part::Owing, Part::Paid, Part::Resting, Part::Woken];
/// Sizes of a text: a power of two of rows for each part, filled up with rows of nothing.
const SIZES: usize = MOST_ROWS.ilog2() as usize + 1;

impl Part {
    /// Lists of values in its text, one value or tuple for each row. For a row of the outbox two of them: SQLite takes its
    /// key from two lists, but reads the whole table for a list of pairs.
    const fn lists(self) -> usize {
        match self {
            Part::Paid => 2,
            Part::Listed | Part::Owing | Part::Resting | Part::Woken => 1,
        }
    }

    /// Of each list.
    const fn columns(self) -> usize {
        match self {
            Part::Listed => 13,
            Part::Owing => 3,
            Part::Resting => 4,
            Part::Paid | Part::Woken => 1,
        }
    }

    /// Whether this append changes such a row.
    fn wants(self, append: &Append) -> bool {
        match self {
            Part::Listed => append.summary.is_some(),
            Part::Owing => append.agenda.is_some_and(|agenda| agenda.to == Agenda::Now),
            Part::Paid => append.agenda.is_some_and(AgendaMove::leaves_outbox),
            Part::Resting => append.agenda.is_some_and(|agenda| agenda.to.due_at().is_some()),
            Part::Woken => append.agenda.is_some_and(AgendaMove::leaves_timers),
        }
    }

    fn text(self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns()].join(","));
        let values = vec![row.as_str(); rows].join(",");
        match self {
            Part::Listed => format!(
                "insert into executions (tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters)
                 select * from (values {values}) as a where a.column2 is not null
                 on conflict (execution) do update set
                    state = excluded.state, terminal = excluded.terminal, graph = excluded.graph,
                    graph_name = excluded.graph_name, created_at = excluded.created_at, updated_at = excluded.updated_at,
                    mode = excluded.mode, status = excluded.status, queue_rank = excluded.queue_rank, dead_letters = excluded.dead_letters"
            ),
            Part::Owing => format!(
                "insert into outbox (tenant, execution, partition)
                 select * from (values {values}) as a where a.column2 is not null
                 on conflict do nothing"
            ),
            Part::Paid => format!("delete from outbox where partition in (values {values}) and execution in (values {values})"),
            Part::Resting => format!(
                "insert into timers (tenant, execution, partition, due_at)
                 select * from (values {values}) as a where a.column2 is not null
                 on conflict (execution) do update set due_at = excluded.due_at"
            ),
            Part::Woken => format!("delete from timers where execution in (values {values})"),
        }
    }

    fn bind<'q>(self, list: usize, query: Bound<'q>, append: &'q Append) -> Bound<'q> {
        let partition = i64::from(append.partition.0);
        let execution = append.execution.as_bytes().as_slice();
        match self {
            Part::Paid if list == 0 => query.bind(partition),
            Part::Paid | Part::Woken => query.bind(execution),
            Part::Listed | Part::Owing | Part::Resting => {
                let query = query.bind(append.tenant.as_str()).bind(execution).bind(partition);
                match (self, &append.summary, append.agenda.and_then(|agenda| agenda.to.due_at())) {
                    (Part::Listed, Some(summary), _) => {
                        let (mode, status, rank) = background_columns(summary);
                        query
                            .bind(summary.state.as_str())
                            .bind(summary.terminal)
                            .bind(summary.graph.as_bytes().as_slice())
                            .bind(summary.graph_name.as_str())
                            .bind(summary.created_at.as_micros())
                            .bind(summary.updated_at.as_micros())
                            .bind(mode)
                            .bind(status)
                            .bind(rank)
                            .bind(dead_column(summary))
                    }
                    (Part::Resting, _, Some(due_at)) => query.bind(due_at.as_micros()),
                    _ => query,
                }
            }
        }
    }
}

/// The text for these parts, a bit for each, each with two to the `power` rows; with a commit if it is the last of its
/// transaction. Made when it is first needed: few of all that are possible ever are.
fn text(parts: usize, power: usize, commits: bool) -> AssertSqlSafe<Arc<str>> {
    static TEXTS: [[[OnceLock<Arc<str>>; 2]; SIZES]; 1 << PARTS.len()] =
        [const { [const { [const { OnceLock::new() }; 2] }; SIZES] }; 1 << PARTS.len()];
    let text = TEXTS[parts][power][usize::from(commits)].get_or_init(|| {
        let mut text = String::new();
        for (bit, part) in PARTS.iter().enumerate() {
            if parts & (1 << bit) != 0 {
                let _ = write!(text, "{};", part.text(1 << power)); // A string takes whatever is written.
            }
        }
        text.push_str(if commits { "commit" } else { "" });
        text.into()
    });
    AssertSqlSafe(Arc::clone(text))
}

/// Writes what follows from these appends, which are in the log already, and commits.
pub(super) async fn write_and_commit<'a>(
    connection: &mut SqliteConnection,
    appends: impl Iterator<Item = &'a Append>,
) -> Result<(), sqlx::Error> {
    let changing: Vec<&Append> = appends.filter(|append| PARTS.iter().any(|part| part.wants(append))).collect();
    let mut chunks = changing.chunks(MOST_ROWS).peekable();
    if chunks.peek().is_none() {
        sqlx::query("commit").execute(connection).await?;
        return Ok(());
    }
    while let Some(chunk) = chunks.next() {
        let counts = PARTS.map(|part| chunk.iter().filter(|append| part.wants(append)).count());
        let parts = (0..PARTS.len()).filter(|bit| counts[*bit] > 0).map(|bit| 1 << bit).sum();
        let most = counts.into_iter().max().unwrap_or(1).next_power_of_two();
        let mut query = sqlx::query(text(parts, most.ilog2() as usize, chunks.peek().is_none()));
        for (part, count) in PARTS.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
            for list in 0..part.lists() {
                let rows = chunk.iter().filter(|append| part.wants(append));
                query = rows.fold(query, |query, append| part.bind(list, query, append));
                for _ in 0..(most - count) * part.columns() {
                    query = query.bind(None::<i64>);
                }
            }
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
