//! Races: the first edge wins, and whatever ran only for the race is given up.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;
use crate::event::SkipReason;
use crate::execution::{ExecutionState, Rejection, Steering, StepState};

const TWO: &str = "
nodes:
  slow: { task: t, next: { to: z } }
  fast: { task: t, next: { to: z } }
  z: { join: race, transform: 'won' }";

fn lost(scenario: &Scenario, name: &str) -> bool {
    scenario.execution.step(scenario.find(name)).unwrap().skip_reason() == Some(SkipReason::Lost)
}

#[test]
fn the_first_branch_wins_and_the_others_are_given_up() {
    let mut scenario = given(TWO);
    scenario
        .starts(json!({}))
        .begins("slow")
        .completes("fast")
        .records("step_started step_completed step_skipped step_scheduled step_completed execution_completed")
        .then("fast ok, slow skipped, z ok")
        .then_gives(json!("won"));
    assert!(lost(&scenario, "slow"));
}

#[test]
fn a_late_outcome_of_a_loser_is_refused() {
    let mut scenario = given(&format!("{TWO}\n  last: {{ task: t }}"));
    scenario.starts(json!({})).begins("slow");
    let late = scenario.completed("slow", &json!(1));
    scenario.completes("fast");
    assert!(matches!(scenario.refused(late), Rejection::StaleAttempt { state: StepState::Skipped, .. }));
    scenario.owes("last").completes("last").is(ExecutionState::Completed);
}

#[test]
fn a_branch_is_given_up_wherever_it_stands() {
    let graph = "
nodes:
  a1: { task: t, next: { to: a2 } }
  a2: { task: t, next: { to: z } }
  b: { task: t, next: [ { when: '=output', to: b1 }, { when: '=!output', to: b2 } ] }
  b1: { task: t, next: { to: z } }
  b2: { transform: 1, next: { to: z } }
  c: { task: t, next: { to: z } }
  z: { join: race, task: t }";
    // Before its first step has ended, in its midst, and on a branch of the branch.
    given(graph)
        .starts(json!({}))
        .completes("c")
        .then("a1 skipped, b skipped, c ok, z due, b1 skipped, b2 skipped, a2 skipped")
        .completes("z")
        .is(ExecutionState::Completed);
    given(graph)
        .starts(json!({}))
        .completes("a1")
        .gives("b", json!(true))
        .then("a1 ok, b ok, c due, a2 due, b1 due, b2 skipped")
        .completes("c")
        .then("a1 ok, b ok, c ok, a2 skipped, b1 skipped, b2 skipped, z due")
        .completes("z")
        .is(ExecutionState::Completed);
}

#[test]
fn what_is_ready_when_the_race_is_decided_is_not_scheduled() {
    // One output takes the edge to the race and the edge to a further step of the same branch.
    let mut scenario = given(
        "
nodes:
  a: { task: t, next: [ { to: more }, { to: z } ] }
  more: { task: t, next: { to: z } }
  z: { join: race, task: t }",
    );
    scenario.starts(json!({})).completes("a").then("a ok, more skipped, z due").owes("z");
    assert!(lost(&scenario, "more"));
}

#[test]
fn a_branch_that_also_leads_elsewhere_goes_on() {
    given(
        "
nodes:
  a: { task: t, next: [ { to: z }, { to: other } ] }
  b: { task: t, next: { to: z } }
  z: { join: race, task: t }
  other: { task: t }",
    )
    .starts(json!({}))
    .completes("b")
    .then("a due, b ok, z due")
    .completes("a")
    .then("a ok, b ok, z due, other due");
}

