//! Control that holds: pauses that settle, breakpoints, failures that pause, requests that are on record.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;
use crate::event::EventData;
use crate::execution::steering::DENIALS;
use crate::execution::{Command, ExecutionState, Refusal, Rejection, StartRequest, Steering, WaitReason};

const TWO: &str = "nodes: { a: { task: t, next: { to: b } }, b: { task: t } }";

fn pause() -> Steering {
    Steering::Pause { reason: "lunch".to_owned() }
}

fn resume() -> Steering {
    Steering::Resume { reason: Some("back".to_owned()) }
}

fn breakpoint(node: &str, on: bool) -> Steering {
    Steering::Breakpoint { node: node.to_owned(), on }
}

#[test]
fn a_pause_is_quiet_when_the_last_attempt_has_ended_and_says_so_once() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).begins("a").asks("ada", pause()).records("control_recorded execution_paused");
    assert!(!scenario.execution.is_quiescent());
    assert_eq!(scenario.execution.next_deadline(), None, "whoever works ends by itself");
    scenario.after(Duration::from_secs(5)).completes("a");
    scenario.records("step_completed step_scheduled execution_quiescent").is(ExecutionState::Paused);
    assert!(scenario.execution.is_quiescent());
    scenario.asks("ada", resume()).records("control_recorded execution_resumed").owes("b");
}

#[test]
fn a_job_that_is_on_the_bus_has_time_to_show_that_a_worker_has_it() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).asks("ada", pause()).records("control_recorded execution_paused");
    assert_eq!(scenario.refused(tick()), Rejection::NotDue);
    scenario.after(Duration::from_secs(1)).begins("a").after(Duration::from_secs(4));
    assert_eq!(scenario.refused(tick()), Rejection::NotDue, "a worker has it");
    scenario.completes("a").records("step_completed step_scheduled execution_quiescent");

    let mut scenario = given(TWO);
    scenario
        .starts(json!({}))
        .asks("ada", pause())
        .after(Duration::from_secs(2))
        .ticks()
        .records("execution_quiescent");
}

#[test]
fn nothing_in_flight_is_quiet_at_once() {
    let mut scenario = given("nodes: { w: { wait: { signal: go } } }");
    scenario.starts(json!({})).asks("ada", pause());
    scenario.records("control_recorded execution_paused execution_quiescent");
}

#[test]
fn what_means_nothing_where_it_stands_is_on_record_as_denied() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let steer = scenario.ask("ada", resume());
    scenario.when(Command::Steer(Box::new(steer))).records("control_recorded").is(ExecutionState::Running);
    let denied = scenario.log.last().unwrap().denied.clone().expect("it was denied");
    assert_eq!(denied.to_string(), "an execution that is Running cannot be resumed");
    let Some(EventData::ControlRecorded { outcome, reason, .. }) = scenario.log.last().unwrap().events.first() else {
        panic!("{:?}", scenario.log.last());
    };
    assert_eq!((outcome.name(), reason.as_deref()), ("denied", Some("back")));
}

#[test]
fn a_pause_that_is_repeated_under_its_id_is_done_and_another_one_is_denied() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let steer = scenario.ask("ada", pause());
    scenario.when(Command::Steer(Box::new(steer.clone())));
    assert_eq!(scenario.refused(Command::Steer(Box::new(steer))), Rejection::Refused(Refusal::Repeated));
    let other = scenario.ask("bob", Steering::Pause { reason: "mine".to_owned() });
    scenario.when(Command::Steer(Box::new(other)));
    assert!(scenario.log.last().unwrap().denied.is_some());
    assert_eq!(scenario.execution.reason(), Some("lunch"));
}

#[test]
fn what_is_denied_again_and_again_does_not_fill_the_log() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let same = scenario.ask("ada", resume());
    scenario.when(Command::Steer(Box::new(same.clone())));
    assert!(matches!(scenario.refused(Command::Steer(Box::new(same))), Rejection::Illegal(_)), "once under its id");
    for _ in 1..DENIALS {
        let steer = scenario.ask("ada", resume());
        scenario.when(Command::Steer(Box::new(steer))).records("control_recorded");
    }
    let last = scenario.execution.sequence();
    for _ in 0..3 {
        assert!(matches!(scenario.asks_in_vain("ada", resume()), Rejection::Illegal(_)), "it is answered all the same");
    }
    assert_eq!(scenario.execution.sequence(), last);
    // What is carried out begins a new row.
    scenario.asks("ada", pause());
    let steer = scenario.ask("bob", pause());
    scenario.when(Command::Steer(Box::new(steer))).records("control_recorded");
}

#[test]
fn only_the_last_thousand_requests_are_known() {
    let mut scenario = given("nodes: { a: { task: t, next: { to: w } }, w: { wait: { signal: go } } }");
    scenario.starts(json!({}));
    let first = scenario.ask("ada", breakpoint("w", true));
    for n in 0..1100 {
        scenario.asks("ada", Steering::Wait { reason: WaitReason::Checkpoint });
        scenario.asks("ada", Steering::Input { input: data(&json!(n)) });
    }
    assert_eq!(scenario.execution.asked.len(), 1024);
    scenario.when(Command::Steer(Box::new(first)));
}

