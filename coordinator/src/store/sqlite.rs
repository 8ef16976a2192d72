//! The log in one SQLite file: one process writes, any number read.
//!
//! Write-ahead log, `synchronous=FULL`: an acknowledged append has been synced. One connection writes; readers have
//! their own and never wait for it. A lock file keeps a second writing process out, so that ownership of partitions can
//! be taken by force: whoever holds the file is the only one.
//!
//! A statement costs a hop to the connection's thread, so a batch is two statements, not one per row.

mod agenda;
mod append;
mod derived;
mod failure;
mod graphs;
mod heirs;
mod list;
mod ownership;
mod permits;
mod reading;
mod schedules;
mod session;
mod snapshots;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;

use self::session::Session;
use super::check;
use crate::ports::{
    Agenda, AgendaRow, Append, Appended, BackgroundFilter, EventStore, Lineage, ListCursor, Listed, Member,
    PartitionOwner, PermitStore, Snapshot, StoreError, StoreMeta, StoredAppend, StoredGraph, TimerCursor,
};

/// A store in a file.
pub struct SqliteStore {
    session: Session,
    insert: append::Statements,
}

impl SqliteStore {
    /// Opens the store in this file for writing, and creates it when there is none, with so many partitions. A store
    /// that is there keeps the number that it was created with.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] before anything was touched; [`StoreError::Refused`] when another process has it
    /// open for writing; [`StoreError::Exhausted`] when the directory cannot be written to.
    pub async fn open(path: impl AsRef<Path>, partitions: u16) -> Result<Self, StoreError> {
        Ok(SqliteStore { session: Session::open(path.as_ref(), partitions).await?, insert: append::Statements::new() })
    }

    /// Opens the store in this file for reading, also while another process writes to it, and from a directory that
    /// cannot be written to.
    ///
    /// # Errors
    /// [`StoreError::Absent`] when there is no file, [`StoreError::Refused`] when it does not hold a store;
    /// [`StoreError::NewerSchema`].
    pub async fn open_read_only(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Ok(SqliteStore { session: Session::open_read_only(path.as_ref()).await?, insert: append::Statements::new() })
    }

    /// Closes the file, waiting for what is under way; the write-ahead log is folded into the database.
    pub async fn close(&self) {
        self.session.close().await;
    }
}

#[async_trait]
impl EventStore for SqliteStore {
    async fn meta(&self) -> Result<StoreMeta, StoreError> {
        self.session.read_meta().await
    }

    fn permits(&self) -> &dyn PermitStore {
        self
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        check::batch(batch, self.session.partitions)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.session.append(&self.insert, batch).await
    }

    async fn read(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredAppend>, StoreError> {
        self.session.read(tenant, execution, after, limit).await
    }

    async fn lineage(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Vec<Lineage>, StoreError> {
        self.session.lineage(tenant, execution).await
    }

    async fn find(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Listed>, StoreError> {
        self.session.find(tenant, execution).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        state: Option<&str>,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.session.list(tenant, state, after, limit).await
    }

    async fn list_background(
        &self,
        tenant: &TenantId,
        filter: BackgroundFilter,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.session.list_background(tenant, filter, after, limit).await
    }

    async fn list_dead(
        &self,
        tenant: &TenantId,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.session.list_dead(tenant, after, limit).await
    }

    async fn queued(&self, partitions: &[PartitionId], each: u32, limit: u32) -> Result<Vec<Listed>, StoreError> {
        self.session.queued(partitions, each, limit).await
    }

    async fn outbox(
        &self,
        partitions: &[PartitionId],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        self.session.outbox(partitions, after, limit).await
    }

    async fn timers(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<TimerCursor>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        self.session.timers(partitions, before, after, limit).await
    }

    async fn agenda(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Agenda, StoreError> {
        self.session.agenda(tenant, execution).await
    }

    async fn clear_agenda(&self) -> Result<(), StoreError> {
        self.session.clear_agenda().await
    }

    async fn write_agenda(&self, rows: &[AgendaRow]) -> Result<(), StoreError> {
        self.session.write_agenda(rows).await
    }

    async fn logged(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<(TenantId, ExecutionId, PartitionId)>, StoreError> {
        self.session.logged(after, limit).await
    }

    async fn clear_list(&self) -> Result<(), StoreError> {
        self.session.clear_list().await
    }

    async fn write_list(&self, rows: &[Listed]) -> Result<(), StoreError> {
        self.session.write_list(rows).await
    }

    async fn snapshot(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Snapshot>, StoreError> {
        self.session.snapshot(tenant, execution).await
    }

    async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        check::snapshot(snapshot)?;
        self.session.put_snapshot(snapshot).await
    }

    async fn clear_snapshots(&self) -> Result<(), StoreError> {
        self.session.clear_snapshots().await
    }

    async fn put_graph(&self, tenant: &TenantId, graph: &StoredGraph) -> Result<(), StoreError> {
        self.session.put_graph(tenant, graph).await
    }

    async fn get_graph(&self, tenant: &TenantId, digest: &GraphDigest) -> Result<Option<StoredGraph>, StoreError> {
        self.session.get_graph(tenant, digest).await
    }

    async fn find_graph(
        &self,
        tenant: &TenantId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<StoredGraph>, StoreError> {
        self.session.find_graph(tenant, name, version).await
    }

    async fn list_graphs(
        &self,
        tenant: &TenantId,
        after: Option<&GraphDigest>,
        limit: u32,
    ) -> Result<Vec<StoredGraph>, StoreError> {
        self.session.list_graphs(tenant, after, limit).await
    }

    async fn heartbeat(&self, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
        check::member(&member.id)?;
        self.session.heartbeat(member, ttl).await
    }

    async fn leave(&self, member: &str) -> Result<(), StoreError> {
        self.session.leave(member).await
    }

    async fn partitions(&self) -> Result<Vec<PartitionOwner>, StoreError> {
        self.session.owners().await
    }

    async fn begin_incarnation(&self) -> Result<u64, StoreError> {
        self.session.begin_incarnation().await
    }

    async fn acquire(
        &self,
        partition: PartitionId,
        member: &str,
        ttl: Duration,
        force: bool,
    ) -> Result<Option<u64>, StoreError> {
        check::member(member)?;
        self.session.acquire(partition, member, ttl, force).await
    }

    async fn renew(
        &self,
        member: &str,
        held: &[(PartitionId, u64)],
        ttl: Duration,
    ) -> Result<Vec<PartitionId>, StoreError> {
        self.session.renew(member, held, ttl).await
    }

    async fn release(&self, member: &str, partition: PartitionId, epoch: u64) -> Result<(), StoreError> {
        self.session.release(member, partition, epoch).await
    }
}
