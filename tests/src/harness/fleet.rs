//! A fleet as it runs in production, on this machine: nats-server, PostgreSQL, coordinators and workers, each a process
//! of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use stepstream_coordinator::ports::EventStore;
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::store::{PostgresOptions, PostgresStore};
use stepstream_runtime::servers::{NatsServer, PostgresServer};
use stepstream_shared::id::PartitionId;
use tokio::sync::{Mutex, MutexGuard};

use super::api::Api;
use super::process::Process;
use super::programs;
use super::receiver::SECRET;
use super::verdict::{Expected, Verdict};
use crate::{poll, servers};

/// Fleets of one test binary run one after the other: what is measured in one must not be disturbed by another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Few, so that two coordinators share soon; enough to be shared.
const PARTITIONS: &str = "16";

/// How a fleet is made up.
#[derive(Debug, Clone)]
pub struct Plan {
    pub coordinators: usize,
    pub workers: usize,
    pub slots: usize,
    pub lease: Duration,
    pub redispatch_after: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            coordinators: 2,
            workers: 3,
            slots: 16,
            lease: Duration::from_secs(2),
            redispatch_after: Duration::from_secs(3),
        }
    }
}

pub struct Fleet {
    // In the order in which they end.
    pub coordinators: Vec<Process>,
    pub workers: Vec<Process>,
    pub nats: NatsServer,
    pub postgres: PostgresServer,
    plan: Plan,
    directory: tempfile::TempDir,
    database: String,
    store: Arc<PostgresStore>,
    _turn: MutexGuard<'static, ()>,
}

impl Fleet {
    /// # Panics
    /// When something of it does not start.
    pub async fn start(plan: Plan) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let directory = tempfile::Builder::new().prefix("stepstream-fleet-").tempdir().expect("a directory");
        let (nats, postgres) = tokio::join!(servers::nats(), servers::postgres());
        let (nats, postgres) = (nats.expect("nats-server"), postgres.expect("PostgreSQL"));
        postgres.create_database("fleet").await.expect("a database");
        let database = postgres.url("fleet");
        // Made here, so that the tests' own view of the log does not depend on any coordinator.
        let partitions = PARTITIONS.parse().expect("a number");
        let store = PostgresStore::open(&PostgresOptions::new(&database, partitions)).await.expect("a store");
        let mut fleet = Fleet {
            coordinators: Vec::new(),
            workers: Vec::new(),
            nats,
            postgres,
            plan: plan.clone(),
            directory,
            database,
            store: Arc::new(store),
            _turn: turn,
        };
        for index in 0..plan.coordinators {
            let process = fleet.launch_coordinator(index, "127.0.0.1:0");
            fleet.coordinators.push(process);
        }
        for index in 0..plan.workers {
            let process = fleet.launch_worker(index);
            fleet.workers.push(process);
        }
        for index in 0..plan.coordinators {
            fleet.api_when_ready(index).await;
        }
        for worker in &mut fleet.workers {
            worker.says("taking jobs").await;
        }
        fleet
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file below the fleet's directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where coordinators and workers have their artifacts.
    pub fn artifacts(&self) -> PathBuf {
        self.file("artifacts")
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    fn launch_coordinator(&self, index: usize, listen: &str) -> Process {
        let mut command = programs::command(&programs::stepstream(), self.directory());
        command
            .args(["coordinator", "--nats", &self.nats.url(), "--postgres", &self.database])
            .args(["--listen", listen, "--name", &format!("coordinator-{index}")])
            .args(["--lease", &format!("{}ms", self.plan.lease.as_millis())])
            .args(["--redispatch-after", &format!("{}ms", self.plan.redispatch_after.as_millis())])
            .args(["--partitions", PARTITIONS])
            .args(["--artifacts", &self.artifacts().display().to_string()])
            // Whoever is called back lives on this machine.
            .args(["--webhook-secret", SECRET, "--callback-allow", "127.0.0.1", "--callback-allow-http"]);
        Process::start(&format!("coordinator-{index}"), command, self.directory())
    }

    fn launch_worker(&self, index: usize) -> Process {
        self.launch_worker_of("default", &format!("worker-{index}"))
    }

    /// A worker of one queue. It ends with what is returned.
    pub fn launch_worker_of(&self, queue: &str, name: &str) -> Process {
        let mut command = programs::command(&programs::stepstream(), self.directory());
        command.args(["worker", "--nats", &self.nats.url(), "--name", name, "--queue", queue]).args([
            "--slots",
            &self.plan.slots.to_string(),
            "--allow-process",
            "--artifacts",
            &self.artifacts().display().to_string(),
        ]);
        Process::start(name, command, self.directory())
    }

    /// One more worker than there are.
    pub async fn add_worker(&mut self) {
        let mut process = self.launch_worker(self.workers.len());
        process.says("taking jobs").await;
        self.workers.push(process);
    }

    /// One more coordinator than there are.
    pub async fn add_coordinator(&mut self) -> Api {
        let index = self.coordinators.len();
        let process = self.launch_coordinator(index, "127.0.0.1:0");
        self.coordinators.push(process);
        self.api_when_ready(index).await
    }

    /// The API of a coordinator, when it serves.
    pub async fn api_when_ready(&mut self, index: usize) -> Api {
        let process = &mut self.coordinators[index];
        let base = poll::until(&format!("{} tells its address", process.name), async || {
            if let Some(status) = process.ended() {
                panic!("{} ended with {status}:\n{}", process.name, process.log());
            }
            process.stdout().lines().find_map(|line| line.strip_prefix("ready ").map(str::to_owned))
        })
        .await;
        let api = Api::new(&base);
        api.ready().await;
        api
    }

    /// The API of a coordinator that has told its address.
    ///
    /// # Panics
    /// When it has not.
    pub fn api(&self, index: usize) -> Api {
        let out = self.coordinators[index].stdout();
        Api::new(out.lines().find_map(|line| line.strip_prefix("ready ")).expect("told when it started"))
    }

    /// The tests' own view of the log.
    pub fn reader(&self) -> Reader {
        Reader::new(self.store.clone())
    }

    pub fn store(&self) -> &Arc<PostgresStore> {
        &self.store
    }

    /// How many partitions each owner has, by the database.
    pub async fn partitions_by_owner(&self) -> std::collections::BTreeMap<String, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for partition in self.store.partitions().await.unwrap_or_default() {
            if let Some(owner) = partition.owner.filter(|_| !partition.lease_expired) {
                *counts.entry(owner).or_default() += 1;
            }
        }
        counts
    }

