//! What was done is undone before an execution ends as failed or cancelled.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;
use crate::event::{Ending, EventData, Undone};
use crate::execution::{Command, ExecutionState, Rejection, Steering};

const TRIP: &str = "
nodes:
  flight: { task: book, with: { what: flight }, undo: { task: cancel }, next: { to: hotel } }
  hotel: { task: book, with: { what: hotel }, undo: { task: cancel }, next: { to: car } }
  car: { task: book, undo: { task: cancel }, next: { to: note } }
  note: { task: t }";

fn cancel() -> Command {
    Command::Cancel { reason: "changed my mind".to_owned() }
}

fn undone(scenario: &Scenario) -> Option<Undone> {
    match scenario.log.last()?.events.last()? {
        EventData::ExecutionFailed { undone, .. } | EventData::ExecutionCancelled { undone, .. } => *undone,
        other => panic!("{other:?}"),
    }
}

fn counts(done: u32, failed: u32) -> Option<Undone> {
    Some(Undone { done, failed })
}

#[test]
fn what_completed_is_undone_in_reverse_before_the_execution_fails() {
    let mut scenario = given(TRIP);
    scenario
        .starts(json!({}))
        .gives("flight", json!("f-1"))
        .gives("hotel", json!("h-1"))
        .fails("car")
        .records("step_started step_failed compensation_started step_scheduled")
        .is(ExecutionState::Running)
        .then("flight ok, hotel ok, car failed, ~hotel due")
        .owes("~hotel");
    assert_eq!(scenario.input("~hotel"), json!({"input": {"what": "hotel"}, "output": "h-1"}));
    let job = &scenario.owed()[0];
    assert_eq!((job.callable.as_str(), job.node.as_str()), ("cancel", "hotel"));
    assert_ne!(Some(job.step), scenario.execution.step_id(1, "hotel"), "a step of its own");
    assert_eq!(Some(job.step), scenario.execution.step_id(3, "hotel"));
    scenario.completes("~hotel").owes("~flight").is(ExecutionState::Running);
    assert_eq!(scenario.input("~flight"), json!({"input": {"what": "flight"}, "output": "f-1"}));
    scenario
        .completes("~flight")
        .records("step_started step_completed execution_failed")
        .then("flight ok, hotel ok, car failed, ~hotel ok, ~flight ok")
        .then_fails_with("ValidationError");
    assert_eq!(undone(&scenario), counts(2, 0));
    let steps = scenario.execution.counts();
    assert_eq!((steps.completed, steps.failed), (2, 1), "undo steps are counted by themselves");
}

#[test]
fn an_execution_that_completes_undoes_nothing() {
    let mut scenario = given(TRIP);
    scenario.starts(json!({})).runs_out(|_| json!(1)).is(ExecutionState::Completed);
    assert_eq!((scenario.execution.undo_left(), scenario.execution.compensation()), (0, None));
}

#[test]
fn where_nothing_completed_that_can_be_undone_the_end_is_as_ever() {
    let mut scenario = given(TRIP);
    scenario.starts(json!({})).fails("flight").records("step_started step_failed execution_failed");
    assert_eq!(undone(&scenario), None);
}

#[test]
fn cancelling_closes_what_is_open_and_undoes_the_rest() {
    let mut scenario = given(TRIP);
    scenario
        .starts(json!({}))
        .completes("flight")
        .begins("hotel")
        .when(cancel())
        .records("step_skipped compensation_started step_scheduled")
        .then("flight ok, hotel skipped, ~flight due");
    let late = scenario.completed("hotel", &json!(1));
    assert!(matches!(scenario.refused(late), Rejection::StaleAttempt { .. }));
    let refused = scenario.refused(cancel());
    assert!(matches!(refused, Rejection::Compensating { ending: "Cancelled" }), "{refused}");
    scenario.refused(Command::Fail { error: fatal() });
    scenario.completes("~flight").is(ExecutionState::Cancelled);
    assert_eq!((scenario.execution.reason(), undone(&scenario)), (Some("changed my mind"), counts(1, 0)));
}

