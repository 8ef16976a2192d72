//! The first append of an execution that continues another's log: with it comes a row that stands for what it shares.

use sqlx::SqliteConnection;

use crate::ports::{Append, LINEAGE_DEPTH};
use crate::store::rows::signed;

/// Writes both rows, or neither: when the partition is not ours, the place is taken, or the origin has no append that ends
/// there. Inside a transaction.
pub(super) async fn begin(connection: &mut SqliteConnection, append: &Append) -> Result<bool, sqlx::Error> {
    // `line` walks from the log that was named through those that it continues. One of them has the append, before the
    // border: what it has behind that, it has for itself alone.
    const SHARED: &str = "
        with recursive line(execution, border, depth) as (
            select ?3, ?4, 0
            union all
            select e.origin, e.last_seq, line.depth + 1
            from line join events e on e.execution = line.execution and e.first_seq = 1
            where e.tenant = ?1 and e.origin is not null and line.depth < ?8
        )
        insert into events (tenant, execution, first_seq, last_seq, epoch, origin, hash, body)
        select ?1, ?2, 1, ?4, ?7, e.execution, e.hash, x''
        from line join events e on e.execution = line.execution and e.first_seq = ?5
        where e.last_seq = ?4 and line.border >= ?4 and e.tenant = ?1 and e.origin is null
          and (select max(depth) from line) - line.depth < ?8
          and exists (select 1 from partitions where id = ?6 and epoch = ?7)
        on conflict do nothing";
    const OWN: &str = "
        insert into events (tenant, execution, first_seq, last_seq, epoch, hash, body) values (?, ?, ?, ?, ?, ?, ?)";
    let Some(origin) = append.origin else { return Ok(false) };
    let shared = sqlx::query(SHARED)
        .bind(append.tenant.as_str())
        .bind(append.execution.as_bytes().as_slice())
        .bind(origin.execution.as_bytes().as_slice())
        .bind(signed(origin.sequence))
        .bind(signed(append.previous_first_seq))
        .bind(i64::from(append.partition.0))
        .bind(signed(append.epoch))
        .bind(signed(LINEAGE_DEPTH as u64))
        .execute(&mut *connection)
        .await?;
    if shared.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(OWN)
        .bind(append.tenant.as_str())
        .bind(append.execution.as_bytes().as_slice())
        .bind(signed(append.first_seq))
        .bind(signed(append.last_seq))
        .bind(signed(append.epoch))
        .bind(append.hash.as_slice())
        .bind(append.body.as_ref())
        .execute(connection)
        .await?;
    Ok(true)
}
