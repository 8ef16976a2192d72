//! Executions that rest: what they wait for, and until when.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::data::Data;
use crate::execution::steering::QUIET_AFTER;
use crate::execution::{Command, ExecutionState, Steering, WaitReason};

const PATIENT: &str = "nodes: { w: { wait: { approval: true, timeout: 1h }, with: { shown: 7 } } }";
const TWO: &str = "nodes: { a: { task: t, next: { to: b } }, b: { task: t } }";

#[test]
fn what_waits_rests_and_says_until_when_and_what_it_shows() {
    let mut scenario = given(PATIENT);
    scenario.starts(json!({}));
    let begun = scenario.now;
    let (execution, w) = (&scenario.execution, scenario.find("w"));
    assert!(execution.stands_still(begun) && !execution.is_held());
    assert_eq!(execution.waiting_for(), Some(WaitReason::Approval));
    assert_eq!(execution.wait_due(w), Some(begun.after(Duration::from_secs(3600))));
    assert_eq!(execution.input_of(w), Some(data(&json!({"shown": 7}))));
}

#[test]
fn a_pause_puts_off_the_end_of_a_wait() {
    let mut scenario = given(PATIENT);
    scenario.starts(json!({}));
    let due = scenario.execution.wait_due(scenario.find("w")).unwrap();
    scenario.asks("ada", Steering::Pause { reason: "lunch".to_owned() });
    assert_eq!(scenario.execution.wait_due(scenario.find("w")), None, "its time stands still");
    assert_eq!(scenario.execution.waiting_for(), Some(WaitReason::Approval));
    assert!(scenario.execution.stands_still(scenario.now));
    scenario.after(Duration::from_secs(60)).asks("ada", Steering::Resume { reason: None });
    assert_eq!(scenario.execution.wait_due(scenario.find("w")), Some(due.after(Duration::from_secs(60))));
}

#[test]
fn what_is_held_rests_when_no_worker_has_anything_left() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    assert!(!scenario.execution.stands_still(scenario.now));
    scenario.asks("ada", Steering::Wait { reason: WaitReason::External });
    let held = scenario.now;
    assert!(scenario.execution.is_held());
    assert!(!scenario.execution.stands_still(held), "the job may be with a worker");
    assert!(scenario.execution.stands_still(held.after(QUIET_AFTER)));
    scenario.begins("a");
    assert!(!scenario.execution.stands_still(held.after(QUIET_AFTER)), "a worker has it");
    scenario.asks("ada", Steering::Input { input: Data::null() }).is(ExecutionState::Running);
    assert!(!scenario.execution.stands_still(scenario.now.after(QUIET_AFTER)) && !scenario.execution.is_held());
}

#[test]
fn a_breakpoint_that_is_named_twice_at_the_start_is_one() {
    let mut scenario = given(TWO);
    let mut request = scenario.request(&json!({}));
    request.breakpoints = vec!["b".to_owned(), "b".to_owned()];
    scenario.when(Command::Create(Box::new(request)));
    scenario.records("execution_created breakpoint_set execution_started step_scheduled");
}
