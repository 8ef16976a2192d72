//! The loop against a bus that a test holds in its hand.

mod claims;
mod drain;
mod notes;
mod outcome;
mod pull;
mod signs;
mod tenants;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::error::ExecutionError;
use stepstream_shared::wire::OutcomeResult;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::{MOST_DELIVERIES, RunError, Summary};
use crate::testing::{FAR, FakeBus, Side, Told, job};
use crate::{Failure, Worker, WorkerBuilder};

/// A worker at work, and the bus it works for.
struct Running {
    bus: Arc<FakeBus>,
    shutdown: Shutdown,
    ended: JoinHandle<Result<Summary, RunError>>,
}

fn start(bus: Arc<FakeBus>, with: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Running {
    let shutdown = Shutdown::new();
    let builder = Worker::builder().bus(Arc::new(Side(Arc::clone(&bus)))).name("tested").slots(4);
    let worker = with(builder).build().unwrap();
    let ended = tokio::spawn(worker.run(shutdown.clone()));
    Running { bus, shutdown, ended }
}

impl Running {
    async fn stop(self) -> Summary {
        self.shutdown.request();
        self.summary().await
    }

    async fn summary(self) -> Summary {
        tokio::time::timeout(FAR, self.ended).await.expect("a worker ends").unwrap().unwrap()
    }
}

/// A worker whose callable `gated` says when it begins and waits to be let through.
fn start_gated(
    bus: Arc<FakeBus>,
    with: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
) -> (Running, mpsc::UnboundedReceiver<u32>, Arc<Semaphore>) {
    let (began, begun) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let worker = start(bus, |builder| {
        with(builder).register("gated", move |_, number: u32| {
            let (began, gate) = (began.clone(), Arc::clone(&opened));
            async move {
                began.send(number).map_err(|error| error.to_string())?;
                gate.acquire().await.map_err(|error| error.to_string())?.forget();
                Ok(number)
            }
        })
    });
    (worker, begun, gate)
}

fn failed(result: OutcomeResult) -> ExecutionError {
    match result {
        OutcomeResult::Failed { error, .. } => error,
        other => panic!("not a failure: {other:?}"),
    }
}

fn code(error: &ExecutionError) -> &str {
    error.code.as_ref().map_or("", |code| code.as_str())
}
