//! Which edges a step takes.

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;

#[test]
fn a_route_takes_the_first_edge_that_holds() {
    let document = "
nodes:
  a: { route: first, next: [ { when: '=inputs > 2', to: big }, { when: '=inputs > 1', to: middle }, { to: small } ] }
  big: { task: t }
  middle: { task: t }
  small: { task: t }";
    given(document).starts(json!(3)).then("a ok, big due, middle skipped, small skipped");
    given(document).starts(json!(2)).then("a ok, big skipped, middle due, small skipped");
    given(document).starts(json!(1)).then("a ok, big skipped, middle skipped, small due");
}

#[test]
fn without_first_every_edge_that_holds_is_taken() {
    given(
        "
nodes:
  a: { task: t, next: [ { when: '=output > 2', to: big }, { when: '=output > 1', to: middle }, { to: always } ] }
  big: { task: t }
  middle: { task: t }
  always: { task: t }",
    )
    .starts(json!({}))
    .gives("a", json!(2))
    .then("a ok, big skipped, middle due, always due");
}

#[test]
fn a_task_may_end_a_branch_by_taking_no_edge_but_a_route_may_not() {
    given("nodes: { a: { task: t, next: [ { when: '=output', to: b } ] }, b: { task: t } }")
        .starts(json!({}))
        .gives("a", json!(false))
        .then_gives(json!(null));
    given("nodes: { a: { route: all, next: [ { when: '=inputs', to: b } ] }, b: { task: t } }")
        .starts(json!(false))
        .then("a ok")
        .then_fails_with("no_route");
}

#[test]
fn a_route_without_a_way_out_can_be_caught() {
    given(
        "
nodes:
  a: { route: first, next: [ { when: '=inputs', to: b }, { catch: [ValidationError], to: c } ] }
  b: { task: t }
  c: { transform: '=error.code' }
output: '=steps.c.output'",
    )
    .starts(json!(false))
    .then("a ok, b skipped, c ok")
    .then_gives(json!("no_route"));
}

#[test]
fn a_guard_that_cannot_be_evaluated_fails_the_execution_though_the_work_is_done() {
    let mut scenario = given(
        "
nodes:
  a: { task: t, next: [ { when: '=output.missing > 1', to: b } ] }
  b: { task: t }
  c: { task: t }",
    );
    scenario
        .starts(json!({}))
        .gives("a", json!({"x": 1}))
        .records("step_started step_completed step_skipped execution_failed")
        .then("a ok, c skipped")
        .then_fails_with("expression_failed");
    assert_eq!(scenario.execution.step(0).unwrap().output().to_json(), json!({"x": 1}), "the result is kept");
}

#[test]
fn a_guard_that_cannot_be_evaluated_is_an_error_that_edges_can_take() {
    given(
        "
nodes:
  a: { task: t, next: [ { when: '=output', to: b }, { catch: [ValidationError], to: c } ] }
  b: { task: t }
  c: { transform: '=error.message' }
output: '=steps.c.output'",
    )
    .starts(json!({}))
    .gives("a", json!("text"))
    .then("a ok, b skipped, c ok")
    .then_gives(json!("`output`: a condition gives a boolean, this gave a string"));
}

#[test]
fn an_error_edge_takes_its_categories_and_no_others() {
    let document = "
nodes:
  a:
    task: t
    retry: { max_attempts: 1 }
    next: [ { to: b }, { catch: [NetworkError, Timeout], to: net }, { catch: [NetworkError], to: too } ]
  b: { task: t }
  net: { task: t }
  too: { task: t }";
    given(document)
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::NetworkError))
        .then("a failed, b skipped, net due, too due");
    given(document)
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::Timeout))
        .then("a failed, b skipped, net due, too skipped");
    given(document)
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::ToolError))
        .then("a failed")
        .then_fails_with("ToolError");
}

#[test]
fn any_takes_every_category() {
    for category in ErrorCategory::ALL {
        given(
            "
nodes:
  a: { task: t, retry: { max_attempts: 1 }, next: [ { to: b }, { catch: any, to: sorry } ] }
  b: { task: t }
  sorry: { transform: '=error.category' }
output: '=steps.sorry.output'",
        )
        .starts(json!({}))
        .fails_with("a", error(category))
        .then("a failed, b skipped, sorry ok")
        .then_gives(json!(category.name()));
    }
}

