//! Who lives and who owns which partition, by the server's clock.
//!
//! Several statements touch several rows of one table while others do the same: rows are locked in id order, or not
//! waited for at all.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgBindIterExt;
use stepstream_shared::id::PartitionId;

use super::failure;
use crate::incarnation::first_epoch;
use crate::ports::{Member, PartitionOwner, StoreError};
use crate::store::rows::{self, OwnerRow, signed};

/// Seconds, for `make_interval`; a century when it is more.
fn seconds(ttl: Duration) -> f64 {
    const CENTURY: f64 = 3_155_760_000.0;
    ttl.as_secs_f64().min(CENTURY)
}

pub(super) async fn heartbeat(pool: &PgPool, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
    // The dead are swept by whoever finds them free; another that sweeps at this moment is not waited for.
    const SQL: &str = "
        with me as (
            insert into members (id, name, expires_at) values ($1, $2, clock_timestamp() + make_interval(secs => $3))
            on conflict (id) do update set name = excluded.name, expires_at = excluded.expires_at
        ), gone as (
            delete from members where id in (
                select id from members where expires_at < clock_timestamp() and id <> $1 for update skip locked)
        )
        select id, name from members where expires_at >= clock_timestamp() and id <> $1
        union all select $1, $2
        order by id";
    let mut tries = failure::Tries::default();
    loop {
        let found: Result<Vec<(String, String)>, sqlx::Error> =
            sqlx::query_as(SQL).bind(&member.id).bind(&member.name).bind(seconds(ttl)).fetch_all(pool).await;
        match found {
            Ok(found) => return Ok(found.into_iter().map(|(id, name)| Member { id, name }).collect()),
            Err(error) if tries.again(&error) => {}
            Err(error) => return Err(failure::reading(error)),
        }
    }
}

pub(super) async fn leave(pool: &PgPool, member: &str) -> Result<(), StoreError> {
    sqlx::query("delete from members where id = $1").bind(member).execute(pool).await.map_err(failure::reading)?;
    Ok(())
}

/// Not repeated by itself: if the commit is not confirmed, whoever asked looks at the store.
pub(super) async fn begin_incarnation(pool: &PgPool) -> Result<u64, StoreError> {
    let mut transaction = pool.begin().await.map_err(failure::reading)?;
    let incarnation: i64 =
        sqlx::query_scalar("update store_meta set incarnation = incarnation + 1 returning incarnation")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failure::reading)?;
    let incarnation = rows::unsigned(incarnation, "the incarnation")?;
    // In id order, as everybody locks them.
    let all = "update partitions set owner = null, lease_until = '-infinity', epoch = $1
               where id in (select id from partitions order by id for update)";
    sqlx::query(all)
        .bind(signed(first_epoch(incarnation)))
        .execute(&mut *transaction)
        .await
        .map_err(failure::reading)?;
    sqlx::query("delete from members").execute(&mut *transaction).await.map_err(failure::reading)?;
    transaction.commit().await.map_err(failure::reading)?;
    Ok(incarnation)
}

pub(super) async fn partitions(pool: &PgPool) -> Result<Vec<PartitionOwner>, StoreError> {
    let found: Vec<OwnerRow> =
        sqlx::query_as("select id::int8, owner, epoch, lease_until <= clock_timestamp() from partitions order by id")
            .fetch_all(pool)
            .await
            .map_err(failure::reading)?;
    rows::collect(found, rows::owner)
}

/// Waits for the appends under way in the partition, and no append of the old epoch can come after it.
pub(super) async fn acquire(
    pool: &PgPool,
    partition: PartitionId,
    member: &str,
    ttl: Duration,
    force: bool,
) -> Result<Option<u64>, StoreError> {
    let epoch: Option<i64> = sqlx::query_scalar(
        "update partitions
         set owner = $2, epoch = epoch + 1, lease_until = clock_timestamp() + make_interval(secs => $3)
         where id = $1 and ($4 or owner is null or lease_until <= clock_timestamp())
         returning epoch",
    )
    .bind(i32::from(partition.0))
    .bind(member)
    .bind(seconds(ttl))
    .bind(force)
    .fetch_all(pool)
    .await
    .map_err(failure::reading)?
    .pop();
    epoch.map(|epoch| rows::unsigned(epoch, "an epoch")).transpose()
}

pub(super) async fn renew(
    pool: &PgPool,
    member: &str,
    held: &[(PartitionId, u64)],
    ttl: Duration,
) -> Result<Vec<PartitionId>, StoreError> {
    // A lease that has run out but that nobody took is still ours: the epoch says so.
    const SQL: &str = "
        with ours as materialized (
            select p.id from partitions p
            join unnest($2::int4[], $3::int8[]) as h(id, epoch) on h.id = p.id and h.epoch = p.epoch
            where p.owner = $1
            order by p.id for no key update of p
        )
        update partitions set lease_until = clock_timestamp() + make_interval(secs => $4)
        from ours where partitions.id = ours.id
        returning partitions.id::int8";
    let mut tries = failure::Tries::default();
    loop {
        let renewed: Result<Vec<i64>, sqlx::Error> = sqlx::query_scalar(SQL)
            .bind(member)
            .bind(held.iter().map(|(partition, _)| i32::from(partition.0)).bind_iter())
            .bind(held.iter().map(|(_, epoch)| signed(*epoch)).bind_iter())
            .bind(seconds(ttl))
            .fetch_all(pool)
            .await;
        match renewed {
            Ok(mut ids) => {
                ids.sort_unstable();
                return rows::collect(ids, rows::partition);
            }
            Err(error) if tries.again(&error) => {}
            Err(error) => return Err(failure::reading(error)),
        }
    }
}

pub(super) async fn release(pool: &PgPool, member: &str, partition: PartitionId, epoch: u64) -> Result<(), StoreError> {
    sqlx::query(
        "update partitions set owner = null, lease_until = '-infinity' where id = $1 and owner = $2 and epoch = $3",
    )
    .bind(i32::from(partition.0))
    .bind(member)
    .bind(signed(epoch))
    .execute(pool)
    .await
    .map_err(failure::reading)?;
    Ok(())
}
