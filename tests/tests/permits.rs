//! What executions share, end to end: places under a key and moments of a rate, under a store in memory and in a fleet
//! that loses a coordinator.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stepstream_coordinator::ports::TenantLimits;
use stepstream_coordinator::service::{Ask, ServiceError, Start};
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::execution::{ExecutionState, Steering, StepState, WaitReason};
use stepstream_shared::graph::OnLimit;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_tests::harness::fleet::{Fleet, Plan};
use stepstream_tests::harness::verdict::BY_WORKERS;
use stepstream_tests::poll::until;
use stepstream_worker::{Context, Failure, Worker};
use tokio_util::sync::CancellationToken;

/// Far beyond any healthy run.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many run at the same time, and how many at most so far.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Fixture {
    coordinator: Coordinator,
    gauge: Arc<Gauge>,
    tenant: TenantId,
    stop: CancellationToken,
    workers: Vec<Shutdown>,
}

async fn fixture(workers: usize) -> Fixture {
    let store = Arc::new(MemoryStore::new(8));
    let bus = Arc::new(InProcessBus::new(InProcessOptions::default()));
    let stop = CancellationToken::new();
    let options = Options { exclusive: true, ..Options::default() };
    let coordinator = start(options, store, bus.clone(), stop.clone()).await.unwrap();
    let gauge = Arc::new(Gauge::default());
    let workers = (0..workers).map(|number| {
        let (shutdown, gauge) = (Shutdown::new(), gauge.clone());
        let run = Worker::builder()
            .bus(bus.clone())
            .slots(32)
            .name(format!("w{number}"))
            .register("measured", move |_: Context, ms: u64| {
                let gauge = gauge.clone();
                async move {
                    let now = gauge.now.fetch_add(1, Ordering::SeqCst) + 1;
                    gauge.most.fetch_max(now, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    gauge.now.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, Failure>(ms)
                }
            })
            .register("spends", async |context: Context, n: u32| {
                context.usage("m", 1, 1, Some(stepstream_shared::cost::Money::from_micros(10_000))).unwrap();
                Ok::<_, Failure>(n)
            })
            .build()
            .unwrap();
        tokio::spawn(run.run(shutdown.clone()));
        shutdown
    });
    let workers = workers.collect();
    Fixture { coordinator, gauge, tenant: TenantId::default_tenant(), stop, workers }
}

impl Fixture {
    async fn begin(&self, graph: &str, inputs: Value) -> ExecutionId {
        let service = &self.coordinator.service;
        let registered = service.register_graph(&self.tenant, "test.yaml", graph).await.unwrap();
        let start = Start {
            graph: registered.graph,
            named: None,
            inputs: Data::from_json(&inputs).unwrap(),
            idempotency_key: None,
            actor: Actor::User("test".to_owned()),
            trace: None,
            metadata: None,
            breakpoints: Vec::new(),
            limits: stepstream_shared::graph::LimitOverrides::default(),
            background: None,
        };
        service.start(&self.tenant, start).await.unwrap().execution
    }

    async fn ends(&self, id: ExecutionId) -> ExecutionState {
        let service = &self.coordinator.service;
        let loaded = service.wait(&self.tenant, id, Some(PATIENCE)).await.unwrap();
        service.reader().verify(&self.tenant, id).await.unwrap();
        loaded.expect("the execution ends within the deadline").execution.state()
    }

    async fn is(&self, id: ExecutionId, state: ExecutionState) {
        until(&format!("{id} is {state}"), async || {
            let loaded = self.coordinator.service.load(&self.tenant, id, None).await.unwrap();
            (loaded.execution.state() == state).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.workers.iter().for_each(Shutdown::request);
        self.stop.cancel();
        self.coordinator.stopped().await;
    }
}

const PLACES: &str = "
stepstream: 1
name: places
nodes: { run: { task: measured, with: '=inputs.ms', concurrency: { key: '=inputs.key', max: 3 } } }
";

#[tokio::test(flavor = "multi_thread")]
async fn of_many_executions_as_many_run_at_once_as_there_are_places() {
    let fixture = fixture(2).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(fixture.begin(PLACES, json!({"ms": 5, "key": "k"})).await);
    }
    for id in ids {
        assert_eq!(fixture.ends(id).await, ExecutionState::Completed);
    }
    assert_eq!(fixture.gauge.most.load(Ordering::SeqCst), 3, "all places are used, and no more");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_shares_its_places_with_other_executions() {
    let graph = "
stepstream: 1
name: map
nodes:
  all: { map: { over: '=inputs.list', max_concurrency: 50 }, task: measured, with: '=item', concurrency: { key: k, max: 4 } }
";
    let fixture = fixture(1).await;
    let list: Vec<u32> = vec![2; 60];
    let (first, second) =
        (fixture.begin(graph, json!({"list": list})).await, fixture.begin(graph, json!({"list": list})).await);
    assert_eq!(fixture.ends(first).await, ExecutionState::Completed);
    assert_eq!(fixture.ends(second).await, ExecutionState::Completed);
    assert_eq!(fixture.gauge.most.load(Ordering::SeqCst), 4);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept_over_two_workers() {
    let graph = "
stepstream: 1
name: rate
nodes: { run: { task: measured, with: 0, rate: { key: api, max: 20, per: 1s, burst: 5 } } }
";
    let fixture = fixture(2).await;
    let begun = Instant::now();
    let mut ids = Vec::new();
    for _ in 0..25 {
        ids.push(fixture.begin(graph, json!({})).await);
    }
    for id in &ids {
        assert_eq!(fixture.ends(*id).await, ExecutionState::Completed);
    }
    // Five at once, then twenty that are fifty milliseconds apart.
    assert!(begun.elapsed() >= Duration::from_millis(1000), "{:?}", begun.elapsed());
    let mut starts = Vec::new();
    for id in ids {
        let loaded = fixture.coordinator.service.load(&fixture.tenant, id, None).await.unwrap();
        starts.push(loaded.execution.steps()[0].scheduled_at());
    }
    starts.sort_unstable();
    for window in starts.windows(12) {
        // A window of half a second has ten and the burst, but for what the clock ticks late.
        let took = window[11].since(window[0]);
        assert!(took >= Duration::from_millis(300), "{took:?}");
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_or_cancelled_blocks_nobody_and_what_is_resumed_has_its_turn() {
    let fixture = fixture(1).await;
    let graph = "
stepstream: 1
name: one
nodes: { run: { task: measured, with: '=inputs.ms', concurrency: { key: one, max: 1 } } }
";
    let service = &fixture.coordinator.service;
    let first = fixture.begin(graph, json!({"ms": 300})).await;
    fixture.is(first, ExecutionState::Running).await;
    let (paused, cancelled, last) = (
        fixture.begin(graph, json!({"ms": 0})).await,
        fixture.begin(graph, json!({"ms": 0})).await,
        fixture.begin(graph, json!({"ms": 0})).await,
    );
    for id in [paused, cancelled, last] {
        fixture.is(id, ExecutionState::Waiting(WaitReason::RateLimit)).await;
    }
    service.pause(&fixture.tenant, paused, "lunch".to_owned(), "ada").await.unwrap();
    let cancel = Ask::new("ada", Steering::Cancel { reason: "no more".to_owned() });
    service.steer(&fixture.tenant, cancelled, cancel).await.unwrap();
    assert_eq!(fixture.ends(last).await, ExecutionState::Completed, "its turn came although others asked before");
    fixture.is(paused, ExecutionState::Paused).await;
    service.resume(&fixture.tenant, paused, "ada").await.unwrap();
    assert_eq!(fixture.ends(paused).await, ExecutionState::Completed);
    assert_eq!(fixture.gauge.most.load(Ordering::SeqCst), 1);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_places_over_two_coordinators_of_which_one_is_killed_are_never_four_and_are_all_used_again() {
    let mut fleet = Fleet::start(Plan::default()).await;
    fleet.partitions_are_shared_by(2).await;
    let marks = fleet.file("marks");
    // Each writes a line when it begins and one when it ends: what is read in order is how many ran at once.
    let script = "echo + >> $0; sleep 0.03; echo - >> $0";
    let graph = json!({
        "stepstream": 1, "name": "three", "version": "1.0.0",
        "nodes": {
            "run": {
                "task": "process",
                "with": {"argv": ["sh", "-c", script, marks.to_str().unwrap()]},
                "concurrency": {"key": "three", "max": 3},
            },
        },
    });
    let mut ids = Vec::new();
    for n in 0..200 {
        ids.push(fleet.api(n % 2).begin(&graph, &json!({})).await);
    }
    let lines = || std::fs::read_to_string(&marks).unwrap_or_default();
    until("some have run", async || (lines().lines().count() > 60).then_some(())).await;
    fleet.coordinators[0].kill9().await;
    let verdict = fleet.verdict(&ids, BY_WORKERS).await;
    assert_eq!(verdict.executions.len(), 200);
    let (mut now, mut most) = (0_i32, 0);
    for line in lines().lines() {
        now += if line == "+" { 1 } else { -1 };
        most = most.max(now);
    }
    assert_eq!(now, 0);
    assert!(most <= 3, "{most} at once");
}

/// Each step may need two cents and uses one; the day has a dollar.
const DEAR: &str = "
stepstream: 1
name: dear
nodes:
  all:
    map: { over: '=inputs.list', max_concurrency: 50, collect: all_settled }
    task: spends
    with: '=item'
    reserve: { cost_usd: '0.02' }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_steps_of_many_executions_stay_inside_the_days_budget_of_their_tenant() {
    let fixture = fixture(2).await;
    let (service, tenant) = (&fixture.coordinator.service, &fixture.tenant);
    let limits = TenantLimits {
        cost_usd_per_day: Some("1.00".parse().unwrap()),
        on_limit: OnLimit::FailStep,
        ..TenantLimits::default()
    };
    service.set_tenant_limits(tenant, limits).await.unwrap();
    let list: Vec<u32> = (0..50).collect();
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(fixture.begin(DEAR, json!({"list": list})).await);
    }
    let mut done = 0;
    for id in &ids {
        assert_eq!(fixture.ends(*id).await, ExecutionState::Completed);
        let loaded = service.load(tenant, *id, None).await.unwrap();
        let steps = loaded.execution.steps().iter();
        done += steps.filter(|step| step.index().is_some() && step.state() == StepState::Completed).count();
        let failed = loaded.execution.steps().iter().filter_map(|step| step.error());
        assert!(failed.into_iter().all(|error| error.code.as_ref().is_some_and(|code| code.as_str() == "cost_limit")));
    }
    // One that may need two cents is not begun when less than two are left.
    assert_eq!(done, 99, "as many as the day has room for, and not one more");
    let account = until("everything is given back", async || {
        let account = service.tenant_account(tenant).await.unwrap();
        (account.reserved_cost.micros() == 0).then_some(account)
    })
    .await;
    assert_eq!(account.cost.micros(), 990_000);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_as_many_executions_as_it_may_and_one_more_when_one_is_over() {
    let fixture = fixture(1).await;
    let (service, tenant) = (&fixture.coordinator.service, &fixture.tenant);
    let limits = TenantLimits { max_concurrent_executions: Some(2), ..TenantLimits::default() };
    service.set_tenant_limits(tenant, limits).await.unwrap();
    let graph = "
stepstream: 1
name: held
nodes: { ask: { wait: { approval: true } } }
";
    let registered = service.register_graph(tenant, "test.yaml", graph).await.unwrap();
    let start = |key: Option<&str>| Start {
        graph: registered.graph.clone(),
        named: None,
        inputs: Data::null(),
        idempotency_key: key.map(str::to_owned),
        actor: Actor::User("test".to_owned()),
        trace: None,
        metadata: None,
        breakpoints: Vec::new(),
        limits: Default::default(),
        background: None,
    };
    let starts = (0..10).map(|_| service.start(tenant, start(None)));
    let begun: Vec<_> = futures::future::join_all(starts).await;
    let ids: Vec<ExecutionId> = begun.iter().filter_map(|begun| Some(begun.as_ref().ok()?.execution)).collect();
    assert_eq!(ids.len(), 2, "however many ask at once");
    let refused = begun.into_iter().filter_map(Result::err);
    assert!(refused.into_iter().all(|error| matches!(error, ServiceError::TooMany(_))));

    service.cancel(tenant, ids[0], "no more".to_owned(), "ada").await.unwrap();
    let third = until("there is room again", async || service.start(tenant, start(Some("k"))).await.ok()).await;
    assert!(third.created);
    let again = service.start(tenant, start(Some("k"))).await.unwrap();
    assert_eq!((again.execution, again.created), (third.execution, false), "a repeated request has its answer");
    assert!(matches!(service.start(tenant, start(Some("other"))).await, Err(ServiceError::TooMany(_))));
    let other: TenantId = "tenant_other".parse().unwrap();
    service.register_graph(&other, "test.yaml", graph).await.unwrap();
    service.start(&other, start(None)).await.unwrap();
    fixture.end().await;
}
