//! What a coordinator offers: the one facade that the API, the command line and tests call.

mod artifacts;
mod bulk;
mod schedules;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use stepstream_runtime::bus::{BusError, CoordinatorBus};
use stepstream_runtime::clock::Clock;
use stepstream_runtime::offload;
use stepstream_runtime::random;
use stepstream_shared::background::{Background, BackgroundRequest};
use stepstream_shared::data::Data;
use stepstream_shared::event::{Actor, EventData};
use stepstream_shared::execution::{Command, StartRequest, Steer, Steering};
use stepstream_shared::graph::{CompiledGraph, LimitOverrides, Source, compile_knowing, inline_references};
use stepstream_shared::id::{ControlId, ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::{Answer, Forwarded, ForwardedRequest, PROTOCOL, TraceContext, WireError};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::time::Instant;

use crate::artifacts::Artifacts;
use crate::callback::Callbacks;
use crate::engine::{Input, Request, RequestBody};
use crate::error::{answer_of, chain, result_of};
use crate::ownership::{ExecutionsInMemory, OwnedPartitions};
use crate::planted::{self, Bug};
use crate::ports::{StoreMeta, StoredGraph};
use crate::reading::{Loaded, Reader};
use crate::refusals::{Refusals, RefusedOutcomes, RefusedRequests};
use crate::seals::Seals;
use crate::tenants::RememberedLimits;

pub use self::bulk::{BULK_MOST, Bulk, BulkAction, BulkPart};
pub use self::schedules::{BACKFILL_MOST, Backfill, Backfilled, ScheduleChange};
pub use crate::error::ServiceError;
pub use crate::hint::Hint;

/// How long a request looks for the owner of its partition before it gives up: longer than a lease and a takeover.
const FIND_OWNER: Duration = Duration::from_secs(15);
/// How long one try with another coordinator may take.
const ONE_TRY: Duration = Duration::from_secs(5);
/// Rest between tries.
const REST: Duration = Duration::from_millis(50);
/// How often somebody who waits looks at the log, whatever the hints say.
const LOOK: Duration = Duration::from_millis(250);
/// Longest reason of a cancellation or a pause, in bytes: an error text may be as long.
pub const MAX_REASON_BYTES: usize = stepstream_shared::error::MAX_MESSAGE_BYTES;
/// Longest idempotency key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// What a new execution is made of.
#[derive(Debug, Clone)]
pub struct Start {
    pub graph: Arc<CompiledGraph>,
    /// The words by which the caller named the graph, `None` for a document. They are what a repeated request is
    /// compared by: the name may stand for a newer version by then, and the request is the same all the same.
    pub named: Option<String>,
    pub inputs: Data,
    /// The same key and the same request give the first answer back.
    pub idempotency_key: Option<String>,
    pub actor: Actor,
    pub trace: Option<TraceContext>,
    /// Whatever the caller wants to find again in the first event.
    pub metadata: Option<Data>,
    /// Nodes before which it is to be paused.
    pub breakpoints: Vec<String>,
    /// In the place of what the graph says.
    pub limits: LimitOverrides,
    /// It runs in the background, so.
    pub background: Option<BackgroundRequest>,
}

/// What somebody asks of an execution that exists.
#[derive(Debug, Clone)]
pub struct Ask {
    pub what: Steering,
    /// Whoever asks, by the name under which approvals know people.
    pub by: String,
    /// The same key again is the same request, and is done once.
    pub idempotency_key: Option<String>,
}

impl Ask {
    pub fn new(by: impl Into<String>, what: Steering) -> Self {
        Ask { what, by: by.into(), idempotency_key: None }
    }
}

/// An execution that exists, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    pub execution: ExecutionId,
    /// False when the idempotency key had been used for the same request before.
    pub created: bool,
}

