//! An engine whose store or workers do what they should not, at the moment where it hurts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_coordinator::service::{ServiceError, Start};
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::bus::{CoordinatorBus, QueueId, WorkerBus};
use stepstream_runtime::random;
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::data::Data;
use stepstream_shared::error::{ErrorCategory, ExecutionError};
use stepstream_shared::event::Actor;
use stepstream_shared::execution::ExecutionState;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::wire::{Job, Outcome, OutcomeResult, PROTOCOL};
use stepstream_tests::harness::unruly::{Appends, UnrulyStore};
use stepstream_tests::poll::until;
use stepstream_worker::{Context, Failure, Worker};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Far beyond any healthy run.
const PATIENCE: Duration = Duration::from_secs(60);

const GATED: &str = "
stepstream: 1
name: gated
nodes: { a: { task: gated } }
output: '=steps.a.output'
";

struct Engine {
    coordinator: Coordinator,
    tenant: TenantId,
    stop: CancellationToken,
}

impl Engine {
    async fn over(store: Arc<UnrulyStore>, bus: &InProcessBus, options: Options) -> Self {
        let stop = CancellationToken::new();
        let coordinator = start(options, store, Arc::new(bus.clone()), stop.clone()).await.unwrap();
        let engine = Engine { coordinator, tenant: TenantId::default_tenant(), stop };
        until("a partition is held", async || (engine.coordinator.service.partitions_held() > 0).then_some(())).await;
        engine
    }

    async fn begin(&self, graph: &str) -> Result<ExecutionId, ServiceError> {
        let service = &self.coordinator.service;
        let registered = service.register_graph(&self.tenant, "test.yaml", graph).await.unwrap();
        let start = Start {
            graph: registered.graph,
            named: None,
            inputs: Data::from_json(&json!({})).unwrap(),
            idempotency_key: None,
            actor: Actor::User("test".to_owned()),
            trace: None,
            metadata: None,
            breakpoints: Vec::new(),
            limits: stepstream_shared::graph::LimitOverrides::default(),
            background: None,
        };
        service.start(&self.tenant, start).await.map(|started| started.execution)
    }

    async fn ended(&self, id: ExecutionId) -> (ExecutionState, Value) {
        let service = &self.coordinator.service;
        let loaded =
            service.wait(&self.tenant, id, Some(PATIENCE)).await.unwrap().expect("it ends within the deadline");
        service.reader().verify(&self.tenant, id).await.unwrap();
        let told = loaded.execution.error().map_or_else(|| loaded.execution.output().to_json(), |error| json!(error));
        (loaded.execution.state(), told)
    }

    async fn stop(self) {
        self.stop.cancel();
        self.coordinator.stopped().await;
    }
}

fn bus() -> InProcessBus {
    InProcessBus::new(InProcessOptions::default())
}

/// A worker whose callable `gated` counts its runs and waits to be let through.
fn gated_worker(bus: &InProcessBus) -> (Arc<Semaphore>, Arc<AtomicUsize>, Shutdown) {
    let (gate, runs, shutdown) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), Shutdown::new());
    let (opened, counted) = (gate.clone(), runs.clone());
    let worker = Worker::builder()
        .bus(Arc::new(bus.clone()))
        .slots(8)
        .name("w")
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

