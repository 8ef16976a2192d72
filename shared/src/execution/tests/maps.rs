//! One step for each item of a list.

use serde_json::{Value, json};

use super::scenario::*;
use crate::error::ErrorCategory;
use crate::execution::{Command, ExecutionState};

const MAP: &str = "
nodes:
  m: { map: { over: '=inputs', max_concurrency: 2 }, task: t, with: { item: '=item', at: '=index' }, next: [ { to: z }, { catch: any, to: sorry } ] }
  z: { transform: '=steps.m.output' }
  sorry: { transform: '=error.message' }
output: '=has(steps.z.output) ? steps.z.output : steps.sorry.output'";

const SETTLED: &str = "
nodes:
  m: { map: { over: '=inputs', max_concurrency: 2, collect: all_settled }, task: t, with: '=10 / item', next: { to: z } }
  z: { transform: '=steps.m.output.map(r, has(r.value) ? r.value : r.error.category)' }
output: '=steps.z.output'";

#[test]
fn a_map_keeps_its_window_full_and_its_results_in_order() {
    let mut scenario = given(MAP);
    scenario.starts(json!(["a", "b", "c"])).then("m runs, m[0] due, m[1] due");
    assert_eq!(scenario.input("m[1]"), json!({"item": "b", "at": 1}));
    scenario
        .gives("m[1]", json!(1))
        .then("m runs, m[0] due, m[1] ok, m[2] due")
        .gives("m[2]", json!(2))
        .gives("m[0]", json!(0))
        .then("m ok, m[0] ok, m[1] ok, m[2] ok, z ok, sorry skipped")
        .then_gives(json!([0, 1, 2]));
}

#[test]
fn a_window_is_respected_at_every_moment() {
    let mut scenario = given(
        "nodes: { m: { map: { over: '=inputs', max_concurrency: 7 }, task: t, retry: { max_attempts: 2, base: 1s } } }",
    );
    let list: Vec<usize> = (0..100).collect();
    scenario.starts(json!(list));
    let mut round = 0;
    loop {
        let open: Vec<u32> = scenario.execution.open_steps().filter(|step| *step != 0).collect();
        let Some(step) = open.get(round % open.len().clamp(1, 3)).copied() else { break };
        let in_flight = open.len();
        assert!(in_flight == 7 || scenario.execution.map_steps(0).len() == 100, "{in_flight} in flight");
        if round % 3 == 0 && scenario.attempt_of(step) == 1 && scenario.execution.job(&scenario.graph, step).is_some() {
            // An item that waits for its next attempt keeps its place in the window.
            scenario.when(failed(step, 1, error(ErrorCategory::ToolError)));
            scenario.after(std::time::Duration::from_secs(1)).ticks();
        } else {
            let attempt = scenario.attempt_of(step);
            scenario.when(completed(step, attempt, &json!(null)));
        }
        round += 1;
    }
    scenario.is(ExecutionState::Completed);
}

#[test]
fn a_map_over_nothing_gives_an_empty_list() {
    given(MAP).starts(json!([])).then("m ok, z ok, sorry skipped").then_gives(json!([]));
}

#[test]
fn a_map_needs_a_list() {
    for inputs in [json!({"a": 1}), json!("text"), json!(null), json!(7)] {
        let mut scenario = given(MAP);
        scenario.starts(inputs).then("m failed, z skipped, sorry ok").is(ExecutionState::Completed);
        let message = scenario.execution.output().to_json();
        assert!(message.as_str().unwrap().contains("a map needs a list"), "{message}");
    }
}

#[test]
fn an_item_that_fails_for_good_fails_the_map_and_closes_the_others() {
    let mut scenario = given(MAP);
    scenario
        .starts(json!([1, 2, 3, 4]))
        .completes("m[0]")
        .begins("m[1]")
        .fails("m[2]")
        .then("m failed, m[0] ok, m[1] skipped, m[2] failed, z skipped, sorry ok")
        .then_gives(json!("item 2 failed: a ValidationError"));
    assert_eq!(scenario.execution.step(scenario.find("m[1]")).unwrap().skip_reason().unwrap().name(), "map_failed");
    given("nodes: { m: { map: { over: [1, 2] }, task: t } }")
        .starts(json!({}))
        .fails("m[1]")
        .then("m failed, m[0] skipped, m[1] failed")
        .then_fails_with("ValidationError");
}

#[test]
fn a_map_that_failed_has_no_output() {
    given(
        "
nodes:
  m: { map: { over: [1, 2] }, task: t, next: [ { catch: any, to: z } ] }
  z: { transform: '=has(steps.m.output)' }
output: '=steps.z.output'",
    )
    .starts(json!({}))
    .completes("m[0]")
    .fails("m[1]")
    .then_gives(json!(false));
}

