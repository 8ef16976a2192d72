//! Executions that start executions: parents, children and their ends, over a store that outlives its coordinators.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_coordinator::ports::{Agenda, EventStore};
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::service::{Ask, Start};
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::data::Data;
use stepstream_shared::event::Actor;
use stepstream_shared::event::message::{GuidancePriority, GuidanceSource, Message};
use stepstream_shared::execution::{ExecutionState, Steering};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_tests::harness::unruly::UnrulyStore;
use stepstream_tests::poll::until;
use stepstream_worker::Worker;
use tokio_util::sync::CancellationToken;

/// Far beyond any healthy run.
const PATIENCE: Duration = Duration::from_secs(60);

/// A coordinator and a worker over a store that others may go on with.
struct House {
    store: Arc<dyn EventStore>,
    coordinator: Coordinator,
    tenant: TenantId,
    stop: CancellationToken,
    worker: Shutdown,
}

impl House {
    async fn over(store: Arc<dyn EventStore>) -> Self {
        let bus = Arc::new(InProcessBus::new(InProcessOptions::default()));
        let stop = CancellationToken::new();
        let options = Options { exclusive: true, ..Options::default() };
        let coordinator = start(options, store.clone(), bus.clone(), stop.clone()).await.unwrap();
        let worker = Shutdown::new();
        let run = Worker::builder().bus(bus).slots(16).name("w1").callables(|registry| {
            stepstream_worker::builtin::register_all(registry, stepstream_worker::builtin::Options::default());
        });
        tokio::spawn(run.build().unwrap().run(worker.clone()));
        House { store, coordinator, tenant: TenantId::default_tenant(), stop, worker }
    }

