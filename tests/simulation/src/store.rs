//! The store as one process sees it: the one in memory, over a connection that fails.

mod permits;
mod schedules;

use std::sync::Arc;
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
use tokio::time::sleep;

use crate::faults::Fault;
use crate::process::Process;

/// A process's connection to the store.
#[derive(Clone)]
pub struct Connection {
    process: Arc<Process>,
}

/// For who cannot reach the store.
const AWAY: Duration = Duration::from_millis(50);
const READING: [Fault; 2] = [Fault::Refused, Fault::Slow];
const WRITING: [Fault; 4] = [Fault::Refused, Fault::Unknown, Fault::RolledBack, Fault::Slow];

impl Connection {
    pub fn new(process: Arc<Process>) -> Self {
        Connection { process }
    }

    fn inner(&self) -> &MemoryStore {
        &self.process.world.store
    }

    /// Asks the store something over a line that may fail.
    async fn ask<T>(
        &self,
        what: &'static str,
        faults: &[Fault],
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (process, world) = (&self.process, &self.process.world);
        process.travel().await;
        if process.is_without_store() {
            sleep(AWAY).await;
            process.goes_on().await;
            return Err(StoreError::Unavailable(anyhow::anyhow!("no connection")));
        }
        let struck = world.strike(what, faults);
        if struck.is_some() {
            world.note(&process.name, what, 1, || format!("{struck:?}"));
        }
        let unknown = || Err(StoreError::Unknown(anyhow::anyhow!("the connection broke")));
        match struck {
            Some((Fault::Refused, _)) => {
                process.travel().await;
                return Err(StoreError::Unavailable(anyhow::anyhow!("no connection")));
            }
            Some((Fault::RolledBack, _)) => {
                process.travel().await;
                return unknown();
            }
            Some((Fault::Unknown, _)) => {
                let _ = work.await; // Nobody hears what became of it.
                process.travel().await;
                return unknown();
            }
            // Longer than a lease now and then.
            Some((Fault::Slow, by)) => {
                sleep(Duration::from_millis(50 + by % 4_000)).await;
                process.goes_on().await;
            }
            _ => {}
        }
        let answer = work.await;
        process.travel().await;
        // It was on its way when the connection went.
        if process.is_without_store() { unknown() } else { answer }
    }
}

#[async_trait]
impl EventStore for Connection {
    fn permits(&self) -> &dyn PermitStore {
        self
    }

    async fn meta(&self) -> Result<StoreMeta, StoreError> {
        self.ask("meta", &[], self.inner().meta()).await
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let world = &self.process.world;
        let work = async {
            let answers = self.inner().append(batch).await?;
            let now = world.clock(0);
            for (append, answer) in batch.iter().zip(&answers) {
                world.book().appended(append, answer, &now);
                let hash = u64::from_le_bytes(append.hash[..8].try_into().unwrap_or_default());
                world.note(&self.process.name, "append", hash, || {
                    let (id, from, to, epoch) = (append.execution, append.first_seq, append.last_seq, append.epoch);
                    format!("{id} {from}..={to} epoch {epoch}: {answer:?} {}", crate::book::names(append))
                });
            }
            Ok(answers)
        };
        self.ask("append", &WRITING, work).await
    }

