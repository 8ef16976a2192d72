//! Requests, ranks, waits and transforms.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::id::TenantId;

const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn asked(value: Value) -> Result<Background, Vec<BackgroundProblem>> {
    serde_json::from_value::<BackgroundRequest>(value).expect("a request").check(NOON)
}

fn fields(value: Value) -> Vec<&'static str> {
    asked(value).expect_err("it is refused").into_iter().map(|problem| problem.field).collect()
}

fn binding(value: Value) -> TargetBinding {
    asked(json!({ "target_binding": value })).expect("a binding").target_binding.expect("a binding")
}

fn applied(asked: Value, output: Value) -> Result<String, String> {
    match binding(asked).apply(&output)? {
        Applied::Text(text) => Ok(text),
        Applied::Output => Ok(format!("={output}")),
    }
}

#[test]
fn nothing_said_is_the_default_of_the_specification() {
    let background = asked(json!({})).unwrap();
    assert_eq!(background, Background::default());
    assert_eq!((background.priority, background.timeout_ms), (50, 300_000));
    assert_eq!(background.mode, BackgroundMode::FireAndForget);
    let retry = asked(json!({"retry": {}})).unwrap().retry.unwrap();
    assert_eq!((retry.max_attempts, retry.backoff_ms, retry.multiplier), (3, 1000, 2.0));
}

#[test]
fn the_mode_follows_from_what_is_said() {
    let trigger = crate::id::TriggerId::from_bytes([1; 20]);
    assert_eq!(asked(json!({"trigger_id": trigger})).unwrap().mode, BackgroundMode::Silent);
    assert_eq!(asked(json!({"run_at": "2027-01-01T00:00:00Z"})).unwrap().mode, BackgroundMode::Deferred);
    assert_eq!(fields(json!({"mode": "silent", "run_at": "2027-01-01T00:00:00Z"})), ["run_at"]);
    assert_eq!(fields(json!({"mode": "deferred"})), ["run_at"]);
    assert_eq!(fields(json!({"run_at": "2099-01-01T00:00:00Z"})), ["run_at"]);
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let wrong = json!({
        "timeout_ms": 0, "callback_url": "", "retry": {"max_attempts": 0, "backoff_ms": u64::MAX, "backoff_multiplier": 0.5},
        "target_binding": {"target_type": "memory.write", "transform": "none", "max_length": 5, "json_path": "$["},
    });
    assert_eq!(
        fields(wrong),
        [
            "timeout_ms",
            "retry.max_attempts",
            "retry.backoff_ms",
            "retry.backoff_multiplier",
            "callback_url",
            "target_binding.target_path",
            "target_binding.json_path",
            "target_binding.json_path",
            "target_binding.max_length",
        ]
    );
    assert!(
        serde_json::from_value::<BackgroundRequest>(json!({"priorty": 3})).is_err(),
        "a misspelt option is refused"
    );
    assert!(serde_json::from_value::<BackgroundRequest>(json!({"priority": 256})).is_err());
}

/// D34: an order that never starves anybody, and that two of a queue never change among themselves.
#[test]
fn d34_higher_priority_first_then_first_come_and_nobody_starves() {
    let rank = |priority, seconds| {
        Background { priority, ..Background::default() }.rank(NOON.after(Duration::from_secs(seconds)))
    };
    assert!(rank(60, 5) < rank(50, 0), "the higher priority goes first");
    assert!(rank(50, 0) < rank(50, 1), "of equal ones the one that came first");
    let behind = AGEING.as_secs() * 255;
    assert!(rank(0, 0) < rank(255, behind + 1), "whoever has waited for long enough goes before anybody");
}

#[test]
fn waits_between_attempts_grow_and_are_bounded() {
    let retry = BackgroundRetry { max_attempts: 100, backoff_ms: 1000, multiplier: 2.0 };
    let waits: Vec<u128> = (1..=4).map(|failed| retry.backoff(failed).as_millis()).collect();
    assert_eq!(waits, [1000, 2000, 4000, 8000]);
    assert_eq!(retry.backoff(u32::MAX), MAX_BACKOFF);
    assert_eq!(BackgroundRetry { multiplier: f64::NAN, ..retry }.backoff(3), MAX_BACKOFF);
}

#[test]
fn the_next_attempt_has_one_id_that_names_the_first() {
    let (first, tenant) = (ExecutionId::from_bytes([1; 20]), TenantId::default_tenant());
    let background = Background::default();
    let second = background.next_attempt_id(&tenant, first);
    let of_second = background.for_next_attempt(first, NOON);
    assert_eq!((of_second.attempt, of_second.first), (2, Some(first)));
    let third = of_second.next_attempt_id(&tenant, second);
    assert_ne!(second, third);
    assert_eq!(of_second.for_next_attempt(second, NOON).first, Some(first));
}

#[test]
fn d36_presets_are_those_of_the_target_types() {
    let title = binding(json!({"target_type": "thread.title"}));
    assert_eq!((title.transform, title.max_length), (Transform::FirstLine, Some(100)));
    for summary in ["thread.summary", "execution.summary"] {
        let summary = binding(json!({ "target_type": summary }));
        assert_eq!((summary.transform, summary.max_length), (Transform::Truncate, Some(500)));
    }
    let memory = binding(json!({"target_type": "memory.write", "target_path": "k"}));
    assert_eq!((memory.transform, memory.max_length, memory.path.as_deref()), (Transform::None, None, Some("k")));
    let cut = binding(json!({"target_type": "thread.title", "transform": "truncate"}));
    assert_eq!(cut.max_length, None, "the length of a preset belongs to its transform");
}

