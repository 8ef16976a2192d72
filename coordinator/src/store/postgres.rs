//! The log in PostgreSQL: production, any number of coordinators.
//!
//! Appends go through a few connections of their own, one statement a batch (`append`); everything else through a
//! small pool. Whatever compares times uses the server's clock, so coordinators need not agree on theirs.
//!
//! What is deliberately absent: session locks (they die silently with their session), `LISTEN`, and any reliance on the
//! client's clock or on a query being cancelled.

mod agenda;
mod append;
mod failure;
mod graphs;
mod list;
mod ownership;
mod permits;
mod reading;
mod schedules;
mod session;
mod snapshots;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgPool;
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;

pub use self::session::PostgresOptions;

use self::append::Writers;
use super::check;
use crate::ports::{
    Agenda, AgendaRow, Append, Appended, BackgroundFilter, EventStore, Lineage, ListCursor, Listed, Member,
    PartitionOwner, PermitStore, Snapshot, StoreError, StoreMeta, StoredAppend, StoredGraph, TimerCursor,
};

/// Longest that anything but an append may take, the wait for a connection included: a server that is alive answers in
/// milliseconds, and a network that swallows packets says nothing at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store in a PostgreSQL database.
pub struct PostgresStore {
    pool: PgPool,
    writers: Writers,
    /// Fixed when the store was created.
    partitions: u16,
}

impl PostgresStore {
    /// Opens the store in the database of this URL, and creates it when the database is empty, with so many
    /// partitions. A store that is there keeps the number that it was created with.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] before anything was touched; [`StoreError::BadUrl`] for what is no URL;
    /// [`StoreError::Refused`] for a user or a database that does not work; [`StoreError::Unavailable`] when the server
    /// does not answer.
    pub async fn connect_or_create(url: &str, partitions: u16) -> Result<Self, StoreError> {
        Self::open(&PostgresOptions::new(url, partitions)).await
    }

    /// Whether this is a URL of a database. Nobody is asked.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] when it is none.
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        session::parse(url).map(drop)
    }

    /// Opens the store that is in the database of this URL, to read it: nothing is created and nothing brought up to
    /// date, and whatever would write is refused by the server ([`StoreError::Exhausted`]).
    ///
    /// # Errors
    /// [`StoreError::Absent`] when there is no such database, or no store in it; otherwise as
    /// [`PostgresStore::connect_or_create`].
    pub async fn open_read_only(url: &str) -> Result<Self, StoreError> {
        Self::open(&PostgresOptions::existing(url).read_only()).await
    }

    /// As [`PostgresStore::connect_or_create`], with everything that can be chosen.
    ///
    /// # Errors
    /// As there.
    pub async fn open(options: &PostgresOptions) -> Result<Self, StoreError> {
        let opened = session::open(options).await?;
        Ok(PostgresStore { pool: opened.pool, writers: Writers::new(opened.writing), partitions: opened.partitions })
    }

    /// Closes the connections, waiting for what is under way.
    pub async fn close(&self) {
        self.writers.close().await;
        self.pool.close().await;
    }
}

/// Nothing but an append can be left open by a time-out: everything else may be asked again.
async fn patiently<T>(work: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        Err(StoreError::Unavailable(anyhow::anyhow!("PostgreSQL did not answer within {} s", PATIENCE.as_secs())))
    })
}

#[async_trait]
impl EventStore for PostgresStore {
    async fn meta(&self) -> Result<StoreMeta, StoreError> {
        patiently(session::read_meta(&self.pool)).await
    }

    fn permits(&self) -> &dyn PermitStore {
        self
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        check::batch(batch, self.partitions)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.writers.append(batch).await
    }

