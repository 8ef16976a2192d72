use std::collections::HashMap;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Desk, ended, signal, until};

/// How often each step completed in the log.
fn completions(events: &[Value]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for event in events.iter().filter(|event| event["type"] == "step_completed") {
        *counts.entry(event["step_id"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn a_killed_run_goes_on_where_its_log_ends_and_no_step_completes_twice() {
    let desk = Desk::new();
    desk.slow_graph();
    let child = desk.start(&["run", "slow.yaml", "--allow-process"]);
    until("four steps began", || desk.side().len() >= 4);
    signal(child.id(), Signal::SIGKILL);
    ended(child);
    let id = desk.last_execution();
    let before = completions(&desk.events(&id)).len();
    assert!((3..10).contains(&before), "{before}");

    let report = desk.expect(0, &["resume", "--allow-process", "-o", "json"]).json();
    assert_eq!((&report["execution_id"], &report["state"]), (&json!(id), &json!("Completed")));
    let completions = completions(&desk.events(&id));
    assert_eq!(completions.len(), 10);
    assert!(completions.values().all(|count| *count == 1), "{completions:?}");
    // At least once: only the step that was running may have left its mark twice.
    assert!((10..=11).contains(&desk.side().len()), "{:?}", desk.side());
    desk.expect(0, &["replay", &id, "--verify"]);
}

#[test]
fn all_that_rests_can_be_resumed_at_once() {
    let desk = Desk::new();
    desk.hello();
    for _ in 0..3 {
        desk.expect(0, &["run", "hello.yaml", "--detach"]);
    }
    desk.expect(2, &["resume"]);
    let items = desk.expect(0, &["resume", "--all", "-o", "json"]).json()["items"].clone();
    let states: Vec<&str> = items.as_array().unwrap().iter().map(|item| item["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["Completed"; 3]);
    assert_eq!(desk.expect(0, &["resume", "--all", "-o", "json"]).json(), json!({"items": []}));
    desk.expect(7, &["resume"]);
}

#[test]
fn only_what_is_named_goes_on() {
    let desk = Desk::new();
    desk.hello();
    let id = |desk: &Desk| desk.expect(0, &["run", "hello.yaml", "--detach", "-q"]).stdout.trim().to_owned();
    let (first, second) = (id(&desk), id(&desk));
    desk.expect(0, &["resume", &second]);
    assert_eq!(desk.expect(0, &["get", "execution", &first, "-o", "json"]).json()["state"], "Running");
}

#[test]
fn what_a_family_was_allowed_needs_not_be_said_again_and_what_it_was_not_is_asked_for() {
    let leaf =
        "stepstream: 1\nname: leaf\nversion: 1.0.0\nnodes:\n  a: { task: process, with: { argv: [\"true\"] } }\n";
    let top = "stepstream: 1\nname: top\nversion: 1.0.0\nnodes: { k: { graph: leaf } }\n";
    let states = |desk: &Desk, exit: i32| {
        let items = desk.expect(exit, &["resume", "--all", "-o", "json"]).json()["items"].clone();
        items.as_array().unwrap().iter().map(|item| item["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (allowed, exit) in [(true, 0), (false, 6)] {
        let desk = Desk::new();
        desk.write("leaf.yaml", leaf);
        desk.write("top.yaml", top);
        desk.expect(0, &["register", "leaf.yaml"]);
        let mut run = vec!["run", "top.yaml", "--detach"];
        run.extend(allowed.then_some("--allow-process"));
        desk.expect(0, &run);
        // The child may have been started before the first process ended; then it is resumed by itself, too.
        let states = states(&desk, exit);
        assert!(states.is_empty() != allowed && states.iter().all(|state| state == "Completed"), "{states:?}");
    }
}