#[test]
fn all_settled_lists_every_item_with_what_became_of_it() {
    given(SETTLED)
        .starts(json!([1, 2, 5]))
        .fails("m[1]")
        .gives("m[0]", json!("x"))
        .gives("m[2]", json!("y"))
        .then("m ok, m[0] ok, m[1] failed, m[2] ok, z ok")
        .then_gives(json!(["x", "ValidationError", "y"]));
}

#[test]
fn an_item_whose_input_cannot_be_evaluated_fails_without_a_worker() {
    given(SETTLED)
        .starts(json!([0, 0, 5, 0]))
        .then("m runs, m[0] failed, m[1] failed, m[2] due, m[3] failed")
        .gives("m[2]", json!("y"))
        .then_gives(json!(["ValidationError", "ValidationError", "y", "ValidationError"]));
    given(MAP.replace("'=index'", "'=10 / item'").as_str())
        .starts(json!([5, 0, 5]))
        .then("m failed, m[0] skipped, m[1] failed, z skipped, sorry ok")
        .is(ExecutionState::Completed);
}

#[test]
fn guards_of_a_map_see_all_its_results() {
    given("
nodes:
  m: { map: { over: '=inputs' }, task: t, next: [ { when: '=output.exists(x, x > 2)', to: big }, { when: '=size(steps.m.output) == 2', to: two } ] }
  big: { task: t }
  two: { task: t }")
        .starts(json!([0, 0]))
        .gives("m[1]", json!(3))
        .gives("m[0]", json!(1))
        .then("m ok, m[0] ok, m[1] ok, big due, two due");
}

#[test]
fn a_map_inside_a_loop_begins_anew_with_each_iteration() {
    given(
        "
nodes:
  head: { transform: '=iteration', max_iterations: 2, next: { to: m } }
  m: { map: { over: '=inputs.take' }, task: t, with: '=item + iteration', next: { to: tail } }
  tail: { route: first, next: [ { when: '=iteration < 2', to: head }, { to: done } ] }
  done: { transform: '=steps.m.output' }
output: '=steps.done.output'"
            .replace("inputs.take", "[10, 20]")
            .as_str(),
    )
    .starts(json!({}))
    .gives("m[0]", json!(1))
    .gives("m[1]", json!(2))
    .then("head@1 ok, m@1 ok, m[0]@1 ok, m[1]@1 ok, tail@1 ok, head@2 ok, m@2 runs, m[0]@2 due, m[1]@2 due")
    .gives("m[1]", json!(4))
    .gives("m[0]", json!(3))
    .then_gives(json!([3, 4]));
}

#[test]
fn a_map_that_comes_last_gives_its_list() {
    given("nodes: { m: { map: { over: [1, 2] }, task: t } }")
        .starts(json!({}))
        .gives("m[1]", json!({"b": 2}))
        .gives("m[0]", json!("a"))
        .then_gives(json!(["a", {"b": 2}]));
    given("nodes: { m: { map: { over: [1, 2], collect: all_settled }, task: t } }")
        .starts(json!({}))
        .gives("m[0]", json!("a"))
        .fails("m[1]")
        .is(ExecutionState::Completed);
}

#[test]
fn the_step_of_the_map_itself_is_no_workers() {
    let mut scenario = given(MAP);
    scenario.starts(json!([1]));
    let refusal = scenario.refused(completed(0, 1, &Value::Null));
    assert_eq!(refusal, crate::execution::Rejection::UnknownStep(0));
    scenario.owes("m[0]");
}

#[test]
fn a_fan_out_of_ten_thousand_goes_on_in_several_appends() {
    let list: Vec<u32> = (0..10_000).collect();
    let mut scenario = given("nodes: { m: { map: { over: '=inputs', max_concurrency: 10000 }, task: t } }");
    scenario.starts(json!(list));
    let mut appends = 1;
    while scenario.execution.next_deadline() == Some(scenario.execution.last_at()) && scenario.execution.has_more() {
        scenario.ticks();
        appends += 1;
    }
    assert_eq!(appends, 3);
    assert!(scenario.log.iter().all(|append| append.events.len() <= super::super::advance::EVENTS_PER_APPEND));
    assert_eq!(scenario.owed().len(), 10_000);
    let refusal = scenario.refused(Command::Tick { chance: 0.0 });
    assert_eq!(refusal, crate::execution::Rejection::NotDue);
    scenario.when(Command::Cancel { reason: "enough".to_owned() }).is(ExecutionState::Cancelled);
    assert_eq!(scenario.execution.counts().skipped, 10_001);
}