#[test]
fn an_attempt_that_waits_for_its_retry_is_given_up_with_its_time() {
    let mut scenario = given(
        "
nodes:
  a: { task: t, retry: { max_attempts: 3, backoff: constant, base: 5s }, timeout: { schedule_to_start: 1m }, next: { to: z } }
  b: { task: t, timeout: { schedule_to_start: 1m }, next: { to: z } }
  c: { task: t, next: { to: z } }
  z: { join: race, task: t }",
    );
    scenario
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::NetworkError))
        .then("a waits, b due, c due")
        .completes("c")
        .then("a skipped, b skipped, c ok, z due");
    assert_eq!(scenario.execution.next_deadline(), None);
    scenario.after(Duration::from_secs(600)).refused(tick());
}

#[test]
fn maps_race_with_all_their_items() {
    let graph = "
nodes:
  many: { map: { over: [1, 2, 3], max_concurrency: 2 }, task: t, next: { to: z } }
  one: { task: t, next: { to: z } }
  z: { join: race, task: t }";
    let mut scenario = given(graph);
    scenario.starts(json!({})).completes("many[0]").begins("many[1]");
    let late = scenario.completed("many[1]", &json!(1));
    scenario
        .completes("one")
        .then("many skipped, one ok, many[0] ok, many[1] skipped, many[2] skipped, z due")
        .owes("z");
    scenario.refused(late);
    assert!(lost(&scenario, "many") && lost(&scenario, "many[1]"));
    given(graph)
        .starts(json!({}))
        .completes("many[0]")
        .completes("many[1]")
        .completes("many[2]")
        .then("many ok, one skipped, many[0] ok, many[1] ok, many[2] ok, z due");
}

#[test]
fn each_round_of_a_loop_races_anew() {
    given(
        "
nodes:
  again: { route: all, max_iterations: 3, next: [ { to: a }, { to: b } ] }
  a: { task: t, next: { to: z } }
  b: { task: t, next: { to: z } }
  z: { join: race, task: t, next: [ { when: '=iteration < 3', to: again }, { when: '=iteration == 3', to: done } ] }
  done: { transform: '=steps.z.iterations' }",
    )
    .starts(json!({}))
    .completes("a")
    .then("again@1 ok, a@1 ok, b@1 skipped, z@1 due")
    .completes("z")
    .completes("b")
    .then("again@1 ok, a@1 ok, b@1 skipped, z@1 ok, again@2 ok, a@2 skipped, b@2 ok, z@2 due")
    .completes("z")
    .completes("b")
    .completes("z")
    .then_gives(json!(3));
}

#[test]
fn a_loop_that_loses_is_over_with_all_its_rounds() {
    let graph = "
nodes:
  begin: { route: all, next: [ { to: turn }, { to: one } ] }
  turn: { task: t, max_iterations: 9, next: [ { to: turn, when: '=output' }, { to: side }, { to: z, when: '=!output' } ] }
  side: { task: t, next: [ { to: turn, when: '=output' }, { to: z, when: '=!output' } ] }
  one: { task: t, next: { to: z } }
  z: { join: race, task: t }";
    // The round has asked for another one, and its side step is what the loop waits for.
    given(graph)
        .starts(json!({}))
        .gives("turn", json!(true))
        .then("begin ok, turn@1 ok, one due, side@1 due")
        .completes("one")
        .then("begin ok, turn@1 ok, one ok, side@1 skipped, z due, turn@2 skipped, side@2 skipped")
        .completes("z")
        .is(ExecutionState::Completed);
    given(graph)
        .starts(json!({}))
        .gives("turn", json!(true))
        .gives("side", json!(true))
        .gives("turn", json!(false))
        .then("begin ok, turn@1 ok, one skipped, side@1 ok, turn@2 ok, side@2 skipped, z due");
}

#[test]
fn races_within_races_are_given_up_with_them() {
    let graph = "
nodes:
  a: { task: t, next: { to: inner } }
  b: { task: t, next: { to: inner } }
  inner: { join: race, task: t, next: { to: z } }
  c: { task: t, next: { to: z } }
  z: { join: race, task: t }";
    given(graph).starts(json!({})).completes("c").then("a skipped, b skipped, c ok, z due, inner skipped");
    given(graph)
        .starts(json!({}))
        .completes("b")
        .then("a skipped, b ok, c due, inner due")
        .completes("c")
        .then("a skipped, b ok, c ok, inner skipped, z due");
    given(graph)
        .starts(json!({}))
        .completes("a")
        .completes("inner")
        .then("a ok, b skipped, c skipped, inner ok, z due")
        .completes("z")
        .is(ExecutionState::Completed);
}