    /// How many of these executions lie in partitions of this coordinator.
    pub async fn driven_by(&self, coordinator: &str, ids: &[String]) -> usize {
        let owners = self.store.partitions().await.expect("PostgreSQL answers");
        let count = u16::try_from(owners.len()).expect("few");
        let of = |id: &String| PartitionId::of(id.parse().expect("an id"), count);
        let theirs = |partition| {
            let owner = owners.iter().find(|row| row.partition == partition).and_then(|row| row.owner.as_deref());
            owner.is_some_and(|owner| owner.starts_with(&format!("{coordinator}-")))
        };
        ids.iter().filter(|id| theirs(of(id))).count()
    }

    /// Waits until every partition has an owner and each of so many coordinators has its share.
    pub async fn partitions_are_shared_by(&self, coordinators: usize) {
        let all: usize = PARTITIONS.parse().expect("a number");
        poll::until(&format!("{coordinators} coordinators share the partitions"), async || {
            let owners = self.partitions_by_owner().await;
            let least = all / coordinators;
            (owners.len() == coordinators
                && owners.values().sum::<usize>() == all
                && owners.values().all(|count| *count >= least))
            .then_some(())
        })
        .await;
    }

    /// Waits until all have ended, in this store's view, and checks everything that must be true then.
    pub async fn verdict(&self, ids: &[String], expected: Expected) -> Verdict {
        let verdict = Verdict::of(&self.reader(), ids, expected).await;
        // Once more as a user would, from outside.
        if let Some(id) = ids.first() {
            let arguments = ["replay", id, "--verify", "--postgres", &self.database, "-o", "json"];
            programs::run(self.directory(), &arguments).await.exited(0);
        }
        verdict
    }

    /// The last sequence of the stream of jobs: every job that was ever published counts.
    pub async fn jobs_published(&self) -> u64 {
        let client = async_nats::connect(self.nats.url()).await.expect("nats-server answers");
        let jetstream = async_nats::jetstream::new(client);
        let mut stream = jetstream.get_stream("JOBS").await.expect("the stream is there");
        stream.info().await.expect("it can be asked").state.last_sequence
    }

    /// A JSON string of a path inside the fleet's directory, for inputs.
    pub fn path(&self, name: &str) -> Value {
        Value::String(self.file(name).display().to_string())
    }
}
