//! Steps that run at most once: claimed before they run, in doubt when their worker is lost, and never run twice. What
//! really happened is read from a ledger outside, which steps append to; the engine's own log is not its own witness.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use stepstream_shared::execution::{ExecutionState, StepState, WaitReason};
use stepstream_shared::id::TenantId;
use stepstream_tests::harness::asking::Asking;
use stepstream_tests::harness::fleet::{Fleet, Plan};
use stepstream_tests::harness::story::{Story, at};
use stepstream_tests::poll;

#[path = "delivery/one_process.rs"]
mod one_process;

/// Executions in a test with kills, each with a step that is to happen once.
const EXECUTIONS: usize = 24;
/// How often something is killed while they run.
const ROUNDS: usize = 4;
const DOUBTFUL: ExecutionState = ExecutionState::Waiting(WaitReason::InDoubt);

/// A step `pay` that rests, appends one line to the ledger and rests again; then a step that only follows. The line says
/// which execution it is of, and when it was written.
fn pays(ledger: &Path, before: f32, after: f32) -> Value {
    let script = format!("sleep {before}; echo \"$0 $(date +%s%6N)\" >> '{}'; sleep {after}", ledger.display());
    json!({
        "stepstream": 1, "name": "pays", "nodes": {
            "pay": {
                "task": "process", "delivery": "at_most_once",
                "with": {"argv": ["sh", "-c", script, "=execution.id"]},
                "timeout": {"heartbeat": "1500ms"}, "next": [{"to": "after"}],
            },
            "after": {"task": "echo"},
        },
    })
}

/// When each execution's effect happened, in microseconds since 1970.
fn read(ledger: &Path) -> BTreeMap<String, Vec<i64>> {
    let mut effects: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for line in std::fs::read_to_string(ledger).unwrap_or_default().lines() {
        let (id, when) = line.split_once(' ').expect("an execution and a moment");
        effects.entry(id.to_owned()).or_default().push(when.parse().expect("microseconds"));
    }
    effects
}

/// Waits until it is over, or waits for somebody to say what became of `pay`.
async fn settled(fleet: &Fleet, id: &str) -> Story {
    let reader = fleet.reader();
    let (tenant, execution) = (TenantId::default_tenant(), id.parse().unwrap());
    poll::until(&format!("{id} is over or in doubt"), async || {
        let loaded = reader.load(&tenant, execution, None).await.ok()?;
        let state = loaded.execution.state();
        (state.is_terminal() || state == DOUBTFUL).then_some(())
    })
    .await;
    Story::of(&reader, id).await
}

