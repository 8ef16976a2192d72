//! Puts a coordinator together: engine, writer lanes, partition keeper, and the facade over them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use stepstream_runtime::bus::{CoordinatorBus, QueueId};
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_runtime::random;
use stepstream_shared::id::{ExecutionId, TenantId};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::artifacts::Artifacts;
use crate::callback::{CallbackOptions, Callbacks};
use crate::engine::{AtRest, Engine, HINTS, Input, Parts, Settings};
use crate::errands::ERRANDS;
use crate::keeper::Keeper;
use crate::ownership::{ExecutionsInMemory, OwnedPartitions};
use crate::permits::{PERMIT_WORK, Permits};
use crate::ports::{EventStore, Member, StoreError};
use crate::reading::Reader;
use crate::refusals::Refusals;
use crate::schedules::Schedules;
use crate::service::Service;
use crate::store::GroupCommit;

/// The queue that every installation has.
pub const DEFAULT_QUEUE: &str = "default";
/// Background executions that a coordinator has running at the same time, unless somebody says otherwise.
pub const DEFAULT_BACKGROUND_LIMIT: NonZeroUsize = NonZeroUsize::new(64).expect("it is not zero");
/// How often the jobs stream is looked at for signs of loss.
const LOOK_AT_JOBS: Duration = Duration::from_secs(1);

/// Appends on their way: eight full group commits, enough to keep every lane busy.
const APPENDS_IN_FLIGHT: usize = 4096;

/// Which executions are driven that nobody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recover {
    /// All that owe something, and those whose moment comes, in the partitions held.
    All,
    /// Only those named, and those started or asked for later.
    Only(Vec<(TenantId, ExecutionId)>),
}

#[derive(Debug, Clone)]
pub struct Options {
    /// For people; identity is fresh for each process.
    pub name: String,
    /// Others may take a partition this long after its owner was heard of last.
    pub lease: Duration,
    /// Writer lanes, each one transaction at a time.
    pub lanes: usize,
    /// The store belongs to this process alone (its file is locked).
    pub exclusive: bool,
    pub recover: Recover,
    /// Silence after which a job is looked for on the bus.
    pub redispatch_after: Duration,
    /// Publish events to the live feed on the bus.
    pub feed: bool,
    /// Background executions that this coordinator has running at the same time; the others are queued.
    pub background_limit: NonZeroUsize,
    /// Start what is queued. A process that only asks for something and leaves lets it lie for whoever drives it: its time
    /// would run out while nobody does.
    pub admits: bool,
    /// Who may be called back, and how it is signed.
    pub callbacks: CallbackOptions,
    /// When executions at rest leave memory. Matters only if all are recovered.
    pub at_rest: AtRest,
    /// Where artifacts are, if anywhere.
    pub artifacts: Option<Artifacts>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "coordinator".to_owned(),
            lease: Duration::from_secs(5),
            lanes: 2,
            exclusive: false,
            recover: Recover::All,
            redispatch_after: Duration::from_secs(30),
            feed: false,
            background_limit: DEFAULT_BACKGROUND_LIMIT,
            admits: true,
            callbacks: CallbackOptions::default(),
            at_rest: AtRest::default(),
            artifacts: None,
        }
    }
}

/// A running coordinator.
pub struct Coordinator {
    pub service: Service,
    permits: Permits,
    tasks: Vec<JoinHandle<()>>,
    superseded: CancellationToken,
}

impl Coordinator {
    /// Waits until the store knows what executions have used so far, and those know what follows for them; two seconds at
    /// most. For whoever is about to stop a coordinator whose executions have ended: nobody drives those again.
    pub async fn settled(&self) {
        crate::permits::settled(&self.permits).await;
    }

    /// Ends when the store was restored: this coordinator does nothing more, and another one has to be started.
    pub async fn superseded(&self) {
        self.superseded.cancelled().await;
    }

    /// After the shutdown token was cancelled: waits until everything on its way is durable and the partitions are
    /// given back.
    pub async fn stopped(self) {
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the coordinator ended badly");
            }
        }
    }
}

/// Starts a coordinator over a store and a bus, by the clock of the operating system.
pub async fn start(
    options: Options,
    store: Arc<dyn EventStore>,
    bus: Arc<dyn CoordinatorBus>,
    shutdown: CancellationToken,
) -> Result<Coordinator, StoreError> {
    start_by(Arc::new(SystemClock), options, store, bus, shutdown).await
}

