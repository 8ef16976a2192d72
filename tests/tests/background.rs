//! Background executions with an engine: queued, deferred, tried again, called back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_coordinator::callback::CallbackOptions;
use stepstream_coordinator::ports::{BackgroundFilter, EventStore, TenantLimits};
use stepstream_coordinator::reading::Loaded;
use stepstream_coordinator::service::{Ask, Start};
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{AtRest, Coordinator, Options, ServiceError, start};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::background::{BackgroundRequest, BackgroundStatus};
use stepstream_shared::data::Data;
use stepstream_shared::error::ErrorCategory;
use stepstream_shared::event::Actor;
use stepstream_shared::execution::{CallbackState, ExecutionState, Rest, Steering};
use stepstream_shared::fairness::Weight;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_tests::harness::receiver::{Receiver, SECRET};
use stepstream_worker::{Context, Failure, Worker};
use tokio_util::sync::CancellationToken;

/// Far beyond any healthy run.
const PATIENCE: Duration = Duration::from_secs(60);
const ECHO: &str = "stepstream: 1\nname: echo\nnodes: { a: { task: echo, with: \"=inputs\" } }";
const FAILS: &str = "stepstream: 1\nname: fails\nnodes: { a: { task: flaky, retry: { max_attempts: 1 } } }";
/// Runs for longer than any test.
const LONG: &str = "stepstream: 1\nname: long\nnodes: { a: { task: sleep, with: { seconds: 300 } } }";
const GATED: &str =
    "stepstream: 1\nname: gated\nnodes: { a: { wait: { signal: go }, next: { to: b } }, b: { task: echo, with: 1 } }";

struct Fixture {
    store: Arc<MemoryStore>,
    bus: Arc<InProcessBus>,
    coordinator: Coordinator,
    tenant: TenantId,
    stop: CancellationToken,
    worker: Shutdown,
    /// Attempts of `flaky` that fail yet.
    failing: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

fn options(limit: usize) -> Options {
    let callbacks = CallbackOptions {
        secrets: SECRET.parse().unwrap(),
        allow_http: true,
        allow: vec!["127.0.0.1".parse().unwrap()],
    };
    // What rests leaves memory at once, so that everything is found again by what the store says.
    let at_rest = AtRest {
        horizon: Duration::from_millis(300),
        look: Duration::from_millis(50),
        quiet: Duration::from_millis(20),
        most: 0,
    };
    Options {
        exclusive: true,
        background_limit: NonZeroUsize::new(limit).unwrap(),
        callbacks,
        at_rest,
        ..Options::default()
    }
}

async fn fixture(limit: usize) -> Fixture {
    let store = Arc::new(MemoryStore::new(8));
    let bus = Arc::new(InProcessBus::new(InProcessOptions::default()));
    let stop = CancellationToken::new();
    let coordinator = start(options(limit), store.clone(), bus.clone(), stop.clone()).await.unwrap();
    let (failing, running, most) = Default::default();
    let fixture = Fixture {
        store,
        bus,
        coordinator,
        tenant: TenantId::default_tenant(),
        stop,
        worker: Shutdown::new(),
        failing,
        running,
        most,
    };
    fixture.work();
    fixture
}

impl Fixture {
    fn work(&self) {
        let (failing, running, most) = (self.failing.clone(), self.running.clone(), self.most.clone());
        let run = Worker::builder()
            .bus(self.bus.clone())
            .slots(64)
            .name("w1")
            .callables(|registry| {
                stepstream_worker::builtin::register_all(registry, stepstream_worker::builtin::Options::default());
            })
            .register("flaky", move |_: Context, _: Value| {
                let failing = failing.clone();
                async move {
                    let fails =
                        failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                    if fails { Err(Failure::new(ErrorCategory::NetworkError, "down")) } else { Ok(json!("up")) }
                }
            })
            .register("busy", move |_: Context, _: Value| {
                let (running, most) = (running.clone(), most.clone());
                async move {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, Failure>(json!(null))
                }
            })
            .build()
            .unwrap();
        tokio::spawn(run.run(self.worker.clone()));
    }

