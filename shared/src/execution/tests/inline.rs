//! Graphs that others take in: their steps are steps of the same execution.

use serde_json::json;

use super::scenario::*;
use crate::event::{ChildEnding, Spent};
use crate::execution::{Command, ExecutionState, Steering};

/// `a`, then a graph in place with the nodes `inner`, then `z`; what goes wrong in it leads to `sorry`.
fn taking_in(inner: &str) -> Scenario {
    given(&format!(
        "nodes:\n  a: {{ task: t, next: {{ to: tidy }} }}\n  tidy:\n    graph: {{ {inner} }}\n    with: {{ n: \"=steps.a.output\" }}\n    next: [ {{ to: z }}, {{ catch: any, to: sorry }} ]\n  z: {{ transform: \"=steps.tidy.output\" }}\n  sorry: {{ transform: \"=error.message\" }}\noutput: \"=has(steps.z.output) ? steps.z.output : steps.sorry.output\""
    ))
}

#[test]
fn a_graph_in_place_is_steps_of_the_execution_and_sees_its_own_inputs_and_steps() {
    let mut scenario = taking_in(
        "inputs: { type: object, required: [n] }, nodes: { a: { task: t, next: { to: b } }, b: { task: t, with: { mine: '=steps.a.output', given: '=inputs.n' } } }, output: { b: '=steps.b.output', n: '=inputs.n' }",
    );
    scenario.starts(json!({"top": 1})).gives("a", json!(7)).owes("tidy.a");
    assert_eq!(scenario.input("tidy.a"), json!({"n": 7}), "without `with`: the inputs of the graph it is in");
    scenario.gives("tidy.a", json!(8));
    assert_eq!(scenario.input("tidy.b"), json!({"mine": 8, "given": 7}));
    scenario.gives("tidy.b", json!(9)).then_gives(json!({"b": 9, "n": 7}));
    scenario.then("a ok, tidy.@inputs ok, tidy.a ok, tidy.b ok, tidy ok, z ok, sorry skipped");
}

#[test]
fn without_an_output_it_gives_what_its_only_last_node_gave() {
    let mut scenario = taking_in("nodes: { b: { task: t, next: { to: c } }, c: { task: t } }");
    scenario.starts(json!({})).completes("a").completes("tidy.b").gives("tidy.c", json!(5)).then_gives(json!(5));
}

#[test]
fn inputs_that_do_not_fit_fail_the_node_and_its_error_edges_take_it() {
    let mut scenario =
        taking_in("inputs: { type: object, properties: { n: { type: string } } }, nodes: { b: { task: t } }");
    scenario.starts(json!({})).gives("a", json!(7)).is(ExecutionState::Completed);
    scenario.then("a ok, tidy.@inputs failed, tidy failed, z skipped, sorry ok");
}

#[test]
fn what_fails_inside_and_nobody_there_takes_fails_the_node_and_what_is_open_inside_is_given_up() {
    let mut scenario = taking_in(
        "nodes: { b: { task: t, next: { to: d } }, c: { task: t }, d: { task: t }, m: { map: { over: [1, 2] }, task: t }, w: { wait: { signal: go } } }",
    );
    scenario.starts(json!({})).completes("a").owes("tidy.b tidy.c tidy.m[0] tidy.m[1]");
    scenario.fails("tidy.b").is(ExecutionState::Completed);
    scenario.then("a ok, tidy.@inputs ok, tidy.b failed, tidy.c skipped, tidy.m skipped, tidy.w skipped, tidy.m[0] skipped, tidy.m[1] skipped, tidy failed, z skipped, sorry ok");
    assert_eq!(scenario.execution.output().to_json(), json!("tidy.b: a ValidationError"));
}

#[test]
fn what_is_taken_inside_stays_inside() {
    let mut scenario = taking_in(
        "nodes: { b: { task: t, next: { catch: any, to: c } }, c: { transform: '=error.message' } }, output: '=steps.c.output'",
    );
    scenario.starts(json!({})).completes("a").fails("tidy.b").then_gives(json!("a ValidationError"));
}

#[test]
fn without_an_error_edge_the_execution_fails() {
    let mut scenario = given("nodes: { a: { task: t }, tidy: { graph: { nodes: { b: { task: t } } } } }");
    scenario.starts(json!({})).fails("tidy.b").then_fails_with("ValidationError");
    scenario.then("a skipped, tidy.@inputs ok, tidy.b failed, tidy failed");
}

