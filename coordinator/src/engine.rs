//! The engine: one loop that owns the executions of this coordinator's partitions.
//!
//! Everything that can happen arrives as an [`Input`]: outcomes from the bus, requests from the API, commits from the
//! log, loads, publications, partitions won and lost, time. Each is decided against the state of one execution; the
//! events go to the writer lanes; only when they are durable are outcomes acknowledged, callers answered and jobs
//! published. Nothing but this loop appends.
//!
//! The state in memory runs ahead of the log by the appends that are on their way, so that a busy execution does not
//! wait for each commit before its next decision. Nobody sees that: every effect waits for its append. When an append
//! does not make it (a conflict, a lost partition, a store that is gone), the state is thrown away and folded anew.
//!
//! What an input needs but memory lacks is loaded in a task of its own; the loop never waits for the store.

mod admission;
mod after_end;
mod claims;
mod commit;
mod dispatch;
mod families;
mod housekeeping;
mod live;
mod loading;
mod outcome;
mod permits;
mod pressure;
mod request;
mod resting;
mod snapshots;
mod withdraw;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use stepstream_runtime::bus::{Asked, BusError, CoordinatorBus, Delivery, JobsStreamState, Published};
use stepstream_runtime::clock::Clock;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::{MacKey, Outcome};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::errands::Errand;
use crate::hint::Hint;
use crate::ownership::{ExecutionsInMemory, OwnedPartitions};
use crate::permits::Permits;
use crate::ports::{Agenda, AgendaRow, Append, StoreMeta};
use crate::reading::{Loaded, ReadError, Reader};
use crate::recovery::{Permit, Recovery};
use crate::refusals::Refusals;
use crate::store::{Completions, Submitter};

pub(crate) use live::JobKey;
pub(crate) use request::{Request, RequestBody};
pub use resting::AtRest;

use admission::{Admission, Queued};
use commit::Pending;
use live::Live;
use loading::Waiting;

/// Inputs waiting for the loop. Full means that decisions are the bottleneck: those who send wait.
pub(crate) const INPUTS: usize = 4096;
/// Inputs taken at a time, so that commits and deadlines get their turn.
const INPUTS_AT_A_TIME: usize = 256;
/// Hints kept for slow listeners; who misses some asks the log.
pub(crate) const HINTS: usize = 4096;
/// Longest sleep of the loop: housekeeping is due at least this often.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// Anything that can happen.
pub(crate) enum Input {
    Request(Box<Request>),
    Outcomes(PartitionId, Vec<(TenantId, Delivery<Outcome>)>),
    /// Workers wait for an answer.
    Questions(PartitionId, Vec<Asked>),
    /// With its place on the agenda, if that is known.
    Loaded(ExecutionId, Box<Result<Loaded, ReadError>>, Option<Agenda>),
    /// An execution that is on the agenda: at a takeover, or because its moment comes.
    Wake(AgendaRow, Permit),
    Published(Vec<(JobKey, Result<Published, BusError>)>),
    Gained {
        partition: PartitionId,
        epoch: u64,
    },
    /// All that a partition's agenda named when it was gained is loaded.
    Recovered {
        partition: PartitionId,
        epoch: u64,
    },
    /// Another coordinator owns it, or nobody.
    Lost(PartitionId),
    /// Finish what is on its way for a partition and let go of it.
    Release(PartitionId, oneshot::Sender<()>),
    JobsState(Result<JobsStreamState, BusError>),
    /// What is first in the queue of background executions.
    Queued(Option<Queued>),
    /// Jobs that the bus does not hold any more, without a sign of life.
    Missing(Vec<JobKey>),
}

/// What the engine is told at the start.
pub(crate) struct Settings {
    /// Drive all that is on the agenda of a partition, or only what is asked for.
    pub(crate) recover_all: bool,
    pub(crate) at_rest: AtRest,
    /// Silence after which a job is suspected lost.
    pub(crate) redispatch_after: Duration,
    /// Publish events to the live feed.
    pub(crate) feed: bool,
    /// Background executions that run at the same time.
    pub(crate) background_limit: usize,
}

