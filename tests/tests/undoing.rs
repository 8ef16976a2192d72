//! Undoing outlives the coordinator that does it.

use std::path::Path;

use serde_json::{Value, json};
use stepstream_tests::harness::graphs;
use stepstream_tests::harness::process::Process;
use stepstream_tests::harness::programs::{self, stepstream};
use stepstream_tests::poll;

const STEPS: usize = 5;

/// Steps in a row that mark what they do and what is undone of it, and a last one that fails.
fn graph(directory: &Path, file: &Path) -> String {
    let script = |word: &str, name: &str, rest: &str| {
        json!({
            "task": "process",
            "with": {"argv": ["sh", "-c", format!("echo {word} {name} >> '{}'; sleep {rest}", file.display())]},
        })
    };
    let mut nodes = serde_json::Map::new();
    for n in 0..STEPS {
        let name = format!("s{n}");
        let mut node = script("do", &name, "0");
        node["undo"] = script("undo", &name, "0.3");
        node["next"] = json!([{"to": if n + 1 < STEPS { format!("s{}", n + 1) } else { "last".to_owned() }}]);
        nodes.insert(name, node);
    }
    nodes.insert("last".to_owned(), json!({"fail": {"category": "ToolError", "message": "too bad"}}));
    let document = json!({"stepstream": 1, "name": "undoing", "nodes": nodes});
    let path = directory.join("graph.json");
    std::fs::write(&path, document.to_string()).expect("writable");
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_while_it_undoes_goes_on_undoing_where_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("marks");
    let graph = graph(directory.path(), &file);

    let mut command = programs::command(&stepstream(), directory.path());
    command.args(["run", &graph, "--allow-process", "-o", "json"]);
    let mut run = Process::start("run", command, directory.path());
    poll::until("two steps are undone", async || {
        assert!(run.ended().is_none(), "it ended before it was killed: {}", run.log());
        // The third has begun, so two are on record.
        (graphs::lines(&file) >= STEPS + 3).then_some(())
    })
    .await;
    run.kill9().await;
    assert!(graphs::lines(&file) < 2 * STEPS, "it was over before it was killed");

    let said = programs::run(directory.path(), &["get", "executions", "-o", "json"]).await.exited(0).json();
    let id = said["items"][0]["execution_id"].as_str().expect("an id").to_owned();
    assert_eq!(said["items"][0]["state"], "Running", "{said}");
    let before = programs::run(directory.path(), &["get", "execution", &id, "-o", "json"]).await.exited(0).json();
    assert_eq!(before["compensation"]["ending"], "Failed", "{before}");
    let done = before["compensation"]["done"].as_u64().expect("a count");
    assert!((1..STEPS as u64).contains(&done), "it was killed in the midst of it: {before}");

    let said = programs::run(directory.path(), &["resume", "--allow-process", "-o", "json"]).await.exited(1).json();
    assert_eq!((&said["state"], &said["error"]["message"]), (&json!("Failed"), &json!("too bad")), "{said}");
    assert_eq!(said["compensation"], json!({"ending": "Failed", "done": STEPS, "failed": 0, "left": 0}), "{said}");

    let events = programs::run(directory.path(), &["events", &id, "-o", "jsonl"]).await.exited(0);
    let undone = |kind: &str| -> Vec<String> {
        let events = events.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is an event"));
        let undone = events.filter(|event| event["type"] == kind && !event["undoes"].is_null());
        undone.map(|event| event["node"].as_str().expect("a name").to_owned()).collect()
    };
    let reverse: Vec<String> = (0..STEPS).rev().map(|n| format!("s{n}")).collect();
    assert_eq!(undone("step_scheduled"), reverse);
    assert_eq!(undone("step_completed"), reverse, "each once, the last one first");
    programs::run(directory.path(), &["replay", &id, "--verify"]).await.exited(0);

    // Outside, only the one in hand when it was killed may have been undone twice.
    let mut marks: Vec<String> = std::fs::read_to_string(&file)
        .expect("marks")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("undo ")?.to_owned()))
        .collect();
    assert!(marks.len() <= STEPS + 1, "{marks:?}");
    marks.dedup();
    assert_eq!(marks, reverse);
}