    async fn read(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredAppend>, StoreError> {
        self.ask("read", &READING, self.inner().read(tenant, execution, after, limit)).await
    }

    async fn lineage(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Vec<Lineage>, StoreError> {
        self.ask("lineage", &READING, self.inner().lineage(tenant, execution)).await
    }

    async fn find(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Listed>, StoreError> {
        self.ask("find", &READING, self.inner().find(tenant, execution)).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        state: Option<&str>,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.ask("list", &READING, self.inner().list(tenant, state, after, limit)).await
    }

    async fn list_background(
        &self,
        tenant: &TenantId,
        filter: BackgroundFilter,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.ask("list", &READING, self.inner().list_background(tenant, filter, after, limit)).await
    }

    async fn list_dead(
        &self,
        tenant: &TenantId,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.ask("list", &READING, self.inner().list_dead(tenant, after, limit)).await
    }

    async fn queued(&self, partitions: &[PartitionId], each: u32, limit: u32) -> Result<Vec<Listed>, StoreError> {
        self.ask("queued", &READING, self.inner().queued(partitions, each, limit)).await
    }

    async fn outbox(
        &self,
        partitions: &[PartitionId],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        self.ask("outbox", &READING, self.inner().outbox(partitions, after, limit)).await
    }

    async fn timers(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<TimerCursor>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        self.ask("timers", &READING, self.inner().timers(partitions, before, after, limit)).await
    }

    async fn agenda(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Agenda, StoreError> {
        self.ask("agenda", &READING, self.inner().agenda(tenant, execution)).await
    }

    async fn clear_agenda(&self) -> Result<(), StoreError> {
        self.ask("rebuild", &READING, self.inner().clear_agenda()).await
    }

    async fn write_agenda(&self, rows: &[AgendaRow]) -> Result<(), StoreError> {
        self.ask("rebuild", &READING, self.inner().write_agenda(rows)).await
    }

    async fn logged(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<(TenantId, ExecutionId, PartitionId)>, StoreError> {
        self.ask("logged", &READING, self.inner().logged(after, limit)).await
    }

    async fn clear_list(&self) -> Result<(), StoreError> {
        self.ask("rebuild", &READING, self.inner().clear_list()).await
    }

    async fn write_list(&self, rows: &[Listed]) -> Result<(), StoreError> {
        self.ask("rebuild", &READING, self.inner().write_list(rows)).await
    }

    async fn snapshot(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Snapshot>, StoreError> {
        self.ask("snapshot", &READING, self.inner().snapshot(tenant, execution)).await
    }

    async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.ask("put snapshot", &WRITING, self.inner().put_snapshot(snapshot)).await
    }

    async fn clear_snapshots(&self) -> Result<(), StoreError> {
        self.ask("rebuild", &READING, self.inner().clear_snapshots()).await
    }

    async fn put_graph(&self, tenant: &TenantId, graph: &StoredGraph) -> Result<(), StoreError> {
        self.ask("put graph", &WRITING, self.inner().put_graph(tenant, graph)).await
    }

    async fn get_graph(&self, tenant: &TenantId, digest: &GraphDigest) -> Result<Option<StoredGraph>, StoreError> {
        self.ask("graph", &READING, self.inner().get_graph(tenant, digest)).await
    }

    async fn find_graph(
        &self,
        tenant: &TenantId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<StoredGraph>, StoreError> {
        self.ask("graph", &READING, self.inner().find_graph(tenant, name, version)).await
    }

    async fn list_graphs(
        &self,
        tenant: &TenantId,
        after: Option<&GraphDigest>,
        limit: u32,
    ) -> Result<Vec<StoredGraph>, StoreError> {
        self.ask("graph", &READING, self.inner().list_graphs(tenant, after, limit)).await
    }

    async fn heartbeat(&self, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
        self.ask("heartbeat", &WRITING, self.inner().heartbeat(member, ttl)).await
    }

    async fn leave(&self, member: &str) -> Result<(), StoreError> {
        self.ask("leave", &WRITING, self.inner().leave(member)).await
    }

    async fn partitions(&self) -> Result<Vec<PartitionOwner>, StoreError> {
        self.ask("partitions", &READING, self.inner().partitions()).await
    }

    async fn begin_incarnation(&self) -> Result<u64, StoreError> {
        self.ask("begin incarnation", &WRITING, self.inner().begin_incarnation()).await
    }

    async fn acquire(
        &self,
        partition: PartitionId,
        member: &str,
        ttl: Duration,
        force: bool,
    ) -> Result<Option<u64>, StoreError> {
        let work = async {
            let epoch = self.inner().acquire(partition, member, ttl, force).await?;
            if let Some(epoch) = epoch {
                self.process.world.book().acquired(partition, epoch);
                self.process.world.note(&self.process.name, "acquire", epoch, || format!("{partition} epoch {epoch}"));
            }
            Ok(epoch)
        };
        self.ask("acquire", &WRITING, work).await
    }

    async fn renew(
        &self,
        member: &str,
        held: &[(PartitionId, u64)],
        ttl: Duration,
    ) -> Result<Vec<PartitionId>, StoreError> {
        self.ask("renew", &WRITING, self.inner().renew(member, held, ttl)).await
    }

    async fn release(&self, member: &str, partition: PartitionId, epoch: u64) -> Result<(), StoreError> {
        self.ask("release", &WRITING, self.inner().release(member, partition, epoch)).await
    }
}
