//! Executions at rest: what a takeover leaves alone, what leaves memory, and what brings it back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_coordinator::ports::{Agenda, EventStore};
use stepstream_coordinator::service::{Ask, Start};
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{AtRest, Coordinator, Options, Service, start};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::execution::{ExecutionState, Steering};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_tests::poll::until;
use stepstream_worker::{Context, Failure, Worker};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(60);
/// Looks often, and keeps nothing that need not be kept.
const EAGER: AtRest = AtRest {
    horizon: Duration::from_millis(200),
    look: Duration::from_millis(50),
    quiet: Duration::from_millis(40),
    most: 4096,
};
/// Never lets go of anything by itself.
const KEEPING: AtRest = AtRest { quiet: LONG, ..EAGER };

/// Fails once, and waits for so long before it succeeds.
fn retried(after: &str) -> String {
    format!(
        "
stepstream: 1
name: retried
nodes:
  a: {{ task: fail, with: {{ category: NetworkError, message: down, until_attempt: 2 }},
       retry: {{ max_attempts: 3, backoff: constant, base: {after}, max: {after} }} }}
"
    )
}

const GATED: &str = "
stepstream: 1
name: gated
nodes: { a: { task: gated, queue: gates } }
output: '=steps.a.output'
";

/// A store and a bus that outlive the coordinators over them.
struct World {
    store: Arc<MemoryStore>,
    bus: InProcessBus,
    tenant: TenantId,
}

struct Engine {
    coordinator: Coordinator,
    service: Service,
    stop: CancellationToken,
}

impl Engine {
    async fn end(self) {
        self.stop.cancel();
        self.coordinator.stopped().await;
    }

    fn in_memory(&self) -> usize {
        self.service.executions_in_memory()
    }
}

impl World {
    fn new() -> Self {
        let bus = InProcessBus::new(InProcessOptions::default());
        World { store: Arc::new(MemoryStore::new(4)), bus, tenant: TenantId::default_tenant() }
    }

    /// A coordinator that has all partitions.
    async fn engine(&self, at_rest: AtRest) -> Engine {
        let options = Options { at_rest, ..Options::default() };
        let stop = CancellationToken::new();
        let coordinator = start(options, self.store.clone(), Arc::new(self.bus.clone()), stop.clone()).await.unwrap();
        let service = coordinator.service.clone();
        until("all partitions are held", async || (service.partitions_held() == 4).then_some(())).await;
        Engine { coordinator, service, stop }
    }

    fn worker(&self) -> Shutdown {
        let worker = Worker::builder()
            .bus(Arc::new(self.bus.clone()))
            .slots(64)
            .name("stock")
            .callables(|registry| {
                stepstream_worker::builtin::register_all(registry, stepstream_worker::builtin::Options::default());
            })
            .build()
            .unwrap();
        let shutdown = Shutdown::new();
        tokio::spawn(worker.run(shutdown.clone()));
        shutdown
    }

