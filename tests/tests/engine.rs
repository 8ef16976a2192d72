//! The engine, a worker and the in-process bus over a store in memory: what executions do, end to end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_coordinator::service::Start;
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::execution::ExecutionState;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_worker::{Context, Failure, Worker};
use tokio_util::sync::CancellationToken;

/// Far beyond any healthy run.
const PATIENCE: Duration = Duration::from_secs(60);

struct Fixture {
    coordinator: Coordinator,
    tenant: TenantId,
    stop: CancellationToken,
    worker: Shutdown,
}

async fn fixture() -> Fixture {
    let store = Arc::new(MemoryStore::new(8));
    let bus = Arc::new(InProcessBus::new(InProcessOptions::default()));
    let stop = CancellationToken::new();
    let options = Options { exclusive: true, ..Options::default() };
    let coordinator = start(options, store, bus.clone(), stop.clone()).await.unwrap();
    let worker = Shutdown::new();
    let run = Worker::builder()
        .bus(bus)
        .slots(64)
        .name("w1")
        .callables(|registry| {
            stepstream_worker::builtin::register_all(registry, stepstream_worker::builtin::Options::default());
        })
        .register("double", async |_: Context, n: i64| Ok::<_, Failure>(n * 2))
        .build()
        .unwrap();
    tokio::spawn(run.run(worker.clone()));
    Fixture { coordinator, tenant: TenantId::default_tenant(), stop, worker }
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

    async fn run(&self, graph: &str, inputs: Value) -> (ExecutionState, Value) {
        let id = self.begin(graph, inputs).await;
        let loaded = self
            .coordinator
            .service
            .wait(&self.tenant, id, Some(PATIENCE))
            .await
            .unwrap()
            .expect("the execution ends within the deadline");
        self.coordinator.service.reader().verify(&self.tenant, id).await.unwrap();
        let value = match loaded.execution.error() {
            Some(error) => json!(error.to_string()),
            None => loaded.execution.output().to_json(),
        };
        (loaded.execution.state(), value)
    }

    async fn end(self) {
        self.worker.request();
        self.stop.cancel();
        self.coordinator.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_hands_its_outputs_on() {
    let fixture = fixture().await;
    let graph = "
stepstream: 1
name: chain
version: 1.0.0
nodes:
  a: { task: double, with: '=inputs.n', next: [ { to: b } ] }
  b: { task: double, with: '=steps.a.output', next: [ { to: c } ] }
  c: { transform: \"={'sum': steps.a.output + steps.b.output}\" }
output: '=steps.c.output'
";
    let result = fixture.run(graph, json!({"n": 5})).await;
    assert_eq!(result, (ExecutionState::Completed, json!({"sum": 30})));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_keeps_its_order_within_its_window() {
    let fixture = fixture().await;
    let graph = "
stepstream: 1
name: fan
version: 1.0.0
nodes:
  each: { map: { over: '=inputs.list', max_concurrency: 7 }, task: double, with: '=item', next: [ { to: sum } ] }
  sum: { transform: '=steps.each.output' }
output: '=steps.sum.output'
";
    let list: Vec<i64> = (0..500).collect();
    let (state, output) = fixture.run(graph, json!({"list": list})).await;
    assert_eq!(state, ExecutionState::Completed);
    assert_eq!(output, json!(list.iter().map(|n| n * 2).collect::<Vec<_>>()));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_goes_round_until_its_guard_lets_go() {
    let fixture = fixture().await;
    let graph = "
stepstream: 1
name: refine
version: 1.0.0
nodes:
  polish:
    task: double
    with: '=has(steps.polish.output) ? steps.polish.output : inputs.n'
    max_iterations: 10
    next: [ { when: '=output < 100', to: polish }, { when: '=output >= 100', to: done } ]
  done: { transform: \"={'value': steps.polish.output, 'rounds': steps.polish.iterations}\" }
output: '=steps.done.output'
";
    let result = fixture.run(graph, json!({"n": 1})).await;
    assert_eq!(result, (ExecutionState::Completed, json!({"value": 128, "rounds": 7})));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_never_lets_go_fails_at_its_bound() {
    let fixture = fixture().await;
    let graph = "
stepstream: 1
name: endless
version: 1.0.0
nodes:
  polish: { task: echo, with: 1, max_iterations: 3, next: [ { when: '=output == 1', to: polish }, { when: '=output != 1', to: done } ] }
  done: { transform: 1 }
";
    let (state, error) = fixture.run(graph, json!({})).await;
    assert_eq!(state, ExecutionState::Failed);
    assert!(error.as_str().unwrap().contains("max_iterations"), "{error}");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_retried_and_then_caught_by_its_category() {
    let fixture = fixture().await;
    let graph = "
stepstream: 1
name: flaky
version: 1.0.0
nodes:
  flaky:
    task: fail
    with: { category: NetworkError, message: down, until_attempt: 3 }
    retry: { max_attempts: 5, backoff: constant, base: 1ms, max: 1ms }
    next: [ { to: broken } ]
  broken:
    task: fail
    with: { category: ValidationError, message: never }
    next: [ { to: unreachable }, { catch: [ValidationError], to: sorry } ]
  unreachable: { transform: 1, next: [ { to: end_ } ] }
  sorry: { transform: '=error.message', next: [ { to: end_ } ] }
  end_: { join: all, transform: '=steps.sorry.output' }
output: '=steps.end_.output'
";
    let result = fixture.run(graph, json!({})).await;
    assert_eq!(result, (ExecutionState::Completed, json!("never")));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_executions_run_side_by_side() {
    let fixture = fixture().await;
    let graph = "
stepstream: 1
name: one
version: 1.0.0
nodes:
  a: { task: echo, with: '=inputs' }
";
    let started = std::time::Instant::now();
    let mut ids = Vec::new();
    for n in 0..500 {
        ids.push(fixture.begin(graph, json!({"n": n})).await);
    }
    for id in ids {
        let done = fixture.coordinator.service.wait(&fixture.tenant, id, Some(PATIENCE)).await.unwrap();
        assert_eq!(done.unwrap().execution.state(), ExecutionState::Completed);
    }
    println!("{:?}", started.elapsed());
    fixture.end().await;
}
