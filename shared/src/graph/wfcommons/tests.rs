use super::*;
use crate::graph::{Source, compile};

fn recording(tasks: Json, runtimes: Json) -> String {
    json!({ "name": "a flow", "schemaVersion": "1.5", "workflow": { "specification": { "tasks": tasks }, "execution": { "tasks": runtimes } } })
        .to_string()
}

fn imported(text: &str, time_scale: f64) -> Json {
    import(text, &ImportOptions { time_scale, ..ImportOptions::default() }).unwrap()
}

#[test]
fn each_task_is_a_node_that_sleeps_and_each_dependency_an_edge() {
    let text = recording(
        json!([
            { "id": "a", "children": ["b"], "parents": [] },
            { "id": "b", "children": [], "parents": ["a"] },
            { "id": "c", "parents": ["a"] },
        ]),
        json!([{ "id": "a", "runtimeInSeconds": 10.5 }, { "id": "b", "runtimeInSeconds": 3 }]),
    );
    let document = imported(&text, 0.1);
    assert_eq!(
        document,
        json!({ "stepstream": 1, "name": "a-flow", "version": "1", "nodes": {
            "a": { "task": "sleep", "with": { "seconds": 1.05 }, "next": [{ "to": "b" }, { "to": "c" }] },
            "b": { "task": "sleep", "with": { "seconds": 0.3 } },
            "c": { "task": "sleep", "with": { "seconds": 0.0 } },
        }})
    );
    compile(&Source { name: "a.json", text: &document.to_string() }).unwrap();
}

#[test]
fn ids_outside_the_alphabet_get_names_of_their_own_and_keep_the_original_as_label() {
    let ids = ["x.y", "x_y", "x:y", "1st", "ü", "", &"l".repeat(300)];
    let tasks: Vec<Json> = ids.iter().map(|id| json!({ "id": id })).collect();
    let document = imported(&recording(json!(tasks), json!([])), 1.0);
    let nodes = document["nodes"].as_object().unwrap();
    assert_eq!(nodes.len(), ids.len());
    assert!(nodes["x_y"].get("label").is_none());
    let mut labels: Vec<&str> = nodes.values().filter_map(|node| node.get("label").and_then(Json::as_str)).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["", "1st", ids[6], "x.y", "x:y", "ü"]);
    compile(&Source { name: "a.json", text: &document.to_string() }).unwrap();
}

#[test]
fn an_id_that_looks_like_an_invented_name_keeps_its_own() {
    let invented = node_names(["x.y"].into_iter()).remove(0);
    let names = node_names([invented.as_str(), "x.y"].into_iter());
    assert_eq!(names[0], invented);
    assert_ne!(names[1], invented);
}

#[test]
fn a_time_that_is_no_number_is_refused_and_names_its_task() {
    let text = recording(json!([{ "id": "a" }]), json!([{ "id": "a", "runtimeInSeconds": 1e300 }]));
    for time_scale in [1e303, 1e9] {
        let error = import(&text, &ImportOptions { time_scale, ..ImportOptions::default() }).unwrap_err();
        assert!(matches!(&error, ImportError::TooLong { task, .. } if task == "a"), "{error}");
    }
    for time_scale in [-1.0, f64::NAN, f64::INFINITY] {
        let error = import(&text, &ImportOptions { time_scale, ..ImportOptions::default() }).unwrap_err();
        assert!(matches!(error, ImportError::TimeScale(_)), "{error}");
    }
}

#[test]
fn text_that_is_not_json_is_told_with_its_file_and_place() {
    let options = ImportOptions { source: "flow.json".to_owned(), ..ImportOptions::default() };
    let error = import("{\n  \"a\": nope }", &options).unwrap_err().to_string();
    assert!(error.contains("flow.json:2:8"), "{error}");
}

#[test]
fn what_is_no_recording_is_refused_with_the_reason() {
    let options = ImportOptions::default();
    let refused = |text: &str| import(text, &options).unwrap_err();
    assert!(matches!(refused("{"), ImportError::NotJson(_)));
    assert!(matches!(refused("{}"), ImportError::Shape(_)));
    let old = json!({ "schemaVersion": "1.3", "workflow": { "tasks": [] } }).to_string();
    assert_eq!(refused(&old), ImportError::Version("1.3".to_owned()));
    assert_eq!(refused(&recording(json!([]), json!([]))), ImportError::NoTasks);
    assert_eq!(
        refused(&recording(json!([{ "id": "a" }, { "id": "a" }]), json!([]))),
        ImportError::DuplicateId("a".to_owned())
    );
    let unknown = refused(&recording(json!([{ "id": "a", "parents": ["z"] }]), json!([])));
    assert_eq!(unknown.to_string(), "task `a` names `z` as its parent, and there is no such task");
    let circle =
        json!([{ "id": "s", "children": ["a"] }, { "id": "a", "parents": ["b"] }, { "id": "b", "parents": ["a"] }]);
    assert_eq!(refused(&recording(circle, json!([]))), ImportError::Cycle("a".to_owned()));
    assert!(matches!(refused(&recording(json!([{ "id": "a", "parents": ["a"] }]), json!([]))), ImportError::Cycle(_)));
    let scale = ImportOptions { time_scale: f64::NAN, ..options.clone() };
    assert!(matches!(import("{}", &scale), Err(ImportError::TimeScale(_))));
}

#[test]
fn the_widest_known_workflow_fits() {
    let mut tasks =
        vec![json!({ "id": "sink", "parents": (0..1100).map(|n| format!("task_{n:08}")).collect::<Vec<_>>() })];
    tasks.extend((0..2121).map(|n| json!({ "id": format!("task_{n:08}"), "children": (n + 1..(n + 4).min(2121)).map(|m| format!("task_{m:08}")).collect::<Vec<_>>() })));
    let document = imported(&recording(json!(tasks), json!([])), 1.0);
    let graph = compile(&Source { name: "a.json", text: &document.to_string() }).unwrap();
    assert_eq!((graph.nodes.len(), graph.nodes[graph.by_name["sink"].0 as usize].forward_in), (2122, 1100));
}
