//! Snapshots: derived from the log, so they can be forgotten at any time.

use sqlx::PgPool;
use stepstream_shared::id::{ExecutionId, TenantId};

use super::failure;
use crate::ports::{Snapshot, StoreError};
use crate::store::rows::{self, SnapshotRow, signed};

pub(super) async fn find(
    pool: &PgPool,
    tenant: &TenantId,
    execution: ExecutionId,
) -> Result<Option<Snapshot>, StoreError> {
    let row: Option<SnapshotRow> = sqlx::query_as(
        "select tenant, execution, sequence, first_seq, hash, state_version, state_hash, body
         from snapshots where tenant = $1 and execution = $2",
    )
    .bind(tenant.as_str())
    .bind(execution.as_bytes().as_slice())
    .fetch_optional(pool)
    .await
    .map_err(failure::reading)?;
    row.map(rows::snapshot).transpose()
}

/// Writes a snapshot; one that is there and goes further stays.
pub(super) async fn put(pool: &PgPool, snapshot: &Snapshot) -> Result<(), StoreError> {
    sqlx::query(
        "insert into snapshots (tenant, execution, sequence, first_seq, hash, state_version, state_hash, body)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
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
    .execute(pool)
    .await
    .map_err(failure::reading)?;
    Ok(())
}

pub(super) async fn clear(pool: &PgPool) -> Result<(), StoreError> {
    // Unlike a delete it gives the room back at once, and bodies are large.
    sqlx::query("truncate snapshots").execute(pool).await.map_err(failure::reading)?;
    Ok(())
}
