//! The stock worker: options in, exit code out. Its own binary and the command line's `worker` both end here.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use stepstream_runtime::artifact::{ArtifactError, ArtifactsUrl};
use stepstream_runtime::bus::BusError;
use stepstream_runtime::bus::jetstream::{JetStreamBus, JetStreamOptions};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_runtime::telemetry::{self, Telemetry};

use crate::artifacts::Artifacts;
use crate::builtin::{self, Options};
use crate::config::WorkerArgs;
use crate::tenant::TenantShare;
use crate::worker::Worker;

/// A server or store cannot be reached.
const EXIT_UNREACHABLE: u8 = 5;
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
/// A disk is full or read-only.
const EXIT_EXHAUSTED: u8 = 9;
/// Told a second time, and ended before its work was done.
const EXIT_INTERRUPTED: u8 = 130;
/// How long a stopping worker gives the bus to take back what nobody has begun.
const CLOSE: Duration = Duration::from_secs(2);

/// Serves until a signal, and says on standard error why if not. Must be called inside a tokio runtime.
pub async fn serve(args: WorkerArgs) -> ExitCode {
    match try_serve(args).await {
        Ok(code) => code,
        Err((code, why)) => {
            eprintln!("error: {why}");
            ExitCode::from(code)
        }
    }
}

async fn try_serve(args: WorkerArgs) -> Result<ExitCode, (u8, String)> {
    let telemetry = Telemetry { format: args.log_format, ..Telemetry::default() };
    telemetry::init(&telemetry).map_err(|error| (EXIT_USAGE, error.to_string()))?;
    let shutdown =
        Shutdown::on_signal().map_err(|error| (EXIT_FAILED, format!("cannot listen for signals: {error}")))?;

    let (url, name) = (args.nats(), args.name());
    let options = JetStreamOptions { name: name.clone(), ..JetStreamOptions::default() };
    let bus = tokio::select! {
        bus = JetStreamBus::connect(&url, options) => bus.map_err(|error| no_bus(&url, &error))?,
        () = shutdown.requested() => return Ok(ended(&shutdown)),
    };
    let artifacts = match &args.artifacts {
        Some(url) => Some(url.open().map_err(|error| no_artifacts(url, &error))?),
        None => None,
    };
    let stock = Options { allow_process: args.allow_process, http: args.http.reach(), jq_program: None };
    let mut worker = Worker::builder();
    if let Some(store) = artifacts {
        worker = worker.artifacts(Artifacts::new(store).inline_bytes(args.inline_bytes));
    }
    for TenantShare { tenant, weight } in &args.tenants {
        worker = worker.tenant_with_weight(tenant.clone(), *weight);
    }
    let worker = worker
        .bus(Arc::new(bus.clone()))
        .queues(args.queues.clone())
        .slots(args.slots.get())
        .name(name)
        .grace(args.grace)
        .callables(|registry| builtin::register_all(registry, stock))
        .build()
        .map_err(|error| (EXIT_USAGE, error.to_string()))?;

    worker.run(shutdown.clone()).await.map_err(|error| unreachable_bus(&url, &error))?;
    match tokio::time::timeout(CLOSE, bus.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the bus was not closed cleanly; what it held comes again"),
        Err(_) => tracing::warn!("the bus did not close in time; what it held comes again"),
    }
    Ok(ended(&shutdown))
}

/// A drain is a good end, also where it had to hand something back; being told twice is not.
fn ended(shutdown: &Shutdown) -> ExitCode {
    if shutdown.is_now() { ExitCode::from(EXIT_INTERRUPTED) } else { ExitCode::SUCCESS }
}

fn no_bus(url: &str, error: &BusError) -> (u8, String) {
    match error {
        BusError::BadUrl(why) => (EXIT_USAGE, why.clone()),
        other => unreachable_bus(url, other),
    }
}

fn no_artifacts(url: &ArtifactsUrl, error: &ArtifactError) -> (u8, String) {
    let code = match error {
        ArtifactError::BadUrl(_) => EXIT_USAGE,
        ArtifactError::Full(_) | ArtifactError::Denied(_) => EXIT_EXHAUSTED,
        _ => EXIT_UNREACHABLE,
    };
    (code, format!("artifacts at {url}: {error}"))
}

fn unreachable_bus(url: &str, error: &(impl std::error::Error + ?Sized)) -> (u8, String) {
    (EXIT_UNREACHABLE, format!("NATS at {}: {error}", without_password(url)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("nats://me:secret@a:4222,b"), "nats://***@a:4222,b");
        assert_eq!(without_password("nats://a:4222"), "nats://a:4222");
    }

    #[test]
    fn an_unreachable_bus_has_its_own_exit_code() {
        let (code, why) = unreachable_bus("nats://a:1", &BusError::Unavailable("nobody there".into()));
        assert_eq!((code, why.as_str()), (5, "NATS at nats://a:1: the bus cannot be reached: nobody there"));
    }
}
