//! The coordinator as a program: options in, exit code out. Its own binary and the command line's `coordinator` both
//! end here.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use stepstream_runtime::artifact::{ArtifactError, ArtifactsUrl};
use stepstream_runtime::bus::BusError;
use stepstream_runtime::bus::jetstream::{JetStreamBus, JetStreamOptions};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_runtime::telemetry::{self, Telemetry};
use tokio::net::TcpListener;

use crate::api::{self, ApiLimits};
use crate::artifacts::Artifacts;
use crate::config::{CoordinatorArgs, StoreChoice};
use crate::coordinator::Options;
use crate::ports::{EventStore, StoreError};
use crate::store::{PostgresOptions, PostgresStore, SqliteStore};

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
/// A server or store cannot be reached, or an address cannot be listened on.
const EXIT_UNREACHABLE: u8 = 5;
const EXIT_REFUSED: u8 = 6;
/// A disk is full or read-only.
const EXIT_EXHAUSTED: u8 = 9;
/// Told twice to stop.
const EXIT_INTERRUPTED: u8 = 130;
/// How long the bus has to send what it still holds.
const CLOSE: Duration = Duration::from_secs(2);

/// Serves until a signal, and says on standard error why if not. Must be called inside a tokio runtime whose threads
/// have room for evaluating expressions.
pub async fn serve(args: CoordinatorArgs) -> ExitCode {
    match Box::pin(try_serve(args)).await {
        Ok(code) => code,
        Err((code, why)) => {
            let _ = writeln!(std::io::stderr(), "error: {why}"); // Whoever closed it did not want to hear it.
            ExitCode::from(code)
        }
    }
}

async fn try_serve(args: CoordinatorArgs) -> Result<ExitCode, (u8, String)> {
    let Some(choice) = args.store() else {
        let why = "a coordinator needs a log: --postgres URL (or DATABASE_URL), or --sqlite PATH";
        return Err((EXIT_USAGE, why.to_owned()));
    };
    let callbacks = args.callbacks.options().map_err(|error| (EXIT_USAGE, error.to_string()))?;
    let telemetry = Telemetry { format: args.log_format, ..Telemetry::default() };
    telemetry::init(&telemetry).map_err(|error| (EXIT_USAGE, error.to_string()))?;
    let shutdown =
        Shutdown::on_signal().map_err(|error| (EXIT_FAILED, format!("cannot listen for signals: {error}")))?;

    // First what fails at once: an address that is taken is a mistake, a server that is away may be on its way.
    let listener = TcpListener::bind(&args.listen)
        .await
        .map_err(|error| (EXIT_UNREACHABLE, format!("cannot listen on {}: {error}", args.listen)))?;
    let address = listener.local_addr().map_err(|error| (EXIT_FAILED, error.to_string()))?;
    let name = args.name();
    let opened = tokio::select! {
        opened = open(&args, choice, &name) => opened?,
        () = shutdown.requested() => return Ok(ExitCode::SUCCESS),
    };
    let Opened { store, bus } = opened;
    let artifacts = match &args.artifacts {
        Some(url) => Some(url.open().map_err(|error| no_artifacts(url, &error))?),
        None => None,
    };

    let options = Options {
        name: name.clone(),
        lease: args.lease,
        redispatch_after: args.redispatch_after,
        feed: args.feed,
        artifacts: artifacts.map(|store| Artifacts::new(store).inline_bytes(args.inline_bytes)),
        background_limit: args.background_limit,
        callbacks,
        ..Options::default()
    };
    let coordinator = crate::start(options, store, Arc::new(bus.clone()), shutdown.token())
        .await
        .map_err(|error| store_failed(&error))?;
    tracing::info!(%address, name, durability = coordinator.service.durability(), "the coordinator serves");
    let router = api::router(coordinator.service.clone(), ApiLimits::default());
    let api = tokio::spawn(api::serve(listener, router, ApiLimits::default(), shutdown.token()));
    // Nobody has to read it, so it is no error when nobody does.
    let _ = writeln!(std::io::stdout(), "ready http://{address}").and_then(|()| std::io::stdout().flush());

    let ended = tokio::select! {
        () = shutdown.requested() => ExitCode::SUCCESS,
        () = coordinator.superseded() => {
            shutdown.request();
            ExitCode::from(EXIT_REFUSED)
        }
    };
    let drained = async {
        coordinator.stopped().await;
        if let Err(error) = api.await {
            tracing::error!(%error, "the API ended badly");
        }
        if tokio::time::timeout(CLOSE, bus.close()).await.is_err() {
            tracing::warn!("the bus did not close in time; what it held is owed again");
        }
    };
    tokio::select! {
        () = drained => Ok(ended),
        () = shutdown.requested_now() => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        () = tokio::time::sleep(args.grace) => {
            tracing::warn!(grace = ?args.grace, "not everything ended in time; the log has what was acknowledged");
            Ok(ended)
        }
    }
}

struct Opened {
    store: Arc<dyn EventStore>,
    bus: JetStreamBus,
}

async fn open(args: &CoordinatorArgs, choice: StoreChoice, name: &str) -> Result<Opened, (u8, String)> {
    let store: Arc<dyn EventStore> = match choice {
        StoreChoice::Postgres(url) => {
            let options = PostgresOptions::new(url, args.partitions).member(name);
            Arc::new(PostgresStore::open(&options).await.map_err(|error| store_failed(&error))?)
        }
        StoreChoice::Sqlite(path) => {
            Arc::new(SqliteStore::open(path, args.partitions).await.map_err(|error| store_failed(&error))?)
        }
    };
    let options = JetStreamOptions { name: name.to_owned(), ..JetStreamOptions::default() };
    let connect = async {
        let bus = JetStreamBus::connect(args.nats(), options).await?;
        bus.setup().await?;
        Ok::<_, BusError>(bus)
    };
    let bus = connect.await.map_err(|error| {
        let code = match &error {
            BusError::BadUrl(_) => EXIT_USAGE,
            BusError::TooOld { .. } | BusError::Misconfigured(_) => EXIT_REFUSED,
            _ => EXIT_UNREACHABLE,
        };
        (code, format!("NATS at {}: {error}", without_password(args.nats())))
    })?;
    Ok(Opened { store, bus })
}

fn no_artifacts(url: &ArtifactsUrl, error: &ArtifactError) -> (u8, String) {
    let code = match error {
        ArtifactError::BadUrl(_) => EXIT_USAGE,
        ArtifactError::Full(_) | ArtifactError::Denied(_) => EXIT_EXHAUSTED,
        _ => EXIT_UNREACHABLE,
    };
    (code, format!("artifacts at {url}: {error}"))
}

fn store_failed(error: &StoreError) -> (u8, String) {
    let code = match error {
        StoreError::BadUrl { .. } => EXIT_USAGE,
        StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::Absent { .. } => EXIT_UNREACHABLE,
        StoreError::Exhausted { .. } => EXIT_EXHAUSTED,
        StoreError::NewerSchema { .. } | StoreError::Corrupt { .. } | StoreError::Refused { .. } => EXIT_REFUSED,
    };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    (code, text)
}

/// An URL as it may be shown: between `//` and `@` stands a secret.
fn without_password(url: &str) -> String {
    let shown = |server: &str| match (server.find("://"), server.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}***{}", &server[..scheme + 3], &server[at..]),
        (None, Some(at)) => format!("***{}", &server[at..]),
        _ => server.to_owned(),
    };
    url.split(',').map(shown).collect::<Vec<_>>().join(",")
}
