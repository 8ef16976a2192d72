//! A store that lost its end: nothing that was promised in it counts, and what was open goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use stepstream_coordinator::ports::EventStore;
use stepstream_coordinator::service::Start;
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::bus::{Delivery, QueueId, WorkerBus};
use stepstream_runtime::random;
use stepstream_shared::data::Data;
use stepstream_shared::event::{Actor, EventData};
use stepstream_shared::execution::{Execution, ExecutionState};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::wire::{Job, Outcome, OutcomeResult, PROTOCOL};
use stepstream_tests::poll::until;
use tokio_util::sync::CancellationToken;

/// Far beyond any healthy run.
const PATIENCE: Duration = Duration::from_secs(60);

struct House {
    coordinator: Coordinator,
    bus: Arc<InProcessBus>,
    stop: CancellationToken,
}

impl House {
    async fn over(store: &Arc<MemoryStore>, bus: &Arc<InProcessBus>) -> Self {
        let stop = CancellationToken::new();
        let coordinator = start(Options::default(), store.clone(), bus.clone(), stop.clone()).await.unwrap();
        House { coordinator, bus: bus.clone(), stop }
    }

    async fn begins(&self, nodes: &str) -> ExecutionId {
        let (service, tenant) = (&self.coordinator.service, TenantId::default_tenant());
        let text = format!("stepstream: 1\nname: restored\nnodes: {nodes}");
        let graph = service.register_graph(&tenant, "test.yaml", &text).await.unwrap().graph;
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
        let begun = until("a coordinator takes it", async || service.start(&tenant, start.clone()).await.ok()).await;
        begun.execution
    }

    async fn state(&self, id: ExecutionId) -> Execution {
        self.coordinator.service.load(&TenantId::default_tenant(), id, None).await.unwrap().execution
    }

    async fn job(&self) -> Delivery<Job> {
        let queue = QueueId { tenant: TenantId::default_tenant(), name: "default".to_owned() };
        tokio::time::timeout(PATIENCE, self.bus.jobs(&queue, 1)).await.unwrap().unwrap().remove(0)
    }

    async fn reports(&self, job: &Job, number: u32, result: OutcomeResult) {
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
        self.bus.report(&TenantId::default_tenant(), job.partition, &outcome).await.unwrap();
    }

    async fn closes(self) {
        self.stop.cancel();
        self.coordinator.stopped().await;
    }
}

async fn restores_of(house: &House, id: ExecutionId) -> Vec<u64> {
    let mut found = Vec::new();
    let mut log = house.coordinator.service.reader().cursor(&TenantId::default_tenant(), id);
    while let Some(appended) = log.next().await.unwrap() {
        found.extend(appended.events.iter().filter_map(|event| match &event.data {
            EventData::StoreRestored { incarnation } => Some(*incarnation),
            _ => None,
        }));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn i24_no_token_of_the_lost_branch_is_accepted_and_what_was_running_is_handed_out_again() {
    let (store, bus) = (Arc::new(MemoryStore::new(4)), Arc::new(InProcessBus::new(InProcessOptions::default())));
    let old = House::over(&store, &bus).await;
    let id = old.begins("{ a: { task: t, retry: { max_attempts: 1 }, next: { to: b } }, b: { transform: 1 } }").await;
    let held = old.job().await;
    old.reports(&held.message, 1, OutcomeResult::Started).await;
    until("it is on record", async || (old.state(id).await.at_work() == 1).then_some(())).await;

    assert_eq!(store.begin_incarnation().await.unwrap(), 2);
    tokio::time::timeout(PATIENCE, old.coordinator.superseded()).await.expect("it hears of the restore");
    old.closes().await;

    let new = House::over(&store, &bus).await;
    let again = new.job().await;
    assert_eq!((again.message.token.incarnation, again.message.token.attempt), (2, 1), "no attempt is used up");
    let done =
        |output: &str| OutcomeResult::Completed { output: Data::from_json(&output.into()).unwrap(), duration_us: 1 };
    new.reports(&held.message, 2, done("of the lost branch")).await;
    until("it is refused", async || (new.coordinator.service.refused_outcomes().earlier_incarnation > 0).then_some(()))
        .await;
    assert_eq!(new.state(id).await.state(), ExecutionState::Running);
    new.reports(&again.message, 3, done("of this one")).await;
    let tenant = TenantId::default_tenant();
    let ended = new.coordinator.service.wait(&tenant, id, Some(PATIENCE)).await.unwrap().expect("it ends");
    assert_eq!(ended.execution.state(), ExecutionState::Completed);
    let output = ended.execution.steps()[0].output().to_json();
    assert_eq!(output, "of this one");
    assert_eq!(restores_of(&new, id).await, [2]);
    new.coordinator.service.reader().verify(&tenant, id).await.unwrap();

    // What begins in this incarnation knows of no restore, also after another takeover.
    let id = new.begins("{ a: { task: t } }").await;
    let held = new.job().await;
    new.closes().await;
    let next = House::over(&store, &bus).await;
    next.reports(&held.message, 1, done("x")).await;
    let ended = next.coordinator.service.wait(&tenant, id, Some(PATIENCE)).await.unwrap().expect("it ends");
    assert_eq!(ended.execution.state(), ExecutionState::Completed);
    assert!(restores_of(&next, id).await.is_empty());
    next.closes().await;
}