/// A graph that is registered.
#[derive(Debug, Clone)]
pub struct Registered {
    pub graph: Arc<CompiledGraph>,
    pub registered_at: Timestamp,
    /// False when it had been registered before.
    pub created: bool,
}

/// What tells a repeated request from another one under the same key.
fn request_hash(
    graph: &CompiledGraph,
    named: Option<&str>,
    inputs: &Data,
    breakpoints: &[String],
    limits: &LimitOverrides,
    background: Option<&BackgroundRequest>,
) -> Result<Vec<u8>, ServiceError> {
    let mut hasher = blake3::Hasher::new();
    let (kind, graph): (&[u8], &[u8]) = match named {
        Some(name) => (b"named", name.as_bytes()),
        None => (b"document", graph.digest.as_bytes()),
    };
    // Requests without breakpoints or limits have the hash that they had before there were any.
    let limits = if limits.is_none() { None } else { Some(limits.to_json().to_string()) };
    let marked = limits.iter().flat_map(|limits| [b"".as_slice(), limits.as_bytes()]);
    let breakpoints = breakpoints.iter().map(|node| node.as_bytes());
    for part in [kind, graph, inputs.as_msgpack()].into_iter().chain(breakpoints).chain(marked) {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    if let Some(background) = background {
        let asked = serde_json::to_vec(background).map_err(|error| ServiceError::Internal(error.to_string()))?;
        hasher.update(b"background");
        hasher.update(&asked);
    }
    Ok(hasher.finalize().as_bytes()[..16].to_vec())
}

/// A cheap way to reach a coordinator.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    reader: Reader,
    engine: mpsc::Sender<Input>,
    bus: Arc<dyn CoordinatorBus>,
    clock: Arc<dyn Clock>,
    meta: StoreMeta,
    hints: broadcast::Sender<Hint>,
    owned: OwnedPartitions,
    refusals: Refusals,
    seals: Seals,
    in_memory: ExecutionsInMemory,
    exclusive: bool,
    /// A schedule was changed here.
    schedules_changed: Arc<Notify>,
    artifacts: Option<Artifacts>,
    callbacks: Callbacks,
    limits: RememberedLimits,
}

impl Service {
    #[expect(clippy::too_many_arguments, reason = "the parts are named once, where a coordinator is put together")]
    pub(crate) fn new(
        reader: Reader,
        engine: mpsc::Sender<Input>,
        bus: Arc<dyn CoordinatorBus>,
        clock: Arc<dyn Clock>,
        meta: StoreMeta,
        hints: broadcast::Sender<Hint>,
        owned: OwnedPartitions,
        refusals: Refusals,
        in_memory: ExecutionsInMemory,
        exclusive: bool,
        artifacts: Option<Artifacts>,
        callbacks: Callbacks,
    ) -> Self {
        let schedules_changed = Arc::default();
        let seals = Seals::new(meta.mac_key);
        let limits = RememberedLimits::default();
        Service(Arc::new(Inner {
            reader,
            engine,
            bus,
            clock,
            meta,
            hints,
            owned,
            refusals,
            seals,
            in_memory,
            exclusive,
            schedules_changed,
            artifacts,
            callbacks,
            limits,
        }))
    }

    /// Told when a schedule was changed here.
    pub(crate) fn schedules_changed(&self) -> Arc<Notify> {
        self.0.schedules_changed.clone()
    }