    /// A worker whose callable counts its runs and waits to be let through.
    fn gates(&self) -> (Arc<Semaphore>, Arc<AtomicUsize>, Shutdown) {
        let (gate, runs, shutdown) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), Shutdown::new());
        let (opened, counted) = (gate.clone(), runs.clone());
        let worker = Worker::builder()
            .bus(Arc::new(self.bus.clone()))
            .queues(["gates".to_owned()])
            .slots(8)
            .name("gates")
            .register("gated", move |_: Context, _: Value| {
                let (gate, runs) = (opened.clone(), counted.clone());
                async move {
                    runs.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.map_err(|error| Failure::retryable(error.to_string()))?.forget();
                    Ok::<_, Failure>(json!("done"))
                }
            })
            .build()
            .unwrap();
        tokio::spawn(worker.run(shutdown.clone()));
        (gate, runs, shutdown)
    }

    async fn begin(&self, engine: &Engine, graph: &str, key: Option<&str>) -> (ExecutionId, bool) {
        let registered = engine.service.register_graph(&self.tenant, "test.yaml", graph).await.unwrap();
        let start = Start {
            graph: registered.graph,
            named: None,
            inputs: Data::from_json(&json!({})).unwrap(),
            idempotency_key: key.map(str::to_owned),
            actor: Actor::User("test".to_owned()),
            trace: None,
            metadata: None,
            breakpoints: Vec::new(),
            limits: stepstream_shared::graph::LimitOverrides::default(),
            background: None,
        };
        let started = engine.service.start(&self.tenant, start).await.unwrap();
        (started.execution, started.created)
    }

    async fn agenda(&self, id: ExecutionId) -> Agenda {
        self.store.agenda(&self.tenant, id).await.unwrap()
    }

    /// Starts something that fails once and then rests for this long.
    async fn at_rest(&self, engine: &Engine, after: &str) -> ExecutionId {
        let (id, _) = self.begin(engine, &retried(after), None).await;
        until("it rests", async || matches!(self.agenda(id).await, Agenda::At(_)).then_some(())).await;
        id
    }

    /// Lets everything leave that may: what is started now comes to rest after all that is there, and leaves.
    async fn swept(&self, engine: &Engine) {
        let before = engine.in_memory();
        self.at_rest(engine, "1h").await;
        until("what came last has left", async || (engine.in_memory() <= before).then_some(())).await;
    }

    async fn state(&self, engine: &Engine, id: ExecutionId) -> ExecutionState {
        engine.service.load(&self.tenant, id, None).await.unwrap().execution.state()
    }

    async fn ended(&self, engine: &Engine, id: ExecutionId) -> ExecutionState {
        let loaded = engine.service.wait(&self.tenant, id, Some(PATIENCE)).await.unwrap();
        engine.service.reader().verify(&self.tenant, id).await.unwrap();
        loaded.expect("it ends within the deadline").execution.state()
    }
}

async fn has(engine: &Engine, executions: usize) {
    until("so many are in memory", async || (engine.in_memory() == executions).then_some(())).await;
}

