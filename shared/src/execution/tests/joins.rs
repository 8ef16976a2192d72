//! When a node with several incoming edges runs.

use serde_json::json;

use super::scenario::*;
use crate::error::{ErrorCategory, ExecutionError};
use crate::execution::ExecutionState;

const DIAMOND: &str = "
nodes:
  a: { task: t, next: [ { when: '=output.b', to: b }, { when: '=output.c', to: c } ] }
  b: { task: t, next: { to: d } }
  c: { task: t, next: { to: d } }
  d: { task: t }";

#[test]
fn both_branches_of_a_diamond_run_before_their_join() {
    given(DIAMOND)
        .starts(json!({}))
        .gives("a", json!({"b": true, "c": true}))
        .then("a ok, b due, c due")
        .completes("c")
        .then("a ok, b due, c ok")
        .completes("b")
        .then("a ok, b ok, c ok, d due")
        .completes("d")
        .then_gives(json!(null));
}

#[test]
fn a_join_does_not_wait_for_a_branch_that_was_not_taken() {
    given(DIAMOND)
        .starts(json!({}))
        .gives("a", json!({"b": false, "c": true}))
        .then("a ok, b skipped, c due")
        .completes("c")
        .then("a ok, b skipped, c ok, d due");
}

#[test]
fn a_join_that_nothing_reaches_is_skipped() {
    given(DIAMOND)
        .starts(json!({}))
        .gives("a", json!({"b": false, "c": false}))
        .then("a ok, b skipped, c skipped, d skipped")
        .then_gives(json!(null));
}

#[test]
fn a_dead_path_is_followed_through_every_node_on_it() {
    given(
        "
nodes:
  a: { task: t, next: [ { when: '=output', to: b1 }, { to: z } ] }
  b1: { task: t, next: { to: b2 } }
  b2: { map: { over: [1] }, task: t, next: { to: b3 } }
  b3: { route: first, next: [ { when: '=inputs.x', to: b4 }, { to: z } ] }
  b4: { transform: 1, next: { to: z } }
  z: { task: t }",
    )
    .starts(json!({}))
    .gives("a", json!(false))
    .then("a ok, b1 skipped, b2 skipped, b3 skipped, b4 skipped, z due");
}

const FAN: &str = "
nodes:
  a: { task: t, next: { to: z } }
  b: { task: t, next: [ { when: '=output', to: z } ] }
  c: { task: t, next: [ { when: '=output', to: z }, { catch: any, to: sorry } ] }
  sorry: { transform: 1 }
  z: { join: JOIN, task: t, next: [ { catch: any, to: unmet } ] }
  unmet: { transform: '=error.code' }
output: '=has(steps.unmet.output) ? steps.unmet.output : 0'";

fn fan(join: &str) -> Scenario {
    given(&FAN.replace("JOIN", join))
}

#[test]
fn any_runs_with_the_first_edge_and_only_once() {
    fan("any")
        .starts(json!({}))
        .gives("b", json!(false))
        .then("a due, b ok, c due")
        .gives("c", json!(true))
        .then("a due, b ok, c ok, z due, sorry skipped")
        .completes("z")
        .then("a due, b ok, c ok, z ok, sorry skipped, unmet skipped")
        .completes("a")
        .then_gives(json!(0));
}

#[test]
fn any_is_skipped_when_no_edge_is_left() {
    given(
        "
nodes:
  b: { task: t, next: [ { when: '=output', to: z } ] }
  c: { task: t, next: [ { when: '=output', to: z } ] }
  z: { join: any, task: t }",
    )
    .starts(json!({}))
    .gives("b", json!(false))
    .gives("c", json!(false))
    .then("b ok, c ok, z skipped")
    .then_gives(json!(null));
}

#[test]
fn a_quorum_runs_with_enough_edges_and_lets_the_others_come() {
    fan("{ quorum: 2 }")
        .starts(json!({}))
        .gives("c", json!(true))
        .completes("a")
        .then("a ok, b due, c ok, sorry skipped, z due")
        .gives("b", json!(true))
        .completes("z")
        .then_gives(json!(0));
}

#[test]
fn a_quorum_that_cannot_be_met_any_more_is_an_error_that_edges_can_take() {
    fan("{ quorum: 3 }")
        .starts(json!({}))
        .completes("a")
        .gives("b", json!(false))
        .gives("c", json!(true))
        .then("a ok, b ok, c ok, z failed, sorry skipped, unmet ok")
        .then_gives(json!("quorum_unmet"));
    given(
        "
nodes:
  a: { task: t, next: { to: z } }
  b: { task: t, next: [ { when: '=output', to: z } ] }
  z: { join: { quorum: 2 }, task: t }",
    )
    .starts(json!({}))
    .completes("a")
    .gives("b", json!(false))
    .then_fails_with("quorum_unmet");
}