#[tokio::test(flavor = "multi_thread")]
async fn an_append_of_an_earlier_ownership_does_not_cost_the_present_one() {
    let (store, bus) = (Arc::new(UnrulyStore::new(1)), bus());
    let options = Options { lease: Duration::from_millis(800), ..Options::default() };
    let engine = Engine::over(store.clone(), &bus, options).await;
    let (gate, _, worker) = gated_worker(&bus);
    gate.add_permits(100);
    let service = engine.coordinator.service.clone();

    store.appends(Appends::Wait);
    let late = engine.begin(GATED);
    let meanwhile = async {
        store.away(true);
        until("the partition is lost", async || (service.partitions_held() == 0).then_some(())).await;
        store.away(false);
        until("it is won again", async || (service.partitions_held() == 1).then_some(())).await;
        store.appends(Appends::Pass);
    };
    let (late, ()) = tokio::join!(late, meanwhile);
    assert_eq!(engine.ended(late.unwrap()).await.0, ExecutionState::Completed, "the request was tried again");
    for _ in 0..3 {
        let id = engine.begin(GATED).await.unwrap();
        assert_eq!(engine.ended(id).await.0, ExecutionState::Completed, "the partition is driven");
    }
    worker.request();
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_refused_for_a_decision_that_did_not_become_durable_is_not_lost() {
    let (store, bus) = (Arc::new(UnrulyStore::new(1)), bus());
    let engine = Engine::over(store.clone(), &bus, Options { exclusive: true, ..Options::default() }).await;
    let (gate, runs, worker) = gated_worker(&bus);
    let service = engine.coordinator.service.clone();
    let (tenant, id) = (engine.tenant.clone(), engine.begin(GATED).await.unwrap());
    until("the step runs", async || (runs.load(Ordering::SeqCst) == 1).then_some(())).await;

    store.appends(Appends::Wait);
    let cancel = service.cancel(&tenant, id, "changed my mind".to_owned(), "test");
    let meanwhile = async {
        // The cancel is decided, its append waits; now the result comes and is refused.
        gate.add_permits(1);
        until("it is reported", async || (bus.jobs_state().await.unwrap().messages == 0).then_some(())).await;
        // Each is an input behind the result.
        for _ in 0..100 {
            service.wake(&tenant, id).await.unwrap();
        }
        store.appends(Appends::Fail);
    };
    let (cancelled, ()) = tokio::join!(cancel, meanwhile);
    assert!(cancelled.is_err(), "nobody was told that it is cancelled");
    store.appends(Appends::Pass);
    service.wake(&tenant, id).await.unwrap();
    // The gate was opened once: should the step run again, it waits for ever, and only the first result can end it.
    assert_eq!(engine.ended(id).await, (ExecutionState::Completed, json!("done")));
    worker.request();
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_answer_came_too_late_is_found_to_be_carried_out() {
    /// Longer than a coordinator waits for the answer of another.
    const TOO_LONG: Duration = Duration::from_secs(6);
    let (store, bus) = (Arc::new(UnrulyStore::new(1)), bus());
    let owner = Engine::over(store.clone(), &bus, Options::default()).await;
    let stop = CancellationToken::new();
    let other = start(Options::default(), store.clone(), Arc::new(bus.clone()), stop.clone()).await.unwrap();
    let other = Engine { coordinator: other, tenant: owner.tenant.clone(), stop };
    assert_eq!(other.coordinator.service.partitions_held(), 0, "whatever reaches it travels");

    let slowly = async || {
        store.appends(Appends::Wait);
        let began = std::time::Instant::now();
        until("the first answer is given up", async || (began.elapsed() > TOO_LONG).then_some(())).await;
        store.appends(Appends::Pass);
    };
    let (begun, ()) = tokio::join!(other.begin(GATED), slowly());
    let id = begun.unwrap();
    let service = &other.coordinator.service;
    let listed = service.reader().list(&other.tenant, None, None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.execution).collect::<Vec<_>>(), [id], "one start is one execution");

    let cancel = service.cancel(&other.tenant, id, "too slow".to_owned(), "test");
    let (cancelled, ()) = tokio::join!(cancel, slowly());
    cancelled.unwrap();
    assert_eq!(other.ended(id).await.0, ExecutionState::Cancelled);
    other.stop().await;
    owner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_report_about_an_attempt_does_not_hide_the_silence_of_the_next() {
    let (store, bus) = (Arc::new(UnrulyStore::new(1)), bus());
    let engine = Engine::over(store, &bus, Options { exclusive: true, ..Options::default() }).await;
    let graph = "
stepstream: 1
name: silent
nodes: { a: { task: t, timeout: { heartbeat: 300ms }, retry: { max_attempts: 2, backoff: none } } }
";
    let id = engine.begin(graph).await.unwrap();
    let queue = QueueId { tenant: engine.tenant.clone(), name: "default".to_owned() };
    let report = async |job: &Job, number: u32, result: OutcomeResult| {
        let (token, claim) = (job.token.clone(), random::claim_id());
        let outcome = Outcome {
            protocol: PROTOCOL,
            token,
            claim,
            worker: "w".to_owned(),
            report: number,
            result,
            notes: Vec::new(),
        };
        bus.report(&queue.tenant, job.partition, &outcome).await.unwrap();
    };
    let failed =
        || OutcomeResult::Failed { error: ExecutionError::new(ErrorCategory::ToolError, "no"), duration_us: 1 };
    let first = bus.jobs(&queue, 1).await.unwrap().remove(0);
    report(&first.message, 1, failed()).await;
    first.settle.ack().await.unwrap();
    let second = bus.jobs(&queue, 1).await.unwrap().remove(0);
    assert_eq!(second.message.token.attempt, 2);
    report(&second.message, 1, OutcomeResult::Started).await;
    report(&first.message, 2, failed()).await;
    // From here on nobody is heard of.
    let (state, error) = engine.ended(id).await;
    assert_eq!((state, &error["code"]), (ExecutionState::Failed, &json!("heartbeat_timeout")), "{error}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_unreadable_log_does_not_hold_up_the_others_of_its_partition() {
    let store = Arc::new(UnrulyStore::new(1));
    let exclusive = || Options { exclusive: true, ..Options::default() };
    let before = Engine::over(store.clone(), &bus(), exclusive()).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(before.begin(GATED).await.unwrap());
    }
    before.stop().await;
    ids.sort();
    store.garble(ids[0]);

    let bus = bus();
    let engine = Engine::over(store, &bus, exclusive()).await;
    let (gate, runs, worker) = gated_worker(&bus);
    gate.add_permits(100);
    for id in &ids[1..] {
        assert_eq!(engine.ended(*id).await.0, ExecutionState::Completed);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    worker.request();
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_under_a_key_that_is_tried_again_does_not_take_an_earlier_one_for_itself() {
    let (store, bus) = (Arc::new(UnrulyStore::new(1)), bus());
    let options = Options { lease: Duration::from_millis(800), ..Options::default() };
    let engine = Engine::over(store.clone(), &bus, options).await;
    let (service, tenant) = (engine.coordinator.service.clone(), engine.tenant.clone());
    service.register_graph(&tenant, "test.yaml", GATED).await.unwrap();
    let schedule = "name: yearly\ngraph: gated\ncron: '0 0 1 1 *'\n";
    service.create_schedule(&tenant, "s.yaml", schedule, None).await.unwrap();
    let trigger = || service.trigger_schedule(&tenant, "yearly", "ann", Some("once"));
    let first = trigger().await.unwrap();
    assert!(first.created);

    // The second request finds nobody at first, and then the execution of the first.
    store.away(true);
    until("the partition is lost", async || (service.partitions_held() == 0).then_some(())).await;
    let back = async {
        store.away(false);
        until("it is won again", async || (service.partitions_held() == 1).then_some(())).await;
    };
    let (again, ()) = tokio::join!(trigger(), back);
    let again = again.unwrap();
    assert_eq!((again.execution, again.created), (first.execution, false));
    engine.stop().await;
}
