//! A fleet of processes at work: nothing is broken here, everything must be exact.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_shared::execution::ExecutionState;
use stepstream_tests::harness::fleet::{Fleet, Plan};
use stepstream_tests::harness::graphs;
use stepstream_tests::harness::verdict::{BY_WORKERS, Expected};
use stepstream_tests::poll;

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_and_three_workers_share_the_work_and_every_step_runs_once() {
    let fleet = Fleet::start(Plan::default()).await;
    fleet.partitions_are_shared_by(2).await;
    let file = fleet.file("marks");
    let (chain, fan) = (graphs::chain(5, 0.0), graphs::fan(8, 3));
    let inputs = graphs::inputs(&file, 8);
    let mut ids = Vec::new();
    for n in 0..40 {
        let graph = if n % 2 == 0 { &chain } else { &fan };
        ids.push(fleet.api(n % 2).begin(graph, &inputs).await);
    }
    let verdict = fleet.verdict(&ids, BY_WORKERS).await;
    let steps = verdict.steps_by_workers();
    assert_eq!(steps, 20 * 5 + 20 * 10);
    assert_eq!(graphs::lines(&file), steps, "every step leaves one mark where nothing is killed");
    assert!(fleet.jobs_published().await >= steps as u64);
    assert_eq!(verdict.workers().len(), 3, "{:?}", verdict.workers());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_coordinator_takes_any_request_and_a_key_means_one_execution_everywhere() {
    let fleet = Fleet::start(Plan::default()).await;
    fleet.partitions_are_shared_by(2).await;
    let file = fleet.file("marks");
    let graph = graphs::chain(2, 0.0);
    let inputs = graphs::inputs(&file, 0);

    // Keyed: the same id through either, and only one is new. Eight keys reach partitions of both.
    let mut ids = BTreeSet::new();
    for n in 0..8 {
        let key = format!("order-{n}");
        let (first, second) = tokio::join!(async { fleet.api(0).start(&graph, &inputs, Some(&key)).await }, async {
            fleet.api(1).start(&graph, &inputs, Some(&key)).await
        },);
        assert_eq!(first.1["execution_id"], second.1["execution_id"], "{first:?} {second:?}");
        assert_eq!(BTreeSet::from([first.0, second.0]), BTreeSet::from([200, 202]), "{first:?} {second:?}");
        ids.insert(first.1["execution_id"].as_str().expect("an id").to_owned());
        let other = fleet.api(n % 2).start(&graph, &json!({"file": "/dev/null", "items": []}), Some(&key)).await;
        assert_eq!(other.0, 422, "{other:?}");
    }
    let ids: Vec<String> = ids.into_iter().collect();
    assert_eq!(ids.len(), 8);
    fleet.verdict(&ids, BY_WORKERS).await;
    assert_eq!(graphs::lines(&file), 16);

    // Cancels through whichever did not start them.
    let long = graphs::chain(1, 3600.0);
    let mut ids = Vec::new();
    for n in 0..8 {
        ids.push(fleet.api(n % 2).begin(&long, &inputs).await);
    }
    for (n, id) in ids.iter().enumerate() {
        let status = fleet.api((n + 1) % 2).cancel(id).await;
        assert!((200..300).contains(&status), "{status}");
    }
    fleet.verdict(&ids, Expected { state: ExecutionState::Cancelled, workers: "worker-" }).await;
    assert_eq!(graphs::lines(&file), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_items_run_fifty_at_a_time_and_come_out_in_order() {
    let fleet = Fleet::start(Plan { slots: 64, ..Plan::default() }).await;
    let id = fleet.api(0).begin(&ten_thousand(), &json!({})).await;
    let verdict = fleet.verdict(std::slice::from_ref(&id), BY_WORKERS).await;
    assert_eq!(verdict.steps_named("each"), 10_000);
    assert_eq!(verdict.executions[0].most_in_flight["each"], 50, "the window is used and kept");
    let output = fleet.api(1).execution(&id).await.expect("an answer")["output"].clone();
    assert!(output == json!((0..10_000).collect::<Vec<_>>()), "the order is kept");
}

/// Built by the graph itself, so that no document holds ten thousand numbers.
fn ten_thousand() -> Value {
    let items: Vec<u32> = (0..10_000).collect();
    json!({
        "stepstream": 1, "name": "many", "version": "1.0.0",
        "nodes": {
            "list": {"transform": items, "next": [{"to": "each"}]},
            "each": {"map": {"over": "=steps.list.output", "max_concurrency": 50}, "task": "echo", "with": "=item"},
        },
        "output": "=steps.each.output",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_finishes_what_it_has_and_no_attempt_fails() {
    let mut fleet = Fleet::start(Plan { coordinators: 1, workers: 1, ..Plan::default() }).await;
    let file = fleet.file("marks");
    let graph = graphs::chain(4, 0.4);
    let inputs = graphs::inputs(&file, 0);
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(fleet.api(0).begin(&graph, &inputs).await);
    }
    poll::until("steps are under way", async || (graphs::lines(&file) > 0).then_some(())).await;
    fleet.add_worker().await;
    fleet.workers[0].signal(Signal::SIGTERM);
    assert_eq!(fleet.workers[0].exit_code().await, Some(0), "{}", fleet.workers[0].log());
    let verdict = fleet.verdict(&ids, BY_WORKERS).await;
    assert!(verdict.executions.iter().flat_map(|execution| &execution.steps).all(|step| step.attempt == 1));
    assert_eq!(graphs::lines(&file), 24, "nothing ran twice");
    assert_eq!(verdict.workers().len(), 2, "the other went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_told_to_stop_hands_over_within_a_second() {
    let mut fleet = Fleet::start(Plan::default()).await;
    fleet.partitions_are_shared_by(2).await;
    let file = fleet.file("marks");
    let graph = graphs::chain(30, 0.05);
    let inputs = graphs::inputs(&file, 0);
    let mut ids = Vec::new();
    for n in 0..16 {
        ids.push(fleet.api(n % 2).begin(&graph, &inputs).await);
    }
    poll::until("all are under way", async || (graphs::lines(&file) >= 32).then_some(())).await;
    let driven = fleet.driven_by("coordinator-0", &ids).await;
    assert!(driven > 0, "whoever stops has something to hand over");
    let told = SystemClock.now();
    fleet.coordinators[0].signal(Signal::SIGTERM);
    assert_eq!(fleet.coordinators[0].exit_code().await, Some(0), "{}", fleet.coordinators[0].log());
    let verdict = fleet.verdict(&ids, BY_WORKERS).await;
    let silence = verdict.longest_silence_after(told);
    println!("longest silence of {driven} executions after a clean stop: {silence:?}");
    assert!(silence <= Duration::from_secs(1), "{silence:?}");
}