#[test]
fn a_fail_node_an_exceeded_limit_and_the_wall_time_undo_what_was_done() {
    let graph = |rest: &str| format!("nodes:\n  a: {{ task: t, undo: {{ task: u }}, next: {{ to: b }} }}\n{rest}");
    given(&graph("  b: { fail: { category: ToolError, message: no } }"))
        .starts(json!({}))
        .completes("a")
        .then("a ok, b failed, ~a due")
        .completes("~a")
        .then_fails_with("ToolError");
    given(&format!("limits: {{ max_steps: 1 }}\n{}", graph("  b: { task: t }")))
        .starts(json!({}))
        .completes("a")
        .then("a ok, ~a due")
        .completes("~a")
        .then_fails_with("step_limit");
    let mut scenario = given(&format!("limits: {{ wall_time: 1m }}\n{}", graph("  b: { task: t }")));
    scenario.starts(json!({})).completes("a").after(Duration::from_secs(60)).ticks().then("a ok, b skipped, ~a due");
    // It takes the time that it takes.
    assert_eq!(scenario.execution.next_deadline(), None);
    scenario.after(Duration::from_secs(6000)).completes("~a").then_fails_with("wall_time_limit");
    // An output that cannot be worked out fails an execution whose steps have all completed.
    given(&format!("{}\noutput: '=steps.b.output.missing'", graph("  b: { task: t }")))
        .starts(json!({}))
        .completes("a")
        .completes("b")
        .then("a ok, b ok, ~a due")
        .completes("~a")
        .then_fails_with("expression_failed");
}

#[test]
fn a_failure_that_is_caught_undoes_nothing() {
    given(
        "
nodes:
  a: { task: t, undo: { task: u }, next: { to: b } }
  b: { task: t, next: [ { catch: any, to: c } ] }
  c: { task: t }",
    )
    .starts(json!({}))
    .completes("a")
    .fails("b")
    .completes("c")
    .then("a ok, b failed, c ok")
    .is(ExecutionState::Completed);
}

#[test]
fn an_undo_sees_the_scope_and_what_its_step_gave() {
    let mut scenario = given(
        "
nodes:
  a:
    task: t
    undo: { task: u, queue: slow, with: { id: '=output.id', who: '=inputs.who', also: '=steps.b.output', run: '=execution.id' } }
    next: { to: b }
  b: { task: t, queue: quick, undo: { task: u, with: '=output' }, next: { to: c } }
  c: { task: t }",
    );
    scenario.starts(json!({"who": "ada"})).gives("a", json!({"id": 7})).gives("b", json!(2)).fails("c");
    assert_eq!((scenario.input("~b"), scenario.owed()[0].queue.as_str()), (json!(2), "quick"));
    scenario.completes("~b");
    let id = scenario.execution.id().to_string();
    assert_eq!(scenario.input("~a"), json!({"id": 7, "who": "ada", "also": 2, "run": id}));
    assert_eq!(scenario.owed()[0].queue, "slow");
}

#[test]
fn an_undo_that_fails_for_good_does_not_stop_the_others() {
    let mut scenario = given(TRIP);
    scenario.starts(json!({})).completes("flight").completes("hotel").completes("car").fails("note");
    scenario
        .fails("~car")
        .records("step_started step_failed step_scheduled")
        .completes("~hotel")
        .fails("~flight")
        .then_fails_with("ValidationError");
    assert_eq!(undone(&scenario), counts(1, 2));
    assert_eq!(scenario.execution.counts().failed, 1);
}

#[test]
fn an_undo_whose_input_cannot_be_worked_out_has_failed() {
    let mut scenario = given(
        "
nodes:
  a: { task: t, undo: { task: u, with: '=output.id' }, next: { to: b } }
  b: { task: t, undo: { task: u, with: '=output.id' }, next: { to: c } }
  c: { task: t }",
    );
    scenario.starts(json!({})).gives("a", json!({"id": 1})).gives("b", json!({})).fails("c");
    scenario.then("a ok, b ok, c failed, ~b failed, ~a due").completes("~a").is(ExecutionState::Failed);
    assert_eq!(undone(&scenario), counts(1, 1));
}

#[test]
fn an_undo_is_tried_again_and_timed_like_any_task() {
    let mut scenario = given(
        "
nodes:
  a:
    task: t
    retry: { max_attempts: 1 }
    undo: { task: u, retry: { max_attempts: 2, backoff: constant, base: 5s }, timeout: { schedule_to_start: 1m, start_to_close: 10s } }
    next: { to: b }
  b: { task: t }",
    );
    scenario.starts(json!({})).completes("a").fails("b").begins("~a").after(Duration::from_secs(10)).ticks();
    scenario.then("a ok, b failed, ~a waits").after(Duration::from_secs(5)).ticks().then("a ok, b failed, ~a due");
    assert_eq!(scenario.owed()[0].attempt, 2);
    scenario.after(Duration::from_secs(60)).ticks().then("a ok, b failed, ~a failed").is(ExecutionState::Failed);
    assert_eq!(undone(&scenario), counts(0, 1));
}