#[test]
fn a_join_of_all_settled_behind_it_tolerates_it() {
    let mut scenario = given(
        "nodes: { a: { task: t, next: { to: j } }, tidy: { graph: { nodes: { b: { task: t } } }, next: { to: j } }, j: { join: all_settled, transform: '=steps.tidy.error.category' } }\noutput: '=steps.j.output'",
    );
    scenario.starts(json!({})).fails("tidy.b").completes("a").then_gives(json!("ValidationError"));
}

#[test]
fn an_end_inside_ends_the_graph_that_it_is_in_and_a_fail_fails_it() {
    let mut scenario = taking_in(
        "nodes: { b: { task: t, next: { to: e } }, c: { task: t }, e: { end: { output: '=steps.b.output' } } }",
    );
    scenario.starts(json!({})).completes("a").gives("tidy.b", json!(3)).then_gives(json!(3));
    scenario.then("a ok, tidy.@inputs ok, tidy.b ok, tidy.c skipped, tidy.e ok, tidy ok, z ok, sorry skipped");
    let mut scenario = taking_in("nodes: { f: { fail: { category: ToolError, message: 'no way' } } }");
    scenario.starts(json!({})).completes("a").then_gives(json!("tidy.f: no way"));
}

#[test]
fn in_a_loop_it_begins_anew_each_time_and_may_be_its_header() {
    let graph = "nodes:\n  tidy:\n    graph: { nodes: { b: { task: t, with: { round: '=inputs.round', known: '=has(steps.c.output)' }, next: { to: c } }, c: { task: t } } }\n    with: { round: '=iteration' }\n    max_iterations: 3\n    next: [ { to: tidy, when: '=output < 2' }, { to: z, when: '=output >= 2' } ]\n  z: { transform: '=steps.tidy.iterations' }\noutput: '=steps.z.output'";
    let mut scenario = given(graph);
    scenario.starts(json!({}));
    assert_eq!(scenario.input("tidy.b"), json!({"round": 1, "known": false}));
    scenario.completes("tidy.b").gives("tidy.c", json!(1));
    assert_eq!(scenario.input("tidy.b"), json!({"round": 2, "known": false}));
    scenario.completes("tidy.b").gives("tidy.c", json!(2)).then_gives(json!(2));
    let ids: std::collections::BTreeSet<_> = (0..).map_while(|at| scenario.execution.step_id(at, "tidy.b")).collect();
    assert!(ids.len() >= 2, "each round has steps of its own");
}

#[test]
fn a_loop_inside_counts_for_itself() {
    let mut scenario = taking_in(
        "nodes: { b: { task: t, with: '=iteration', max_iterations: 3, next: { to: b, when: '=output < 2' } } }, output: '=steps.b.iterations'",
    );
    scenario.starts(json!({})).completes("a").gives("tidy.b", json!(1));
    assert_eq!(scenario.input("tidy.b"), json!(2));
    scenario.gives("tidy.b", json!(2)).then_gives(json!(2));
}

#[test]
fn one_that_is_skipped_is_skipped_with_all_that_is_in_it() {
    let mut scenario = given(
        "nodes: { a: { task: t, next: { to: tidy, when: '=output' } }, tidy: { graph: { nodes: { b: { task: t, next: { to: c } }, c: { task: t } } }, next: { to: z } }, z: { task: t } }",
    );
    scenario.starts(json!({})).gives("a", json!(false)).is(ExecutionState::Completed);
    scenario.then("a ok, tidy.@inputs skipped, tidy.b skipped, tidy.c skipped, tidy skipped, z skipped");
}

#[test]
fn one_that_runs_for_a_race_is_given_up_with_all_that_is_in_it() {
    let graph = "nodes: { a: { task: t, next: { to: j } }, tidy: { graph: { nodes: { b: { task: t, next: { to: c } }, c: { task: t } } }, next: { to: j } }, j: { join: race, transform: 7 } }\noutput: '=steps.j.output'";
    let mut scenario = given(graph);
    scenario.starts(json!({})).owes("a tidy.b").completes("a").then_gives(json!(7));
    scenario.then("a ok, tidy.@inputs ok, tidy.b skipped, j ok, tidy.c skipped, tidy skipped");
    let mut scenario = given(graph);
    scenario.starts(json!({})).completes("tidy.b").completes("tidy.c").then_gives(json!(7));
}

