//! Who lives and who owns which partition, by this machine's clock. With one process per file this is a formality,
//! kept so that the coordinator needs no second way of working.

use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use stepstream_shared::id::PartitionId;

use super::session::Session;
use crate::incarnation::first_epoch;
use crate::ports::{Member, PartitionOwner, StoreError};
use crate::store::rows::{self, OwnerRow, signed};

/// Milliseconds, for sums that must not overflow; a century when it is more.
fn milliseconds(ttl: Duration) -> i64 {
    const CENTURY: i64 = 3_155_760_000_000;
    i64::try_from(ttl.as_millis()).unwrap_or(CENTURY).min(CENTURY)
}

impl Session {
    pub(super) async fn heartbeat(&self, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
        let found: Vec<(String, String)> = self
            .write(async |connection: &mut SqliteConnection| {
                sqlx::query("begin immediate").execute(&mut *connection).await?;
                sqlx::query(
                    "delete from members where id <> ? and expires_at < cast(unixepoch('subsec') * 1000 as integer)",
                )
                .bind(&member.id)
                .execute(&mut *connection)
                .await?;
                sqlx::query(
                    "insert into members (id, name, expires_at)
                     values (?, ?, cast(unixepoch('subsec') * 1000 as integer) + ?)
                     on conflict (id) do update set name = excluded.name, expires_at = excluded.expires_at",
                )
                .bind(&member.id)
                .bind(&member.name)
                .bind(milliseconds(ttl))
                .execute(&mut *connection)
                .await?;
                let found =
                    sqlx::query_as("select id, name from members order by id").fetch_all(&mut *connection).await?;
                sqlx::query("commit").execute(connection).await?;
                Ok(found)
            })
            .await?;
        Ok(found.into_iter().map(|(id, name)| Member { id, name }).collect())
    }

    pub(super) async fn leave(&self, member: &str) -> Result<(), StoreError> {
        self.write(async |connection: &mut SqliteConnection| {
            sqlx::query("delete from members where id = ?").bind(member).execute(connection).await?;
            Ok(())
        })
        .await
    }

    pub(super) async fn owners(&self) -> Result<Vec<PartitionOwner>, StoreError> {
        let found: Vec<OwnerRow> = sqlx::query_as(
            "select id, owner, epoch, lease_until <= cast(unixepoch('subsec') * 1000 as integer)
             from partitions order by id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.failure(error))?;
        rows::collect(found, rows::owner)
    }

    pub(super) async fn begin_incarnation(&self) -> Result<u64, StoreError> {
        let begun = self
            .write(async |connection: &mut SqliteConnection| {
                let mut transaction = connection.begin_with("begin immediate").await?;
                let incarnation: i64 =
                    sqlx::query_scalar("update store_meta set incarnation = incarnation + 1 returning incarnation")
                        .fetch_one(&mut *transaction)
                        .await?;
                let first = first_epoch(incarnation.unsigned_abs());
                sqlx::query("update partitions set owner = null, lease_until = 0, epoch = ?")
                    .bind(signed(first))
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query("delete from members").execute(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(incarnation)
            })
            .await?;
        rows::unsigned(begun, "the incarnation")
    }

    pub(super) async fn acquire(
        &self,
        partition: PartitionId,
        member: &str,
        ttl: Duration,
        force: bool,
    ) -> Result<Option<u64>, StoreError> {
        let epoch: Option<i64> = self
            .write(async |connection: &mut SqliteConnection| {
                let mut epochs: Vec<i64> = sqlx::query_scalar(
                    "update partitions
                     set owner = ?2, epoch = epoch + 1, lease_until = cast(unixepoch('subsec') * 1000 as integer) + ?3
                     where id = ?1
                       and (?4 or owner is null or lease_until <= cast(unixepoch('subsec') * 1000 as integer))
                     returning epoch",
                )
                .bind(i64::from(partition.0))
                .bind(member)
                .bind(milliseconds(ttl))
                .bind(force)
                .fetch_all(connection)
                .await?;
                Ok(epochs.pop())
            })
            .await?;
        epoch.map(|epoch| rows::unsigned(epoch, "an epoch")).transpose()
    }

    pub(super) async fn renew(
        &self,
        member: &str,
        held: &[(PartitionId, u64)],
        ttl: Duration,
    ) -> Result<Vec<PartitionId>, StoreError> {
        // A lease that has run out but that nobody took is still ours: the epoch says so.
        self.write(async |connection: &mut SqliteConnection| {
            let mut ours = Vec::with_capacity(held.len());
            sqlx::query("begin immediate").execute(&mut *connection).await?;
            for (partition, epoch) in held {
                let renewed = sqlx::query(
                    "update partitions set lease_until = cast(unixepoch('subsec') * 1000 as integer) + ?
                     where id = ? and owner = ? and epoch = ?",
                )
                .bind(milliseconds(ttl))
                .bind(i64::from(partition.0))
                .bind(member)
                .bind(signed(*epoch))
                .execute(&mut *connection)
                .await?;
                if renewed.rows_affected() == 1 {
                    ours.push(*partition);
                }
            }
            sqlx::query("commit").execute(connection).await?;
            ours.sort_unstable();
            Ok(ours)
        })
        .await
    }

    pub(super) async fn release(&self, member: &str, partition: PartitionId, epoch: u64) -> Result<(), StoreError> {
        self.write(async |connection: &mut SqliteConnection| {
            sqlx::query("update partitions set owner = null, lease_until = 0 where id = ? and owner = ? and epoch = ?")
                .bind(i64::from(partition.0))
                .bind(member)
                .bind(signed(epoch))
                .execute(connection)
                .await?;
            Ok(())
        })
        .await
    }
}