#[test]
fn the_items_of_a_map_are_undone_each_also_when_the_map_failed() {
    let graph = "
nodes:
  m: { map: { over: '=inputs', max_concurrency: 3 }, task: t, with: { id: '=item' }, undo: { task: u }, next: { to: z } }
  z: { task: t }";
    let mut scenario = given(graph);
    scenario.starts(json!([7, 8, 9])).gives("m[2]", json!("c")).gives("m[0]", json!("a")).fails("m[1]");
    scenario.then("m failed, m[0] ok, m[1] failed, m[2] ok, ~m[0] due");
    assert_eq!(scenario.input("~m[0]"), json!({"input": {"id": 7}, "output": "a"}));
    let ids = [1, 4].map(|step| scenario.execution.step_id(step, "m"));
    assert_ne!(ids[0], ids[1]);
    scenario.completes("~m[0]").owes("~m[2]").completes("~m[2]").is(ExecutionState::Failed);

    // The item itself is input where nothing is mapped, and in scope where something is.
    let plain =
        graph.replace(", with: { id: '=item' }", "").replace("task: u", "task: u, with: '=[item, index, output]'");
    for (graph, expected) in [
        (plain.replace(", with: '=[item, index, output]'", ""), json!({"input": 8, "output": 80})),
        (plain, json!([8, 1, 80])),
    ] {
        let mut scenario = given(&graph);
        scenario.starts(json!([7, 8])).gives("m[0]", json!(70)).gives("m[1]", json!(80)).fails("z");
        assert_eq!(scenario.input("~m[1]"), expected);
        scenario.runs_out(|_| json!(0)).is(ExecutionState::Failed);
        assert_eq!(undone(&scenario), counts(2, 0));
    }
}

#[test]
fn each_round_of_a_loop_is_undone() {
    let mut scenario = given(
        "
nodes:
  a:
    task: t
    max_iterations: 3
    undo: { task: u, with: '=[iteration, output]' }
    next: [ { to: a, when: '=iteration < 3' }, { to: b, when: '=iteration == 3' } ]
  b: { task: t }",
    );
    scenario.starts(json!({})).gives("a", json!("x")).gives("a", json!("y")).gives("a", json!("z")).fails("b");
    for expected in [json!([3, "z"]), json!([2, "y"]), json!([1, "x"])] {
        assert_eq!(scenario.input("~a"), expected);
        scenario.completes("~a");
    }
    scenario.then("a@1 ok, a@2 ok, a@3 ok, b failed, ~a@3 ok, ~a@2 ok, ~a@1 ok").is(ExecutionState::Failed);
}

#[test]
fn a_pause_holds_the_next_undo() {
    let pause = || Command::Pause { reason: "look first".to_owned() };
    let mut scenario = given(TRIP);
    scenario.starts(json!({})).completes("flight").completes("hotel").fails("car").begins("~hotel").when(pause());
    scenario.completes("~hotel").then("flight ok, hotel ok, car failed, ~hotel ok, ~flight due").owes("");
    scenario.refused(cancel());
    scenario.when(Command::Resume).owes("~flight").completes("~flight").is(ExecutionState::Failed);

    // The failure comes while it is paused: undoing waits, too. The last undo may end it meanwhile.
    let mut scenario = given(TRIP);
    scenario.starts(json!({})).completes("flight").begins("hotel").when(pause()).fails("hotel");
    scenario.is(ExecutionState::Paused).owes("").when(Command::Resume).owes("~flight").begins("~flight").when(pause());
    scenario.completes("~flight").is(ExecutionState::Failed);
}

#[test]
fn cancelling_what_is_paused_or_waits_lets_the_undo_go_on() {
    let mut scenario = given(TRIP);
    scenario
        .starts(json!({}))
        .completes("flight")
        .when(Command::Pause { reason: "hm".to_owned() })
        .when(cancel())
        .records("step_skipped execution_resumed compensation_started step_scheduled")
        .owes("~flight")
        .completes("~flight")
        .is(ExecutionState::Cancelled);
    let mut scenario = given(TRIP);
    scenario
        .starts(json!({}))
        .completes("flight")
        .begins("hotel")
        .when(Command::Wait { reason: crate::execution::WaitReason::Approval })
        .fails("hotel")
        .is(ExecutionState::Running)
        .owes("~flight");
}

#[test]
fn a_race_gives_up_losers_and_undoes_only_what_completed() {
    given(
        "
nodes:
  a: { task: t, undo: { task: u }, next: { to: z } }
  b: { task: t, undo: { task: u }, next: { to: z } }
  z: { join: race, task: t }",
    )
    .starts(json!({}))
    .begins("a")
    .completes("b")
    .fails("z")
    .then("a skipped, b ok, z failed, ~b due")
    .completes("~b")
    .is(ExecutionState::Failed);
}