#[test]
fn a_branch_that_failed_earlier_does_not_win() {
    let graph = "
nodes:
  a: { task: t, next: [ { to: z }, { catch: any, to: sorry } ] }
  sorry: { transform: '=error.message', next: [ { to: z, when: false } ] }
  b: { task: t, next: [ { to: z }, { catch: any, to: alas } ] }
  alas: { transform: '=error.message', next: [ { to: z, when: false } ] }
  z: { join: race, task: t }";
    given(graph)
        .starts(json!({}))
        .fails("a")
        .then("a failed, b due, sorry ok")
        .completes("b")
        .then("a failed, b ok, sorry ok, z due, alas skipped");
    // Nobody wins: the join is skipped, as with `any`.
    given(graph)
        .starts(json!({}))
        .fails("a")
        .fails("b")
        .then("a failed, b failed, sorry ok, alas ok, z skipped")
        .is(ExecutionState::Completed);
    // A failure that nothing catches fails the execution, as with `any`.
    given(TWO).starts(json!({})).fails("slow").is(ExecutionState::Failed);
}

#[test]
fn a_race_is_decided_while_the_execution_is_paused() {
    given(&format!("{TWO}\n  last: {{ task: t }}"))
        .starts(json!({}))
        .when(crate::execution::Command::Pause { reason: "lunch".to_owned() })
        .completes("fast")
        .then("fast ok, last due, slow skipped, z ok")
        .when(crate::execution::Command::Resume)
        .owes("last");
}

#[test]
fn a_race_of_very_many_is_closed_over_several_appends() {
    const MANY: usize = 6000;
    let list: Vec<usize> = (0..MANY).collect();
    let mut scenario = given(
        "
nodes:
  many: { map: { over: '=inputs', max_concurrency: 10000 }, task: t, next: { to: z } }
  one: { task: t, next: { to: z } }
  z: { join: race, task: t }",
    );
    scenario.starts(json!(list));
    while scenario.execution.has_more() {
        scenario.ticks();
    }
    scenario.completes("one");
    assert!(scenario.execution.has_more(), "the append was full");
    // Not recorded yet, and lost all the same.
    let late = scenario.completed("many[0]", &json!(1));
    assert!(matches!(scenario.refused(late), Rejection::StaleAttempt { state: StepState::Skipped, .. }));
    scenario.ticks().completes("z").is(ExecutionState::Completed);
    assert_eq!(scenario.execution.counts().skipped as usize, MANY + 1);
}

#[test]
fn a_deadline_that_decides_a_race_comes_before_those_of_its_losers() {
    given(
        "
nodes:
  a: { task: t, timeout: { schedule_to_start: 1m }, next: [ { to: z }, { catch: Timeout, to: z } ] }
  b: { task: t, timeout: { schedule_to_start: 1m }, next: { to: z } }
  z: { join: race, task: t }",
    )
    .starts(json!({}))
    .after(Duration::from_secs(60))
    .ticks()
    .then("a failed, b skipped, z due");
}