    async fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new(8))).await
    }

    async fn knows(&self, name: &str, rest: &str) {
        let text = format!("stepstream: 1\nname: {name}\nversion: 1.0.0\n{rest}");
        self.coordinator.service.register_graph(&self.tenant, "test.yaml", &text).await.unwrap();
    }

    async fn begins(&self, name: &str, inputs: Value) -> ExecutionId {
        let service = &self.coordinator.service;
        let start = Start {
            graph: service.reader().find_graph(&self.tenant, name).await.unwrap(),
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

    async fn ends(&self, id: ExecutionId) -> (ExecutionState, Value) {
        let loaded = self.coordinator.service.wait(&self.tenant, id, Some(PATIENCE)).await.unwrap();
        let loaded = loaded.expect("the execution ends within the deadline");
        self.coordinator.service.reader().verify(&self.tenant, id).await.unwrap();
        let value = match loaded.execution.error() {
            Some(error) => json!(error.code.as_ref().map(|code| code.as_str())),
            None => loaded.execution.output().to_json(),
        };
        (loaded.execution.state(), value)
    }

    /// The children of an execution once there are so many that have started.
    async fn children(&self, id: ExecutionId, count: usize) -> Vec<ExecutionId> {
        until("so many children have started", async || {
            let loaded = self.coordinator.service.load(&self.tenant, id, None).await.unwrap();
            let started = loaded.execution.children().filter(|(_, child)| child.state().name() != "Wanted");
            let children: Vec<ExecutionId> = started.map(|(_, child)| child.id()).collect();
            (children.len() >= count).then_some(children)
        })
        .await
    }

    async fn count(&self) -> usize {
        self.coordinator.service.reader().list(&self.tenant, None, None, 100).await.unwrap().len()
    }

    async fn closes(self) -> Arc<dyn EventStore> {
        self.worker.request();
        self.stop.cancel();
        self.coordinator.stopped().await;
        self.store
    }
}

const DOUBLE: &str = "nodes: { d: { transform: \"=inputs.n * 2\" } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_child_gets_its_inputs_and_its_output_comes_back() {
    let house = House::new().await;
    house.knows("double", DOUBLE).await;
    house
        .knows("twice", "nodes: { a: { graph: double, with: { n: \"=inputs.n\" }, next: { to: b } }, b: { graph: double@1.0.0, with: { n: \"=steps.a.output\" } } }")
        .await;
    let id = house.begins("twice", json!({"n": 5})).await;
    assert_eq!(house.ends(id).await, (ExecutionState::Completed, json!(20)));
    assert_eq!(house.count().await, 3);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grandchildren_and_a_recursion_that_is_bounded() {
    let house = House::new().await;
    house
        .knows("count", "nodes: { r: { route: first, next: [ { when: \"=inputs.n > 0\", to: down }, { to: up } ] }, down: { graph: count, with: { n: \"=inputs.n - 1\" } }, up: { transform: 0 } }\noutput: \"=has(steps.down.output) ? steps.down.output + 1 : 0\"")
        .await;
    let id = house.begins("count", json!({"n": 4})).await;
    assert_eq!(house.ends(id).await, (ExecutionState::Completed, json!(4)));
    let id = house.begins("count", json!({"n": 100})).await;
    assert_eq!(house.ends(id).await, (ExecutionState::Failed, json!("child_depth_limit")));
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_cannot_be_started_fails_its_step() {
    let house = House::new().await;
    house.knows("strict", "inputs: { type: object, required: [n] }\nnodes: { d: { transform: 1 } }").await;
    house.knows("orphan", "nodes: { a: { graph: nowhere@9 } }").await;
    house.knows("sloppy", "nodes: { a: { graph: strict, with: {} } }").await;
    let id = house.begins("orphan", json!({})).await;
    assert_eq!(house.ends(id).await, (ExecutionState::Failed, json!("graph_not_found")));
    let id = house.begins("sloppy", json!({})).await;
    assert_eq!(house.ends(id).await, (ExecutionState::Failed, json!("invalid_inputs")));
    house.closes().await;
}

const WAITS: &str = "nodes: { w: { wait: { signal: go } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_parent_cancels_its_children_and_theirs_and_ends_after_them() {
    let house = House::new().await;
    house.knows("leaf", WAITS).await;
    house.knows("middle", "nodes: { k: { graph: leaf } }").await;
    house.knows("top", "nodes: { k: { graph: middle }, d: { graph: leaf, spawn: { on_cancel: detach } } }").await;
    let top = house.begins("top", json!({})).await;
    let children = house.children(top, 2).await;
    let (detached, middle) = (children[0], children[1]);
    let leaf = house.children(middle, 1).await[0];
    let service = &house.coordinator.service;
    service.cancel(&house.tenant, top, "no more".to_owned(), "ada").await.unwrap();
    assert_eq!(house.ends(top).await.0, ExecutionState::Cancelled);
    for below in [middle, leaf] {
        let loaded = service.load(&house.tenant, below, None).await.unwrap();
        assert_eq!(loaded.execution.state(), ExecutionState::Cancelled, "before its parent");
        assert_eq!(loaded.execution.reason(), Some("no more"));
    }
    let alone = service.load(&house.tenant, detached, None).await.unwrap();
    assert!(!alone.execution.state().is_terminal(), "{}", alone.execution.state());
    let go = Steering::Signal { name: "go".to_owned(), correlation: None, payload: Data::null() };
    service.steer(&house.tenant, detached, Ask::new("ada", go)).await.unwrap();
    assert_eq!(house.ends(detached).await.0, ExecutionState::Completed);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_child_is_started_whatever_becomes_of_its_parent() {
    let house = House::new().await;
    house.knows("leaf", WAITS).await;
    house
        .knows(
            "fire",
            "nodes: { k: { graph: leaf, spawn: { background: true } } }\noutput: \"=steps.k.output.execution_id\"",
        )
        .await;
    let id = house.begins("fire", json!({})).await;
    let (state, child) = house.ends(id).await;
    assert_eq!(state, ExecutionState::Completed);
    let child: ExecutionId = child.as_str().unwrap().parse().unwrap();
    let loaded = house.coordinator.service.load(&house.tenant, child, None).await.unwrap();
    let link = loaded.execution.parent().unwrap();
    assert_eq!((link.execution, link.depth), (Some(id), 1));
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_goes_on_under_another_coordinator_and_every_child_is_started_once() {
    let house = House::new().await;
    house.knows("leaf", WAITS).await;
    house.knows("top", "nodes: { a: { graph: leaf }, b: { graph: leaf }, c: { graph: leaf } }").await;
    let top = house.begins("top", json!({})).await;
    let children = house.children(top, 2).await;
    let first = children[0];
    let house = House::over(house.closes().await).await;
    let service = &house.coordinator.service;
    let go =
        || Steering::Signal { name: "go".to_owned(), correlation: None, payload: Data::from_json(&json!(1)).unwrap() };
    service.steer(&house.tenant, first, Ask::new("ada", go())).await.unwrap();
    assert_eq!(house.ends(first).await.0, ExecutionState::Completed);
    let children = house.children(top, 3).await;
    // The end of the first one was told, or is found by whoever looks after it.
    let house = House::over(house.closes().await).await;
    let service = &house.coordinator.service;
    for child in children.into_iter().filter(|child| *child != first) {
        service.steer(&house.tenant, child, Ask::new("ada", go())).await.unwrap();
    }
    assert_eq!(house.ends(top).await.0, ExecutionState::Completed);
    assert_eq!(house.count().await, 4, "one execution for each child");
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_hears_of_a_cancelled_child_although_nobody_told_it() {
    let store = Arc::new(UnrulyStore::new(8));
    let house = House::over(store.clone()).await;
    house.knows("leaf", WAITS).await;
    house.knows("top", "nodes: { k: { graph: leaf } }").await;
    let top = house.begins("top", json!({})).await;
    let leaf = house.children(top, 1).await[0];
    house.closes().await;

    // The next one is asked to cancel the family and does not get through to the child.
    store.garble(leaf);
    let house = House::over(store.clone()).await;
    house.coordinator.service.cancel(&house.tenant, top, "no more".to_owned(), "ada").await.unwrap();
    house.closes().await;

    // Another one does, by the very request that the parent owes, and stops before it has told the parent.
    store.mend(leaf);
    store.garble(top);
    let house = House::over(store.clone()).await;
    let cancel = Ask {
        what: Steering::Cancel { reason: "no more".to_owned() },
        by: "parent".to_owned(),
        idempotency_key: Some(format!("cascade/{top}")),
    };
    house.coordinator.service.steer(&house.tenant, leaf, cancel).await.unwrap();
    assert_eq!(house.ends(leaf).await.0, ExecutionState::Cancelled);
    house.closes().await;

    store.mend(top);
    let reader = Reader::new(store.clone());
    let untold = reader.load(&TenantId::default_tenant(), top, None).await.unwrap();
    assert!(!untold.execution.state().is_terminal(), "nobody has told it");
    let house = House::over(store.clone()).await;
    assert_eq!(house.ends(top).await.0, ExecutionState::Cancelled);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_cancels_the_children_that_it_leaves_behind() {
    let house = House::new().await;
    house.knows("leaf", WAITS).await;
    house
        .knows(
            "top",
            "nodes: { k: { graph: leaf }, w: { wait: { signal: done }, next: { to: z } }, z: { end: { output: 7 } } }",
        )
        .await;
    let top = house.begins("top", json!({})).await;
    let leaf = house.children(top, 1).await[0];
    let done = Steering::Signal { name: "done".to_owned(), correlation: None, payload: Data::null() };
    house.coordinator.service.steer(&house.tenant, top, Ask::new("ada", done)).await.unwrap();
    assert_eq!(house.ends(top).await, (ExecutionState::Completed, json!(7)));
    assert_eq!(house.ends(leaf).await.0, ExecutionState::Cancelled);
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_end_leaves_behind_is_cancelled_although_its_coordinator_died_before_it_could() {
    let store = Arc::new(UnrulyStore::new(8));
    let house = House::over(store.clone()).await;
    house.knows("leaf", WAITS).await;
    house
        .knows(
            "top",
            "nodes: { k: { graph: leaf }, w: { wait: { signal: done }, next: { to: z } }, z: { end: { output: 7 } } }",
        )
        .await;
    let top = house.begins("top", json!({})).await;
    let leaf = house.children(top, 1).await[0];
    house.closes().await;

    // The next one ends the parent and does not get through to the child.
    store.garble(leaf);
    let house = House::over(store.clone()).await;
    let done = Steering::Signal { name: "done".to_owned(), correlation: None, payload: Data::null() };
    house.coordinator.service.steer(&house.tenant, top, Ask::new("ada", done)).await.unwrap();
    assert_eq!(house.ends(top).await, (ExecutionState::Completed, json!(7)));
    house.closes().await;

    store.mend(leaf);
    let house = House::over(store.clone()).await;
    assert_eq!(house.ends(leaf).await.0, ExecutionState::Cancelled);
    let tenant = house.tenant.clone();
    until("nothing is owed any more", async || {
        let (top, leaf) = (store.agenda(&tenant, top).await.unwrap(), store.agenda(&tenant, leaf).await.unwrap());
        (top == Agenda::Nothing && leaf == Agenda::Nothing).then_some(())
    })
    .await;
    house.closes().await;
}

const LISTENS: &str = "nodes: { w: { wait: { signal: go }, next: { to: a } }, a: { task: echo, inbox: true, with: { n: \"=size(inbox.guidance)\" } } }";

fn says(content: &str) -> Ask {
    let message = Message::Guidance {
        from: GuidanceSource::User,
        content: content.to_owned(),
        context: Data::null(),
        priority: GuidancePriority::Medium,
    };
    Ask::new("ada", Steering::Send { message })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_for_a_parent_comes_for_its_child_and_its_grandchild_once_each() {
    let house = House::new().await;
    house.knows("leaf", LISTENS).await;
    house.knows("middle", "nodes: { k: { graph: leaf, spawn: { inherit_inbox: true } } }").await;
    house.knows("top", "nodes: { k: { graph: middle, spawn: { inherit_inbox: true } } }").await;
    let top = house.begins("top", json!({})).await;
    let middle = house.children(top, 1).await[0];
    let leaf = house.children(middle, 1).await[0];
    for n in 0..150 {
        house.coordinator.service.steer(&house.tenant, top, says(&format!("{n}"))).await.unwrap();
    }
    let held = async |house: &House| {
        until("all messages are there", async || {
            let loaded = house.coordinator.service.load(&house.tenant, leaf, None).await.unwrap();
            (loaded.execution.inbox().count() == 150).then_some(())
        })
        .await;
    };
    held(&house).await;
    // Whoever goes on with the family brings nothing again.
    let house = House::over(house.closes().await).await;
    house.coordinator.service.steer(&house.tenant, top, says("last")).await.unwrap();
    until("the last one, too", async || {
        let loaded = house.coordinator.service.load(&house.tenant, leaf, None).await.unwrap();
        (loaded.execution.inbox().count() == 151).then_some(())
    })
    .await;
    let go = Steering::Signal { name: "go".to_owned(), correlation: None, payload: Data::null() };
    house.coordinator.service.steer(&house.tenant, leaf, Ask::new("ada", go)).await.unwrap();
    assert_eq!(house.ends(top).await, (ExecutionState::Completed, json!({"n": 100})));
    house.ends(leaf).await;
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_spends_its_parents_money_and_its_parent_hears_what_it_used() {
    let house = House::new().await;
    house
        .knows("leaf", "nodes: { a: { task: note, with: { notes: [ { usage: { model: m, prompt_tokens: 30, completion_tokens: 10 } } ] } } }")
        .await;
    house.knows("middle", "nodes: { k: { graph: leaf } }").await;
    house
        .knows(
            "top",
            "limits: { max_tokens: 50 }\nnodes: { k: { graph: middle, spawn: { allocation: rest }, next: { to: l } }, l: { graph: middle, spawn: { allocation: rest }, next: { catch: any, to: s } }, s: { transform: \"=error.code\" } }",
        )
        .await;
    let top = house.begins("top", json!({})).await;
    let (state, said) = house.ends(top).await;
    let loaded = house.coordinator.service.load(&house.tenant, top, None).await.unwrap();
    let usage = loaded.execution.usage().clone();
    // What was left for the second one was a quarter of what it used.
    assert_eq!((usage.tokens(), usage.of_children.tokens(), usage.reserved_tokens), (80, 80, 0), "{state} {said}");
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_that_is_taken_in_by_name_is_pinned_when_it_is_registered() {
    let house = House::new().await;
    let service = &house.coordinator.service;
    house.knows("double", DOUBLE).await;
    house.knows("taking", "nodes: { d: { graph: double, spawn: { mode: inline }, with: { n: \"=inputs.n\" } } }").await;
    // Another version changes nothing of what is registered.
    let other = "stepstream: 1\nname: double\nversion: 2.0.0\nnodes: { d: { transform: \"=inputs.n * 3\" } }";
    service.register_graph(&house.tenant, "test.yaml", other).await.unwrap();
    let id = house.begins("taking", json!({"n": 5})).await;
    assert_eq!(house.ends(id).await, (ExecutionState::Completed, json!(10)));
    assert_eq!(house.count().await, 1, "in the execution itself");
    house.knows("twofold", "nodes: { t: { graph: taking, spawn: { mode: inline } } }").await;
    let id = house.begins("twofold", json!({"n": 4})).await;
    assert_eq!(house.ends(id).await, (ExecutionState::Completed, json!(8)));
    let unknown = "stepstream: 1\nname: lost\nnodes: { d: { graph: nowhere, spawn: { mode: inline } } }";
    let refused = service.register_graph(&house.tenant, "test.yaml", unknown).await.unwrap_err();
    assert!(refused.to_string().contains("there is no graph `nowhere` to take in"), "{refused}");
    let itself =
        "stepstream: 1\nname: double\nversion: 3.0.0\nnodes: { t: { graph: taking, spawn: { mode: inline } } }";
    let refused = service.register_graph(&house.tenant, "test.yaml", itself).await.unwrap_err();
    assert!(refused.to_string().contains("double → taking → double"), "{refused}");
    house.closes().await;
}
