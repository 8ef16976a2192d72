use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

fn refused(text: &str) -> String {
    let problem = parse::<Value>(text.as_bytes(), 4).unwrap_err();
    serde_json::to_value(&problem).unwrap()["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_value_within_the_limits_is_taken() {
    let text = r#"{"a": [1, -2, 3.5, true, null, "x"], "b": {"a": {}}}"#;
    let value: Value = parse(text.as_bytes(), 4).unwrap();
    assert_eq!(value, json!({"a": [1, -2, 3.5, true, null, "x"], "b": {"a": {}}}));
}

#[test]
fn nesting_is_bounded_and_the_limit_is_named() {
    assert!(parse::<Value>(b"[[[[1]]]]", 4).is_ok());
    assert_eq!(refused("[[[[[1]]]]]"), "the body nests deeper than 4 levels (depth limit) at line 1 column 5");
    let bomb = "[".repeat(1_000_000);
    assert!(refused(&bomb).starts_with("the body nests deeper than 4 levels"));
}

#[test]
fn nodes_are_bounded_and_the_limit_is_named() {
    let many = format!("[{}0]", "0,".repeat(MAX_NODES));
    assert!(refused(&many).starts_with("the body has more than 1000000 nodes (node limit) at line 1"));
}

#[test]
fn of_two_values_under_one_key_none_is_chosen() {
    assert_eq!(refused("{\"a\": 1,\n \"a\": 2}"), "the key `a` stands twice in one object at line 2 column 4");
}

#[test]
fn a_fault_has_its_place() {
    assert_eq!(refused("{\"a\":\n  nope}"), "expected ident at line 2 column 4");
    assert_eq!(refused(""), "EOF while parsing a value at line 1 column 0");
    assert_eq!(refused("{} {}"), "trailing characters at line 1 column 4");
    let problem = parse::<Value>(b"\"\xff\"", 4).unwrap_err();
    assert!(serde_json::to_string(&problem).unwrap().contains("invalid unicode code point at line 1"));
}

#[test]
fn an_unknown_field_is_named_with_its_place_and_cut_when_it_is_long() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[expect(dead_code)]
        known: u8,
    }
    let detail = |text: &str| {
        let problem = parse::<Body>(text.as_bytes(), 4).unwrap_err();
        serde_json::to_value(&problem).unwrap()["detail"].as_str().unwrap().to_owned()
    };
    assert_eq!(detail(r#"{"known": 1, "other": 2}"#), "unknown field `other`, expected `known` at line 1 column 20");
    let long = detail(&format!(r#"{{"{}": 2}}"#, "ü".repeat(5000)));
    assert!(long.len() < 400 && long.contains('…') && long.contains(" at line 1 column "), "{long}");
}

#[test]
fn room_is_counted_in_whole_units() {
    assert_eq!((permits(0), permits(1), permits(1024), permits(1025)), (0, 1, 1, 2));
    assert!(permits(usize::MAX) as usize <= tokio::sync::Semaphore::MAX_PERMITS);
}
