//! Recorded scientific workflows, from import to the end, on one machine's threads and on a fleet.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::store::SqliteStore;
use stepstream_tests::harness::fleet::{Fleet, Plan};
use stepstream_tests::harness::programs;
use stepstream_tests::harness::recordings::{self, Recording};
use stepstream_tests::harness::verdict::{BY_EMBEDDED, BY_WORKERS, Verdict};

/// Imports through the command line, as a user does.
async fn imported(directory: &Path, file: &Path, scale: f64) -> Value {
    let file = file.display().to_string();
    let arguments = ["import", "wfcommons", &file, "--time-scale", &scale.to_string()];
    programs::run(directory, &arguments).await.exited(0).json()
}

/// Every task is one node and one completed step, the graph has as many edges as the recording, and the log has the
/// recording's own order.
fn check(document: &Value, verdict: &Verdict, recording: &Recording) {
    let (tasks, edges) = (recording.tasks, recording.edges);
    let nodes = document["nodes"].as_object().expect("nodes");
    assert_eq!(nodes.len(), tasks, "one node for each task");
    let found: usize = nodes.values().filter_map(|node| node["next"].as_array()).map(Vec::len).sum();
    assert_eq!(found, edges, "one edge for each dependency");
    let facts = &verdict.executions[0];
    assert_eq!(facts.steps.len(), tasks);
    assert_eq!(verdict.steps_by_workers(), tasks, "every task exactly once");
    assert_eq!(recording.disorder(document, facts), None, "{}", recording.name);
}

async fn run_embedded(directory: &Path, name: &str, document: &Value) -> Verdict {
    let graph = directory.join(format!("{name}.graph.json"));
    std::fs::write(&graph, document.to_string()).expect("writable");
    let data = directory.join(format!("{name}.data"));
    let (graph, data_text) = (graph.display().to_string(), data.display().to_string());
    let said = programs::run(directory, &["run", &graph, "--data", &data_text, "-o", "json"]).await.exited(0);
    let id = said.json()["execution_id"].as_str().expect("an id").to_owned();
    let store = SqliteStore::open_read_only(data.join("stepstream.db")).await.expect("the store is there");
    Verdict::of(&Reader::new(std::sync::Arc::new(store)), &[id], BY_EMBEDDED).await
}

