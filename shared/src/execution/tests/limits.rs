//! What is bounded, and how reaching the bound looks.

use serde_json::json;

use super::scenario::*;
use crate::execution::ExecutionState;
use crate::execution::advance::EVENTS_PER_APPEND;

#[test]
fn a_limit_of_one_step_lets_one_step_pass() {
    given("limits: { max_steps: 1 }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t } }")
        .starts(json!({}))
        .completes("a")
        .then("a ok")
        .then_fails_with("step_limit");
    given("limits: { max_steps: 2 }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t } }")
        .starts(json!({}))
        .completes("a")
        .completes("b")
        .is(ExecutionState::Completed);
}

#[test]
fn items_of_a_map_count_as_steps() {
    given("limits: { max_steps: 3 }\nnodes: { m: { map: { over: [1, 2, 3] }, task: t, next: [ { catch: any, to: z } ] }, z: { task: t } }")
        .starts(json!({}))
        .then("m skipped, m[0] skipped, m[1] skipped")
        .then_fails_with("step_limit");
}

/// A chain of transforms: two events each.
fn chain(nodes: usize) -> Scenario {
    let mut text = "nodes:\n".to_owned();
    for node in 0..nodes {
        let next = if node + 1 < nodes { format!(", next: {{ to: n{} }}", node + 1) } else { String::new() };
        text.push_str(&format!("  n{node}: {{ transform: {node}{next} }}\n"));
    }
    given(&text)
}

#[test]
fn an_append_that_is_full_is_followed_by_a_tick_at_once() {
    let mut scenario = chain(5000);
    scenario.starts(json!({})).is(ExecutionState::Running);
    assert_eq!(scenario.log[0].events.len(), EVENTS_PER_APPEND);
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now));
    scenario.ticks().ticks().then_gives(json!(4999));
}

#[test]
fn an_append_is_full_when_its_values_are_large() {
    let mut scenario = given(
        "nodes: { m: { map: { over: '=inputs.items', max_concurrency: 100 }, task: t, with: { doc: '=inputs.doc', n: '=item' } } }",
    );
    let items: Vec<u32> = (0..100).collect();
    scenario.starts(json!({"doc": "x".repeat(1 << 20), "items": items}));
    let mut appends = 1;
    while scenario.execution.has_more() {
        scenario.ticks();
        appends += 1;
    }
    assert_eq!(scenario.execution.open_steps().count(), 101, "every item is scheduled in the end");
    // The inputs and the first items make the first append; a mebibyte an item, each further one holds about eight.
    assert!((12..=15).contains(&appends), "{appends} appends");
    for append in &scenario.log {
        assert!(append.events.len() <= 12, "{} events in one append", append.events.len());
    }
}

#[test]
fn an_append_is_full_when_its_expressions_have_worked_much() {
    let mut scenario = given(
        "nodes: { m: { map: { over: '=inputs', max_concurrency: 40 }, task: t, with: '=inputs.map(a, inputs.map(b, a + b + item)).size()' } }",
    );
    let items: Vec<u32> = (0..300).collect();
    scenario.starts(json!(items));
    let first = scenario.log[0].events.len();
    assert!(first < 20, "{first} events, each with hundreds of thousands of steps behind it");
    while scenario.execution.has_more() {
        scenario.ticks();
    }
    assert_eq!(scenario.execution.open_steps().count(), 41);
}

#[test]
fn an_append_that_is_full_with_the_last_consequence_still_ends_the_execution() {
    // Created, started, and two for each transform: the append is full exactly when nothing is left to do.
    for nodes in EVENTS_PER_APPEND / 2 - 2..=EVENTS_PER_APPEND / 2 + 1 {
        let mut scenario = chain(nodes);
        scenario.starts(json!({}));
        while scenario.execution.next_deadline().is_some() {
            scenario.ticks();
        }
        scenario.is(ExecutionState::Completed);
    }
}

#[test]
fn a_full_append_while_paused_goes_on_after_the_pause() {
    let nodes = 3000;
    let mut text = "nodes:\n  a: { task: t, next: { to: n0 } }\n".to_owned();
    for node in 0..nodes {
        let next = if node + 1 < nodes { format!(", next: {{ to: n{} }}", node + 1) } else { String::new() };
        text.push_str(&format!("  n{node}: {{ transform: {node}{next} }}\n"));
    }
    let mut scenario = given(&text);
    scenario
        .starts(json!({}))
        .when(crate::execution::Command::Pause { reason: "x".to_owned() })
        .completes("a")
        .is(ExecutionState::Paused)
        .after(std::time::Duration::from_secs(2))
        .ticks();
    assert_eq!(scenario.execution.next_deadline(), None);
    scenario.when(crate::execution::Command::Resume).then_gives(json!(nodes - 1));
}