/// Starts a coordinator that is told the time by `clock`. How long it waits, it measures by the runtime's.
pub async fn start_by(
    clock: Arc<dyn Clock>,
    options: Options,
    store: Arc<dyn EventStore>,
    bus: Arc<dyn CoordinatorBus>,
    shutdown: CancellationToken,
) -> Result<Coordinator, StoreError> {
    let meta = store.meta().await?;
    let reader = Reader::new(store.clone());
    let (hints, _) = broadcast::channel(HINTS);
    let owned = OwnedPartitions::default();
    let refusals = Refusals::default();
    let in_memory = ExecutionsInMemory::default();
    // The lanes outlive the shutdown token: what the engine has on its way is still to be written.
    let (lanes, completions) =
        GroupCommit::new(store.clone(), options.lanes, CancellationToken::new()).port(APPENDS_IN_FLIGHT);
    let (errands, errands_to_run) = mpsc::channel(ERRANDS);
    let (permits, permit_work) = mpsc::channel(PERMIT_WORK);
    let (callbacks, callbacks_to_run) = mpsc::channel(ERRANDS);
    let (engine, sender) = Engine::new(Parts {
        settings: Settings {
            recover_all: options.recover == Recover::All,
            redispatch_after: options.redispatch_after,
            feed: options.feed,
            background_limit: if options.admits { options.background_limit.get() } else { 0 },
            at_rest: options.at_rest,
        },
        meta: meta.clone(),
        reader: reader.clone(),
        bus: bus.clone(),
        clock: clock.clone(),
        lanes,
        hints: hints.clone(),
        owned: owned.clone(),
        refusals: refusals.clone(),
        in_memory: in_memory.clone(),
        errands,
        permits: permits.clone(),
        callbacks,
    });
    let service = Service::new(
        reader,
        sender.clone(),
        bus.clone(),
        clock.clone(),
        meta.clone(),
        hints,
        owned.clone(),
        refusals,
        in_memory,
        options.exclusive,
        options.artifacts,
        Callbacks::new(options.callbacks),
    );
    let queue = QueueId { tenant: TenantId::default_tenant(), name: DEFAULT_QUEUE.to_owned() };
    if let Err(error) = bus.declare_queue(&queue).await {
        tracing::warn!(%error, "the default queue is not declared yet; it is with the first job");
    }
    let (engine_stopped, wait_for_engine) = oneshot::channel();
    let engine_shutdown = shutdown.clone();
    let quiet = CancellationToken::new();
    let engine_is_quiet = quiet.clone().drop_guard();
    let mut tasks = vec![tokio::spawn(async move {
        Box::pin(engine.run(completions, engine_shutdown)).await;
        drop(engine_is_quiet);
        let _ = engine_stopped.send(()); // The keeper may have ended first.
    })];
    tokio::spawn(crate::errands::run(service.clone(), errands_to_run, shutdown.clone()));
    tasks.push(tokio::spawn(crate::permits::keep(service.clone(), permits.clone(), permit_work, quiet)));
    tokio::spawn(crate::permits::sweep(service.clone(), permits.clone(), owned.clone(), shutdown.clone()));
    tokio::spawn(crate::errands::run_callbacks(service.clone(), callbacks_to_run, shutdown.clone()));
    let id = format!("{}-{:032x}", options.name, u128::from_be_bytes(random::bytes()));
    let schedules = Schedules {
        store: store.clone(),
        service: service.clone(),
        clock,
        owned: owned.clone(),
        changed: service.schedules_changed(),
    };
    let superseded = CancellationToken::new();
    let keeper = Keeper {
        store,
        member: Member { id, name: options.name },
        lease: options.lease,
        exclusive: options.exclusive,
        engine: sender.clone(),
        incarnation: meta.incarnation,
        superseded: superseded.clone(),
    };
    tasks.push(tokio::spawn(keeper.run(shutdown.clone(), wait_for_engine)));
    if options.recover == Recover::All {
        tasks.push(tokio::spawn(schedules.run(shutdown.clone())));
    }
    if !options.exclusive {
        tasks.push(tokio::spawn(look_at_jobs(bus.clone(), sender.clone(), shutdown.clone())));
        tasks.push(tokio::spawn(crate::forwarding::serve(
            service.clone(),
            bus,
            owned,
            meta.partitions,
            shutdown.clone(),
        )));
    }
    if let Recover::Only(executions) = options.recover {
        for (tenant, execution) in executions {
            if let Err(error) = service.wake(&tenant, execution).await {
                tracing::warn!(%execution, %error, "not resumed");
            }
        }
    }
    Ok(Coordinator { service, permits, tasks, superseded })
}

async fn look_at_jobs(
    bus: Arc<dyn CoordinatorBus>,
    engine: tokio::sync::mpsc::Sender<Input>,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_AT_JOBS) => {}
        }
        if engine.send(Input::JobsState(bus.jobs_state().await)).await.is_err() {
            return;
        }
    }
}