#[test]
fn d39_the_first_line_and_truncation_count_characters() {
    let title = json!({"target_type": "thread.title", "max_length": 4});
    assert_eq!(applied(title.clone(), json!("\n  Grüße, Welt \nzwei")).unwrap(), "Grüß");
    assert_eq!(applied(title, json!("  ab  \nc")).unwrap(), "ab");
    let short = |most: u32| json!({"target_type": "thread.summary", "max_length": most});
    assert_eq!(applied(short(6), json!("ääääääää")).unwrap(), "äää...");
    assert_eq!(applied(short(8), json!("ääääääää")).unwrap(), "ääääääää");
    assert_eq!(applied(short(3), json!("ääääääää")).unwrap(), "äää", "three are too few for dots");
    assert_eq!(applied(json!({"target_type": "thread.summary"}), json!("x".repeat(501))).unwrap().len(), 500);
}

#[test]
fn d39_every_element_and_the_rest_of_the_path() {
    let path = |path: &str| json!({"target_type": "custom", "target_path": "p", "json_path": path});
    let output = json!({"a": [{"b": 1, "c": ["x", "y"]}, {"b": "two", "c": []}], "n": null});
    assert_eq!(applied(path("$.a[*].b"), output.clone()).unwrap(), "1, two");
    assert_eq!(applied(path("a[*].c[*]"), output.clone()).unwrap(), "x, y");
    assert_eq!(applied(path("$.a[1].b"), output.clone()).unwrap(), "two");
    assert_eq!(applied(path("$.a[0]"), output.clone()).unwrap(), r#"{"b":1,"c":["x","y"]}"#);
    assert_eq!(applied(path("$"), json!("{\"k\": 1}")).unwrap(), r#"{"k":1}"#);
    assert_eq!(applied(path("$.n"), output.clone()).unwrap(), "null");
    let wrong = |text: &str| applied(path(text), output.clone()).unwrap_err();
    assert!(wrong("$.z").contains("no field `z`"));
    assert!(wrong("$.a[7]").contains("the list has 2"));
    assert!(wrong("$.n.x").contains("no object"));
    assert!(wrong("$.n[*]").contains("no list"));
    assert!(applied(path("$.a"), json!("no json")).unwrap_err().contains("no JSON"));
    for bad in ["$.", "$..a", "$[", "$[-1]", "$[x]", "$a", "a[0]b"] {
        assert_eq!(fields(json!({"target_binding": path(bad)})), ["target_binding.json_path"], "{bad}");
    }
}

#[test]
fn what_is_too_long_is_an_error_that_says_what_to_do() {
    let list: Vec<String> = vec!["x".repeat(1000); 100];
    let path = json!({"target_type": "custom", "target_path": "p", "json_path": "$[*]"});
    assert!(applied(path.clone(), json!(list)).unwrap_err().contains("max_length"));
    let mut bounded = path;
    bounded["max_length"] = json!(10);
    assert_eq!(applied(bounded, json!(list)).unwrap(), "xxxxxxx...");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "[\\s\\PC]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("[abc]", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn transforms_never_panic_and_keep_their_length(
        output in value(),
        transform in prop::sample::select(vec![
            Transform::None, Transform::FirstLine, Transform::Truncate, Transform::JsonExtract,
        ]),
        max_length in prop::option::of(0_u32..600),
        json_path in prop::option::of("(\\$|\\.|\\[|\\]|\\*|[abc0-2]|\\PC){0,12}"),
    ) {
        let binding = TargetBinding {
            target: TargetType::Custom,
            path: None,
            transform,
            max_length,
            json_path,
            thread_id: None,
            execution_id: None,
        };
        if let Ok(Applied::Text(text)) = binding.apply(&output) {
            let found = text.chars().count();
            prop_assert!(found <= max_length.map_or(MAX_APPLIED_CHARS, |most| most as usize));
        }
    }

    #[test]
    fn a_cut_text_is_the_beginning_of_the_whole(text in "\\PC{0,80}", most in 4_u32..40) {
        let binding = TargetBinding {
            target: TargetType::ThreadSummary,
            path: None,
            transform: Transform::Truncate,
            max_length: Some(most),
            json_path: None,
            thread_id: None,
            execution_id: None,
        };
        let Ok(Applied::Text(cut)) = binding.apply(&json!(text)) else { panic!("a text") };
        if text.chars().count() <= most as usize {
            prop_assert_eq!(cut, text);
        } else {
            prop_assert_eq!(cut.chars().count(), most as usize);
            prop_assert!(cut.strip_suffix("...").is_some_and(|head| text.starts_with(head)));
        }
    }
}

#[test]
fn a_childs_wall_time_takes_the_place_of_the_default_timeout_and_falls_due_no_later() {
    assert_eq!(Background::of_child(None), Background::default());
    for (wall_time, timeout_ms) in [
        (Duration::from_secs(3600), 3_600_000),
        (Duration::from_micros(1500), 2),
        (Duration::ZERO, 1),
        (Duration::MAX, u64::MAX),
    ] {
        let of = Background::of_child(Some(wall_time));
        assert_eq!(of.timeout_ms, timeout_ms);
        assert!(of.timeout() >= wall_time || timeout_ms == u64::MAX);
    }
}