#[test]
fn a_breakpoint_pauses_before_its_node_and_is_passed_by_resuming() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).asks("ada", breakpoint("b", true)).completes("a");
    scenario.then("a ok").is(ExecutionState::Paused);
    assert_eq!(scenario.execution.reason(), Some("breakpoint before `b`"));
    scenario.asks("ada", resume()).then("a ok, b due").owes("b").completes("b").is(ExecutionState::Completed);
}

#[test]
fn a_breakpoint_in_a_loop_pauses_in_every_round_until_it_is_taken_away() {
    let graph = "nodes: { a: { task: t, max_iterations: 5, next: [ { when: \"=output < 3\", to: a }, { when: \"=output >= 3\", to: z } ] }, z: { task: t } }";
    let mut scenario = given(graph);
    let request = StartRequest { breakpoints: vec!["a".to_owned()], ..scenario.request(&json!({})) };
    scenario.when(Command::Create(Box::new(request))).then("").is(ExecutionState::Paused);
    scenario.asks("ada", resume()).gives("a", json!(1)).then("a@1 ok").is(ExecutionState::Paused);
    scenario
        .asks("ada", resume())
        .asks("ada", breakpoint("a", false))
        .gives("a", json!(2))
        .then("a@1 ok, a@2 ok, a@3 due");
}

#[test]
fn a_breakpoint_at_no_node_is_refused() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let unknown = scenario.asks_in_vain("ada", breakpoint("x", true));
    assert_eq!(unknown.to_string(), "the graph has no node `x`");
    let mut scenario = given(TWO);
    let request = StartRequest { breakpoints: vec!["x".to_owned()], ..scenario.request(&json!({})) };
    assert!(matches!(
        scenario.execution.clone().decide(&scenario.graphs, Command::Create(Box::new(request)), scenario.now),
        Err(Rejection::Refused(_))
    ));
    scenario.starts(json!({}));
}

#[test]
fn so_many_failures_in_a_row_pause_and_a_success_forgives() {
    let graph = "limits: { pause_after_failures: 2 }\nnodes: { a: { task: t, retry: { max_attempts: 9, backoff: none } }, b: { task: t } }";
    let mut scenario = given(graph);
    scenario
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::NetworkError))
        .completes("b")
        .is(ExecutionState::Running);
    scenario.fails_with("a", error(ErrorCategory::NetworkError)).is(ExecutionState::Running);
    scenario.fails_with("a", error(ErrorCategory::NetworkError)).is(ExecutionState::Paused);
    assert!(scenario.execution.reason().unwrap().starts_with("2 attempts in a row"));
    scenario.asks("ada", resume()).fails_with("a", error(ErrorCategory::NetworkError)).is(ExecutionState::Running);
    scenario.completes("a").is(ExecutionState::Completed);
}

#[test]
fn an_execution_that_somebody_holds_waits_for_its_input_only() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).asks("policy", Steering::Wait { reason: WaitReason::CostThreshold }).owes("");
    scenario.completes("a").then("a ok, b due").is(ExecutionState::Waiting(WaitReason::CostThreshold)).owes("");
    scenario.asks("ada", Steering::Input { input: data(&json!({"budget": 5})) }).is(ExecutionState::Running).owes("b");
    assert_eq!(scenario.execution.received().to_json(), json!({"budget": 5}));
}

#[test]
fn holding_and_breaking_are_done_once_under_their_ids() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let hold = scenario.ask("ada", Steering::Wait { reason: WaitReason::Checkpoint });
    scenario.when(Command::Steer(Box::new(hold.clone())));
    scenario.asks("ada", Steering::Input { input: data(&json!(1)) }).is(ExecutionState::Running);
    assert_eq!(scenario.refused(Command::Steer(Box::new(hold))), Rejection::Refused(Refusal::Repeated));
    let on = scenario.ask("ada", breakpoint("b", true));
    scenario.when(Command::Steer(Box::new(on.clone()))).asks("ada", breakpoint("b", false));
    assert_eq!(scenario.refused(Command::Steer(Box::new(on))), Rejection::Refused(Refusal::Repeated));
    assert_eq!(scenario.execution.breakpoints().count(), 0);
}

#[test]
fn a_breakpoint_is_passed_only_by_who_has_stopped_at_it() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).asks("ada", breakpoint("b", true)).asks("ada", pause()).completes("a");
    scenario.asks("ada", resume()).then("a ok").is(ExecutionState::Paused);
    scenario.asks("ada", resume()).then("a ok, b due");
}

#[test]
fn attempts_that_fail_for_good_count_among_failures_in_a_row_and_what_no_worker_does_forgives_none() {
    let graph = "limits: { pause_after_failures: 2 }\nnodes: { m: { map: { over: [1, 2, 3], max_concurrency: 3, collect: all_settled }, task: t, retry: { max_attempts: 1 } }, x: { task: t, next: { to: y } }, y: { transform: 1 } }";
    let mut scenario = given(graph);
    scenario.starts(json!({})).fails("m[0]").is(ExecutionState::Running);
    scenario.fails("m[1]").is(ExecutionState::Paused);
}