pub(crate) struct Engine {
    settings: Settings,
    meta: StoreMeta,
    key: MacKey,
    reader: Reader,
    bus: Arc<dyn CoordinatorBus>,
    clock: Arc<dyn Clock>,
    lanes: Submitter,
    /// Appends that the lanes had no room for; no input is taken while there are any.
    backlog: VecDeque<(Append, u64)>,
    inputs: mpsc::Receiver<Input>,
    /// For the tasks that report back.
    sender: mpsc::WeakSender<Input>,
    publisher: mpsc::Sender<Vec<stepstream_shared::wire::Job>>,
    settler: mpsc::UnboundedSender<dispatch::Settlement>,
    snapshots: mpsc::Sender<(TenantId, ExecutionId)>,
    hints: broadcast::Sender<Hint>,
    owned: OwnedPartitions,
    refusals: Refusals,
    held: BTreeMap<PartitionId, Held>,
    live: HashMap<ExecutionId, Live>,
    loading: HashMap<ExecutionId, Vec<Waiting>>,
    pending: HashMap<u64, Pending>,
    next_ticket: u64,
    next_generation: u64,
    next_dispatch: u64,
    deadlines: BinaryHeap<Reverse<(Timestamp, ExecutionId)>>,
    heartbeats: BinaryHeap<Reverse<(Timestamp, ExecutionId, u32)>>,
    /// Jobs that the bus did not take, to be offered again.
    unsent: VecDeque<JobKey>,
    unsent_due: Timestamp,
    pressure: pressure::Pressure,
    /// Executions to fold again after the store was unreachable.
    reload: BTreeSet<(TenantId, ExecutionId)>,
    reload_due: Timestamp,
    jobs_state: Option<JobsStreamState>,
    /// The bus cannot be reached: what workers say does not arrive.
    deaf: bool,
    /// When that was over last.
    hears_since: Timestamp,
    suspects_due: Timestamp,
    recovery: Recovery,
    /// When the timers are to be read again, and who reads them.
    timers_due: Timestamp,
    looking: Option<JoinHandle<()>>,
    /// When memory is to be looked through again.
    sweep_due: Timestamp,
    in_memory: ExecutionsInMemory,
    errands: mpsc::Sender<Errand>,
    /// Executions that may owe errands.
    parents: BTreeSet<ExecutionId>,
    families_due: Timestamp,
    permits: Permits,
    /// Executions that may wait for permits.
    askers: BTreeSet<ExecutionId>,
    permits_due: Timestamp,
    callbacks: mpsc::Sender<Errand>,
    admission: Admission,
}

/// A partition that this coordinator owns.
struct Held {
    epoch: u64,
    /// Stops what pulls for it.
    stop: CancellationToken,
    /// What was on its agenda when it was gained is in memory.
    recovered: bool,
    /// Appends of it on their way.
    in_flight: u32,
    releasing: Option<oneshot::Sender<()>>,
}

/// What an engine is built from.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) meta: StoreMeta,
    pub(crate) reader: Reader,
    pub(crate) bus: Arc<dyn CoordinatorBus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lanes: Submitter,
    pub(crate) hints: broadcast::Sender<Hint>,
    pub(crate) owned: OwnedPartitions,
    pub(crate) refusals: Refusals,
    pub(crate) in_memory: ExecutionsInMemory,
    pub(crate) errands: mpsc::Sender<Errand>,
    pub(crate) permits: Permits,
    /// Callbacks, which are as slow as others are.
    pub(crate) callbacks: mpsc::Sender<Errand>,
}

