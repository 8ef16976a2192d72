//! Snapshots: derived from the log, so they can be forgotten at any time.

use sqlx::SqliteConnection;
use stepstream_shared::id::{ExecutionId, TenantId};

use super::session::Session;
use crate::ports::{Snapshot, StoreError};
use crate::store::rows::{self, SnapshotRow, signed};

impl Session {
    pub(super) async fn snapshot(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
    ) -> Result<Option<Snapshot>, StoreError> {
        let row: Option<SnapshotRow> = sqlx::query_as(
            "select tenant, execution, sequence, first_seq, hash, state_version, state_hash, body
             from snapshots where tenant = ? and execution = ?",
        )
        .bind(tenant.as_str())
        .bind(execution.as_bytes().as_slice())
        .fetch_optional(&self.readers)
        .await
        .map_err(|error| self.failure(error))?;
        row.map(rows::snapshot).transpose()
    }

    /// Writes a snapshot; one that is there and goes further stays.
    pub(super) async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.write(async |connection: &mut SqliteConnection| {
            sqlx::query(
                "insert into snapshots (tenant, execution, sequence, first_seq, hash, state_version, state_hash, body)
                 values (?, ?, ?, ?, ?, ?, ?, ?)
                 on conflict (execution) do update set
                    sequence = excluded.sequence, first_seq = excluded.first_seq, hash = excluded.hash,
                    state_version = excluded.state_version, state_hash = excluded.state_hash, body = excluded.body
                 where snapshots.tenant = excluded.tenant and snapshots.sequence <= excluded.sequence",
            )
            .bind(snapshot.tenant.as_str())
            .bind(snapshot.execution.as_bytes().as_slice())
            .bind(signed(snapshot.sequence))
            .bind(signed(snapshot.first_seq))
            .bind(snapshot.hash.as_slice())
            .bind(i64::from(snapshot.state_version))
            .bind(snapshot.state_hash.as_slice())
            .bind(snapshot.body.as_ref())
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    pub(super) async fn clear_snapshots(&self) -> Result<(), StoreError> {
        self.write(async |connection: &mut SqliteConnection| {
            sqlx::query("delete from snapshots").execute(connection).await?;
            Ok(())
        })
        .await
    }
}