async fn empty(engine: &Engine) {
    has(engine, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_goes_on_with_what_is_owed_and_leaves_alone_what_rests() {
    let world = World::new();
    let worker = world.worker();
    let first = world.engine(KEEPING).await;
    let rests = world.at_rest(&first, "1h").await;
    let (owes, _) = world.begin(&first, GATED, None).await;
    assert_eq!(world.agenda(owes).await, Agenda::Now);
    has(&first, 2).await;
    first.end().await;

    let second = world.engine(KEEPING).await;
    has(&second, 1).await;
    let (gate, _, gates) = world.gates();
    gate.add_permits(1);
    assert_eq!(world.ended(&second, owes).await, ExecutionState::Completed);
    assert_eq!(world.agenda(owes).await, Agenda::Nothing);
    empty(&second).await;
    assert!(matches!(world.agenda(rests).await, Agenda::At(_)));
    worker.request();
    gates.request();
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_comes_due_after_another_coordinator_has_taken_over() {
    let world = World::new();
    let worker = world.worker();
    let first = world.engine(KEEPING).await;
    let id = world.at_rest(&first, "3s").await;
    first.end().await;
    let second = world.engine(KEEPING).await;
    assert_eq!(world.ended(&second, id).await, ExecutionState::Completed);
    worker.request();
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_leaves_memory_and_comes_back_in_time() {
    let world = World::new();
    let worker = world.worker();
    let engine = world.engine(EAGER).await;
    let id = world.at_rest(&engine, "2s").await;
    empty(&engine).await;
    assert_eq!(world.state(&engine, id).await, ExecutionState::Running);
    assert_eq!(world.ended(&engine, id).await, ExecutionState::Completed);
    assert_eq!(world.agenda(id).await, Agenda::Nothing);
    empty(&engine).await;
    worker.request();
    engine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_waits_for_its_child_leaves_memory_and_comes_back_when_that_has_ended() {
    let world = World::new();
    let first = world.engine(EAGER).await;
    let leaf = "stepstream: 1\nname: leaf\nversion: 1.0.0\nnodes: { w: { wait: { signal: go } } }";
    first.service.register_graph(&world.tenant, "leaf.yaml", leaf).await.unwrap();
    let (top, _) = world.begin(&first, "stepstream: 1\nname: top\nnodes: { k: { graph: leaf } }", None).await;
    let child = until("the child waits", async || {
        let loaded = first.service.load(&world.tenant, top, None).await.unwrap();
        let child = loaded.execution.children().find(|(_, child)| child.state().name() == "Running")?.1.id();
        matches!(world.state(&first, child).await, ExecutionState::Waiting(_)).then_some(child)
    })
    .await;
    until("nothing is owed", async || (world.agenda(top).await == Agenda::Nothing).then_some(())).await;
    empty(&first).await;
    first.end().await;

    // A takeover loads neither.
    let second = world.engine(EAGER).await;
    empty(&second).await;
    let go = Steering::Signal { name: "go".to_owned(), correlation: None, payload: Data::null() };
    second.service.steer(&world.tenant, child, Ask::new("ada", go)).await.unwrap();
    assert_eq!(world.ended(&second, top).await, ExecutionState::Completed);
    until("the child knows that it was heard", async || (world.agenda(child).await == Agenda::Nothing).then_some(()))
        .await;
    empty(&second).await;
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_memory_takes_commands_as_if_it_were_there() {
    let world = World::new();
    let worker = world.worker();
    let engine = world.engine(EAGER).await;
    let (id, _) = world.begin(&engine, &retried("1h"), Some("key")).await;
    until("it rests", async || matches!(world.agenda(id).await, Agenda::At(_)).then_some(())).await;
    let due = world.agenda(id).await;
    let (service, tenant) = (&engine.service, &world.tenant);

    empty(&engine).await;
    assert_eq!(world.begin(&engine, &retried("1h"), Some("key")).await, (id, false), "the same key");
    empty(&engine).await;
    service.pause(tenant, id, "lunch".to_owned(), "test").await.unwrap();
    assert_eq!(world.agenda(id).await, Agenda::Nothing);
    empty(&engine).await;
    assert_eq!(world.state(&engine, id).await, ExecutionState::Paused);
    service.resume(tenant, id, "test").await.unwrap();
    assert!(world.agenda(id).await.due_at() > due.due_at(), "what it was held for comes on top");
    empty(&engine).await;
    // Refused, and still there for the next one.
    service.resume(tenant, id, "test").await.unwrap_err();
    service.cancel(tenant, id, "enough".to_owned(), "test").await.unwrap();
    assert_eq!(world.ended(&engine, id).await, ExecutionState::Cancelled);
    assert_eq!(world.agenda(id).await, Agenda::Nothing);
    empty(&engine).await;
    worker.request();
    engine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_has_stays_in_memory_while_it_is_held_and_is_taken_by_whoever_comes_next() {
    let world = World::new();
    let worker = world.worker();
    let (gate, runs, gates) = world.gates();
    let first = world.engine(EAGER).await;
    let (id, _) = world.begin(&first, GATED, None).await;
    until("it is on record as running", async || {
        let loaded = first.service.load(&world.tenant, id, None).await.unwrap();
        (loaded.execution.at_work() == 1).then_some(())
    })
    .await;
    first.service.pause(&world.tenant, id, "lunch".to_owned(), "test").await.unwrap();
    world.swept(&first).await;
    assert_eq!(first.in_memory(), 1, "its worker is still heard of");
    first.end().await;

    // Nobody asks for it, so nobody has it, until its worker reports.
    let second = world.engine(EAGER).await;
    world.swept(&second).await;
    assert_eq!(second.in_memory(), 0);
    gate.add_permits(1);
    until("the result is recorded", async || {
        let loaded = second.service.load(&world.tenant, id, None).await.unwrap();
        (loaded.execution.counts().completed == 1).then_some(())
    })
    .await;
    empty(&second).await;
    assert_eq!(world.state(&second, id).await, ExecutionState::Paused);
    second.service.resume(&world.tenant, id, "test").await.unwrap();
    assert_eq!(world.ended(&second, id).await, ExecutionState::Completed);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    worker.request();
    gates.request();
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_rows_were_lost_is_served_on_demand_and_nothing_is_let_go_that_it_would_lose() {
    let world = World::new();
    let worker = world.worker();
    let first = world.engine(KEEPING).await;
    let rests = world.at_rest(&first, "1h").await;
    let soon = world.at_rest(&first, "3s").await;
    first.end().await;
    world.store.clear_agenda().await.unwrap();

    let second = world.engine(EAGER).await;
    world.swept(&second).await;
    assert_eq!(second.in_memory(), 0, "nobody knows of them");
    for id in [rests, soon] {
        second.service.wake(&world.tenant, id).await.unwrap();
    }
    assert_eq!(world.ended(&second, soon).await, ExecutionState::Completed);
    has(&second, 1).await;
    // Only memory knows its moment, so there it stays.
    world.swept(&second).await;
    has(&second, 1).await;
    assert_eq!(world.agenda(rests).await, Agenda::Nothing);
    // The next that happens to it mends the row, and it may leave.
    second.service.pause(&world.tenant, rests, "lunch".to_owned(), "test").await.unwrap();
    second.service.resume(&world.tenant, rests, "test").await.unwrap();
    assert!(matches!(world.agenda(rests).await, Agenda::At(_)));
    empty(&second).await;
    worker.request();
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_at_rest_are_in_nobodys_memory() {
    const MANY: usize = 10_000;
    const MOST: usize = 50;
    let world = World::new();
    let worker = world.worker();
    // It would keep them for an hour; there are too many of them.
    let first = world.engine(AtRest { most: MOST, ..KEEPING }).await;
    let graph = first.service.register_graph(&world.tenant, "test.yaml", &retried("1h")).await.unwrap().graph;
    let starting = (0..MANY).map(|_| {
        let start = Start {
            graph: graph.clone(),
            named: None,
            inputs: Data::null(),
            idempotency_key: None,
            actor: Actor::User("test".to_owned()),
            trace: None,
            metadata: None,
            breakpoints: Vec::new(),
            limits: stepstream_shared::graph::LimitOverrides::default(),
            background: None,
        };
        first.service.start(&world.tenant, start)
    });
    let started = futures::future::try_join_all(starting).await.unwrap();
    until("all but a few have left", async || {
        let resting = world.store.timers(&partitions(), FAR, None, u32::MAX).await.unwrap().len();
        (resting == MANY && first.in_memory() <= MOST).then_some(())
    })
    .await;
    // Any of them is there when it is asked for.
    for started in started.iter().step_by(MANY / 10) {
        first.service.cancel(&world.tenant, started.execution, "enough".to_owned(), "test").await.unwrap();
    }
    first.end().await;

    let second = world.engine(KEEPING).await;
    let (gate, _, gates) = world.gates();
    gate.add_permits(1);
    let (id, _) = world.begin(&second, GATED, None).await;
    assert_eq!(world.ended(&second, id).await, ExecutionState::Completed);
    empty(&second).await;
    assert_eq!(world.store.timers(&partitions(), FAR, None, u32::MAX).await.unwrap().len(), MANY - 10);
    worker.request();
    gates.request();
    second.end().await;
}

const FAR: stepstream_shared::time::Timestamp = stepstream_shared::time::Timestamp::from_micros(i64::MAX);

fn partitions() -> Vec<stepstream_shared::id::PartitionId> {
    (0..4).map(stepstream_shared::id::PartitionId).collect()
}