#[test]
fn a_quorum_that_nothing_reaches_is_skipped() {
    given(
        "
nodes:
  a: { task: t, next: [ { when: '=output', to: z } ] }
  b: { task: t, next: [ { when: '=output', to: z } ] }
  z: { join: { quorum: 2 }, task: t }",
    )
    .starts(json!({}))
    .gives("a", json!(false))
    .gives("b", json!(false))
    .then("a ok, b ok, z skipped")
    .then_gives(json!(null));
}

#[test]
fn all_settled_takes_a_failed_predecessor_instead_of_failing() {
    given(
        "
nodes:
  a: { task: t, next: { to: z } }
  b: { task: t, next: [ { to: z }, { to: other } ] }
  other: { task: t }
  z: { join: all_settled, transform: \"={'a': steps.a.output, 'b': steps.b.error.message}\" }
output: '=steps.z.output'",
    )
    .starts(json!({}))
    .fails("b")
    .then("a due, b failed, other skipped")
    .gives("a", json!(1))
    .then("a ok, b failed, other skipped, z ok")
    .then_gives(json!({"a": 1, "b": "a ValidationError"}));
}

#[test]
fn all_settled_runs_although_every_predecessor_failed_and_is_skipped_if_none_was_taken() {
    given(
        "
nodes:
  a: { task: t, next: [ { when: '=output', to: z } ] }
  b: { task: t, next: [ { when: '=output', to: z } ] }
  z: { join: all_settled, task: t }",
    )
    .starts(json!({}))
    .fails("a")
    .fails("b")
    .then("a failed, b failed, z due");
    given(
        "
nodes:
  a: { task: t, next: [ { when: '=output', to: z } ] }
  z: { join: all_settled, task: t }",
    )
    .starts(json!({}))
    .gives("a", json!(false))
    .then("a ok, z skipped");
}

#[test]
fn an_error_edge_goes_before_a_join_that_tolerates() {
    given(
        "
nodes:
  a: { task: t, next: [ { to: z }, { catch: any, to: sorry } ] }
  b: { task: t, next: { to: z } }
  sorry: { task: t }
  z: { join: all_settled, task: t }",
    )
    .starts(json!({}))
    .fails("a")
    .then("a failed, b due, sorry due")
    .completes("b")
    .then("a failed, b ok, sorry due, z due");
}

#[test]
fn two_edges_between_the_same_nodes_count_as_two() {
    given(
        "
nodes:
  a: { task: t, next: [ { when: '=output > 1', to: z }, { when: '=output > 2', to: z } ] }
  z: { join: { quorum: 2 }, task: t }",
    )
    .starts(json!({}))
    .gives("a", json!(2))
    .then_fails_with("quorum_unmet");
}

const BRANCHES: &str = "
nodes:
  a: { task: t, next: { to: z } }
  b: { task: t, next: { to: z } }
  c: { task: t, next: { to: z } }
  z:
    join: JOIN
    transform: \"={'a': has(steps.a.error) ? steps.a.error.message : '', 'b': has(steps.b.error) ? steps.b.error.message : '', 'c': steps.c.output}\"
output: '=steps.z.output'";

#[test]
fn behind_a_join_that_collects_everything_each_branch_shows_its_own_error() {
    given(&BRANCHES.replace("JOIN", "all_settled"))
        .starts(json!({}))
        .fails_with("a", ExecutionError::new(ErrorCategory::ValidationError, "a is wrong"))
        .gives("c", json!(3))
        .fails_with("b", ExecutionError::new(ErrorCategory::PolicyViolation, "b is forbidden"))
        .then_gives(json!({"a": "a is wrong", "b": "b is forbidden", "c": 3}));
}

#[test]
fn behind_a_join_of_all_each_branch_shows_the_error_that_its_edge_has_caught() {
    let graph =
        BRANCHES.replace("JOIN", "all").replace("next: { to: z }", "next: [ { to: z }, { catch: any, to: z } ]");
    given(&graph)
        .starts(json!({}))
        .fails_with("a", ExecutionError::new(ErrorCategory::ValidationError, "a is wrong"))
        .fails_with("b", ExecutionError::new(ErrorCategory::PolicyViolation, "b is forbidden"))
        .gives("c", json!(3))
        .then_gives(json!({"a": "a is wrong", "b": "b is forbidden", "c": 3}));
}

#[test]
fn a_join_of_all_fails_fast_with_the_first_error_and_the_failed_step_keeps_it() {
    let mut scenario = given(&BRANCHES.replace("JOIN", "all"));
    scenario
        .starts(json!({}))
        .fails_with("b", ExecutionError::new(ErrorCategory::PolicyViolation, "b is forbidden"))
        .then("a skipped, b failed, c skipped")
        .is(ExecutionState::Failed);
    let message = |error: Option<&ExecutionError>| error.map(|error| error.message.clone());
    assert_eq!(message(scenario.execution.error()).as_deref(), Some("b is forbidden"));
    let step = scenario.execution.step(scenario.find("b")).unwrap();
    assert_eq!(message(step.error()).as_deref(), Some("b is forbidden"));
}
