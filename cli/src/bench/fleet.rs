//! Real servers and processes on free ports, started and taken down here.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use serde_json::{Value, json};
use stepstream_coordinator::ports::EventStore;
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::store::PostgresStore;
use stepstream_runtime::bus::jetstream::{JetStreamBus, JetStreamOptions};
use stepstream_runtime::servers::find::{Search, cached_tools};
use stepstream_runtime::servers::{NatsOptions, NatsServer, PostgresOptions, PostgresServer};
use stepstream_shared::id::{ExecutionId, TenantId};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::driver::Driver;
use super::usage::Process;
use super::{BenchArgs, floors, graphs};

/// Slices of executions: what a production store has.
const PARTITIONS: u16 = 64;
/// How long a process may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// Above so many executions at a time, ends are found in the list, a page at a time, instead of waited for one by one.
const WAIT_ONE_BY_ONE: u32 = 16;
/// How often the list is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a process may take to end before it is killed.
const END: Duration = Duration::from_secs(20);

pub(super) struct Fleet {
    http: reqwest::Client,
    apis: Vec<String>,
    next: AtomicUsize,
    body: Value,
    one_by_one: bool,
    ends: Arc<Ends>,
    store: Arc<PostgresStore>,
    durability: String,
    /// A database of its own for the bare commits.
    floor: String,
    bus: JetStreamBus,
    directory: PathBuf,
    running: Mutex<Option<Running>>,
    processes: Vec<Process>,
    _poll: DropGuard,
}

/// What is taken down at the end, workers first.
struct Running {
    workers: Vec<Child>,
    coordinators: Vec<Child>,
    nats: NatsServer,
    postgres: PostgresServer,
}

/// Who waits for the end of which execution.
#[derive(Default)]
struct Ends(Mutex<HashMap<ExecutionId, oneshot::Sender<()>>>);

impl Ends {
    fn wait(&self, id: ExecutionId) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        receiver
    }

    fn waiting(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn ended(&self, ids: &HashSet<ExecutionId>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            if let Some(sender) = waiting.remove(id) {
                let _ = sender.send(()); // Whoever waited has given up.
            }
        }
    }
}

impl Fleet {
    pub(super) async fn start(args: &BenchArgs, directory: &Path) -> Result<Self> {
        let search = Search { explicit: None, tools: cached_tools(), install: true };
        eprintln!("starting nats-server and PostgreSQL in {}", directory.display());
        let nats =
            NatsServer::start(NatsOptions { search: search.clone(), ..NatsOptions::new(directory.join("nats")) })
                .await
                .context("starting nats-server")?;
        let options = PostgresOptions { search, ..PostgresOptions::new(directory.join("postgres")) };
        let postgres = PostgresServer::start(options).await.context("starting PostgreSQL")?;
        postgres.create_database("stepstream").await?;
        postgres.create_database("floor").await?;
        let url = postgres.url("stepstream");

        let mut apis = Vec::new();
        let mut processes = vec![
            Process { name: "nats-server".to_owned(), pid: nats.pid() },
            Process { name: "postgres".to_owned(), pid: postgres.pid() },
            Process { name: "bench".to_owned(), pid: std::process::id() },
        ];
        let program = std::env::current_exe().context("where this program is")?;
        let mut coordinators = Vec::new();
        for number in 0..args.coordinators {
            let mut command = Command::new(&program);
            command.args(["coordinator", "--listen", "127.0.0.1:0", "--nats", &nats.url(), "--postgres", &url]);
            command.args(["--partitions", &PARTITIONS.to_string(), "--name", &format!("coordinator-{number}")]);
            let (child, ready) = spawn(command, directory, &format!("coordinator-{number}")).await?;
            let Some(api) = ready.strip_prefix("ready ") else { bail!("a coordinator said `{ready}`") };
            apis.push(api.trim().to_owned());
            processes.push(Process { name: format!("coordinator-{number}"), pid: child.id().unwrap_or_default() });
            coordinators.push(child);
        }
        let mut workers = Vec::new();
        for number in 0..args.workers {
            let mut command = Command::new(&program);
            command.args(["bench-worker", "--nats", &nats.url(), "--name", &format!("bench-worker-{number}")]);
            let (child, _) = spawn(command, directory, &format!("worker-{number}")).await?;
            processes.push(Process { name: format!("worker-{number}"), pid: child.id().unwrap_or_default() });
            workers.push(child);
        }

        let http = reqwest::Client::builder().pool_max_idle_per_host(1024).tcp_nodelay(true).build()?;
        let first = apis.first().context("at least one coordinator")?;
        let registered: Value = http
            .post(format!("{first}/v1/graphs"))
            .header("content-type", "application/yaml")
            .body(graphs::document(args))
            .send()
            .await?
            .error_for_status()
            .context("registering the graph")?
            .json()
            .await?;
        let store = Arc::new(PostgresStore::connect_or_create(&url, PARTITIONS).await?);
        let durability = store.meta().await?.durability;
        let options = JetStreamOptions { name: "bench".to_owned(), ..JetStreamOptions::default() };
        let bus = JetStreamBus::connect(&nats.url(), options).await?;
        let ends = Arc::new(Ends::default());
        let stop = CancellationToken::new();
        let one_by_one = args.in_flight() <= WAIT_ONE_BY_ONE;
        if !one_by_one {
            tokio::spawn(look(store.clone(), ends.clone(), args.in_flight().saturating_mul(3), stop.clone()));
        }
        Ok(Fleet {
            http,
            apis,
            next: AtomicUsize::new(0),
            body: json!({ "graph": registered["graph_id"], "inputs": graphs::inputs(args) }),
            one_by_one,
            ends,
            store,
            durability: format!("{durability}; JetStream with its default sync (nothing on it is the only copy)"),
            floor: postgres.url("floor"),
            bus,
            directory: directory.to_owned(),
            running: Mutex::new(Some(Running { workers, coordinators, nats, postgres })),
            processes,
            _poll: stop.drop_guard(),
        })
    }
}