    pub(crate) fn remembered_limits(&self) -> &RememberedLimits {
        &self.0.limits
    }

    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }

    /// What an acknowledged append has survived, in words.
    pub fn durability(&self) -> &str {
        &self.0.meta.durability
    }

    /// Partitions that this coordinator holds.
    pub fn partitions_held(&self) -> usize {
        self.0.owned.count()
    }

    /// Executions that this coordinator has in memory: those that it has something to do for, and for a while those that
    /// rest.
    pub fn executions_in_memory(&self) -> usize {
        self.0.in_memory.count()
    }

    /// Slices that the executions of this store are divided into.
    pub fn partitions(&self) -> u16 {
        self.0.meta.partitions
    }

    /// Grows with every restore of the store.
    pub fn incarnation(&self) -> u64 {
        self.0.meta.incarnation
    }

    /// Outcomes that this coordinator refused since it was started.
    pub fn refused_outcomes(&self) -> RefusedOutcomes {
        self.0.refusals.counted(self.0.bus.undecodable())
    }

    /// Requests of other coordinators, or of those who say that they are, that this one refused since it was started.
    pub fn refused_requests(&self) -> RefusedRequests {
        self.0.refusals.requests()
    }

    /// Growth of the logs that this coordinator drives. May miss some: the log decides.
    pub fn hints(&self) -> broadcast::Receiver<Hint> {
        self.0.hints.subscribe()
    }

    /// Compiles a document and registers it; the same document again changes nothing.
    pub async fn register_graph(&self, tenant: &TenantId, file: &str, text: &str) -> Result<Registered, ServiceError> {
        let documents = self.taken_in(tenant, file, text).await?;
        let (name, text) = (file.to_owned(), text.to_owned());
        // A large document takes long enough to hold up whoever shares this thread.
        let graph =
            offload::run(move || compile_knowing(&Source { name: &name, text: &text }, &documents).map(Arc::new))
                .await
                .map_err(|error| ServiceError::Internal(error.to_string()))?
                .map_err(|problems| ServiceError::BadGraph(problems.to_string()))?;
        if let Some(stored) = self.0.reader.store().get_graph(tenant, &graph.digest).await? {
            self.0.reader.remember(tenant, graph.clone());
            return Ok(Registered { graph, registered_at: stored.registered_at, created: false });
        }
        let registered_at = self.0.clock.now();
        let stored = StoredGraph {
            digest: graph.digest,
            name: graph.name.clone(),
            version: graph.version.clone(),
            document: graph.canonical.clone(),
            registered_at,
        };
        self.0.reader.store().put_graph(tenant, &stored).await?;
        self.0.reader.remember(tenant, graph.clone());
        Ok(Registered { graph, registered_at, created: true })
    }

    /// The graphs that a document takes in by name, by these names: as they are now, so that what is registered never
    /// changes. The compiler says which of them are not there.
    async fn taken_in(
        &self,
        tenant: &TenantId,
        file: &str,
        text: &str,
    ) -> Result<HashMap<String, String>, ServiceError> {
        let mut documents = HashMap::new();
        for name in inline_references(&Source { name: file, text }) {
            match self.0.reader.find_graph(tenant, &name).await.map_err(ServiceError::from) {
                Ok(graph) => {
                    documents.insert(name, graph.canonical.clone());
                }
                Err(ServiceError::GraphNotFound(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(documents)
    }

    /// Brings an execution into being; durable when this returns.
    pub async fn start(&self, tenant: &TenantId, start: Start) -> Result<Started, ServiceError> {
        let Start {
            graph,
            named,
            inputs,
            idempotency_key: key,
            actor,
            trace,
            metadata,
            breakpoints,
            limits,
            background,
        } = start;
        let hash_of = |asked: &Option<BackgroundRequest>| {
            request_hash(&graph, named.as_deref(), &inputs, &breakpoints, &limits, asked.as_ref())
        };
        let request_hash = key.is_some().then(|| hash_of(&background)).transpose()?;
        let background = background.map(|asked| self.checked(tenant, asked)).transpose()?.map(Box::new);
        let Some(key) = key else {
            let execution = self.fresh_id();
            self.enter(tenant, execution).await?;
            let inputs = self.put_inputs_away(tenant, execution, &graph, inputs).await?;
            let what = ForwardedRequest::Start {
                graph: graph.digest,
                inputs,
                request_hash: None,
                metadata,
                breakpoints,
                parent: None,
                planning: false,
                limits,
                background,
            };
            let begun =
                self.submit(tenant, Forwarded { protocol: PROTOCOL, execution, actor, key: None, trace, what }).await;
            self.unless_begun(tenant, execution, &begun).await;
            return begun.map(|()| Started { execution, created: true });
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            let found = key.len();
            return Err(ServiceError::TooLarge(format!(
                "the idempotency key is {found} bytes; it has 1 to {MAX_KEY_BYTES}"
            )));
        }
        // The id is derived from the key, so that the log itself keeps one key from making two executions.
        let execution =
            ExecutionId::derived("stepstream 2026 keyed execution", &[tenant.as_str().as_bytes(), key.as_bytes()]);
        let entered = match self.enter(tenant, execution).await {
            Ok(entered) => entered,
            // The answer to a request that is repeated stays what it was.
            Err(error @ ServiceError::TooMany(_)) => {
                return match self.load(tenant, execution, Some(1)).await {
                    Ok(loaded) if loaded.execution.request_hash() == request_hash.as_deref() => {
                        Ok(Started { execution, created: false })
                    }
                    Ok(_) => Err(ServiceError::KeyConflict),
                    Err(_) => Err(error),
                };
            }
            Err(other) => return Err(other),
        };
        let inputs = self.put_inputs_away(tenant, execution, &graph, inputs).await?;
        let give_up = Instant::now() + FIND_OWNER;
        loop {
            let what = ForwardedRequest::Start {
                graph: graph.digest,
                inputs: inputs.clone(),
                request_hash: request_hash.clone(),
                metadata: metadata.clone(),
                breakpoints: breakpoints.clone(),
                parent: None,
                planning: false,
                limits: limits.clone(),
                background: background.clone(),
            };
            let (actor, key, trace) = (actor.clone(), Some(key.clone()), trace.clone());
            match self.submit(tenant, Forwarded { protocol: PROTOCOL, execution, actor, key, trace, what }).await {
                Ok(()) => return Ok(Started { execution, created: true }),
                Err(ServiceError::KeyConflict) => {}
                Err(other) => {
                    let begun = Err(other);
                    if entered {
                        self.unless_begun(tenant, execution, &begun).await;
                    }
                    return begun.map(|()| Started { execution, created: true });
                }
            }
            match self.load(tenant, execution, Some(1)).await {
                Ok(loaded) if loaded.execution.request_hash() == request_hash.as_deref() => {
                    return Ok(Started { execution, created: false });
                }
                Ok(_) => return Err(ServiceError::KeyConflict),
                // The request that came first is on its way to the log. Should it not arrive, this one will.
                Err(ServiceError::NotFound(_)) if Instant::now() < give_up => tokio::time::sleep(REST).await,
                Err(ServiceError::NotFound(_)) => {
                    let text = "another request under this idempotency key is not decided yet";
                    return Err(ServiceError::Unavailable(text.to_owned()));
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// What is recorded of a request for a background execution.
    fn checked(&self, tenant: &TenantId, asked: BackgroundRequest) -> Result<Background, ServiceError> {
        let wrong = |field: &str, why: &str| format!("`background.{field}`: {why}");
        let background = asked.check(self.0.clock.now()).map_err(|problems| {
            let problems = problems.iter().map(|problem| wrong(problem.field, &problem.why));
            ServiceError::InvalidForm(problems.collect())
        })?;
        if let Some(url) = &background.callback_url {
            let checked = self.0.callbacks.check(tenant, url);
            checked.map_err(|why| ServiceError::InvalidForm(vec![wrong("callback_url", &why)]))?;
        }
        Ok(background)
    }

    /// Makes callbacks.
    pub(crate) fn callbacks(&self) -> &Callbacks {
        &self.0.callbacks
    }

    /// Gives back the place of an execution that was refused. Where nobody knows whether it has begun, its log says so
    /// later to whoever compares.
    async fn unless_begun(&self, tenant: &TenantId, execution: ExecutionId, begun: &Result<(), ServiceError>) {
        let refused =
            matches!(begun, Err(error) if !matches!(error, ServiceError::Unavailable(_) | ServiceError::KeyConflict));
        if refused
            && self.remembered_limits().limits_executions(tenant)
            && let Err(error) = self.leave(tenant, execution).await
        {
            tracing::debug!(%execution, %error, "a place was not given back; its log is compared later");
        }
    }

    /// An id whose partition this coordinator holds, if it holds any: a start need not travel then.
    fn fresh_id(&self) -> ExecutionId {
        let now = self.0.clock.now();
        let mut id = random::execution_id(now);
        for _ in 0..64 {
            if self.0.owned.contains(PartitionId::of(id, self.0.meta.partitions)) {
                break;
            }
            id = random::execution_id(now);
        }
        id
    }

    /// Asks something of an execution; durable when this returns.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] where it means nothing as the execution stands (a control that was denied is on record),
    /// [`ServiceError::Forbidden`] for a person who is not assigned, [`ServiceError::NotThere`] for an unknown step or
    /// signal, [`ServiceError::InvalidForm`] for a value that does not fit.
    pub async fn steer(&self, tenant: &TenantId, execution: ExecutionId, ask: Ask) -> Result<(), ServiceError> {
        let Ask { what, by, idempotency_key: key } = ask;
        if let Steering::Cancel { reason } | Steering::Pause { reason } | Steering::Resume { reason: Some(reason) } =
            &what
            && reason.len() > MAX_REASON_BYTES
        {
            let found = reason.len();
            return Err(ServiceError::TooLarge(format!(
                "the reason is {found} bytes; the limit is {MAX_REASON_BYTES} (reason limit)"
            )));
        }
        let id = match &key {
            Some(key) if key.is_empty() || key.len() > MAX_KEY_BYTES => {
                let found = key.len();
                return Err(ServiceError::TooLarge(format!(
                    "the idempotency key is {found} bytes; it has 1 to {MAX_KEY_BYTES}"
                )));
            }
            Some(_) if planted::has(Bug::ForgetsKeys) => random::id(self.0.clock.now()),
            // Another request under the same key, or another person's, is another request: nobody remembers what was
            // asked under it.
            Some(key) => {
                let asked = serde_json::to_vec(&what).map_err(|error| ServiceError::Internal(error.to_string()))?;
                let parts = [execution.as_bytes(), key.as_bytes(), by.as_bytes(), &asked];
                ControlId::derived("stepstream 2026 keyed request", &parts)
            }
            None => random::id(self.0.clock.now()),
        };
        let what = self.put_payload_away(tenant, execution, what).await?;
        let actor = Actor::User(by.clone());
        let what = ForwardedRequest::Steer(Steer { id, by, what });
        self.submit(tenant, Forwarded { protocol: PROTOCOL, execution, actor, key, trace: None, what }).await
    }

    /// Cancels an execution; durable when this returns.
    pub async fn cancel(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        reason: String,
        by: &str,
    ) -> Result<(), ServiceError> {
        self.steer(tenant, execution, Ask::new(by, Steering::Cancel { reason })).await
    }

    /// Holds an execution: nothing is dispatched and its time stands still until it is resumed. Attempts that workers
    /// have already end and are recorded. Durable when this returns.
    pub async fn pause(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        reason: String,
        by: &str,
    ) -> Result<(), ServiceError> {
        self.steer(tenant, execution, Ask::new(by, Steering::Pause { reason })).await
    }

    /// Lets a paused execution go on, with the time that it had left. Durable when this returns.
    pub async fn resume(&self, tenant: &TenantId, execution: ExecutionId, by: &str) -> Result<(), ServiceError> {
        self.steer(tenant, execution, Ask::new(by, Steering::Resume { reason: None })).await
    }

    /// Brings what one execution owes to another to the owner of the other.
    pub(crate) async fn between(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        key: Option<String>,
        what: ForwardedRequest,
    ) -> Result<(), ServiceError> {
        let (actor, trace) = (Actor::System, None);
        self.submit(tenant, Forwarded { protocol: PROTOCOL, execution, actor, key, trace, what }).await
    }

    /// Has an execution driven if its partition is ours.
    pub(crate) async fn wake_here(&self, tenant: &TenantId, execution: ExecutionId) -> Result<(), ServiceError> {
        let partition = PartitionId::of(execution, self.0.meta.partitions);
        if self.0.exclusive || self.0.owned.contains(partition) { self.wake(tenant, execution).await } else { Ok(()) }
    }

    /// Brings a request to the owner of its partition, whoever that is by then.
    async fn submit(&self, tenant: &TenantId, request: Forwarded) -> Result<(), ServiceError> {
        let partition = PartitionId::of(request.execution, self.0.meta.partitions);
        let give_up = Instant::now() + FIND_OWNER;
        let mut tried = false;
        loop {
            let outcome = if self.0.exclusive || self.0.owned.contains(partition) {
                self.carry_out(tenant, request.clone()).await
            } else {
                self.pass_on(tenant, partition, &request).await
            };
            match outcome {
                // What became of a try whose answer did not come, only the log knows.
                Err(_) if tried && self.is_done(tenant, &request).await => return Ok(()),
                Err(ServiceError::Unavailable(text)) => {
                    if Instant::now() >= give_up {
                        return Err(ServiceError::Unavailable(text));
                    }
                    tried = true;
                    tokio::time::sleep(REST).await;
                }
                other => return other,
            }
        }
    }

    /// Asks the owner of a partition, by the bus.
    async fn pass_on(&self, tenant: &TenantId, to: PartitionId, request: &Forwarded) -> Result<(), ServiceError> {
        let internal = |error: WireError| ServiceError::Internal(error.to_string());
        let body = request.encode().map_err(internal)?;
        let (id, sealed) = self.0.seals.seal(tenant, self.0.clock.now(), body).map_err(internal)?;
        match self.0.bus.request(tenant, to, sealed.into(), ONE_TRY).await {
            Ok(answer) => match self.0.seals.open_answer(id, &answer).map(|answer| Answer::decode(&answer)) {
                Some(Ok(answer)) => result_of(answer, request.execution),
                Some(Err(error)) => Err(ServiceError::Internal(format!("an answer is not readable: {error}"))),
                // What became of it, the log knows.
                None => Err(ServiceError::Unavailable("an answer that no coordinator has signed".to_owned())),
            },
            // Trying again makes it no smaller.
            Err(error @ BusError::TooLarge { .. }) => Err(ServiceError::TooLarge(error.to_string())),
            Err(error) => Err(ServiceError::Unavailable(error.to_string())),
        }
    }

    /// Carries out what another coordinator has passed on. The answer; empty for whoever is not one.
    pub(crate) async fn passed_on(&self, tenant: &TenantId, bytes: &[u8]) -> Vec<u8> {
        let (id, result) = match self.0.seals.open(tenant, self.0.clock.now(), bytes) {
            Ok((id, body)) => match Forwarded::decode(&body) {
                Ok(forwarded) => (id, self.carry_out(tenant, forwarded).await),
                Err(error) => {
                    let text = format!("a request of another coordinator is not readable: {error}");
                    (id, Err(ServiceError::Internal(text)))
                }
            },
            Err(bad) => {
                tracing::warn!(%tenant, why = %bad, "a request on the bus was refused");
                self.0.refusals.request(&bad);
                let Some(id) = bad.id() else { return Vec::new() };
                (id, Err(ServiceError::Unavailable(format!("another coordinator has refused the request: {bad}"))))
            }
        };
        let answer = answer_of(result).encode().and_then(|answer| self.0.seals.seal_answer(id, answer));
        answer.unwrap_or_default()
    }

    /// Whether the log shows that a request was carried out. For a start under a key the caller compares requests.
    async fn is_done(&self, tenant: &TenantId, request: &Forwarded) -> bool {
        match &request.what {
            ForwardedRequest::Start { request_hash: None, metadata, .. } => {
                return self.has_begun(tenant, request.execution, metadata.as_ref()).await;
            }
            ForwardedRequest::Start { .. } => return false,
            ForwardedRequest::Steer(_)
            | ForwardedRequest::ChildStarted { .. }
            | ForwardedRequest::ChildEnded { .. }
            | ForwardedRequest::LookAfter { .. }
            | ForwardedRequest::PermitGranted { .. }
            | ForwardedRequest::InboxForwarded { .. }
            | ForwardedRequest::Inherit { .. }
            | ForwardedRequest::AfterEnd(_)
            | ForwardedRequest::PermitDenied { .. }
            | ForwardedRequest::TenantWarned { .. } => {}
        };
        let loaded = self.load(tenant, request.execution, None).await;
        match (&request.what, loaded) {
            (ForwardedRequest::Start { .. }, Ok(_)) => false,
            (ForwardedRequest::Steer(steer), Ok(loaded)) => loaded.execution.has_done(steer.id),
            // Told again, it is taken once.
            (
                ForwardedRequest::ChildStarted { .. }
                | ForwardedRequest::ChildEnded { .. }
                | ForwardedRequest::LookAfter { .. }
                | ForwardedRequest::PermitGranted { .. }
                | ForwardedRequest::InboxForwarded { .. }
                | ForwardedRequest::Inherit { .. }
                | ForwardedRequest::AfterEnd(_)
                | ForwardedRequest::PermitDenied { .. }
                | ForwardedRequest::TenantWarned { .. },
                Ok(_),
            ) => false,
            (_, Err(_)) => false,
        }
    }

    /// Whether a log was begun by such a request. An id that is not random may have been begun by an earlier one, which
    /// then said something else of itself, or asked for the very same.
    async fn has_begun(&self, tenant: &TenantId, execution: ExecutionId, metadata: Option<&Data>) -> bool {
        match self.0.reader.first_event(tenant, execution).await {
            Ok(Some(EventData::ExecutionCreated { metadata: found, .. })) => found.as_ref() == metadata,
            Ok(_) | Err(_) => false,
        }
    }

    /// Carries out a request whose partition this coordinator holds.
    pub(crate) async fn carry_out(&self, tenant: &TenantId, request: Forwarded) -> Result<(), ServiceError> {
        let Forwarded { protocol: _, execution, actor, key, trace, what } = request;
        let body = match what {
            ForwardedRequest::Start {
                graph,
                inputs,
                request_hash,
                metadata,
                breakpoints,
                parent,
                planning,
                limits,
                background,
            } => {
                let graph = self.0.reader.graph(tenant, graph).await?;
                let governed = !self.tenant_limits(tenant).await?.are_none();
                let request = StartRequest {
                    graph: graph.digest,
                    inputs,
                    planning,
                    parent,
                    origin: None,
                    request_hash,
                    metadata,
                    breakpoints,
                    limits,
                    background,
                    governed,
                };
                RequestBody::Start { graph, request: Box::new(request) }
            }
            ForwardedRequest::ChildStarted { child } => {
                RequestBody::Command { name: "child_started", command: Command::ChildStarted { child } }
            }
            ForwardedRequest::ChildEnded { child, ending, used } => {
                RequestBody::Command { name: "child_ended", command: Command::ChildEnded { child, ending, used } }
            }
            ForwardedRequest::InboxForwarded { child, messages } => {
                let command = Command::InboxForwarded { child, messages };
                RequestBody::Command { name: "inbox_forwarded", command }
            }
            ForwardedRequest::Inherit { from, messages } => {
                RequestBody::Command { name: "inherit", command: Command::Inherit { from, messages } }
            }
            ForwardedRequest::PermitGranted { step, attempt, from } => {
                RequestBody::Command { name: "permit_granted", command: Command::PermitGranted { step, attempt, from } }
            }
            ForwardedRequest::AfterEnd(what) => {
                RequestBody::Command { name: "after_end", command: Command::AfterEnd(Box::new(what)) }
            }
            ForwardedRequest::LookAfter { child } => {
                return Box::pin(crate::errands::look_after(self, tenant, execution, child)).await;
            }
            ForwardedRequest::PermitDenied { step, attempt, limit, current, max, on_limit } => RequestBody::Command {
                name: "permit_denied",
                command: Command::PermitDenied { step, attempt, limit, current, max, on_limit },
            },
            ForwardedRequest::TenantWarned { limit, current, max, day } => RequestBody::Command {
                name: "tenant_warned",
                command: Command::TenantWarned { limit, current, max, day },
            },
            ForwardedRequest::Steer(steer) => {
                RequestBody::Command { name: steer.what.name(), command: Command::Steer(Box::new(steer)) }
            }
        };
        self.ask(Request {
            tenant: tenant.clone(),
            execution,
            actor,
            key,
            trace,
            body,
            reply: oneshot::channel().0, // Replaced when it is asked.
        })
        .await
    }

    async fn ask(&self, request: Request) -> Result<(), ServiceError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || ServiceError::Unavailable("the coordinator is stopping".to_owned());
        self.0.engine.send(Input::Request(Box::new(Request { reply, ..request }))).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Has an execution driven, when unfinished ones are not recovered by themselves.
    pub async fn wake(&self, tenant: &TenantId, execution: ExecutionId) -> Result<(), ServiceError> {
        let give_up = Instant::now() + FIND_OWNER;
        loop {
            let request = Request {
                tenant: tenant.clone(),
                execution,
                actor: Actor::System,
                key: None,
                trace: None,
                body: RequestBody::Wake,
                reply: oneshot::channel().0, // Replaced when it is asked.
            };
            match self.ask(request).await {
                Err(ServiceError::Unavailable(_)) if Instant::now() < give_up => tokio::time::sleep(REST).await,
                other => return other,
            }
        }
    }

    /// Folds an execution, up to and including event `to` if given.
    pub async fn load(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        to: Option<u64>,
    ) -> Result<Loaded, ServiceError> {
        Ok(self.0.reader.load(tenant, execution, to).await?)
    }

    /// Events after sequence `after` as outside objects, at most `limit`.
    pub async fn events(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Value>, ServiceError> {
        Ok(self.0.reader.events(tenant, execution, after, limit).await?)
    }

    /// Waits until an execution is over; `None` after the timeout.
    pub async fn wait(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        timeout: Option<Duration>,
    ) -> Result<Option<Loaded>, ServiceError> {
        let mut hints = self.hints();
        let give_up = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let listed = self.0.reader.store().find(tenant, execution).await?;
            let listed = listed.ok_or(ServiceError::NotFound(execution))?;
            if listed.summary.terminal {
                return self.load(tenant, execution, None).await.map(Some);
            }
            let look_again = Instant::now() + LOOK;
            loop {
                let until = give_up.map_or(look_again, |give_up| give_up.min(look_again));
                match tokio::time::timeout_at(until, hints.recv()).await {
                    Ok(Ok(hint)) if hint.execution == execution && hint.terminal => break,
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => break,
                }
            }
            if give_up.is_some_and(|give_up| Instant::now() >= give_up) {
                return Ok(None);
            }
        }
    }

    /// What stands in the way of being ready; empty when nothing does.
    pub async fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Err(error) = self.0.reader.store().meta().await {
            reasons.push(chain(&error));
        }
        if let Err(error) = self.0.bus.jobs_state().await {
            reasons.push(chain(&error));
        }
        reasons
    }
}