#[test]
fn a_loop_can_begin_with_a_race_that_only_its_first_round_decides() {
    given(
        "
nodes:
  begin: { route: all, max_iterations: 2, next: [ { to: a }, { to: b } ] }
  a: { task: t, next: { to: turn } }
  b: { task: t, next: { to: turn } }
  turn: { join: race, task: t, max_iterations: 2, next: [ { to: turn, when: '=iteration < 2' }, { to: begin, when: '=iteration == 2' } ] }",
    )
    .starts(json!({}))
    .completes("b")
    .then("begin@1 ok, a@1 skipped, b@1 ok, turn@1.1 due")
    .completes("turn")
    .completes("turn")
    .then("begin@1 ok, a@1 skipped, b@1 ok, turn@1.1 ok, turn@1.2 ok, begin@2 ok, a@2 due, b@2 due")
    .completes("a")
    .then("begin@1 ok, a@1 skipped, b@1 ok, turn@1.1 ok, turn@1.2 ok, begin@2 ok, a@2 ok, b@2 skipped, turn@2.1 due");
}

#[test]
fn who_runs_for_the_race_that_begins_a_loop_runs_for_the_race_behind_it_and_not_for_one_inside() {
    let graph = "
nodes:
  begin: { route: all, next: [ { to: a }, { to: b }, { to: c } ] }
  a: { task: t, next: { to: turn } }
  b: { task: t, next: { to: turn } }
  c: { task: t, next: { to: z } }
  turn: { join: race, task: t, max_iterations: 2, next: [ { to: in1 }, { to: in2 } ] }
  in1: { task: t, next: { to: inner } }
  in2: { task: t, next: { to: inner } }
  inner: { join: race, task: t, next: [ { to: turn, when: '=iteration < 2' }, { to: z, when: '=iteration == 2' } ] }
  z: { join: race, task: t }";
    given(graph)
        .starts(json!({}))
        .completes("a")
        .completes("turn")
        .completes("in2")
        .completes("inner")
        .completes("turn")
        .completes("in1")
        .then(
            "begin ok, a ok, b skipped, c due, turn@1 ok, in1@1 skipped, in2@1 ok, inner@1 ok, turn@2 ok, in1@2 ok, \
             in2@2 skipped, inner@2 due",
        )
        .completes("c")
        .owes("z");
    given(graph).starts(json!({})).completes("c").owes("z").completes("z").is(ExecutionState::Completed);
}

#[test]
fn waits_race_with_what_they_wait_for() {
    let graph = "
nodes:
  patience: { wait: { timer: 1h }, next: { to: z } }
  news: { wait: { signal: news }, next: { to: z } }
  z: { join: race, task: t }";
    let mut scenario = given(graph);
    let news = || Steering::Signal { name: "news".to_owned(), correlation: None, payload: data(&json!(1)) };
    scenario.starts(json!({})).asks("ada", news()).then("news ok, patience skipped, z due").owes("z");
    assert_eq!((scenario.execution.waits().count(), scenario.execution.next_deadline()), (0, None));
    let mut scenario = given(graph);
    scenario.starts(json!({})).after(Duration::from_secs(3600)).ticks();
    scenario.then("news skipped, patience ok, z due").is(ExecutionState::Running).owes("z");
    assert_eq!(scenario.execution.waits().count(), 0);
}

#[test]
fn nobody_stops_before_a_node_that_has_lost() {
    let mut scenario = given(
        "
nodes:
  a: { task: t, next: [ { to: more }, { to: z } ] }
  more: { task: t, next: { to: z } }
  z: { join: race, task: t }",
    );
    scenario.starts(json!({})).asks("ada", Steering::Breakpoint { node: "more".to_owned(), on: true });
    scenario.completes("a").then("a ok, more skipped, z due").is(ExecutionState::Running);
}

#[test]
fn losers_give_back_what_was_set_aside_for_them_and_need_no_room() {
    given(
        "
limits: { cost_usd: '1.00' }
nodes:
  a: { task: t, next: [ { to: more }, { to: z } ] }
  b: { task: t, reserve: { cost_usd: '1.00' }, next: { to: z } }
  more: { task: t, reserve: { cost_usd: '1.00' }, next: { to: z } }
  z: { join: race, task: t, reserve: { cost_usd: '1.00' } }",
    )
    .starts(json!({}))
    .completes("a")
    .then("a ok, b skipped, more skipped, z due");
}