#[test]
fn an_error_edge_is_not_taken_by_a_step_that_completed() {
    given("nodes: { a: { task: t, next: { catch: any, to: sorry } }, sorry: { task: t } }")
        .starts(json!({}))
        .completes("a")
        .then("a ok, sorry skipped")
        .then_gives(json!(null));
}

#[test]
fn under_first_only_the_first_error_edge_is_taken() {
    given(
        "
nodes:
  a: { task: t, route: first, next: [ { catch: [Timeout], to: b }, { catch: any, to: c }, { catch: any, to: d } ] }
  b: { task: t }
  c: { task: t }
  d: { task: t }",
    )
    .starts(json!({}))
    .fails("a")
    .then("a failed, b skipped, c due, d skipped");
}

#[test]
fn an_expression_that_fails_fails_its_step_and_can_be_caught() {
    for node in
        ["{ task: t, with: '=inputs.none'", "{ transform: '=inputs.none'", "{ map: { over: '=inputs.none' }, task: t"]
    {
        given(&format!(
            "
nodes:
  a: {node}, next: [ {{ catch: any, to: sorry }} ] }}
  sorry: {{ transform: '=error.code' }}
output: '=steps.sorry.output'"
        ))
        .starts(json!({}))
        .then("a failed, sorry ok")
        .then_gives(json!("expression_failed"));
    }
}

#[test]
fn a_fail_node_fails_the_execution_with_its_category_and_message() {
    let mut scenario = given(
        "
nodes:
  a: { task: t, next: { to: f } }
  b: { task: t }
  f: { fail: { category: PolicyViolation, message: '=\"no \" + steps.a.output' } }",
    );
    scenario
        .starts(json!({}))
        .gives("a", json!("way"))
        .then("a ok, b skipped, f failed")
        .then_fails_with("PolicyViolation");
    assert_eq!(scenario.execution.error().unwrap().message, "no way");
    given("nodes: { f: { fail: { category: ToolError } } }").starts(json!({})).then_fails_with("ToolError");
    given("nodes: { f: { fail: { category: ToolError, message: '=inputs.none' } } }")
        .starts(json!({}))
        .then_fails_with("expression_failed");
}

#[test]
fn an_end_node_completes_the_execution_and_closes_what_is_open() {
    let mut scenario = given(
        "
nodes:
  a: { task: t, next: { to: stop } }
  b: { task: t, next: { to: c } }
  c: { task: t }
  m: { map: { over: [1, 2, 3], max_concurrency: 2 }, task: t }
  stop: { end: { output: '=steps.a.output' } }
output: 'not this'",
    );
    scenario
        .starts(json!({}))
        .begins("b")
        .gives("a", json!(7))
        .then("a ok, b skipped, m skipped, m[0] skipped, m[1] skipped, stop ok")
        .then_gives(json!(7));
    assert_eq!(scenario.execution.step(1).unwrap().skip_reason().unwrap().name(), "execution_ended");
    given("nodes: { a: { end: true } }").starts(json!({})).then_gives(json!(null));
    given("nodes: { a: { end: { output: '=inputs.none' } } }").starts(json!({})).then_fails_with("expression_failed");
}

#[test]
fn a_failure_that_nobody_takes_closes_every_other_step() {
    let mut scenario =
        given("nodes: { a: { task: t }, b: { task: t }, c: { task: t, next: { to: d } }, d: { task: t } }");
    scenario
        .starts(json!({}))
        .begins("b")
        .fails("a")
        .then("a failed, b skipped, c skipped")
        .then_fails_with("ValidationError")
        .owes("");
    assert_eq!(scenario.execution.step(1).unwrap().skip_reason().unwrap().name(), "execution_failed");
}

#[test]
fn guards_see_the_output_the_inputs_and_other_steps() {
    given(
        "
nodes:
  a: { task: t, next: { to: b } }
  b: { task: t, next: [ { when: '=output + steps.a.output == inputs.sum && steps.b.iterations == 1', to: c } ] }
  c: { task: t }",
    )
    .starts(json!({"sum": 5}))
    .gives("a", json!(2))
    .gives("b", json!(3))
    .then("a ok, b ok, c due");
}
