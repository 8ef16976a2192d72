//! Everything in this process: the store in a directory, the bus in memory, a coordinator and a worker.

mod watched;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stepstream_coordinator::callback::CallbackOptions;
use stepstream_coordinator::config::CallbackArgs;
use stepstream_coordinator::store::SqliteStore;
use stepstream_coordinator::{Coordinator, Options, Recover, Service, ServiceError};
use stepstream_runtime::artifact::ArtifactStore;
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::reach::Reach;
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::id::TenantId;
use stepstream_worker::config::HttpArgs;
use stepstream_worker::{Artifacts, Worker, builtin};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::data_dir::DataDir;
use crate::exit::{Exit, Problem};
use crate::settings::env;
use crate::stop::Stop;
use watched::WatchedStore;

pub use watched::Trouble;

/// Partitions are what coordinators share; here is one, and taking each costs it a sync at the start.
const PARTITIONS: u16 = 1;
/// Steps mostly wait for programs and networks: more of them than processors, and never just one or two.
const SLOTS_PER_CPU: usize = 4;
const LEAST_SLOTS: usize = 8;
/// Nobody who stops a run wants to wait for what is in flight: it is told to stop, has the time that callables have to
/// clean up, and is run again by whoever resumes.
const GRACE: Duration = Duration::ZERO;
/// Within this the worker has stopped, whatever its callables do.
const WORKER_STOPS: Duration = Duration::from_secs(4);

/// Time for what is on its way to be written: longer than a store that is slow is tried again.
const COORDINATOR_STOPS: Duration = Duration::from_secs(30);

/// Slots unless somebody says otherwise.
pub fn default_slots() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).saturating_mul(SLOTS_PER_CPU).max(LEAST_SLOTS)
}

/// The worker of an embedded run.
#[derive(Debug, Clone)]
pub struct WorkerPlan {
    pub tenant: TenantId,
    pub queues: Vec<String>,
    pub slots: usize,
    pub allow_process: bool,
}

pub struct Embedded {
    pub service: Service,
    /// What the store reported that waiting will not mend.
    pub trouble: Trouble,
    coordinator: Coordinator,
    bus: InProcessBus,
    artifacts: ArtifactStore,
    worker: Option<(Shutdown, JoinHandle<()>, Stop)>,
    stop: CancellationToken,
    store: Arc<SqliteStore>,
    // Last: the directory is free only when all of the above is over.
    _dir: DataDir,
}

impl Embedded {
    /// Takes the directory and starts a coordinator over it, to drive executions.
    pub async fn open(data: &Path, recover: Recover) -> Result<Self, Problem> {
        Self::start(data, recover, true).await
    }

    /// Takes the directory to ask for something and leave: what is queued in the background stays queued.
    pub async fn open_to_ask(data: &Path) -> Result<Self, Problem> {
        Self::start(data, Recover::Only(Vec::new()), false).await
    }

    async fn start(data: &Path, recover: Recover, admits: bool) -> Result<Self, Problem> {
        let dir = DataDir::take(data)?;
        let store = Arc::new(SqliteStore::open(dir.log(), PARTITIONS).await?);
        let (watched, trouble) = WatchedStore::new(store.clone());
        let bus = InProcessBus::new(InProcessOptions::default());
        let stop = CancellationToken::new();
        let callbacks = callbacks()?;
        let artifacts = dir.artifacts()?;
        let options = Options {
            name: "embedded".to_owned(),
            exclusive: true,
            recover,
            admits,
            callbacks,
            artifacts: Some(stepstream_coordinator::artifacts::Artifacts::new(artifacts.clone())),
            ..Options::default()
        };
        let coordinator =
            stepstream_coordinator::start(options, Arc::new(watched), Arc::new(bus.clone()), stop.clone()).await?;
        let service = coordinator.service.clone();
        Ok(Embedded { service, trouble, coordinator, bus, artifacts, worker: None, stop, store, _dir: dir })
    }

    /// The answer to a request, unless the store cannot write: then that, instead of trying until somebody gives up.
    pub async fn or_trouble<T>(
        &self,
        request: impl Future<Output = Result<T, ServiceError>> + Send,
    ) -> Result<T, Problem> {
        tokio::select! {
            biased;
            problem = self.trouble.seen() => Err(problem),
            answer = request => answer.map_err(Problem::from),
        }
    }

    /// Starts running steps. Whoever asks twice for a stop wants programs ended at once.
    pub fn start_worker(&mut self, plan: WorkerPlan, stop: &Stop) -> Result<(), Problem> {
        let stock = builtin::Options { allow_process: plan.allow_process, http: http_reach()?, jq_program: None };
        let worker = Worker::builder()
            .bus(Arc::new(self.bus.clone()))
            .artifacts(Artifacts::new(self.artifacts.clone()))
            .tenant(plan.tenant)
            .queues(plan.queues)
            .slots(plan.slots)
            .name(format!("embedded-{}", std::process::id()))
            .grace(GRACE)
            .callables(|registry| builtin::register_all(registry, stock))
            .build()
            .map_err(|error| Problem::usage(error.to_string()))?;
        let shutdown = Shutdown::new();
        let told = shutdown.clone();
        let running = tokio::spawn(async move {
            if let Err(error) = worker.run(told).await {
                tracing::error!(%error, "the worker ended");
            }
        });
        self.worker = Some((shutdown, running, stop.clone()));
        Ok(())
    }

    /// Ends attempts in flight, writes what is on its way, and gives the directory back. Programs are asked to end and
    /// have a moment for it, unless whoever stops this asks twice.
    pub async fn close(self) {
        if let Some((shutdown, mut running, stop)) = self.worker {
            shutdown.request();
            let stopping = async {
                tokio::select! {
                    _ = &mut running => return,
                    () = stop.impatient() => shutdown.request_now(),
                }
                let _ = (&mut running).await;
            };
            if tokio::time::timeout(WORKER_STOPS, stopping).await.is_err() {
                running.abort();
            }
        }
        self.coordinator.settled().await;
        self.stop.cancel();
        let (coordinator, store) = (self.coordinator, self.store);
        let stopping = async {
            coordinator.stopped().await;
            store.close().await;
        };
        if tokio::time::timeout(COORDINATOR_STOPS, stopping).await.is_err() {
            // What was acknowledged is durable; the rest is not, and is done again.
            tracing::warn!("the coordinator did not stop in time; ending without it");
        }
    }
}

/// Whom executions of this machine may call back, as the environment says.
pub fn callbacks() -> Result<CallbackOptions, Problem> {
    CallbackArgs::from_env(&env).options().map_err(|error| Problem::usage(error.to_string()))
}

/// What the callable `http` of this machine's workers may reach, as the environment says.
pub fn http_reach() -> Result<Reach, Problem> {
    HttpArgs::from_env(&env).map(|args| args.reach()).map_err(|error| Problem::usage(error.to_string()))
}

/// What a number of slots may be.
pub fn check_slots(slots: usize) -> Result<usize, Problem> {
    const MOST: usize = 4096;
    if (1..=MOST).contains(&slots) {
        Ok(slots)
    } else {
        Err(Problem::new(Exit::Usage, format!("there are 1 to {MOST} slots, not {slots}")))
    }
}
