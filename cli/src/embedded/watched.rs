//! A store, and somebody who listens to what it complains about.
//!
//! The engine keeps trying when an append fails, which is right for a fleet: somebody will free the disk. A person at a
//! terminal wants to hear of it, so an embedded run ends then, and can be resumed.

mod schedules;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepstream_coordinator::ports::{
    Agenda, AgendaRow, Append, Appended, BackgroundFilter, EventStore, Lineage, ListCursor, Listed, Member,
    PartitionOwner, PermitStore, Snapshot, StoreError, StoreMeta, StoredAppend, StoredGraph, TimerCursor,
};
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;
use tokio::sync::watch;

use crate::exit::{Exit, Problem, chain};

/// The last thing that the store reported and that waiting will not mend.
#[derive(Clone)]
pub struct Trouble(watch::Receiver<Option<(Exit, String)>>);

impl Trouble {
    /// Ends when there is some.
    pub async fn seen(&self) -> Problem {
        let mut receiver = self.0.clone();
        let seen = receiver.wait_for(Option::is_some).await.ok().and_then(|seen| seen.clone());
        match seen {
            Some((exit, message)) => Problem::new(exit, message),
            // The store is gone without a word, so there is nothing to hear any more.
            None => std::future::pending().await,
        }
    }
}

pub(super) struct WatchedStore {
    store: Arc<dyn EventStore>,
    trouble: watch::Sender<Option<(Exit, String)>>,
}

impl WatchedStore {
    pub(super) fn new(store: Arc<dyn EventStore>) -> (Self, Trouble) {
        let (trouble, receiver) = watch::channel(None);
        (WatchedStore { store, trouble }, Trouble(receiver))
    }

    fn listen<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &answer {
            let exit = match error {
                StoreError::Unavailable(_) | StoreError::Unknown(_) => None,
                StoreError::BadUrl { .. } => Some(Exit::Usage),
                StoreError::Absent { .. } => Some(Exit::Unreachable),
                StoreError::Exhausted { .. } => Some(Exit::Exhausted),
                StoreError::NewerSchema { .. } | StoreError::Corrupt { .. } | StoreError::Refused { .. } => {
                    Some(Exit::Refused)
                }
            };
            if let Some(exit) = exit {
                self.trouble.send_replace(Some((exit, chain(error))));
            }
        }
        answer
    }
}

#[async_trait]
impl EventStore for WatchedStore {
    // What cannot be given is asked for again; that the disk is full is heard of by the appends.
    fn permits(&self) -> &dyn PermitStore {
        self.store.permits()
    }

    async fn meta(&self) -> Result<StoreMeta, StoreError> {
        self.store.meta().await
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        self.listen(self.store.append(batch).await)
    }

    async fn read(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredAppend>, StoreError> {
        self.store.read(tenant, execution, after, limit).await
    }

    async fn lineage(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Vec<Lineage>, StoreError> {
        self.store.lineage(tenant, execution).await
    }

    async fn find(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Listed>, StoreError> {
        self.store.find(tenant, execution).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        state: Option<&str>,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.store.list(tenant, state, after, limit).await
    }

    async fn list_background(
        &self,
        tenant: &TenantId,
        filter: BackgroundFilter,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.store.list_background(tenant, filter, after, limit).await
    }

    async fn list_dead(
        &self,
        tenant: &TenantId,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.store.list_dead(tenant, after, limit).await
    }

    async fn queued(&self, partitions: &[PartitionId], each: u32, limit: u32) -> Result<Vec<Listed>, StoreError> {
        self.store.queued(partitions, each, limit).await
    }

    async fn outbox(
        &self,
        partitions: &[PartitionId],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        self.store.outbox(partitions, after, limit).await
    }

    async fn timers(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<TimerCursor>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        self.store.timers(partitions, before, after, limit).await
    }

    async fn agenda(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Agenda, StoreError> {
        self.store.agenda(tenant, execution).await
    }

    async fn clear_agenda(&self) -> Result<(), StoreError> {
        self.listen(self.store.clear_agenda().await)
    }

    async fn write_agenda(&self, rows: &[AgendaRow]) -> Result<(), StoreError> {
        self.listen(self.store.write_agenda(rows).await)
    }

    async fn logged(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<(TenantId, ExecutionId, PartitionId)>, StoreError> {
        self.store.logged(after, limit).await
    }

    async fn clear_list(&self) -> Result<(), StoreError> {
        self.listen(self.store.clear_list().await)
    }

    async fn write_list(&self, rows: &[Listed]) -> Result<(), StoreError> {
        self.listen(self.store.write_list(rows).await)
    }

    async fn snapshot(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Snapshot>, StoreError> {
        self.store.snapshot(tenant, execution).await
    }

    // Derived, and done without: when it cannot be written, nothing is lost that anybody waits for.
    async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.store.put_snapshot(snapshot).await
    }

    async fn clear_snapshots(&self) -> Result<(), StoreError> {
        self.store.clear_snapshots().await
    }

    async fn put_graph(&self, tenant: &TenantId, graph: &StoredGraph) -> Result<(), StoreError> {
        self.listen(self.store.put_graph(tenant, graph).await)
    }

    async fn get_graph(&self, tenant: &TenantId, digest: &GraphDigest) -> Result<Option<StoredGraph>, StoreError> {
        self.store.get_graph(tenant, digest).await
    }

    async fn find_graph(
        &self,
        tenant: &TenantId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<StoredGraph>, StoreError> {
        self.store.find_graph(tenant, name, version).await
    }

    async fn list_graphs(
        &self,
        tenant: &TenantId,
        after: Option<&GraphDigest>,
        limit: u32,
    ) -> Result<Vec<StoredGraph>, StoreError> {
        self.store.list_graphs(tenant, after, limit).await
    }

    async fn heartbeat(&self, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
        self.listen(self.store.heartbeat(member, ttl).await)
    }

    async fn leave(&self, member: &str) -> Result<(), StoreError> {
        self.store.leave(member).await
    }

    async fn partitions(&self) -> Result<Vec<PartitionOwner>, StoreError> {
        self.store.partitions().await
    }

    async fn begin_incarnation(&self) -> Result<u64, StoreError> {
        self.listen(self.store.begin_incarnation().await)
    }

    async fn acquire(
        &self,
        partition: PartitionId,
        member: &str,
        ttl: Duration,
        force: bool,
    ) -> Result<Option<u64>, StoreError> {
        self.listen(self.store.acquire(partition, member, ttl, force).await)
    }

    async fn renew(
        &self,
        member: &str,
        held: &[(PartitionId, u64)],
        ttl: Duration,
    ) -> Result<Vec<PartitionId>, StoreError> {
        self.listen(self.store.renew(member, held, ttl).await)
    }

    async fn release(&self, member: &str, partition: PartitionId, epoch: u64) -> Result<(), StoreError> {
        self.store.release(member, partition, epoch).await
    }
}
