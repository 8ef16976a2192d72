//! Reading executions from the log alone: no engine, no bus, no worker.
//!
//! Whatever is shown of an execution is folded from its log by the same function that the engine uses. The engine itself
//! may begin with a snapshot ([`Reader::load_present`]); what checks a log never does ([`Reader::verify`]).

mod artifacts;
mod background;
mod children;
mod dead;
mod paging;
#[cfg(test)]
mod recorded;
mod snapshot;
mod waits;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use stepstream_shared::event::codec::{self, CodecError, genesis};
use stepstream_shared::event::view::event_json;
use stepstream_shared::event::{ChainHash, Event, EventData};
use stepstream_shared::execution::{ApplyError, Execution};
use stepstream_shared::graph::{CompiledGraph, GraphDigest, Graphs};
use stepstream_shared::id::{ExecutionId, TenantId};

pub use self::artifacts::{ArtifactItem, ArtifactList};
pub use self::background::{Background, BackgroundOptions, BoundTarget, Callback, RetryOptions, TargetBindingOptions};
pub use self::children::{Child, Children};
pub use self::dead::DeadLetter;
pub use self::paging::LogPage;
pub use self::snapshot::{BadSnapshot, SNAPSHOT_BYTES, SNAPSHOT_EVERY, next_snapshot};
pub use self::waits::{KeptSignal, StepWait, Waits};

use crate::ports::{BackgroundFilter, EventStore, ListCursor, Listed, StoreError, StoredAppend, StoredGraph};

/// Appends read at a time: small enough to hold, large enough to keep the store busy.
const PAGE: u32 = 512;
/// Compiled graphs kept; a graph is small beside what runs on it.
const GRAPHS_KEPT: usize = 1024;

/// Why an execution could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("there is no execution {0}")]
    NotFound(ExecutionId),
    #[error("there is no graph {0}")]
    GraphNotFound(String),
    #[error("the stored graph {digest} does not compile any more: {reason}")]
    BadGraph { digest: GraphDigest, reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log cannot be read: where, and why.
    #[error("the log of {execution} is unreadable after event {after}: {source}")]
    Codec {
        execution: ExecutionId,
        after: u64,
        #[source]
        source: CodecError,
    },
    #[error("the log of {execution} does not fold: {source}")]
    Fold {
        execution: ExecutionId,
        #[source]
        source: ApplyError,
    },
    /// A defect of ours; the log is unharmed.
    #[error("folding the log of {0} panicked")]
    Panicked(ExecutionId),
    #[error("the log of {execution} has a gap: event {found} follows event {after}")]
    Gap { execution: ExecutionId, after: u64, found: u64 },
    /// What is kept beside the log is not what the log says: one of them was changed.
    #[error("the snapshot of {execution} after event {sequence} and its log disagree: {source}")]
    Snapshot {
        execution: ExecutionId,
        sequence: u64,
        #[source]
        source: BadSnapshot,
    },
}

/// An execution folded from its log, and where its log ends.
#[derive(Clone)]
pub struct Loaded {
    pub execution: Execution,
    pub graph: Arc<CompiledGraph>,
    pub graphs: Graphs,
    /// Chain hash of the last append folded.
    pub head: ChainHash,
    /// Sequence of the first event of that append; 0 when there is none.
    pub last_first_seq: u64,
    /// The epoch under which that append was made.
    pub last_epoch: u64,
    /// Sequence of the snapshot that the fold began with; 0 when it began with the log.
    pub snapshot: u64,
}

/// Reads executions and graphs of a store.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn EventStore>,
    compiled: Arc<Mutex<GraphCache>>,
    known: Arc<Mutex<paging::KnownLogs>>,
}

#[derive(Default)]
struct GraphCache {
    by_digest: HashMap<(TenantId, GraphDigest), Arc<CompiledGraph>>,
    order: VecDeque<(TenantId, GraphDigest)>,
}