async fn run_embedded_checked(recording: &Recording) {
    let directory = tempfile::tempdir().expect("a directory");
    let document = imported(directory.path(), &recording.path, 0.0).await;
    let began = Instant::now();
    let verdict = run_embedded(directory.path(), &recording.name, &document).await;
    println!(
        "{}: {} tasks, {} edges, embedded in {:?}",
        recording.name,
        recording.tasks,
        recording.edges,
        began.elapsed()
    );
    check(&document, &verdict, recording);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_runs_embedded_with_every_task_once_and_in_order() {
    for recording in recordings::own().iter().chain(&recordings::collected()) {
        run_embedded_checked(recording).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_runs_on_a_fleet_with_every_task_once_and_in_order() {
    let fleet = Fleet::start(Plan::default()).await;
    for recording in recordings::own().iter().chain(&recordings::collected()) {
        let document = imported(fleet.directory(), &recording.path, 0.0).await;
        let began = Instant::now();
        let id = fleet.api(0).begin(&document, &serde_json::json!({})).await;
        let verdict = fleet.verdict(&[id], BY_WORKERS).await;
        println!("{}: {} tasks on a fleet in {:?}", recording.name, recording.tasks, began.elapsed());
        check(&document, &verdict, recording);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_tasks_with_a_fan_in_of_eleven_hundred_run_embedded_and_on_a_fleet() {
    let fleet = Fleet::start(Plan::default()).await;
    let path = fleet.file("largest.json");
    std::fs::write(&path, recordings::largest().to_string()).expect("writable");
    let recording = recordings::read(&path);
    assert_eq!((recording.tasks, recording.edges), (2_122, 6_114));
    run_embedded_checked(&recording).await;

    let document = imported(fleet.directory(), &path, 0.0).await;
    let began = Instant::now();
    let id = fleet.api(0).begin(&document, &serde_json::json!({})).await;
    let verdict = fleet.verdict(&[id], BY_WORKERS).await;
    println!("the largest on a fleet in {:?}", began.elapsed());
    check(&document, &verdict, &recording);
}

/// Steps that run at once, by one worker or by four: with so many a scheduler that costs nothing keeps every recording
/// within a twelfth of the bound, so what is measured is what dispatching costs. (With four slots the ten equal tasks of
/// a small fork-join need three rounds where the bound allows for two and a half.)
const SLOTS: usize = 20;
/// Seconds that a recording is stretched or shortened to: long beside what a step costs, however many it has.
fn seconds(recording: &Recording) -> f64 {
    (recording.tasks as f64 / 125.0).max(3.0)
}

/// What dispatching and reporting may cost.
const OVERHEAD: f64 = 1.3;

/// A check that trusts the imported graph would pass these.
#[tokio::test(flavor = "multi_thread")]
async fn edges_that_were_swapped_or_reversed_are_found_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let recordings = recordings::own();
    let recording = recordings.iter().find(|recording| recording.name == "own-chain").expect("our own");
    let right = imported(directory.path(), &recording.path, 0.0).await;
    let verdict = run_embedded(directory.path(), "right", &right).await;
    assert_eq!(recording.disorder(&right, &verdict.executions[0]), None);

    let mut reversed = right.clone();
    let nodes = right["nodes"].as_object().expect("nodes");
    for node in reversed["nodes"].as_object_mut().expect("nodes").values_mut() {
        node.as_object_mut().expect("a node").remove("next");
    }
    for (from, node) in nodes {
        for edge in node["next"].as_array().into_iter().flatten() {
            let to = edge["to"].as_str().expect("a name");
            let next = &mut reversed["nodes"][to]["next"];
            if next.is_null() {
                *next = serde_json::json!([]);
            }
            next.as_array_mut().expect("a list").push(serde_json::json!({"to": from}));
        }
    }
    let verdict = run_embedded(directory.path(), "reversed", &reversed).await;
    assert!(recording.disorder(&reversed, &verdict.executions[0]).is_some());

    // Two tasks change places.
    let mut swapped = right.clone();
    let names: Vec<&String> = nodes.keys().collect();
    let (first, last) = (names[0], names[names.len() - 1]);
    let label = |name: &str| right["nodes"][name]["label"].as_str().unwrap_or(name).to_owned();
    swapped["nodes"][first]["label"] = label(last).into();
    swapped["nodes"][last]["label"] = label(first).into();
    let verdict = run_embedded(directory.path(), "swapped", &swapped).await;
    assert!(recording.disorder(&swapped, &verdict.executions[0]).is_some());
}

async fn makespans_are_near_the_bound(workers: usize) {
    let slots = SLOTS / workers;
    let fleet = Fleet::start(Plan { coordinators: 1, workers, slots, ..Plan::default() }).await;
    for recording in recordings::own().iter().chain(&recordings::collected()) {
        let scale = seconds(recording) / recording.bound(SLOTS);
        let document = imported(fleet.directory(), &recording.path, scale).await;
        let id = fleet.api(0).begin(&document, &serde_json::json!({})).await;
        let verdict = fleet.verdict(&[id], BY_WORKERS).await;
        let ratio = verdict.executions[0].makespan().as_secs_f64() / seconds(recording);
        let greedy = recording.greedy(SLOTS) / recording.bound(SLOTS);
        println!("{} on {workers} workers: {ratio:.3} of the bound, greedily {greedy:.3}", recording.name);
        assert!(ratio <= OVERHEAD, "{}: {ratio:.2} of the bound", recording.name);
        assert!(ratio >= 0.99, "{}: {ratio:.2} is below what is possible: tasks did not wait", recording.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_is_kept_busy() {
    makespans_are_near_the_bound(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_workers_are_kept_busy() {
    makespans_are_near_the_bound(4).await;
}