/// At most one effect, and none that was not claimed before; a completed step has happened.
fn happened_at_most_once(story: &Story, id: &str, effects: &BTreeMap<String, Vec<i64>>) {
    let none = Vec::new();
    let of = effects.get(id).unwrap_or(&none);
    assert!(of.len() <= 1, "{id} happened {} times: {story}", of.len());
    let mut attempts: Vec<u64> =
        story.of_node("step_claimed", "pay").map(|event| event["attempt"].as_u64().unwrap()).collect();
    let claims = attempts.len();
    attempts.dedup();
    assert_eq!(attempts.len(), claims, "no attempt is claimed twice: {story}");
    if let Some(effect) = of.first() {
        let claimed = story.of_node("step_claimed", "pay").map(at).any(|moment| moment.as_micros() <= *effect);
        assert!(claimed, "{id} happened and nobody had claimed it: {story}");
    }
    if story.state() == ExecutionState::Completed && story.count("step_resolved") == 0 {
        assert_eq!(of.len(), 1, "{id} has completed and never happened: {story}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_at_most_once_happens_at_most_once_whatever_is_killed() {
    let mut fleet = Fleet::start(Plan { workers: 3, slots: 8, ..Plan::default() }).await;
    fleet.partitions_are_shared_by(2).await;
    let ledger = fleet.file("ledger");
    let graph = pays(&ledger, 0.15, 0.15);
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        let newest = fleet.coordinators.len() - 1;
        for _ in 0..EXECUTIONS / ROUNDS {
            ids.push(fleet.api(newest).begin(&graph, &json!({})).await);
        }
        let reader = fleet.reader();
        let (tenant, last) = (TenantId::default_tenant(), ids.last().unwrap().parse().unwrap());
        poll::until("some are claimed", async || {
            let loaded = reader.load(&tenant, last, None).await.ok()?;
            let pay = loaded.execution.step(0)?;
            (pay.state() != StepState::Scheduled || round % 2 == 1).then_some(())
        })
        .await;
        // A worker in the middle of its attempts; then whoever judges them, too.
        fleet.workers[round % 3].kill9().await;
        fleet.add_worker().await;
        if round % 2 == 1 {
            let oldest = fleet.coordinators.len() - 2;
            fleet.coordinators[oldest].kill9().await;
            fleet.add_coordinator().await;
        }
    }
    let mut doubts = 0;
    for id in &ids {
        let story = settled(&fleet, id).await;
        if story.state() == DOUBTFUL {
            doubts += 1;
            let api = fleet.api(fleet.coordinators.len() - 1);
            api.says(id, Asking::resolve("pay", "looked it up"), 202).await;
        }
    }
    // The programs of killed workers go on for a moment: the ledger is read when all could have written.
    let mut stories = Vec::new();
    for id in &ids {
        let reader = fleet.reader();
        let (tenant, execution) = (TenantId::default_tenant(), id.parse().unwrap());
        poll::until(&format!("{id} has ended"), async || {
            let loaded = reader.load(&tenant, execution, None).await.ok()?;
            loaded.execution.state().is_terminal().then_some(())
        })
        .await;
        stories.push(Story::of(&reader, id).await);
    }
    let effects = read(&ledger);
    for (id, story) in ids.iter().zip(&stories) {
        assert_eq!(story.state(), ExecutionState::Completed, "{story}");
        happened_at_most_once(story, id, &effects);
        fleet.reader().verify(&TenantId::default_tenant(), id.parse().unwrap()).await.expect("the log verifies");
    }
    println!("{} executions, {doubts} in doubt, {} effects", ids.len(), effects.len());
    assert!(doubts > 0, "workers were killed in the middle of attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_stopped_past_its_lease_is_fenced() {
    let mut fleet = Fleet::start(Plan { coordinators: 1, workers: 1, slots: 2, ..Plan::default() }).await;
    let ledger = fleet.file("ledger");
    let id = fleet.api(0).begin(&pays(&ledger, 0.0, 1.0), &json!({})).await;
    let reader = fleet.reader();
    let (tenant, execution) = (TenantId::default_tenant(), id.parse().unwrap());
    poll::until("it has happened", async || (!read(&ledger).is_empty()).then_some(())).await;
    fleet.workers[0].signal(Signal::SIGSTOP);
    let story = settled(&fleet, &id).await;
    assert_eq!(story.state(), DOUBTFUL, "{story}");
    fleet.workers[0].signal(Signal::SIGCONT);
    poll::until("the worker is told that it is too late", async || {
        let log = fleet.workers[0].log();
        log.contains("not this worker's any more").then_some(())
    })
    .await;
    let loaded = reader.load(&tenant, execution, None).await.unwrap();
    assert_eq!(
        loaded.execution.step(0).map(|step| step.state()),
        Some(StepState::InDoubt),
        "its report changed nothing"
    );
    fleet.api(0).says(&id, Asking::resolve("pay", json!({"paid": true})), 202).await;
    poll::until("it goes on", async || {
        let loaded = reader.load(&tenant, execution, None).await.ok()?;
        (loaded.execution.state() == ExecutionState::Completed).then_some(())
    })
    .await;
    happened_at_most_once(&Story::of(&reader, &id).await, &id, &read(&ledger));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_says_so_and_the_doubt_comes_at_once() {
    let mut fleet = Fleet::start(Plan { coordinators: 1, workers: 1, slots: 2, ..Plan::default() }).await;
    let ledger = fleet.file("ledger");
    let mut graph = pays(&ledger, 0.0, 30.0);
    graph["nodes"]["pay"]["timeout"]["heartbeat"] = json!("5m");
    let id = fleet.api(0).begin(&graph, &json!({})).await;
    poll::until("it has happened", async || (!read(&ledger).is_empty()).then_some(())).await;
    // Twice: whoever is in a hurry does not wait for what is in flight.
    fleet.workers[0].signal(Signal::SIGTERM);
    tokio::time::sleep(Duration::from_millis(200)).await;
    fleet.workers[0].signal(Signal::SIGTERM);
    let story = settled(&fleet, &id).await;
    assert_eq!(story.state(), DOUBTFUL, "long before its lease is over: {story}");
    let causes: Vec<&Value> = story.of_node("step_in_doubt", "pay").map(|event| &event["cause"]).collect();
    assert_eq!(causes, ["stopped"], "{story}");
}
