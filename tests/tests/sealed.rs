//! Two coordinators that pass requests on to each other, and somebody on their bus who is neither.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use stepstream_coordinator::service::{Ask, Start};
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::bus::CoordinatorBus;
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::execution::{ExecutionState, Steer, Steering};
use stepstream_shared::id::{ControlId, ExecutionId, PartitionId, TenantId};
use stepstream_shared::wire::{Forwarded, ForwardedRequest, PROTOCOL};
use stepstream_tests::poll::until;
use tokio_util::sync::CancellationToken;

const PARTITIONS: u16 = 4;
/// Longer than an answer on a bus in this process takes, whatever the machine does meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

async fn begins(coordinator: &Coordinator, key: &str) -> ExecutionId {
    let (service, tenant) = (&coordinator.service, TenantId::default_tenant());
    let text = "stepstream: 1\nname: asked\nnodes: { a: { wait: { approval: true } } }";
    let start = Start {
        graph: service.register_graph(&tenant, "test.yaml", text).await.unwrap().graph,
        named: None,
        inputs: Data::null(),
        // The id follows from it, so half of them belong to the other coordinator.
        idempotency_key: Some(key.to_owned()),
        actor: Actor::User("test".to_owned()),
        trace: None,
        metadata: None,
        breakpoints: Vec::new(),
        background: None,
        limits: stepstream_shared::graph::LimitOverrides::default(),
    };
    service.start(&tenant, start).await.unwrap().execution
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_hear_each_other_and_nobody_who_only_has_the_bus() {
    let (store, bus) = (Arc::new(MemoryStore::new(PARTITIONS)), InProcessBus::new(InProcessOptions::default()));
    let (tenant, stop) = (TenantId::default_tenant(), CancellationToken::new());
    let mut both = Vec::new();
    for name in ["one", "other"] {
        let options = Options { name: name.to_owned(), ..Options::default() };
        both.push(start(options, store.clone(), Arc::new(bus.clone()), stop.clone()).await.unwrap());
    }
    until("each has its share", async || both.iter().all(|each| each.service.partitions_held() == 2).then_some(()))
        .await;
    let mut executions = Vec::new();
    for number in 0..8 {
        let id = begins(&both[0], &format!("key-{number}")).await;
        executions.push(id);
        let pause = Steering::Pause { reason: "lunch".to_owned() };
        both[1].service.steer(&tenant, id, Ask::new("test", pause)).await.unwrap();
    }
    let refused = || both.iter().map(|each| each.service.refused_requests().forged).sum::<u64>();
    assert_eq!(refused(), 0);

    // As it was asked before requests were sealed, by whoever may publish on the bus.
    let id = executions[0];
    let steer = Steer {
        id: ControlId::from_bytes([7; 20]),
        by: "ada".to_owned(),
        what: Steering::Cancel { reason: "because".to_owned() },
    };
    let forged = Forwarded {
        protocol: PROTOCOL,
        execution: id,
        actor: Actor::User("ada".to_owned()),
        key: None,
        trace: None,
        what: ForwardedRequest::Steer(steer),
    };
    let body = forged.encode().unwrap();
    let answer = bus.request(&tenant, PartitionId::of(id, PARTITIONS), body.into(), PATIENCE).await.unwrap();
    assert!(answer.is_empty(), "it is not even told why");
    assert_eq!(refused(), 1);
    let loaded = both[0].service.load(&tenant, id, None).await.unwrap();
    assert_eq!(loaded.execution.state(), ExecutionState::Paused);
    stop.cancel();
    for each in both {
        each.stopped().await;
    }
}

/// Completes once its child has, with as many bytes as the child gave.
const PARENT: &str = "stepstream: 1\nname: parent\nnodes: { a: { graph: child, with: '=inputs', next: { to: b } }, b: { transform: '=size(steps.a.output[3])' } }";
const CHILD: &str =
    "stepstream: 1\nname: child\nnodes: { c: { transform: '=[inputs.text, inputs.text, inputs.text, inputs.text]' } }";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_child_gave_comes_back_however_large_and_wherever_its_parent_is() {
    let store = Arc::new(MemoryStore::new(PARTITIONS));
    let options = InProcessOptions { max_payload: Some(64 * 1024), ..InProcessOptions::default() };
    let (bus, tenant, stop) = (InProcessBus::new(options), TenantId::default_tenant(), CancellationToken::new());
    let mut both = Vec::new();
    for name in ["one", "other"] {
        let options = Options { name: name.to_owned(), ..Options::default() };
        both.push(start(options, store.clone(), Arc::new(bus.clone()), stop.clone()).await.unwrap());
    }
    until("each has its share", async || both.iter().all(|each| each.service.partitions_held() == 2).then_some(()))
        .await;
    let service = &both[0].service;
    service.register_graph(&tenant, "child.yaml", CHILD).await.unwrap();
    let graph = service.register_graph(&tenant, "parent.yaml", PARENT).await.unwrap().graph;
    // Half of the children belong to another coordinator than their parent; what they gave does not fit a message.
    let text = "x".repeat(30_000);
    for _ in 0..8 {
        let start = Start {
            graph: graph.clone(),
            named: None,
            inputs: Data::from_json(&serde_json::json!({"text": text})).unwrap(),
            idempotency_key: None,
            actor: Actor::User("test".to_owned()),
            trace: None,
            metadata: None,
            breakpoints: Vec::new(),
            background: None,
            limits: stepstream_shared::graph::LimitOverrides::default(),
        };
        let id = service.start(&tenant, start).await.unwrap().execution;
        let loaded = service.wait(&tenant, id, Some(PATIENCE)).await.unwrap().expect("it ends in time");
        let execution = &loaded.execution;
        assert_eq!(execution.state(), ExecutionState::Completed, "{:?}", execution.error());
        assert_eq!(execution.output().to_json(), serde_json::json!(30_000));
    }
    stop.cancel();
    for each in both {
        each.stopped().await;
    }
}