impl Engine {
    /// An engine, and how to reach it. The sender is the only thing that keeps it running besides its shutdown token.
    pub(crate) fn new(parts: Parts) -> (Self, mpsc::Sender<Input>) {
        let (sender, inputs) = mpsc::channel(INPUTS);
        let publisher = dispatch::spawn_publisher(parts.bus.clone(), sender.downgrade());
        let settler = dispatch::spawn_settler();
        let admission = Admission::new(parts.settings.background_limit);
        let recovery = Recovery::new(parts.reader.store().clone(), sender.downgrade());
        let snapshots = snapshots::spawn_snapshots(parts.reader.clone());
        let engine = Engine {
            key: MacKey(parts.meta.mac_key),
            settings: parts.settings,
            meta: parts.meta,
            reader: parts.reader,
            bus: parts.bus,
            clock: parts.clock,
            lanes: parts.lanes,
            backlog: VecDeque::new(),
            inputs,
            sender: sender.downgrade(),
            publisher,
            settler,
            snapshots,
            hints: parts.hints,
            owned: parts.owned,
            refusals: parts.refusals,
            held: BTreeMap::new(),
            live: HashMap::new(),
            loading: HashMap::new(),
            pending: HashMap::new(),
            next_ticket: 0,
            next_generation: 0,
            next_dispatch: 0,
            deadlines: BinaryHeap::new(),
            heartbeats: BinaryHeap::new(),
            unsent: VecDeque::new(),
            unsent_due: Timestamp::default(),
            pressure: pressure::Pressure::default(),
            reload: BTreeSet::new(),
            reload_due: Timestamp::default(),
            jobs_state: None,
            deaf: false,
            hears_since: Timestamp::default(),
            suspects_due: Timestamp::default(),
            recovery,
            timers_due: Timestamp::default(),
            looking: None,
            sweep_due: Timestamp::default(),
            in_memory: parts.in_memory,
            errands: parts.errands,
            parents: BTreeSet::new(),
            families_due: Timestamp::default(),
            permits: parts.permits,
            askers: BTreeSet::new(),
            permits_due: Timestamp::default(),
            callbacks: parts.callbacks,
            admission,
        };
        (engine, sender)
    }

    /// Runs until the shutdown token is cancelled and every append on its way is known.
    pub(crate) async fn run(mut self, mut completions: Completions, shutdown: CancellationToken) {
        let mut batch = Vec::with_capacity(INPUTS_AT_A_TIME);
        loop {
            let stopping = shutdown.is_cancelled();
            if stopping {
                for held in self.held.values() {
                    held.stop.cancel();
                }
                if self.pending.is_empty() {
                    break;
                }
            }
            let sleep = self.sleep();
            tokio::select! {
                biased;
                Some(done) = completions.next() => {
                    for (ticket, result) in done {
                        self.committed(ticket, result).await;
                    }
                    self.submit_backlog().await;
                }
                count = self.inputs.recv_many(&mut batch, INPUTS_AT_A_TIME), if !stopping && self.backlog.is_empty() => {
                    if count == 0 {
                        break; // Nobody can reach the engine any more.
                    }
                    for input in batch.drain(..) {
                        self.take(input).await;
                    }
                }
                () = tokio::time::sleep(sleep), if !stopping => {}
                () = shutdown.cancelled(), if !stopping => {}
            }
            if !shutdown.is_cancelled() {
                self.keep_time().await;
            }
            self.in_memory.are(self.live.len());
        }
        tracing::debug!("the engine has stopped with nothing on its way");
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Request(request) => self.request(*request).await,
            Input::Outcomes(partition, outcomes) => {
                for (tenant, delivery) in outcomes {
                    self.outcome(partition, tenant, delivery).await;
                }
            }
            Input::Questions(partition, questions) => {
                for asked in questions {
                    self.asked(partition, asked).await;
                }
            }
            Input::Loaded(id, loaded, agenda) => self.loaded(id, *loaded, agenda).await,
            Input::Wake(row, permit) => self.wake(row, permit),
            Input::Published(results) => self.published(results).await,
            Input::Gained { partition, epoch } => self.gained(partition, epoch),
            Input::Recovered { partition, epoch } => self.recovered(partition, epoch),
            Input::Lost(partition) => self.lost(partition),
            Input::Release(partition, done) => self.release(partition, done),
            Input::JobsState(state) => self.jobs_state(state),
            Input::Queued(rows) => self.admit(rows).await,
            Input::Missing(jobs) => self.missing(&jobs),
        }
    }
}
