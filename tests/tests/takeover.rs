//! A long execution changes hands: who takes over goes on from its snapshot.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use stepstream_coordinator::ports::EventStore;
use stepstream_coordinator::reading::{Reader, SNAPSHOT_EVERY};
use stepstream_coordinator::service::Start;
use stepstream_coordinator::store::SqliteStore;
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::execution::ExecutionState;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_tests::poll::until;
use stepstream_worker::Worker;
use tokio_util::sync::CancellationToken;

/// Long enough for one snapshot and a tail behind it.
const ITEMS: usize = 3_000;
/// Nobody takes jobs of the queue `late` before the takeover.
const GRAPH: &str = "
stepstream: 1
name: long
version: 1.0.0
nodes:
  each: { map: { over: '=inputs.items', max_concurrency: 500 }, task: echo, with: '=item', next: [ { to: last } ] }
  last: { task: echo, queue: late, with: done }
output: '=steps.last.output'
";

/// A coordinator over the file, and a worker of these queues.
struct Fleet {
    store: Arc<SqliteStore>,
    coordinator: Coordinator,
    stop: CancellationToken,
    worker: Shutdown,
}

impl Fleet {
    async fn over(path: &Path, queues: &[&str]) -> Self {
        let store = Arc::new(SqliteStore::open(path, 1).await.unwrap());
        let bus = Arc::new(InProcessBus::new(InProcessOptions::default()));
        let stop = CancellationToken::new();
        let options = Options { exclusive: true, ..Options::default() };
        let coordinator = start(options, store.clone(), bus.clone(), stop.clone()).await.unwrap();
        let worker = Shutdown::new();
        let run = Worker::builder()
            .bus(bus)
            .queues(queues.iter().map(|queue| (*queue).to_owned()))
            .slots(64)
            .name("w")
            .callables(|registry| {
                stepstream_worker::builtin::register_all(registry, stepstream_worker::builtin::Options::default());
            })
            .build()
            .unwrap();
        tokio::spawn(run.run(worker.clone()));
        Fleet { store, coordinator, stop, worker }
    }

    fn reader(&self) -> &Reader {
        self.coordinator.service.reader()
    }

    async fn begin(&self, tenant: &TenantId) -> ExecutionId {
        let service = &self.coordinator.service;
        let registered = service.register_graph(tenant, "test.yaml", GRAPH).await.unwrap();
        let start = Start {
            graph: registered.graph,
            named: None,
            metadata: None,
            inputs: Data::from_json(&json!({"items": vec![1; ITEMS]})).unwrap(),
            idempotency_key: None,
            actor: Actor::User("test".to_owned()),
            trace: None,
            breakpoints: Vec::new(),
            limits: stepstream_shared::graph::LimitOverrides::default(),
            background: None,
        };
        service.start(tenant, start).await.unwrap().execution
    }

    async fn end(self) {
        self.worker.request();
        self.stop.cancel();
        self.coordinator.stopped().await;
        self.store.close().await;
    }
}

/// Changes the file behind everybody's back.
async fn tamper(path: &Path, statements: String) {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_goes_on_from_the_snapshot_and_ends_in_the_state_that_the_whole_log_folds_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let tenant = TenantId::default_tenant();

    let first = Fleet::over(&path, &["default"]).await;
    let id = first.begin(&tenant).await;
    until("a snapshot is kept", async || first.store.snapshot(&tenant, id).await.unwrap()).await;
    until("only the last step is open", async || {
        let execution = first.reader().load(&tenant, id, None).await.unwrap().execution;
        (execution.counts().completed as usize == ITEMS + 1).then_some(())
    })
    .await;
    first.end().await;
    let store = SqliteStore::open_read_only(&path).await.unwrap();
    let snapshot = store.snapshot(&tenant, id).await.unwrap().unwrap();
    assert!(snapshot.sequence >= SNAPSHOT_EVERY);
    store.close().await;

    // Whoever folds from the beginning cannot go on now.
    let before = snapshot.first_seq;
    tamper(
        &path,
        format!(
            "create table saved as select first_seq, body from events where first_seq < {before};
             update events set body = x'c1' where first_seq < {before}"
        ),
    )
    .await;
    let second = Fleet::over(&path, &["default", "late"]).await;
    until("the execution ends", async || {
        let listed = second.store.find(&tenant, id).await.unwrap().unwrap();
        listed.summary.terminal.then_some(())
    })
    .await;
    let resumed = second.reader().load_present(&tenant, id).await.unwrap();
    assert_eq!(resumed.snapshot, snapshot.sequence);
    assert!(second.reader().load(&tenant, id, None).await.is_err());
    second.end().await;

    tamper(
        &path,
        format!(
            "update events set body = (select saved.body from saved where saved.first_seq = events.first_seq)
             where first_seq < {before};
             drop table saved"
        ),
    )
    .await;
    let store = Arc::new(SqliteStore::open_read_only(&path).await.unwrap());
    let folded = Reader::new(store.clone()).verify(&tenant, id).await.unwrap();
    assert_eq!(folded.execution.state(), ExecutionState::Completed);
    assert_eq!(folded.execution.state_hash(), resumed.execution.state_hash());
    assert_eq!(folded.execution.output().to_json(), json!("done"));
    store.close().await;
}