/// Starts a program and reads the line by which it says that it is ready; its log goes to a file.
async fn spawn(mut command: Command, directory: &Path, name: &str) -> Result<(Child, String)> {
    let path = directory.join(format!("{name}.log"));
    let log = std::fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
    let output = child.stdout.take().context("standard output was piped")?;
    let mut lines = BufReader::new(output).lines();
    let failed = || {
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        format!("{name} did not become ready; it said:\n{log}")
    };
    let ready = tokio::time::timeout(READY, lines.next_line()).await.with_context(failed)??.with_context(failed)?;
    // Whoever writes more to standard output than that must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, ready))
}

/// Finds ends in the list of executions, newest first.
async fn look(store: Arc<PostgresStore>, ends: Arc<Ends>, page: u32, stop: CancellationToken) {
    let tenant = TenantId::default_tenant();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if ends.waiting() == 0 {
            continue;
        }
        match store.list(&tenant, Some("Completed"), None, page).await {
            Ok(rows) => ends.ended(&rows.into_iter().map(|row| row.execution).collect()),
            Err(error) => eprintln!("the list could not be read: {error}"),
        }
    }
}

#[async_trait]
impl Driver for Fleet {
    async fn run_one(&self) -> Result<ExecutionId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let api = &self.apis[number % self.apis.len()];
        let answer = self.http.post(format!("{api}/v1/executions")).json(&self.body).send().await?;
        if !answer.status().is_success() {
            bail!("an execution was not started: {} {}", answer.status(), answer.text().await?);
        }
        let started: Value = answer.json().await?;
        let id: ExecutionId = started["execution_id"].as_str().context("an id in the answer")?.parse()?;
        if !self.one_by_one {
            self.ends.wait(id).await.context("the list is not looked at any more")?;
            return Ok(id);
        }
        loop {
            let url = format!("{api}/v1/executions/{id}/wait?timeout_ms=30000");
            let execution: Value = self.http.get(url).send().await?.error_for_status()?.json().await?;
            match execution["state"].as_str() {
                Some("Completed") => return Ok(id),
                Some("Failed" | "Cancelled") => bail!("{id} ended as {}", execution["state"]),
                _ => {}
            }
        }
    }

    fn processes(&self) -> Vec<Process> {
        self.processes.clone()
    }

    fn durability(&self) -> String {
        self.durability.clone()
    }

    fn reader(&self) -> Reader {
        Reader::new(self.store.clone())
    }

    async fn floors(&self) -> Result<Value> {
        let scratch = PostgresStore::connect_or_create(&self.floor, 1).await?;
        Ok(json!({
            "fsyncs_per_s": floors::fsyncs_per_s(&self.directory)?,
            "jetstream_hop_p50_ms": floors::hop_p50_ms(&self.bus).await?,
            "group_commit_appends_per_s": floors::appends_per_s(&scratch).await?,
        }))
    }

    async fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut running) = running else { return };
        let programs = running.workers.iter_mut().chain(running.coordinators.iter_mut());
        for child in programs {
            end(child).await;
        }
        self.store.close().await;
        running.nats.stop().await;
        running.postgres.stop().await;
    }
}

/// Asks a process of ours to end, and kills it if it does not.
async fn end(child: &mut Child) {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else { return };
    let asked = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    if asked.is_err() || tokio::time::timeout(END, child.wait()).await.is_err() {
        let _ = child.kill().await; // It has ended meanwhile, then.
    }
}
