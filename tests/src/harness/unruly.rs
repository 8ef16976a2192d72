//! A store in memory that a test holds in its hand: appends wait or fail, the coordinators' own rows are out of reach,
//! logs are unreadable.

mod schedules;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stepstream_coordinator::ports::{
    Agenda, AgendaRow, Append, Appended, BackgroundFilter, EventStore, Lineage, ListCursor, Listed, Member,
    PartitionOwner, PermitStore, Snapshot, StoreError, StoreMeta, StoredAppend, StoredGraph, TimerCursor,
};
use stepstream_coordinator::store::MemoryStore;
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;
use tokio::sync::watch;

/// What becomes of appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appends {
    Pass,
    /// They wait until this changes.
    Wait,
    /// They are refused for good, with nothing written.
    Fail,
}

pub struct UnrulyStore {
    inner: MemoryStore,
    appends: watch::Sender<Appends>,
    away: AtomicBool,
    unreadable: Mutex<HashSet<ExecutionId>>,
}

impl UnrulyStore {
    pub fn new(partitions: u16) -> Self {
        UnrulyStore {
            inner: MemoryStore::new(partitions),
            appends: watch::Sender::new(Appends::Pass),
            away: AtomicBool::new(false),
            unreadable: Mutex::default(),
        }
    }

    pub fn appends(&self, what: Appends) {
        self.appends.send_replace(what);
    }

    /// Whether members and partitions are out of reach.
    pub fn away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// The log of an execution cannot be read from now on, and trying again will not help.
    pub fn garble(&self, execution: ExecutionId) {
        self.unreadable.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(execution);
    }

    /// It can be read again.
    pub fn mend(&self, execution: ExecutionId) {
        self.unreadable.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&execution);
    }

    fn reached(&self) -> Result<(), StoreError> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable(anyhow::anyhow!("the test says so"))),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl EventStore for UnrulyStore {
    fn permits(&self) -> &dyn PermitStore {
        self.inner.permits()
    }

    async fn meta(&self) -> Result<StoreMeta, StoreError> {
        self.inner.meta().await
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let mut appends = self.appends.subscribe();
        let what = appends.wait_for(|what| *what != Appends::Wait).await.map_or(Appends::Fail, |what| *what);
        match what {
            Appends::Fail => Err(StoreError::Exhausted { reason: "the test says so".to_owned() }),
            _ => self.inner.append(batch).await,
        }
    }

    async fn read(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredAppend>, StoreError> {
        if self.unreadable.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&execution) {
            return Err(StoreError::Corrupt { reason: "the test says so".to_owned() });
        }
        self.inner.read(tenant, execution, after, limit).await
    }

    async fn lineage(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Vec<Lineage>, StoreError> {
        self.inner.lineage(tenant, execution).await
    }

    async fn find(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Listed>, StoreError> {
        self.inner.find(tenant, execution).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        state: Option<&str>,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(tenant, state, after, limit).await
    }

    async fn list_background(
        &self,
        tenant: &TenantId,
        filter: BackgroundFilter,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.inner.list_background(tenant, filter, after, limit).await
    }

    async fn list_dead(
        &self,
        tenant: &TenantId,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.inner.list_dead(tenant, after, limit).await
    }

    async fn queued(&self, partitions: &[PartitionId], each: u32, limit: u32) -> Result<Vec<Listed>, StoreError> {
        self.inner.queued(partitions, each, limit).await
    }

    async fn outbox(
        &self,
        partitions: &[PartitionId],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        self.inner.outbox(partitions, after, limit).await
    }

    async fn timers(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<TimerCursor>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        self.inner.timers(partitions, before, after, limit).await
    }

    async fn agenda(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Agenda, StoreError> {
        self.inner.agenda(tenant, execution).await
    }

    async fn clear_agenda(&self) -> Result<(), StoreError> {
        self.inner.clear_agenda().await
    }

    async fn write_agenda(&self, rows: &[AgendaRow]) -> Result<(), StoreError> {
        self.inner.write_agenda(rows).await
    }

    async fn logged(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<(TenantId, ExecutionId, PartitionId)>, StoreError> {
        self.inner.logged(after, limit).await
    }

    async fn clear_list(&self) -> Result<(), StoreError> {
        self.inner.clear_list().await
    }

    async fn write_list(&self, rows: &[Listed]) -> Result<(), StoreError> {
        self.inner.write_list(rows).await
    }

    async fn snapshot(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Snapshot>, StoreError> {
        self.inner.snapshot(tenant, execution).await
    }

    async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.inner.put_snapshot(snapshot).await
    }

    async fn clear_snapshots(&self) -> Result<(), StoreError> {
        self.inner.clear_snapshots().await
    }

    async fn put_graph(&self, tenant: &TenantId, graph: &StoredGraph) -> Result<(), StoreError> {
        self.inner.put_graph(tenant, graph).await
    }

    async fn get_graph(&self, tenant: &TenantId, digest: &GraphDigest) -> Result<Option<StoredGraph>, StoreError> {
        self.inner.get_graph(tenant, digest).await
    }

    async fn find_graph(
        &self,
        tenant: &TenantId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<StoredGraph>, StoreError> {
        self.inner.find_graph(tenant, name, version).await
    }

    async fn list_graphs(
        &self,
        tenant: &TenantId,
        after: Option<&GraphDigest>,
        limit: u32,
    ) -> Result<Vec<StoredGraph>, StoreError> {
        self.inner.list_graphs(tenant, after, limit).await
    }

    async fn heartbeat(&self, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
        self.reached()?;
        self.inner.heartbeat(member, ttl).await
    }

    async fn leave(&self, member: &str) -> Result<(), StoreError> {
        self.inner.leave(member).await
    }

    async fn partitions(&self) -> Result<Vec<PartitionOwner>, StoreError> {
        self.reached()?;
        self.inner.partitions().await
    }

    async fn begin_incarnation(&self) -> Result<u64, StoreError> {
        self.inner.begin_incarnation().await
    }

    async fn acquire(
        &self,
        partition: PartitionId,
        member: &str,
        ttl: Duration,
        force: bool,
    ) -> Result<Option<u64>, StoreError> {
        self.reached()?;
        self.inner.acquire(partition, member, ttl, force).await
    }

    async fn renew(
        &self,
        member: &str,
        held: &[(PartitionId, u64)],
        ttl: Duration,
    ) -> Result<Vec<PartitionId>, StoreError> {
        self.reached()?;
        self.inner.renew(member, held, ttl).await
    }

    async fn release(&self, member: &str, partition: PartitionId, epoch: u64) -> Result<(), StoreError> {
        self.inner.release(member, partition, epoch).await
    }
}