impl Reader {
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Reader { store, compiled: Arc::default(), known: Arc::default() }
    }

    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// A registered graph, compiled.
    pub async fn graph(&self, tenant: &TenantId, digest: GraphDigest) -> Result<Arc<CompiledGraph>, ReadError> {
        let key = (tenant.clone(), digest);
        if let Some(graph) = self.cache().by_digest.get(&key) {
            return Ok(graph.clone());
        }
        let stored = self.store.get_graph(tenant, &digest).await?;
        let stored = stored.ok_or_else(|| ReadError::GraphNotFound(digest.to_string()))?;
        let graph = compile_stored(&stored)?;
        self.remember(tenant, graph.clone());
        Ok(graph)
    }

    /// Keeps a graph that was just compiled and registered.
    pub fn remember(&self, tenant: &TenantId, graph: Arc<CompiledGraph>) {
        let mut cache = self.cache();
        let key = (tenant.clone(), graph.digest);
        if cache.by_digest.insert(key.clone(), graph).is_none() {
            cache.order.push_back(key);
            if cache.order.len() > GRAPHS_KEPT
                && let Some(oldest) = cache.order.pop_front()
            {
                cache.by_digest.remove(&oldest);
            }
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, GraphCache> {
        // Every change of the cache is a single insertion or removal: a panic elsewhere leaves it whole.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A graph by `graph_…`, `name` or `name@version`.
    pub async fn find_graph(&self, tenant: &TenantId, reference: &str) -> Result<Arc<CompiledGraph>, ReadError> {
        if let Ok(digest) = reference.parse::<GraphDigest>() {
            return self.graph(tenant, digest).await;
        }
        let (name, version) = match reference.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (reference, None),
        };
        let stored = self.store.find_graph(tenant, name, version).await?;
        let stored = stored.ok_or_else(|| ReadError::GraphNotFound(reference.to_owned()))?;
        self.graph(tenant, stored.digest).await
    }

    pub async fn list_graphs(
        &self,
        tenant: &TenantId,
        after: Option<&GraphDigest>,
        limit: u32,
    ) -> Result<Vec<StoredGraph>, ReadError> {
        Ok(self.store.list_graphs(tenant, after, limit).await?)
    }

    /// A tenant's executions, newest first.
    pub async fn list(
        &self,
        tenant: &TenantId,
        state: Option<&str>,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, ReadError> {
        Ok(self.store.list(tenant, state, after, limit).await?)
    }

    /// Folds an execution, up to and including event `to` if given.
    pub async fn load(&self, tenant: &TenantId, execution: ExecutionId, to: Option<u64>) -> Result<Loaded, ReadError> {
        let mut cursor = self.cursor(tenant, execution);
        while let Some(appended) = cursor.next().await? {
            for event in appended.events {
                if to.is_some_and(|to| event.sequence > to) {
                    return cursor.finish();
                }
                cursor.apply(&event)?;
            }
        }
        cursor.finish()
    }

    /// Walks the log of an execution from its beginning, which may lie in the log of another that it continues.
    pub fn cursor(&self, tenant: &TenantId, execution: ExecutionId) -> LogCursor {
        LogCursor {
            reader: self.clone(),
            tenant: tenant.clone(),
            id: execution,
            page: VecDeque::new(),
            read_to: 0,
            head: genesis(tenant, execution),
            last_first_seq: 0,
            last_epoch: 0,
            snapshot: 0,
            bytes: 0,
            verify: false,
            execution: Execution::empty(execution, tenant.clone()),
            graph: None,
            graphs: Graphs::default(),
        }
    }

    /// Events after sequence `after` as outside objects, at most `limit`.
    pub async fn events(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Value>, ReadError> {
        let mut page = self.page(tenant, execution, after);
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(mut more) = page.next_json().await? else { break };
            found.append(&mut more);
        }
        page.end()?;
        found.truncate(limit);
        Ok(found)
    }

    /// The first event of an execution's log: what it was asked for. `None` when there is no such execution.
    pub async fn first_event(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<EventData>, ReadError> {
        let first = self.cursor(tenant, execution).next().await?;
        Ok(first.and_then(|appended| appended.events.into_iter().next()).map(|event| event.data))
    }

    /// A tenant's background executions, newest first.
    pub async fn list_background(
        &self,
        tenant: &TenantId,
        filter: BackgroundFilter,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, ReadError> {
        Ok(self.store.list_background(tenant, filter, after, limit).await?)
    }

    /// A tenant's executions that hold dead letters, newest first.
    pub async fn list_dead(
        &self,
        tenant: &TenantId,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, ReadError> {
        Ok(self.store.list_dead(tenant, after, limit).await?)
    }

    /// Checks an execution's log from end to end: gaps, the hash chain, that it folds, and that its snapshot, if there
    /// is one, is what it folds to.
    ///
    /// # Errors
    /// [`ReadError::Snapshot`] for a snapshot that does not hold; what is wrong with the log itself comes first. A
    /// snapshot of another state version is not comparable, and not looked at.
    pub async fn verify(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Loaded, ReadError> {
        // Before the log: what grows meanwhile is then the log, and the snapshot is not ahead of it.
        let snapshot = self.store.snapshot(tenant, execution).await?;
        let mut check = snapshot::Check::new(snapshot);
        let lineage = self.store.lineage(tenant, execution).await?;
        let mut cursor = self.cursor(tenant, execution);
        cursor.verify = true;
        if let Some(root) = lineage.last() {
            cursor.head = genesis(tenant, root.execution);
        }
        while cursor.fold_next().await? {
            check.pass(&cursor)?;
        }
        let loaded = cursor.finish()?;
        check.end()?;
        Ok(loaded)
    }
}

fn compile_stored(stored: &StoredGraph) -> Result<Arc<CompiledGraph>, ReadError> {
    CompiledGraph::from_canonical(&stored.document)
        .map(Arc::new)
        .map_err(|problems| ReadError::BadGraph { digest: stored.digest, reason: problems.to_string() })
}

/// One append of a log, decoded.
pub struct Appended {
    pub hash: ChainHash,
    pub envelope: stepstream_shared::event::Envelope,
    pub events: Vec<Event>,
}

/// What a row holds.
fn decoded(execution: ExecutionId, stored: &StoredAppend) -> Result<Appended, ReadError> {
    let unreadable = |source| ReadError::Codec { execution, after: stored.first_seq.saturating_sub(1), source };
    let recorded = codec::decode(&stored.body).map_err(unreadable)?;
    let envelope = recorded.envelope.clone();
    let events: Vec<Event> = recorded.into_events(stored.first_seq).collect();
    if events.last().map(|event| event.sequence) != Some(stored.last_seq) {
        return Err(unreadable(CodecError::Malformed("the row and its events disagree about the sequence".into())));
    }
    Ok(Appended { hash: stored.hash, envelope, events })
}

/// An event of an append as an outside object, by a state that has it applied.
fn shown(event: &Event, index: u32, of: &Appended, execution: &Execution, graph: &CompiledGraph) -> Value {
    event_json(event, index, &of.hash, &of.envelope, execution, graph)
}

/// A walk through the log of one execution, folding as it goes. When the log grows, it can go on.
pub struct LogCursor {
    reader: Reader,
    tenant: TenantId,
    id: ExecutionId,
    page: VecDeque<StoredAppend>,
    read_to: u64,
    head: ChainHash,
    last_first_seq: u64,
    last_epoch: u64,
    snapshot: u64,
    /// Of the rows that were folded.
    bytes: usize,
    verify: bool,
    execution: Execution,
    graph: Option<Arc<CompiledGraph>>,
    graphs: Graphs,
}

impl LogCursor {
    /// The next append, not applied yet; `None` at the present end of the log.
    pub async fn next(&mut self) -> Result<Option<Appended>, ReadError> {
        self.fill().await?;
        let Some(stored) = self.page.pop_front() else { return Ok(None) };
        if stored.first_seq != self.read_to + 1 || stored.last_seq < stored.first_seq {
            return Err(ReadError::Gap { execution: self.id, after: self.read_to, found: stored.first_seq });
        }
        if self.verify {
            codec::verify(&self.head, &stored.body, &stored.hash).map_err(|source| ReadError::Codec {
                execution: self.id,
                after: self.read_to,
                source,
            })?;
        }
        let appended = decoded(self.id, &stored)?;
        self.bytes += stored.body.len();
        self.read_to = stored.last_seq;
        self.head = stored.hash;
        self.last_first_seq = stored.first_seq;
        self.last_epoch = stored.epoch;
        if let Some(Event { data: EventData::ExecutionCreated { graph, .. }, .. }) = appended.events.first() {
            let graph = self.reader.graph(&self.tenant, *graph).await?;
            self.graphs.insert(graph.clone());
            self.graph = Some(graph);
        }
        Ok(Some(appended))
    }

    /// Reads ahead, unless that was done already.
    async fn fill(&mut self) -> Result<(), ReadError> {
        if self.page.is_empty() {
            self.page = self.reader.store.read(&self.tenant, self.id, self.read_to, PAGE).await?.into();
        }
        Ok(())
    }

    /// Folds the next append; `false` at the present end of the log.
    async fn fold_next(&mut self) -> Result<bool, ReadError> {
        let Some(appended) = self.next().await? else { return Ok(false) };
        for event in &appended.events {
            self.apply(event)?;
        }
        Ok(true)
    }

    /// Folds one event of the append that came last.
    pub fn apply(&mut self, event: &Event) -> Result<(), ReadError> {
        self.execution.apply(&self.graphs, event).map_err(|source| ReadError::Fold { execution: self.id, source })
    }

    pub fn execution(&self) -> &Execution {
        &self.execution
    }

    pub fn graph(&self) -> Option<&Arc<CompiledGraph>> {
        self.graph.as_ref()
    }

    /// Folds the next append and gives those of its events that come after `after` as outside objects; `None` at the
    /// present end of the log.
    pub async fn next_json(&mut self, after: u64) -> Result<Option<Vec<Value>>, ReadError> {
        let Some(appended) = self.next().await? else { return Ok(None) };
        let mut found = Vec::new();
        for (index, event) in (0_u32..).zip(&appended.events) {
            self.apply(event)?;
            if event.sequence > after
                && let Some(graph) = &self.graph
            {
                found.push(shown(event, index, &appended, &self.execution, graph));
            }
        }
        Ok(Some(found))
    }

    /// What was folded so far.
    pub fn finish(self) -> Result<Loaded, ReadError> {
        match self.graph {
            Some(graph) if self.execution.sequence() > 0 => Ok(Loaded {
                execution: self.execution,
                graph,
                graphs: self.graphs,
                head: self.head,
                last_first_seq: self.last_first_seq,
                last_epoch: self.last_epoch,
                snapshot: self.snapshot,
            }),
            _ => Err(ReadError::NotFound(self.id)),
        }
    }
}

#[cfg(test)]
mod tests;
