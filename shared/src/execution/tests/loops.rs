//! Bounded cycles.

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;

const POLISH: &str = "
nodes:
  polish: { task: t, with: '=iteration', max_iterations: 3, next: [ { when: '=output < 9', to: polish }, { when: '=output >= 9', to: done } ] }
  done: { transform: \"={'rounds': steps.polish.iterations, 'last': steps.polish.output}\" }
output: '=steps.done.output'";

#[test]
fn a_node_runs_again_until_its_guard_lets_go() {
    let mut scenario = given(POLISH);
    scenario.starts(json!({})).gives("polish", json!(1)).then("polish@1 ok, polish@2 due");
    assert_eq!(scenario.input("polish"), json!(2));
    scenario
        .gives("polish", json!(9))
        .then("polish@1 ok, polish@2 ok, done ok")
        .then_gives(json!({"rounds": 2, "last": 9}));
}

#[test]
fn three_iterations_mean_three() {
    given(POLISH)
        .starts(json!({}))
        .gives("polish", json!(1))
        .gives("polish", json!(1))
        .then("polish@1 ok, polish@2 ok, polish@3 due")
        .gives("polish", json!(9))
        .then_gives(json!({"rounds": 3, "last": 9}));
    given(POLISH)
        .starts(json!({}))
        .gives("polish", json!(1))
        .gives("polish", json!(1))
        .gives("polish", json!(1))
        .then("polish@1 ok, polish@2 ok, polish@3 ok")
        .then_fails_with("max_iterations");
}

#[test]
fn reaching_the_bound_is_an_error_that_edges_can_take() {
    given(
        "
nodes:
  a: { task: t, max_iterations: 2, next: [ { to: a }, { catch: [QuotaExceeded], to: enough } ] }
  enough: { transform: '=error.code' }
output: '=steps.enough.output'",
    )
    .starts(json!({}))
    .completes("a")
    .completes("a")
    .then("a@1 ok, a@2 ok, enough ok")
    .then_gives(json!("max_iterations"));
}

#[test]
fn an_error_edge_back_to_the_header_is_bounded_too() {
    let document = "
nodes:
  a: { task: t, max_iterations: 2, next: [ { to: done }, { catch: [ValidationError], to: a }, { catch: [QuotaExceeded], to: enough } ] }
  done: { task: t }
  enough: { transform: '=error.code' }
output: '=steps.enough.output'";
    given(document)
        .starts(json!({}))
        .fails("a")
        .then("a@1 failed, a@2 due")
        .completes("a")
        .then("a@1 failed, a@2 ok, done due, enough skipped");
    given(document)
        .starts(json!({}))
        .fails("a")
        .fails("a")
        .then("a@1 failed, a@2 failed, enough ok, done skipped")
        .then_gives(json!("max_iterations"));
    let mut uncaught = given(
        "
nodes:
  a: { task: t, max_iterations: 2, next: [ { to: done }, { catch: any, to: a } ] }
  done: { task: t }",
    );
    uncaught.starts(json!({})).fails("a").fails("a").then("a@1 failed, a@2 failed").then_fails_with("max_iterations");
    let message = &uncaught.execution.error().unwrap().message;
    assert!(message.contains("a ValidationError"), "what failed last is not forgotten: {message}");
    assert_eq!(uncaught.execution.error().unwrap().category, ErrorCategory::QuotaExceeded);
}

#[test]
fn an_error_edge_elsewhere_goes_before_a_bound_that_is_reached() {
    given(
        "
nodes:
  a: { task: t, max_iterations: 1, next: [ { to: done }, { catch: any, to: a }, { catch: any, to: sorry } ] }
  done: { task: t }
  sorry: { transform: '=error.category' }
output: '=steps.sorry.output'",
    )
    .starts(json!({}))
    .fails("a")
    .then("a@1 failed, sorry ok, done skipped")
    .then_gives(json!("ValidationError"));
}

#[test]
fn a_body_of_several_nodes_begins_anew_with_each_iteration() {
    given(
        "
nodes:
  begin: { task: t, next: { to: head } }
  head: { task: t, max_iterations: 5, next: [ { to: left }, { to: right } ] }
  left: { task: t, next: { to: meet } }
  right: { task: t, next: [ { when: '=output', to: meet }, { when: '=output', to: extra } ] }
  extra: { task: t, next: { to: meet } }
  meet: { task: t, next: [ { when: '=output', to: head }, { when: '=!output', to: done } ] }
  done: { task: t }",
    )
    .starts(json!({}))
    .completes("begin")
    .completes("head")
    .then("begin ok, head@1 ok, left@1 due, right@1 due")
    .gives("right", json!(false))
    .completes("left")
    .then("begin ok, head@1 ok, left@1 ok, right@1 ok, extra@1 skipped, meet@1 due")
    .gives("meet", json!(true))
    .then("begin ok, head@1 ok, left@1 ok, right@1 ok, extra@1 skipped, meet@1 ok, head@2 due");
}

#[test]
fn an_iteration_waits_for_everything_in_its_body() {
    given(
        "
nodes:
  head: { task: t, max_iterations: 5, next: [ { to: quick }, { to: slow } ] }
  quick: { task: t, next: [ { when: '=output', to: head } ] }
  slow: { task: t, next: [ { when: '=output', to: head } ] }",
    )
    .starts(json!({}))
    .completes("head")
    .gives("quick", json!(true))
    .then("head@1 ok, quick@1 ok, slow@1 due")
    .gives("slow", json!(true))
    .then("head@1 ok, quick@1 ok, slow@1 ok, head@2 due")
    .completes("head")
    .gives("slow", json!(false))
    .gives("quick", json!(false))
    .then_gives(json!(null));
}

#[test]
fn an_inner_loop_counts_anew_in_each_iteration_of_the_outer_one() {
    let mut scenario = given("
nodes:
  outer: { task: t, max_iterations: 2, next: { to: inner } }
  inner: { task: t, with: '=iteration', max_iterations: 2, next: [ { when: '=output', to: inner }, { when: '=!output', to: tail } ] }
  tail: { task: t, with: '=steps.inner.iterations', next: [ { when: '=output', to: outer }, { when: '=!output', to: done } ] }
  done: { task: t }");
    scenario.starts(json!({})).completes("outer").gives("inner", json!(true));
    assert_eq!(scenario.input("inner"), json!(2));
    scenario.gives("inner", json!(false));
    assert_eq!(scenario.input("tail"), json!(2));
    scenario.gives("tail", json!(true)).completes("outer");
    assert_eq!(scenario.input("inner"), json!(1));
    scenario.gives("inner", json!(true)).gives("inner", json!(false));
    assert_eq!(scenario.input("tail"), json!(2));
    scenario.gives("tail", json!(false)).then(
        "outer@1 ok, inner@1.1 ok, inner@1.2 ok, tail@1 ok, outer@2 ok, inner@2.1 ok, inner@2.2 ok, tail@2 ok, done due",
    );
}

#[test]
fn an_edge_out_of_two_loops_and_back_to_the_outer_one_are_told_apart() {
    let document = "
nodes:
  outer: { task: t, max_iterations: 3, next: { to: inner } }
  inner: { task: t, max_iterations: 3, next: [ { when: '=output == 1', to: inner }, { when: '=output == 2', to: outer }, { when: '=output == 3', to: done } ] }
  done: { task: t }";
    given(document)
        .starts(json!({}))
        .completes("outer")
        .gives("inner", json!(1))
        .gives("inner", json!(2))
        .completes("outer")
        .gives("inner", json!(3))
        .then("outer@1 ok, inner@1.1 ok, inner@1.2 ok, outer@2 ok, inner@2.1 ok, done due");
    given(document)
        .starts(json!({}))
        .completes("outer")
        .gives("inner", json!(4))
        .then("outer@1 ok, inner@1.1 ok, done skipped")
        .then_gives(json!(null));
}

#[test]
fn an_edge_out_may_be_taken_while_the_loop_goes_on_and_is_taken_once() {
    given(
        "
nodes:
  a: { task: t, max_iterations: 3, next: [ { when: '=output.more', to: a }, { when: '=output.tell', to: told } ] }
  told: { task: t }",
    )
    .starts(json!({}))
    .gives("a", json!({"more": true, "tell": true}))
    .then("a@1 ok, told due, a@2 due")
    .gives("a", json!({"more": false, "tell": true}))
    .then("a@1 ok, told due, a@2 ok")
    .completes("told")
    .then_gives(json!(null));
}

#[test]
fn a_join_behind_a_loop_waits_for_the_edge_out_and_for_its_other_predecessor() {
    let document = "
nodes:
  _: { transform: 0, next: { to: a } }
  a: { task: t, max_iterations: 3, next: [ { when: '=output.more', to: a }, { when: '=output.tell', to: join } ] }
  b: { task: t, next: { to: join } }
  join: { task: t }";
    given(document)
        .starts(json!({}))
        .gives("a", json!({"more": true, "tell": true}))
        .then("_ ok, b due, a@1 ok, a@2 due")
        .completes("b")
        .then("_ ok, b ok, a@1 ok, a@2 due, join due");
    given(document)
        .starts(json!({}))
        .completes("b")
        .gives("a", json!({"more": true, "tell": false}))
        .then("_ ok, b ok, a@1 ok, a@2 due")
        .gives("a", json!({"more": false, "tell": false}))
        .then("_ ok, b ok, a@1 ok, a@2 ok, join due");
}

#[test]
fn a_loop_whose_header_is_skipped_is_skipped_as_a_whole() {
    given(
        "
nodes:
  a: { task: t, next: [ { when: '=output', to: head }, { to: z } ] }
  head: { task: t, max_iterations: 5, next: { to: inner } }
  inner: { task: t, max_iterations: 5, next: [ { when: '=output', to: inner }, { to: tail } ] }
  tail: { task: t, next: [ { when: '=output', to: head }, { to: z } ] }
  z: { task: t }",
    )
    .starts(json!({}))
    .gives("a", json!(false))
    .then("a ok, head@1 skipped, inner@1.1 skipped, tail@1 skipped, z due");
}

#[test]
fn an_inner_loop_that_one_iteration_skips_may_run_in_the_next() {
    given(
        "
nodes:
  _: { transform: 0, next: { to: head } }
  head: { task: t, max_iterations: 5, next: [ { when: '=output', to: inner }, { to: tail } ] }
  inner: { task: t, max_iterations: 2, next: [ { when: '=output', to: inner }, { when: '=!output', to: tail } ] }
  tail: { task: t, next: [ { when: '=output', to: head } ] }",
    )
    .starts(json!({}))
    .gives("head", json!(false))
    .gives("tail", json!(true))
    .then("_ ok, head@1 ok, inner@1.1 skipped, tail@1 ok, head@2 due")
    .gives("head", json!(true))
    .then("_ ok, head@1 ok, inner@1.1 skipped, tail@1 ok, head@2 ok, inner@2.1 due")
    .gives("inner", json!(false))
    .gives("tail", json!(false))
    .then_gives(json!(null));
}

#[test]
fn a_failure_inside_a_loop_can_be_tolerated_by_a_join_in_the_body() {
    given(
        "
nodes:
  head: { task: t, max_iterations: 2, next: [ { to: x }, { to: y } ] }
  x: { task: t, next: { to: meet } }
  y: { task: t, next: { to: meet } }
  meet: { join: all_settled, task: t, next: [ { when: '=output', to: head } ] }",
    )
    .starts(json!({}))
    .completes("head")
    .fails("x")
    .completes("y")
    .gives("meet", json!(true))
    .completes("head")
    .completes("x")
    .fails("y")
    .then("head@1 ok, x@1 failed, y@1 ok, meet@1 ok, head@2 ok, x@2 ok, y@2 failed, meet@2 due");
}

#[test]
fn expressions_after_a_loop_see_its_last_iteration() {
    given(
        "
nodes:
  a: { task: t, max_iterations: 9, next: [ { when: '=output.more', to: b } ] }
  b: { task: t, with: '=steps.a.output.n', next: { to: a } }
output: { a: '=steps.a.output.n', b: '=steps.b.output', rounds: '=steps.b.iterations' }",
    )
    .starts(json!({}))
    .gives("a", json!({"more": true, "n": 1}))
    .gives("b", json!("first"))
    .gives("a", json!({"more": false, "n": 2}))
    .then("a@1 ok, b@1 ok, a@2 ok, b@2 skipped")
    .then_gives(json!({"a": 2, "b": "first", "rounds": 1}));
}