    async fn try_begin(&self, graph: &str, background: Value) -> Result<ExecutionId, ServiceError> {
        self.try_begin_as(&self.tenant, graph, background).await
    }

    async fn try_begin_as(
        &self,
        tenant: &TenantId,
        graph: &str,
        background: Value,
    ) -> Result<ExecutionId, ServiceError> {
        let service = &self.coordinator.service;
        let registered = service.register_graph(tenant, "test.yaml", graph).await.unwrap();
        let background: BackgroundRequest = serde_json::from_value(background).unwrap();
        let start = Start {
            graph: registered.graph,
            named: None,
            inputs: Data::from_json(&json!({"n": 7})).unwrap(),
            idempotency_key: None,
            actor: Actor::User("test".to_owned()),
            trace: None,
            metadata: Some(Data::from_json(&json!({"team": "orders"})).unwrap()),
            breakpoints: Vec::new(),
            limits: stepstream_shared::graph::LimitOverrides::default(),
            background: Some(background),
        };
        service.start(tenant, start).await.map(|started| started.execution)
    }

    /// How many of a tenant's run by what the store says.
    async fn running(&self, tenant: &TenantId) -> usize {
        let filter = BackgroundFilter { mode: None, status: Some(BackgroundStatus::Running) };
        self.store.list_background(tenant, filter, None, 100).await.unwrap().len()
    }

