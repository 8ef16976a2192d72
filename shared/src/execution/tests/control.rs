//! Pause, resume, wait, input, cancel, fail: requests from outside.

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;
use crate::execution::{Command, ExecutionState, Rejection, WaitReason};

const TWO: &str = "nodes: { a: { task: t, next: { to: b } }, b: { task: t } }";

fn pause() -> Command {
    Command::Pause { reason: "lunch".to_owned() }
}

fn cancel() -> Command {
    Command::Cancel { reason: "no more".to_owned() }
}

fn wait() -> Command {
    Command::Wait { reason: WaitReason::Approval }
}

fn input() -> Command {
    Command::Input { input: data(&json!({"ok": true})) }
}

fn fail() -> Command {
    Command::Fail { error: error(ErrorCategory::PolicyViolation) }
}

#[test]
fn a_paused_execution_takes_results_and_withholds_what_follows() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).begins("a").when(pause()).is(ExecutionState::Paused).owes("");
    assert_eq!(scenario.execution.reason(), Some("lunch"));
    scenario.completes("a").then("a ok, b due").owes("").is(ExecutionState::Paused);
    scenario.when(Command::Resume).is(ExecutionState::Running).owes("b");
    assert_eq!(scenario.execution.reason(), None);
}

#[test]
fn an_attempt_that_was_on_its_way_may_still_begin_while_paused() {
    given(TWO).starts(json!({})).when(pause()).begins("a").then("a runs").is(ExecutionState::Paused);
}

#[test]
fn an_execution_does_not_complete_while_it_is_held() {
    given("nodes: { a: { task: t } }")
        .starts(json!({}))
        .when(pause())
        .gives("a", json!(1))
        .is(ExecutionState::Paused)
        .when(Command::Resume)
        .records("execution_resumed execution_completed")
        .then_gives(json!(1));
    given("nodes: { a: { task: t } }")
        .starts(json!({}))
        .when(wait())
        .gives("a", json!(1))
        .is(ExecutionState::Waiting(WaitReason::Approval))
        .when(input())
        .then_gives(json!(1));
}

#[test]
fn an_end_node_that_is_reached_while_held_waits_for_the_hold_to_go() {
    let ends = "nodes: { a: { task: t, next: { to: z } }, b: { task: t, next: { to: c } }, c: { task: t }, z: { end: { output: 7 } } }";
    given(ends)
        .starts(json!({}))
        .when(pause())
        .completes("a")
        .then("a ok, b due")
        .completes("b")
        .is(ExecutionState::Paused)
        .when(Command::Resume)
        .then_gives(json!(7));
    given(ends).starts(json!({})).when(wait()).completes("a").when(input()).then_gives(json!(7));
    given(ends).starts(json!({})).when(pause()).completes("a").when(cancel()).then("a ok, b skipped");
}

#[test]
fn a_failure_ends_an_execution_although_it_is_held() {
    given(TWO).starts(json!({})).when(pause()).fails("a").then_fails_with("ValidationError");
    given(TWO).starts(json!({})).when(wait()).fails("a").then_fails_with("ValidationError");
}

#[test]
fn nothing_is_due_while_paused() {
    let mut scenario = given("limits: { wall_time: 1s }\nnodes: { a: { task: t } }");
    scenario.starts(json!({})).when(pause()).after(std::time::Duration::from_secs(2));
    scenario.ticks().records("execution_quiescent");
    assert_eq!(scenario.execution.next_deadline(), None);
    assert_eq!(scenario.refused(tick()), Rejection::NotDue);
    scenario.when(Command::Resume).after(std::time::Duration::from_secs(1)).ticks().then_fails_with("wall_time_limit");
}

#[test]
fn a_waiting_execution_goes_on_with_its_input() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).when(wait()).is(ExecutionState::Waiting(WaitReason::Approval)).owes("");
    scenario.when(input()).records("input_received").is(ExecutionState::Running).owes("a");
    assert_eq!(scenario.execution.received().to_json(), json!({"ok": true}));
}

#[test]
fn a_wait_survives_a_pause_in_its_midst() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).when(wait()).when(pause()).is(ExecutionState::Paused);
    assert!(matches!(scenario.refused(input()), Rejection::Illegal(_)));
    scenario.when(Command::Resume).is(ExecutionState::Waiting(WaitReason::Approval)).owes("");
    scenario.when(input()).is(ExecutionState::Running).owes("a");
    scenario.when(pause()).when(Command::Resume).is(ExecutionState::Running);
}

