use serde_json::json;

use super::*;

#[test]
fn an_input_is_json_a_file_or_nothing() {
    assert_eq!(inputs(None).unwrap(), json!({}));
    assert_eq!(inputs(Some(r#"{"a": 1}"#)).unwrap(), json!({"a": 1}));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in put.json");
    std::fs::write(&path, "[1]").unwrap();
    assert_eq!(inputs(Some(&format!("@{}", path.display()))).unwrap(), json!([1]));
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    let problem = inputs(Some("{\"a\":\n  nope}")).unwrap_err();
    assert_eq!(problem.exit, Exit::Usage);
    assert!(problem.message.starts_with("--input:2:4: the input is not JSON"), "{}", problem.message);
}

#[test]
fn a_depth_bomb_is_refused_and_not_followed() {
    let bomb = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(inputs(Some(&bomb)).unwrap_err().exit, Exit::Usage);
}

#[test]
fn an_input_that_is_too_large_names_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.json");
    std::fs::write(&path, format!("\"{}\"", "x".repeat(MAX_BYTES))).unwrap();
    let value = inputs(Some(&format!("@{}", path.display()))).unwrap();
    let text = "stepstream: 1\nname: any\nnodes:\n  a: { task: echo }\n".to_owned();
    let graph = Document { name: "g.yaml".into(), text }.compile().unwrap();
    let problem = checked(&graph, &value).unwrap_err();
    assert_eq!(problem.exit, Exit::Exhausted);
    assert!(problem.message.contains(&MAX_BYTES.to_string()), "{}", problem.message);
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_a_wrong_usage() {
    assert_eq!(document(Path::new("/nonexistent/graph.yaml")).unwrap_err().exit, Exit::Usage);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("graph.yaml");
    std::fs::write(&path, b"a: b\n\xff").unwrap();
    let problem = document(&path).unwrap_err();
    assert!(problem.message.contains("graph.yaml:2: not UTF-8"), "{}", problem.message);
}