#[test]
fn undoing_very_much_is_spread_over_appends() {
    const MANY: usize = 5000;
    let list: Vec<usize> = (0..MANY).collect();
    let mut scenario = given(
        "
nodes:
  m: { map: { over: '=inputs', max_concurrency: 10000 }, task: t, undo: { task: u, with: '=output.missing' }, next: { to: z } }
  z: { task: t }",
    );
    scenario.starts(json!(list));
    scenario.runs_out(|name| json!(name)).is(ExecutionState::Completed);
    let mut scenario = given_graph(scenario.graph.clone());
    scenario.starts(json!(list));
    while scenario.execution.has_more() {
        scenario.ticks();
    }
    for index in 0..MANY {
        scenario.completes_step(index as u32 + 1);
    }
    scenario.fails("z");
    assert!(scenario.execution.has_more(), "the append was full");
    while !scenario.execution.state().is_terminal() {
        scenario.ticks();
    }
    assert_eq!(undone(&scenario), counts(0, MANY as u32));
}

#[test]
fn a_log_that_undoes_in_another_way_does_not_fold() {
    let mut scenario = given(TRIP);
    scenario.starts(json!({})).completes("flight").completes("hotel");
    let undo = |step, undone| EventData::StepScheduled {
        step,
        node: 1,
        iterations: vec![],
        parent: None,
        index: None,
        input: crate::event::Input::Undone,
        undoes: Some(undone),
    };
    let ending = || Ending::Cancelled { reason: "x".to_owned() };
    let refused = |scenario: &Scenario, data: EventData| {
        let mut execution = scenario.execution.clone();
        let event = crate::event::Event { sequence: execution.sequence() + 1, at: scenario.now, data };
        execution.apply(&scenario.graphs, &event).expect_err("nonsense")
    };
    refused(&scenario, undo(3, 1));
    refused(&scenario, EventData::CompensationStarted { ending: ending() });
    scenario.fails("car");
    refused(&scenario, EventData::CompensationStarted { ending: ending() });
    refused(&scenario, undo(4, 0));
    let skip = EventData::StepSkipped { step: 3, reason: crate::event::SkipReason::ExecutionFailed, new: None };
    refused(&scenario, skip);
    scenario.completes("~hotel").begins("~flight");
    refused(&scenario, undo(5, 0));
    refused(&scenario, EventData::ExecutionFailed { error: fatal(), step: None, undone: None });
    refused(&scenario, EventData::ExecutionCompleted { output: data(&json!(1)) });
    let network = error(ErrorCategory::NetworkError);
    scenario.fails_with("~flight", network).then("flight ok, hotel ok, car failed, ~hotel ok, ~flight waits");
}

#[test]
fn a_request_to_cancel_undoes_too_and_another_one_is_denied_on_record() {
    let please = || Steering::Cancel { reason: "changed my mind".to_owned() };
    let mut scenario = given(TRIP);
    scenario.starts(json!({})).completes("flight").asks("ada", please());
    scenario.records("control_recorded step_skipped compensation_started step_scheduled").owes("~flight");
    let again = scenario.ask("bob", please());
    scenario.when(Command::Steer(Box::new(again))).records("control_recorded");
    let denied = scenario.log.last().unwrap().denied.clone();
    assert_eq!(denied, Some(Rejection::Compensating { ending: "Cancelled" }));
    scenario.owes("~flight").completes("~flight").is(ExecutionState::Cancelled);
}

#[test]
fn a_wait_that_is_given_up_ends_with_the_rest_and_an_undo_needs_no_budget() {
    let mut scenario = given(
        "
limits: { cost_usd: '1.00', on_limit: stop }
nodes:
  a: { task: t, undo: { task: u }, next: { to: w } }
  w: { wait: { approval: {}, timeout: 1h }, next: { to: b } }
  b: { task: t, reserve: { cost_usd: '2.00' } }",
    );
    scenario.starts(json!({})).completes("a").after(Duration::from_secs(3600)).ticks();
    scenario.then("a ok, w failed, ~a due").is(ExecutionState::Running).owes("~a");
    scenario.completes("~a").then_fails_with("wait_timeout");
    let mut scenario = given(
        "
limits: { cost_usd: '1.00', on_limit: stop }
nodes:
  a: { task: t, undo: { task: u }, next: { to: b } }
  b: { task: t, reserve: { cost_usd: '2.00' } }",
    );
    scenario.starts(json!({})).completes("a").then("a ok, ~a due").completes("~a").then_fails_with("cost_limit");
}
