//! Graphs that start other graphs, from the command line.

use std::path::PathBuf;

use serde_json::json;

use crate::harness::Desk;

fn example(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "examples", name].iter().collect();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_graph_that_is_registered_runs_as_a_child_and_the_tree_shows_it() {
    let desk = Desk::new();
    let registered = desk.expect(0, &["register", &example("settle.yaml"), "-o", "json"]).json();
    assert_eq!(registered["items"][0]["name"], json!("settle"));
    let report = desk.expect(0, &["run", &example("orders.yaml"), "--input", "{\"order\": 7}", "-o", "json"]).json();
    assert_eq!(report["output"], json!({"settled": {"shipped": 7}}));
    let id = report["execution_id"].as_str().unwrap();
    let tree = desk.expect(0, &["tree", id, "-o", "json"]).json();
    let children = tree["children"].as_array().unwrap();
    assert_eq!(children.len(), 2);
    assert_eq!((&children[1]["node"], &children[1]["state"]), (&json!("settle"), &json!("Completed")));
    let child = children[1]["execution_id"].as_str().unwrap();
    let drawn = desk.expect(0, &["tree", id]).stdout;
    assert!(drawn.contains(&format!("└── settle: settle@1.0.0  {child}  Completed\n")), "{drawn}");
    let events = desk.events(child);
    assert_eq!(events[0]["parent"]["execution_id"], json!(id));
    // Whatever the background one was doing when the run ended, it goes on.
    desk.expect(0, &["resume", "--all"]);
    for child in children {
        desk.expect(0, &["replay", child["execution_id"].as_str().unwrap(), "--verify"]);
    }
}

#[test]
fn a_child_whose_graph_nobody_registered_fails_its_step_and_says_so() {
    let desk = Desk::new();
    let report = desk.expect(0, &["run", &example("orders.yaml"), "--input", "{\"order\": 7}", "-o", "json"]).json();
    let failed = report["output"]["failed"].as_str().unwrap();
    assert!(failed.contains("there is no graph settle@1.0.0"), "{failed}");
    let id = desk.last_execution();
    assert!(desk.expect(0, &["tree", &id]).stdout.contains("settle: settle@1.0.0"));
}

#[test]
fn a_document_that_is_wrong_registers_nothing() {
    let desk = Desk::new();
    let bad = desk.write("bad.yaml", "stepstream: 1\nname: bad\nnodes: { a: { graph: \"two words\" } }\n");
    let refused = desk.expect(2, &["register", &example("settle.yaml"), bad.to_str().unwrap()]);
    assert!(refused.stderr.contains("`two words` cannot be a graph"), "{}", refused.stderr);
    let known = desk.run(&["get", "graphs", "-o", "json"]);
    assert!(known.code != 0 || known.json()["items"] == json!([]), "{}", known.stdout);
    desk.expect(2, &["register"]);
    desk.expect(2, &["register", "nowhere.yaml"]);
    desk.expect(7, &["tree", "exec_3MQOCdW5DQwrvxy1zXOEluqLN0s", "--data", desk.path().to_str().unwrap()]);
}