#[test]
fn resuming_ends_a_wait_without_input() {
    given(TWO).starts(json!({})).when(wait()).when(Command::Resume).is(ExecutionState::Running).owes("a");
}

#[test]
fn cancelling_closes_every_open_step_by_event_and_keeps_the_reason() {
    let mut scenario = given(
        "
nodes:
  a: { task: t }
  b: { task: t, retry: { base: 1h, max: 1h } }
  c: { task: t }
  m: { map: { over: [1, 2] }, task: t }",
    );
    scenario
        .starts(json!({}))
        .begins("a")
        .fails_with("b", error(ErrorCategory::ToolError))
        .completes("c")
        .when(cancel())
        .records("step_skipped step_skipped step_skipped step_skipped step_skipped execution_cancelled")
        .then("a skipped, b skipped, c ok, m skipped, m[0] skipped, m[1] skipped")
        .is(ExecutionState::Cancelled)
        .owes("");
    assert_eq!(scenario.execution.reason(), Some("no more"));
    assert_eq!(scenario.execution.step(0).unwrap().skip_reason().unwrap().name(), "execution_cancelled");
    assert_eq!((scenario.execution.next_deadline(), scenario.execution.open_steps().count()), (None, 0));
    assert_eq!(scenario.execution.ended_at(), Some(scenario.now));
}

#[test]
fn failing_on_request_closes_every_open_step_and_keeps_the_error() {
    given(TWO).starts(json!({})).begins("a").when(fail()).then("a skipped").then_fails_with("PolicyViolation");
}

#[test]
fn every_state_before_the_end_can_be_cancelled_and_failed() {
    for end in [cancel(), fail()] {
        let mut planning = given(TWO);
        let request = crate::execution::StartRequest { planning: true, ..planning.request(&json!({})) };
        planning.when(Command::Create(Box::new(request))).when(end.clone());
        assert!(planning.execution.state().is_terminal());
        for hold in [vec![], vec![pause()], vec![wait()], vec![wait(), pause()]] {
            let mut scenario = given(TWO);
            scenario.starts(json!({}));
            for command in hold {
                scenario.when(command);
            }
            scenario.when(end.clone());
            assert!(scenario.execution.state().is_terminal());
        }
    }
}

#[test]
fn terminal_is_final_whatever_is_commanded() {
    let mut completed_one = given(TWO);
    completed_one.starts(json!({})).completes("a").completes("b").is(ExecutionState::Completed);
    let mut failed_one = given(TWO);
    failed_one.starts(json!({})).fails("a").is(ExecutionState::Failed);
    let mut cancelled_one = given(TWO);
    cancelled_one.starts(json!({})).when(cancel()).is(ExecutionState::Cancelled);
    for scenario in [&mut completed_one, &mut failed_one, &mut cancelled_one] {
        let create = Command::Create(Box::new(scenario.request(&json!({}))));
        let note = crate::event::EventData::Custom { step: None, event_type: "x".to_owned(), data: data(&json!(1)) };
        let commands = [
            create,
            Command::Start,
            pause(),
            Command::Resume,
            wait(),
            input(),
            cancel(),
            fail(),
            scenario.started("a"),
            scenario.completed("a", &json!("late")),
            scenario.failed("a", fatal()),
            scenario.failed("a", error(ErrorCategory::NetworkError)),
            Command::HeartbeatMissed { step: 0, attempt: 1, chance: 0.0 },
            tick(),
            Command::Record(Box::new(note)),
        ];
        for command in commands {
            scenario.refused(command);
        }
        assert_eq!(scenario.execution.next_deadline(), None);
        scenario.owes("");
    }
}

#[test]
fn untimely_controls_are_refused_and_change_nothing() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    assert!(matches!(scenario.refused(Command::Resume), Rejection::Illegal(_)));
    assert!(matches!(scenario.refused(input()), Rejection::Illegal(_)));
    scenario.when(pause());
    assert!(matches!(scenario.refused(pause()), Rejection::Illegal(_)));
    assert!(matches!(scenario.refused(wait()), Rejection::Illegal(_)));
    scenario.when(Command::Resume).completes("a").completes("b").is(ExecutionState::Completed);
}