#[test]
fn a_race_inside_is_run_inside() {
    let mut scenario = taking_in(
        "nodes: { b: { task: t, next: { to: j } }, c: { task: t, next: { to: j } }, j: { join: race, transform: '=has(steps.b.output)' } }",
    );
    scenario.starts(json!({})).completes("a").completes("tidy.b").then_gives(json!(true));
}

#[test]
fn graphs_in_graphs_fail_outwards_until_somebody_takes_it() {
    let mut scenario = taking_in("nodes: { deep: { graph: { nodes: { b: { task: t } } } }, c: { task: t } }");
    scenario.starts(json!({})).completes("a").fails("tidy.deep.b").is(ExecutionState::Completed);
    assert_eq!(scenario.execution.output().to_json(), json!("tidy.deep: tidy.deep.b: a ValidationError"));
    scenario.then("a ok, tidy.@inputs ok, tidy.c skipped, tidy.deep.@inputs ok, tidy.deep.b failed, tidy.deep failed, tidy failed, z skipped, sorry ok");
}

#[test]
fn what_was_done_inside_is_undone_with_the_rest() {
    let mut scenario = given(
        "nodes: { tidy: { graph: { nodes: { b: { task: t, undo: { task: u, with: { was: '=output', of: '=inputs.n' } }, next: { to: c } }, c: { task: t } } }, with: { n: 5 } } }",
    );
    scenario.starts(json!({})).gives("tidy.b", json!(1)).fails("tidy.c");
    assert_eq!(scenario.input("~tidy.b"), json!({"was": 1, "of": 5}));
    scenario.completes("~tidy.b").is(ExecutionState::Failed);
}

#[test]
fn a_child_of_a_graph_that_is_over_is_cancelled() {
    let mut scenario = taking_in("nodes: { b: { task: t }, k: { graph: g } }");
    scenario.starts(json!({})).completes("a");
    let child = scenario.execution.owed_children(&scenario.graph)[0].child;
    scenario.when(Command::ChildStarted { child }).fails("tidy.b").is(ExecutionState::Running);
    assert_eq!(scenario.execution.cancelled_children(), [child]);
    let ending = ChildEnding::Cancelled { reason: "over".to_owned() };
    scenario.when(Command::ChildEnded { child, ending, used: Spent::default() }).is(ExecutionState::Completed);
}

#[test]
fn a_breakpoint_stops_before_it_is_entered_and_people_answer_inside() {
    let mut scenario = taking_in("nodes: { w: { wait: { input: true } } }");
    let on = |node: &str| Steering::Breakpoint { node: node.to_owned(), on: true };
    scenario.starts(json!({})).asks("ada", on("tidy")).completes("a").is(ExecutionState::Paused).then("a ok");
    scenario.when(Command::Resume);
    scenario.asks("ada", Steering::Answer { step: "tidy.w".to_owned(), value: data(&json!(4)) }).then_gives(json!(4));
}

#[test]
fn an_edge_that_cannot_be_chosen_inside_fails_the_graph_that_it_is_in() {
    let mut scenario = taking_in("nodes: { b: { task: t, next: { to: c, when: '=output.deep' } }, c: { task: t } }");
    scenario.starts(json!({})).completes("a").completes("tidy.b").is(ExecutionState::Completed);
    scenario.then("a ok, tidy.@inputs ok, tidy.b ok, tidy failed, z skipped, sorry ok");
}

#[test]
fn what_was_done_in_a_round_is_undone_with_the_inputs_of_that_round() {
    for with in ["{ id: '=inputs.id' }", "'=inputs'"] {
        let mut scenario = given(&format!(
            "nodes:\n  tidy:\n    graph: {{ nodes: {{ b: {{ task: t, undo: {{ task: u, with: {with} }}, next: {{ to: m }} }}, m: {{ map: {{ over: [7] }}, task: t, undo: {{ task: u, with: {with} }} }} }}, output: '=steps.b.output' }}\n    with: {{ id: '=iteration' }}\n    max_iterations: 3\n    next: [ {{ to: tidy, when: '=output < 3' }}, {{ to: z, when: '=output >= 3' }} ]\n  z: {{ task: t }}"
        ));
        scenario.starts(json!({}));
        for round in 1..=3 {
            scenario.gives("tidy.b", json!(round)).completes("tidy.m[0]");
        }
        scenario.fails("z");
        for round in [3, 2, 1] {
            for step in ["~tidy.m[0]", "~tidy.b"] {
                assert_eq!(scenario.input(step), json!({"id": round}), "{step} {with}");
                scenario.completes(step);
            }
        }
        scenario.is(ExecutionState::Failed);
    }
}
