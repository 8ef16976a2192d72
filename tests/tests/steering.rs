//! Control that holds: what workers and the bus see of executions that are paused, resumed and cancelled.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use stepstream_coordinator::service::{Ask, ServiceError, Start};
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::bus::{CoordinatorBus, Delivery, QueueId, WorkerBus};
use stepstream_runtime::random;
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::execution::{Execution, ExecutionState, Steering};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::wire::{Control, Job, Outcome, OutcomeResult, PROTOCOL};
use stepstream_tests::poll::until;
use tokio_util::sync::CancellationToken;

/// Far beyond any healthy run.
const PATIENCE: Duration = Duration::from_secs(60);

struct House {
    coordinator: Coordinator,
    bus: Arc<InProcessBus>,
    tenant: TenantId,
    stop: CancellationToken,
}

impl House {
    async fn new() -> Self {
        let bus = Arc::new(InProcessBus::new(InProcessOptions::default()));
        let stop = CancellationToken::new();
        let options = Options { exclusive: true, ..Options::default() };
        let coordinator = start(options, Arc::new(MemoryStore::new(8)), bus.clone(), stop.clone()).await.unwrap();
        House { coordinator, bus, tenant: TenantId::default_tenant(), stop }
    }

    async fn begins(&self, nodes: &str) -> ExecutionId {
        let service = &self.coordinator.service;
        let text = format!("stepstream: 1\nname: steered\nnodes: {nodes}");
        let graph = service.register_graph(&self.tenant, "test.yaml", &text).await.unwrap().graph;
        let start = Start {
            graph,
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
        service.start(&self.tenant, start).await.unwrap().execution
    }

    async fn asks(&self, id: ExecutionId, what: Steering) -> Result<(), ServiceError> {
        self.coordinator.service.steer(&self.tenant, id, Ask::new("ada", what)).await
    }

    async fn pauses(&self, id: ExecutionId) {
        self.asks(id, Steering::Pause { reason: "lunch".to_owned() }).await.unwrap();
    }

    async fn resumes(&self, id: ExecutionId) {
        self.asks(id, Steering::Resume { reason: None }).await.unwrap();
    }

    async fn state(&self, id: ExecutionId) -> Execution {
        self.coordinator.service.load(&self.tenant, id, None).await.unwrap().execution
    }

    /// What a worker would be given within a moment, which is long for this bus.
    async fn jobs(&self) -> Vec<Delivery<Job>> {
        let queue = QueueId { tenant: self.tenant.clone(), name: "default".to_owned() };
        tokio::time::timeout(Duration::from_millis(200), self.bus.jobs(&queue, 100))
            .await
            .map(Result::unwrap)
            .unwrap_or_default()
    }

    /// The next job, whenever it comes.
    async fn job(&self) -> Delivery<Job> {
        let queue = QueueId { tenant: self.tenant.clone(), name: "default".to_owned() };
        tokio::time::timeout(PATIENCE, self.bus.jobs(&queue, 1)).await.unwrap().unwrap().remove(0)
    }

    async fn reports(&self, job: &Job, number: u32, result: OutcomeResult) {
        let outcome = Outcome {
            protocol: PROTOCOL,
            token: job.token.clone(),
            claim: random::claim_id(),
            worker: "w".to_owned(),
            report: number,
            result,
            notes: Vec::new(),
        };
        self.bus.report(&self.tenant, job.partition, &outcome).await.unwrap();
    }

    async fn completes(&self, delivery: &Delivery<Job>, number: u32) {
        let result = OutcomeResult::Completed { output: Data::null(), duration_us: 1 };
        self.reports(&delivery.message, number, result).await;
        delivery.settle.ack().await.unwrap();
    }

    async fn ends(&self, id: ExecutionId) -> ExecutionState {
        let ended = self.coordinator.service.wait(&self.tenant, id, Some(PATIENCE)).await.unwrap();
        self.coordinator.service.reader().verify(&self.tenant, id).await.unwrap();
        ended.expect("it ends within the deadline").execution.state()
    }

    async fn closes(self) {
        self.stop.cancel();
        self.coordinator.stopped().await;
    }
}

async fn queued(house: &House) -> u64 {
    house.bus.jobs_state().await.unwrap().messages
}

async fn on_the_bus(house: &House) {
    until("the job is on the bus", async || (queued(house).await > 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_does_not_begin_while_its_execution_is_paused_and_does_after() {
    let house = House::new().await;
    let id = house.begins("{ a: { task: t } }").await;
    on_the_bus(&house).await;
    house.pauses(id).await;
    until("the job is taken off the bus", async || (queued(&house).await == 0).then_some(())).await;
    assert!(house.jobs().await.is_empty());
    house.resumes(id).await;
    let again = house.job().await;
    assert_ne!(again.message.dispatch, 0, "no copy of the one that was taken off");
    house.completes(&again, 1).await;
    assert_eq!(house.ends(id).await, ExecutionState::Completed);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_has_ends_while_its_execution_is_paused_and_then_it_is_quiet() {
    let house = House::new().await;
    let id = house.begins("{ a: { task: t, next: { to: b } }, b: { task: t } }").await;
    let held = house.job().await;
    house.reports(&held.message, 1, OutcomeResult::Started).await;
    until("it is on record", async || (house.state(id).await.at_work() == 1).then_some(())).await;
    house.pauses(id).await;
    assert!(!house.state(id).await.is_quiescent());
    house.completes(&held, 2).await;
    until("it is quiet", async || house.state(id).await.is_quiescent().then_some(())).await;
    assert!(house.jobs().await.is_empty(), "its successor waits");
    house.resumes(id).await;
    house.completes(&house.job().await, 3).await;
    assert_eq!(house.ends(id).await, ExecutionState::Completed);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_missed_the_hint_hears_with_its_next_sign_of_life_that_nobody_waits() {
    let house = House::new().await;
    let id = house.begins("{ a: { task: t } }").await;
    let held = house.job().await;
    house.reports(&held.message, 1, OutcomeResult::Started).await;
    until("it is on record", async || (house.state(id).await.at_work() == 1).then_some(())).await;
    house.asks(id, Steering::Cancel { reason: "no more".to_owned() }).await.unwrap();
    // It listens only now.
    let mut hints = house.bus.controls(&house.tenant).await.unwrap();
    house.reports(&held.message, 2, OutcomeResult::Progress { note: None }).await;
    let heard = async {
        // The hint of the cancellation itself may still be on its way.
        while let Some(hint) = hints.next().await {
            if matches!(hint, Control::Abandon { execution, ordinal: 0, attempt: 1 } if execution == id) {
                return;
            }
        }
        panic!("nothing more is said");
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_denied_is_answered_and_on_record() {
    let house = House::new().await;
    let id = house.begins("{ a: { task: t } }").await;
    let denied = house.asks(id, Steering::Resume { reason: None }).await.unwrap_err();
    assert!(matches!(&denied, ServiceError::Conflict(text) if text.contains("cannot be resumed")), "{denied}");
    let events = house.coordinator.service.events(&house.tenant, id, 0, 100).await.unwrap();
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["outcome"]), (&json!("control_recorded"), &json!("denied")));
    assert_eq!(last["actor"], json!("user:ada"));
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_over_a_lost_answer_is_done_once() {
    let house = House::new().await;
    let id = house.begins("{ w: { wait: { signal: go } }, v: { wait: { signal: go } } }").await;
    let go = || Ask {
        what: Steering::Signal { name: "go".to_owned(), correlation: None, payload: Data::null() },
        by: "ada".to_owned(),
        idempotency_key: Some("order-1".to_owned()),
    };
    let service = &house.coordinator.service;
    service.steer(&house.tenant, id, go()).await.unwrap();
    service.steer(&house.tenant, id, go()).await.unwrap();
    assert_eq!(house.state(id).await.waits().count(), 1, "one of the two waits still");
    house.closes().await;
}
