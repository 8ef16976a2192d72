//! Everything in this process: SQLite with every commit synced, queues in memory.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use async_trait::async_trait;
use serde_json::{Value, json};
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::service::Start;
use stepstream_coordinator::store::SqliteStore;
use stepstream_coordinator::{Coordinator, Options, Service};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::graph::CompiledGraph;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_worker::{Context as StepContext, Failure, Worker};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::driver::Driver;
use super::usage::Process;
use super::{BenchArgs, floors, graphs};

/// Slices of executions: as many as a fresh data directory has.
const PARTITIONS: u16 = 64;

pub(super) struct Embedded {
    service: Service,
    graph: Arc<CompiledGraph>,
    inputs: Data,
    directory: std::path::PathBuf,
    ends: Arc<Ends>,
    stop: CancellationToken,
    worker: Shutdown,
    tasks: Mutex<Option<(Coordinator, JoinHandle<()>)>>,
}

/// Who waits for the end of which execution; ends that came before anybody waited.
#[derive(Default)]
struct Ends(Mutex<(Waiting, HashSet<ExecutionId>)>);

type Waiting = HashMap<ExecutionId, oneshot::Sender<()>>;

impl Ends {
    fn ended(&self, id: ExecutionId) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match ends.0.remove(&id) {
            Some(waiting) => {
                let _ = waiting.send(()); // Whoever waited has given up.
            }
            None => {
                ends.1.insert(id);
            }
        }
    }

    fn wait(&self, id: ExecutionId) -> Option<oneshot::Receiver<()>> {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.1.remove(&id) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        ends.0.insert(id, sender);
        Some(receiver)
    }
}

impl Embedded {
    pub(super) async fn start(args: &BenchArgs, directory: &Path) -> Result<Self> {
        let path = directory.join("stepstream.db");
        let store = Arc::new(SqliteStore::open(&path, PARTITIONS).await.context("opening the store")?);
        let bus = Arc::new(InProcessBus::new(InProcessOptions::default()));
        let stop = CancellationToken::new();
        let options = Options { exclusive: true, ..Options::default() };
        let coordinator = stepstream_coordinator::start(options, store, bus.clone(), stop.clone()).await?;
        let service = coordinator.service.clone();
        let worker = Shutdown::new();
        let built = Worker::builder()
            .bus(bus)
            .name("bench")
            .slots(256)
            .register(graphs::NO_OP, async |_: StepContext, _: Value| Ok::<_, Failure>(Value::Null))
            .build()?;
        let told = worker.clone();
        let running = tokio::spawn(async move {
            let _ = built.run(told).await; // What it did is in the log.
        });
        let tenant = TenantId::default_tenant();
        let registered = service.register_graph(&tenant, "bench", &graphs::document(args)).await?;
        let ends = Arc::new(Ends::default());
        tokio::spawn(forward(service.clone(), service.hints(), ends.clone()));
        Ok(Embedded {
            service,
            graph: registered.graph,
            inputs: Data::from_json(&graphs::inputs(args))?,
            directory: directory.to_owned(),
            ends,
            stop,
            worker,
            tasks: Mutex::new(Some((coordinator, running))),
        })
    }
}

/// Tells those who wait. A hint that was missed is found in the list.
async fn forward(
    service: Service,
    mut hints: broadcast::Receiver<stepstream_coordinator::service::Hint>,
    ends: Arc<Ends>,
) {
    loop {
        match hints.recv().await {
            Ok(hint) if hint.terminal => ends.ended(hint.execution),
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => {
                let waiting: Vec<ExecutionId> = {
                    let ends = ends.0.lock().unwrap_or_else(PoisonError::into_inner);
                    ends.0.keys().copied().collect()
                };
                for id in waiting {
                    let found = service.reader().store().find(&TenantId::default_tenant(), id).await;
                    if found.is_ok_and(|found| found.is_some_and(|found| found.summary.terminal)) {
                        ends.ended(id);
                    }
                }
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

#[async_trait]
impl Driver for Embedded {
    async fn run_one(&self) -> Result<ExecutionId> {
        let start = Start {
            graph: self.graph.clone(),
            named: None,
            inputs: self.inputs.clone(),
            idempotency_key: None,
            actor: Actor::User("bench".to_owned()),
            trace: None,
            metadata: None,
            breakpoints: Vec::new(),
            limits: stepstream_shared::graph::LimitOverrides::default(),
            background: None,
        };
        let started = self.service.start(&TenantId::default_tenant(), start).await?;
        if let Some(ended) = self.ends.wait(started.execution) {
            ended.await.context("the coordinator stopped")?;
        }
        Ok(started.execution)
    }

    fn processes(&self) -> Vec<Process> {
        vec![Process { name: "stepstream".to_owned(), pid: std::process::id() }]
    }

    fn durability(&self) -> String {
        self.service.durability().to_owned()
    }

    fn reader(&self) -> Reader {
        self.service.reader().clone()
    }

    async fn floors(&self) -> Result<Value> {
        let fsyncs = floors::fsyncs_per_s(&self.directory)?;
        let path = self.directory.join("floor.db");
        let scratch = SqliteStore::open(&path, 1).await.context("opening a store for the floor")?;
        Ok(json!({
            "fsyncs_per_s": fsyncs,
            "group_commit_appends_per_s": floors::appends_per_s(&scratch).await?,
        }))
    }

    async fn stop(&self) {
        self.worker.request();
        self.stop.cancel();
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((coordinator, worker)) = tasks {
            let _ = worker.await; // A worker that panicked has said so.
            coordinator.stopped().await;
        }
    }
}