    /// Looks until so many of a tenant's run.
    async fn until_running(&self, tenant: &TenantId, count: usize) {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        while self.running(tenant).await < count {
            assert!(tokio::time::Instant::now() < give_up, "{} run, not {count}", self.running(tenant).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn begin(&self, graph: &str, background: Value) -> ExecutionId {
        self.try_begin(graph, background).await.unwrap()
    }

    async fn load(&self, id: ExecutionId) -> Loaded {
        self.coordinator.service.load(&self.tenant, id, None).await.unwrap()
    }

    /// Looks until it is so.
    async fn until(&self, id: ExecutionId, what: &str, holds: impl Fn(&Loaded) -> bool) -> Loaded {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.coordinator.service.load(&self.tenant, id, None).await {
                Ok(loaded) if holds(&loaded) => return loaded,
                found => assert!(
                    tokio::time::Instant::now() < give_up,
                    "{what}: {:?}",
                    found.map(|loaded| (loaded.execution.state(), loaded.execution.background().cloned()))
                ),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stands(&self, id: ExecutionId, status: BackgroundStatus) -> Loaded {
        self.until(id, status.name(), |loaded| loaded.execution.background_status() == Some(status)).await
    }

    /// Nothing is owed any more, and the log is sound.
    async fn settles(&self, id: ExecutionId) -> Loaded {
        let loaded = self.until(id, "settled", |loaded| loaded.execution.rest() == Rest::Over).await;
        self.coordinator.service.reader().verify(&self.tenant, id).await.unwrap();
        loaded
    }

    async fn signal(&self, id: ExecutionId) {
        let what = Steering::Signal { name: "go".to_owned(), correlation: None, payload: Data::null() };
        self.coordinator.service.steer(&self.tenant, id, Ask::new("test", what)).await.unwrap();
    }

    /// The coordinator ends, and another one goes on with the store.
    async fn restart(self, limit: usize) -> Fixture {
        self.stop.cancel();
        self.coordinator.stopped().await;
        let stop = CancellationToken::new();
        let coordinator = start(options(limit), self.store.clone(), self.bus.clone(), stop.clone()).await.unwrap();
        Fixture { coordinator, stop, ..self }
    }

    async fn end(self) {
        self.worker.request();
        self.stop.cancel();
        self.coordinator.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_is_started_and_bound() {
    let fixture = fixture(4).await;
    let asked = json!({"target_binding": {"target_type": "custom", "target_path": "n", "json_path": "$.n"}});
    let id = fixture.begin(ECHO, asked).await;
    let loaded = fixture.stands(id, BackgroundStatus::Completed).await;
    assert_eq!(loaded.execution.bound_value().map(Data::to_json), Some(json!("7")));
    let filter = BackgroundFilter { mode: None, status: Some(BackgroundStatus::Completed) };
    let listed = fixture.store.list_background(&fixture.tenant, filter, None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.execution).collect::<Vec<_>>(), [id]);
    fixture.end().await;
}

/// D34: so many at a time, and none is lost or starved.
#[tokio::test(flavor = "multi_thread")]
async fn d34_no_more_run_at_a_time_than_there_are_places_and_all_get_one() {
    let fixture = fixture(3).await;
    let busy = "stepstream: 1\nname: busy\nnodes: { a: { task: busy } }";
    let mut all = Vec::new();
    for number in 0..24 {
        all.push(fixture.begin(busy, json!({"priority": number})).await);
    }
    for id in all {
        fixture.stands(id, BackgroundStatus::Completed).await;
    }
    let most = fixture.most.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most), "{most} ran at the same time");
    fixture.end().await;
}

/// One place, held by an execution that runs: the others wait for it in the order of their priorities.
#[tokio::test(flavor = "multi_thread")]
async fn the_higher_priority_is_started_first() {
    let fixture = fixture(1).await;
    let long = "stepstream: 1\nname: long\nnodes: { a: { task: sleep, with: { seconds: 0.7 } } }";
    let first = fixture.begin(long, json!({})).await;
    fixture.stands(first, BackgroundStatus::Running).await;
    let low = fixture.begin(ECHO, json!({"priority": 1})).await;
    let high = fixture.begin(ECHO, json!({"priority": 200})).await;
    let usual = fixture.begin(ECHO, json!({})).await;
    let mut started = Vec::new();
    for id in [low, high, usual] {
        let loaded = fixture.stands(id, BackgroundStatus::Completed).await;
        started.push((loaded.execution.started_at().unwrap(), id));
    }
    started.sort_unstable();
    assert_eq!(started.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), [high, usual, low]);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_somebody_leaves_its_place_to_others() {
    let fixture = fixture(1).await;
    let waits = fixture.begin(GATED, json!({})).await;
    fixture.until(waits, "waits", |loaded| matches!(loaded.execution.state(), ExecutionState::Waiting(_))).await;
    let other = fixture.begin(ECHO, json!({})).await;
    fixture.stands(other, BackgroundStatus::Completed).await;
    fixture.signal(waits).await;
    fixture.stands(waits, BackgroundStatus::Completed).await;
    fixture.end().await;
}

/// D34: deferred is kept by a timer in the store, across a restart, and not by anybody's memory.
#[tokio::test(flavor = "multi_thread")]
async fn d34_a_deferred_start_survives_a_restart() {
    let fixture = fixture(4).await;
    let moment = SystemClock.now().after(Duration::from_millis(1500));
    let id = fixture.begin(ECHO, json!({"run_at": moment})).await;
    fixture.stands(id, BackgroundStatus::Queued).await;
    let left = tokio::time::Instant::now() + Duration::from_secs(5);
    while fixture.coordinator.service.executions_in_memory() > 0 && tokio::time::Instant::now() < left {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fixture = fixture.restart(4).await;
    let loaded = fixture.stands(id, BackgroundStatus::Completed).await;
    assert!(loaded.execution.started_at().unwrap() >= moment, "not before its moment");
    fixture.end().await;
}

/// What nobody has admitted before a restart is admitted after it.
#[tokio::test(flavor = "multi_thread")]
async fn d34_the_queue_survives_a_restart() {
    let fixture = fixture(1).await;
    let long = "stepstream: 1\nname: long\nnodes: { a: { task: sleep, with: { seconds: 0.5 } } }";
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(fixture.begin(long, json!({})).await);
    }
    let fixture = fixture.restart(2).await;
    for id in all {
        fixture.stands(id, BackgroundStatus::Completed).await;
    }
    fixture.end().await;
}

/// Those that run hold their places before the coordinator that goes on with them has loaded them.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_admits_no_second_set() {
    let first = fixture(16).await;
    for _ in 0..48 {
        first.begin(LONG, json!({})).await;
    }
    let tenant = first.tenant.clone();
    first.until_running(&tenant, 16).await;
    let second = first.restart(17).await;
    second.until_running(&tenant, 17).await;
    // More would have been admitted by the same look, or by one of those that follow it at once.
    let until = tokio::time::Instant::now() + Duration::from_millis(300);
    while tokio::time::Instant::now() < until {
        assert_eq!(second.running(&tenant).await, 17);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    second.end().await;
}

/// However many of one tenant's were there before: places are divided by weight, here all at the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_places_by_their_weights() {
    let first = fixture(1).await;
    let (double, single) = ("tenant_double".parse::<TenantId>().unwrap(), "tenant_single".parse::<TenantId>().unwrap());
    let limits = TenantLimits { weight: Weight::new(2).unwrap(), ..TenantLimits::default() };
    first.coordinator.service.set_tenant_limits(&double, limits).await.unwrap();
    // Somebody else has the only place, so all others wait.
    first.begin(LONG, json!({})).await;
    first.until_running(&first.tenant, 1).await;
    for tenant in [&single, &double] {
        for _ in 0..20 {
            first.try_begin_as(tenant, LONG, json!({})).await.unwrap();
        }
    }
    let second = first.restart(7).await;
    second.until_running(&double, 4).await;
    second.until_running(&single, 2).await;
    assert_eq!((second.running(&double).await, second.running(&single).await), (4, 2));
    second.end().await;
}

/// One look finds many of one tenant and another tenant's behind them, and nobody else waits for what is left then.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_much_in_the_queue_leaves_another_its_place() {
    let first = fixture(1).await;
    let (many, one) = (first.tenant.clone(), "tenant_one".parse::<TenantId>().unwrap());
    first.begin(LONG, json!({})).await;
    first.until_running(&many, 1).await;
    for _ in 0..40 {
        first.begin(LONG, json!({})).await;
    }
    first.try_begin_as(&one, LONG, json!({})).await.unwrap();
    let second = first.restart(6).await;
    second.until_running(&one, 1).await;
    // Nobody else waits for what is left.
    second.until_running(&many, 5).await;
    assert_eq!((second.running(&many).await, second.running(&one).await), (5, 1));
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_it() {
    let fixture = fixture(4).await;
    let id = fixture.begin(GATED, json!({"timeout_ms": 150})).await;
    let loaded = fixture.stands(id, BackgroundStatus::Timeout).await;
    assert_eq!(loaded.execution.error().unwrap().code.as_ref().unwrap().as_str(), "timeout");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_as_another_execution_with_all_that_it_was_given() {
    let receiver = Receiver::start(vec![200]).await;
    let fixture = fixture(4).await;
    fixture.failing.store(2, Ordering::SeqCst);
    let asked = json!({"retry": {"max_attempts": 3, "backoff_ms": 30}, "callback_url": receiver.url()});
    let first = fixture.begin(FAILS, asked).await;
    let one = fixture.settles(first).await;
    let second = one.execution.background().unwrap().next().unwrap().execution;
    let two = fixture.settles(second).await;
    let third = two.execution.background().unwrap().next().unwrap().execution;
    let three = fixture.settles(third).await;
    assert_eq!(three.execution.state(), ExecutionState::Completed);
    let config = three.execution.background().unwrap().config();
    assert_eq!((config.attempt, config.first), (3, Some(first)));
    assert_eq!(three.execution.inputs(), one.execution.inputs());
    let created = &fixture.coordinator.service.events(&fixture.tenant, third, 0, 1).await.unwrap()[0];
    assert_eq!((&created["metadata"], &created["parent"]["parent_id"]), (&json!({"team": "orders"}), &json!(first)));
    // The last one alone calls back.
    let calls = receiver.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].body["data"]["execution_id"], json!(third));
    assert_eq!(calls[0].body["type"], "execution.completed");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_attempt_stops_where_the_one_before_did() {
    let fixture = fixture(4).await;
    fixture.failing.store(1, Ordering::SeqCst);
    let (service, tenant) = (&fixture.coordinator.service, &fixture.tenant);
    let start = Start {
        graph: service.register_graph(tenant, "test.yaml", FAILS).await.unwrap().graph,
        named: None,
        inputs: Data::null(),
        idempotency_key: None,
        actor: Actor::User("test".to_owned()),
        trace: None,
        metadata: None,
        breakpoints: vec!["a".to_owned()],
        limits: stepstream_shared::graph::LimitOverrides::default(),
        background: Some(serde_json::from_value(json!({"retry": {"max_attempts": 2, "backoff_ms": 30}})).unwrap()),
    };
    let first = service.start(tenant, start).await.unwrap().execution;
    let stopped = |loaded: &Loaded| loaded.execution.state() == ExecutionState::Paused;
    fixture.until(first, "it stops before its step", stopped).await;
    service.resume(tenant, first, "test").await.unwrap();
    let one = fixture.settles(first).await;
    let second = one.execution.background().unwrap().next().unwrap().execution;
    fixture.until(second, "so does the next attempt", stopped).await;
    service.resume(tenant, second, "test").await.unwrap();
    assert_eq!(fixture.settles(second).await.execution.state(), ExecutionState::Completed);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_fails_is_made_again_under_the_same_id() {
    let receiver = Receiver::start(vec![500, 200]).await;
    let fixture = fixture(4).await;
    let id = fixture.begin(ECHO, json!({"callback_url": receiver.url()})).await;
    let loaded = fixture.settles(id).await;
    let callback = loaded.execution.background().unwrap().callback().unwrap();
    assert_eq!((callback.state(), callback.attempts(), callback.status()), (CallbackState::Delivered, 2, Some(200)));
    let calls = receiver.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!((&calls[0].id, &calls[0].body), (&calls[1].id, &calls[1].body));
    assert!(calls.iter().all(|call| call.is_signed));
    assert_eq!(calls[1].body["data"]["output"], json!({"n": 7}));

    // And once more, because somebody asks for it.
    let ask = Ask::new("ada", Steering::RetryCallback);
    fixture.coordinator.service.steer(&fixture.tenant, id, ask).await.unwrap();
    fixture.settles(id).await;
    let calls = receiver.calls();
    assert_eq!((calls.len(), &calls[2].id), (3, &calls[0].id));
    assert_eq!(fixture.load(id).await.execution.state(), ExecutionState::Completed);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_gone_is_called_once() {
    let receiver = Receiver::start(vec![410]).await;
    let fixture = fixture(4).await;
    let id = fixture.begin(ECHO, json!({"callback_url": receiver.url()})).await;
    let loaded = fixture.settles(id).await;
    assert_eq!(loaded.execution.background().unwrap().callback().unwrap().state(), CallbackState::GivenUp);
    assert_eq!(receiver.calls().len(), 1);
    fixture.end().await;
}

/// What is owed after the end is state: whoever drives the execution next goes on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_is_owed_survives_a_restart() {
    let receiver = Receiver::start(vec![503, 503, 200]).await;
    let fixture = fixture(4).await;
    let id = fixture.begin(ECHO, json!({"callback_url": receiver.url()})).await;
    fixture
        .until(id, "a first attempt", |loaded| {
            loaded.execution.background().unwrap().callback().is_some_and(|callback| callback.attempts() == 1)
        })
        .await;
    let fixture = fixture.restart(4).await;
    let attempts = |loaded: &Loaded| loaded.execution.background().unwrap().callback().unwrap().attempts();
    fixture.until(id, "a second attempt", |loaded| attempts(loaded) >= 2).await;
    let calls = receiver.calls();
    assert!(calls.iter().all(|call| call.id == calls[0].id));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_may_not_be_made_is_refused_at_the_start_and_changes_nothing() {
    let fixture = fixture(4).await;
    for (url, why) in [
        ("http://10.0.0.1/", "not public"),
        ("http://169.254.169.254/latest", "not public"),
        ("ftp://example.org/", "https"),
        ("https://me:secret@example.org/", "password"),
    ] {
        let refused = fixture.try_begin(ECHO, json!({"callback_url": url})).await.unwrap_err();
        assert!(matches!(refused, ServiceError::InvalidForm(_)) && refused.to_string().contains(why), "{refused}");
    }
    assert!(fixture.store.list(&fixture.tenant, None, None, 10).await.unwrap().is_empty());
    fixture.end().await;
}

/// What decides how long a child in the background may run: the default, its graph, or whoever wants it.
#[tokio::test(flavor = "multi_thread")]
async fn the_wall_time_of_a_background_child_takes_the_place_of_the_default_timeout() {
    let fixture = fixture(4).await;
    let waits = "nodes: { a: { wait: { signal: never } } }";
    for (name, limits) in
        [("bare", ""), ("brief", "limits: { wall_time: 200ms }\n"), ("long", "limits: { wall_time: 1h }\n")]
    {
        let graph = format!("stepstream: 1\nname: {name}\n{limits}{waits}");
        fixture.coordinator.service.register_graph(&fixture.tenant, "child.yaml", &graph).await.unwrap();
    }
    let policies = |wall_time: &str| format!(", policies: {{ wall_time: {wall_time} }}");
    for (graph, policies, timeout_ms) in [
        ("bare", String::new(), 300_000),
        ("long", String::new(), 3_600_000),
        ("bare", policies("2h"), 7_200_000),
        ("long", policies("10m"), 600_000),
        ("brief", String::new(), 200),
    ] {
        let spawn = format!("graph: {graph}, spawn: {{ background: true{policies} }}");
        let parent = format!("stepstream: 1\nname: parent\nnodes: {{ k: {{ {spawn} }} }}");
        let id = fixture.begin(&parent, json!({})).await;
        let loaded = fixture.stands(id, BackgroundStatus::Completed).await;
        let child = loaded.execution.children().next().expect("a child").1.id();
        let child = fixture.load(child).await;
        assert_eq!(child.execution.background().unwrap().config().timeout_ms, timeout_ms, "{spawn}");
        if graph == "brief" {
            let ended = fixture.stands(child.execution.id(), BackgroundStatus::Failed).await;
            let code = ended.execution.error().unwrap().code.clone().unwrap();
            assert_eq!(code.as_str(), "wall_time_limit", "the limit decides, and says so");
        }
    }
    fixture.end().await;
}

/// D36, D37: a child in the background is an execution that runs, with a link to the step that wanted it.
#[tokio::test(flavor = "multi_thread")]
async fn d36_a_background_child_runs_in_the_background() {
    let fixture = fixture(4).await;
    fixture.coordinator.service.register_graph(&fixture.tenant, "echo.yaml", ECHO).await.unwrap();
    let parent = "stepstream: 1\nname: parent\nnodes: { k: { graph: echo, spawn: { mode: child, background: true } } }";
    let id = fixture.begin(parent, json!({})).await;
    let loaded = fixture.stands(id, BackgroundStatus::Completed).await;
    let (_, child) = loaded.execution.children().next().expect("a child");
    let child = fixture.stands(child.id(), BackgroundStatus::Completed).await;
    assert_eq!(child.execution.parent().unwrap().execution, Some(id));
    assert_eq!(child.execution.background().unwrap().config().mode.name(), "fire_and_forget");
    fixture.end().await;
}