    async fn read(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredAppend>, StoreError> {
        patiently(reading::page(&self.pool, tenant, execution, after, limit)).await
    }

    async fn lineage(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Vec<Lineage>, StoreError> {
        patiently(reading::lineage(&self.pool, tenant, execution)).await
    }

    async fn find(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Listed>, StoreError> {
        patiently(list::find(&self.pool, tenant, execution)).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        state: Option<&str>,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        patiently(list::page(&self.pool, tenant, state, after, limit)).await
    }

    async fn list_background(
        &self,
        tenant: &TenantId,
        filter: BackgroundFilter,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        patiently(list::background(&self.pool, tenant, filter, after, limit)).await
    }

    async fn list_dead(
        &self,
        tenant: &TenantId,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        patiently(list::dead(&self.pool, tenant, after, limit)).await
    }

    async fn queued(&self, partitions: &[PartitionId], each: u32, limit: u32) -> Result<Vec<Listed>, StoreError> {
        patiently(list::queued(&self.pool, partitions, each, limit)).await
    }

    async fn outbox(
        &self,
        partitions: &[PartitionId],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        patiently(agenda::outbox(&self.pool, partitions, after, limit)).await
    }

    async fn timers(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<TimerCursor>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        patiently(agenda::timers(&self.pool, partitions, before, after, limit)).await
    }

    async fn agenda(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Agenda, StoreError> {
        let partition = PartitionId::of(execution, self.partitions);
        patiently(agenda::find(&self.pool, tenant, execution, partition)).await
    }

    async fn clear_agenda(&self) -> Result<(), StoreError> {
        patiently(agenda::clear(&self.pool)).await
    }

    async fn write_agenda(&self, rows: &[AgendaRow]) -> Result<(), StoreError> {
        patiently(agenda::write(&self.pool, rows)).await
    }

    async fn logged(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<(TenantId, ExecutionId, PartitionId)>, StoreError> {
        patiently(list::logged(&self.pool, self.partitions, after, limit)).await
    }

    async fn clear_list(&self) -> Result<(), StoreError> {
        patiently(list::clear(&self.pool)).await
    }

    async fn write_list(&self, rows: &[Listed]) -> Result<(), StoreError> {
        patiently(list::write(&self.pool, rows)).await
    }

    async fn snapshot(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Snapshot>, StoreError> {
        patiently(snapshots::find(&self.pool, tenant, execution)).await
    }

    async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        check::snapshot(snapshot)?;
        patiently(snapshots::put(&self.pool, snapshot)).await
    }

    async fn clear_snapshots(&self) -> Result<(), StoreError> {
        patiently(snapshots::clear(&self.pool)).await
    }

    async fn put_graph(&self, tenant: &TenantId, graph: &StoredGraph) -> Result<(), StoreError> {
        patiently(graphs::put(&self.pool, tenant, graph)).await
    }

    async fn get_graph(&self, tenant: &TenantId, digest: &GraphDigest) -> Result<Option<StoredGraph>, StoreError> {
        patiently(graphs::get(&self.pool, tenant, digest)).await
    }

    async fn find_graph(
        &self,
        tenant: &TenantId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<StoredGraph>, StoreError> {
        patiently(graphs::find(&self.pool, tenant, name, version)).await
    }

    async fn list_graphs(
        &self,
        tenant: &TenantId,
        after: Option<&GraphDigest>,
        limit: u32,
    ) -> Result<Vec<StoredGraph>, StoreError> {
        patiently(graphs::page(&self.pool, tenant, after, limit)).await
    }

    async fn heartbeat(&self, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
        check::member(&member.id)?;
        patiently(ownership::heartbeat(&self.pool, member, ttl)).await
    }

    async fn leave(&self, member: &str) -> Result<(), StoreError> {
        patiently(ownership::leave(&self.pool, member)).await
    }

    async fn partitions(&self) -> Result<Vec<PartitionOwner>, StoreError> {
        patiently(ownership::partitions(&self.pool)).await
    }

    async fn begin_incarnation(&self) -> Result<u64, StoreError> {
        ownership::begin_incarnation(&self.pool).await
    }

    async fn acquire(
        &self,
        partition: PartitionId,
        member: &str,
        ttl: Duration,
        force: bool,
    ) -> Result<Option<u64>, StoreError> {
        check::member(member)?;
        patiently(ownership::acquire(&self.pool, partition, member, ttl, force)).await
    }

    async fn renew(
        &self,
        member: &str,
        held: &[(PartitionId, u64)],
        ttl: Duration,
    ) -> Result<Vec<PartitionId>, StoreError> {
        patiently(ownership::renew(&self.pool, member, held, ttl)).await
    }

    async fn release(&self, member: &str, partition: PartitionId, epoch: u64) -> Result<(), StoreError> {
        patiently(ownership::release(&self.pool, member, partition, epoch)).await
    }
}
