//! Jobs that were taken off a bus which remembers what it has seen, for whoever wants them again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use stepstream_coordinator::service::Start;
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{AtRest, Coordinator, Options, start};
use stepstream_runtime::bus::CoordinatorBus;
use stepstream_runtime::bus::jetstream::{JetStreamBus, JetStreamOptions};
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::execution::ExecutionState;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_tests::poll::until;
use stepstream_tests::servers;
use tokio_util::sync::CancellationToken;

/// Longer than any test: what is lost and not missed at once hangs.
const LONG: Duration = Duration::from_secs(3600);

struct House {
    coordinator: Coordinator,
    tenant: TenantId,
    stop: CancellationToken,
}

impl House {
    async fn over(store: &Arc<MemoryStore>, bus: &JetStreamBus) -> Self {
        // Lets go of whatever rests, soon.
        let at_rest = AtRest {
            horizon: Duration::from_millis(200),
            look: Duration::from_millis(50),
            quiet: Duration::from_millis(40),
            ..AtRest::default()
        };
        let options = Options { at_rest, redispatch_after: LONG, ..Options::default() };
        let stop = CancellationToken::new();
        let coordinator = start(options, store.clone(), Arc::new(bus.clone()), stop.clone()).await.unwrap();
        let service = coordinator.service.clone();
        until("all partitions are held", async || (service.partitions_held() == 4).then_some(())).await;
        House { coordinator, tenant: TenantId::default_tenant(), stop }
    }

    async fn begins(&self) -> ExecutionId {
        let service = &self.coordinator.service;
        let text = "stepstream: 1\nname: queued\nnodes: { a: { task: nobody-runs-it } }";
        let start = Start {
            graph: service.register_graph(&self.tenant, "test.yaml", text).await.unwrap().graph,
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

    async fn lets_go(&self) {
        let service = &self.coordinator.service;
        until("nothing is in memory", async || (service.executions_in_memory() == 0).then_some(())).await;
    }

    async fn resumes(&self, id: ExecutionId) {
        self.coordinator.service.resume(&self.tenant, id, "test").await.unwrap();
    }

    async fn closes(self) {
        self.stop.cancel();
        self.coordinator.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_off_the_bus_is_handed_out_again_by_those_who_do_not_know_of_it() {
    let server = servers::nats().await.unwrap();
    let bus = JetStreamBus::connect(&server.url(), JetStreamOptions::default()).await.unwrap();
    bus.setup().await.unwrap();
    let on_the_bus = async |jobs: u64| {
        until("so many jobs are on the bus", async || (bus.jobs_state().await.unwrap().messages == jobs).then_some(()))
            .await;
    };
    let store = Arc::new(MemoryStore::new(4));
    let house = House::over(&store, &bus).await;
    let (one, other) = (house.begins().await, house.begins().await);
    on_the_bus(2).await;
    for id in [one, other] {
        house.coordinator.service.pause(&house.tenant, id, "lunch".to_owned(), "test").await.unwrap();
    }
    on_the_bus(0).await;
    // It has forgotten what it did.
    house.lets_go().await;
    house.resumes(one).await;
    on_the_bus(1).await;
    house.closes().await;
    // This one never knew.
    let house = House::over(&store, &bus).await;
    house.resumes(other).await;
    on_the_bus(2).await;
    // What is there is not published a second time, whoever comes: not even under another number.
    let published = bus.jobs_state().await.unwrap().last_sequence;
    house.closes().await;
    let house = House::over(&store, &bus).await;
    until("both are driven", async || (house.coordinator.service.executions_in_memory() == 2).then_some(())).await;
    let last = house.begins().await;
    on_the_bus(3).await;
    let state = house.coordinator.service.load(&house.tenant, last, None).await.unwrap().execution.state();
    assert_eq!(state, ExecutionState::Running);
    assert_eq!(bus.jobs_state().await.unwrap().last_sequence, published + 1, "only the new one was published");
    house.closes().await;
}
