//! What an execution waits for between two decisions. Every scenario compares it with a search as well.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;
use crate::execution::{Command, Execution, Rest, WaitReason};

const RETRIED: &str = "nodes: { a: { task: t, retry: { max_attempts: 3, backoff: constant, base: 1h, max: 1h } } }";

fn pause() -> Command {
    Command::Pause { reason: "lunch".to_owned() }
}

#[test]
fn what_workers_have_or_are_asked_for_is_owed_until_it_is_over() {
    let mut scenario = given("nodes: { a: { task: t, next: { to: b } }, b: { task: t } }");
    assert_eq!(scenario.starts(json!({})).execution.rest(), Rest::Owes);
    assert_eq!(scenario.begins("a").execution.rest(), Rest::Owes);
    assert_eq!(scenario.completes("a").execution.rest(), Rest::Owes);
    assert_eq!(scenario.completes("b").execution.rest(), Rest::Over);
}

#[test]
fn a_retry_is_waited_for_until_its_moment() {
    let mut scenario = given(RETRIED);
    scenario.starts(json!({})).fails_with("a", error(ErrorCategory::NetworkError));
    let due = scenario.now.after(Duration::from_secs(3600));
    assert_eq!(scenario.execution.rest(), Rest::Until(due));
    assert_eq!(scenario.after(Duration::from_secs(3600)).ticks().execution.rest(), Rest::Owes);
}

#[test]
fn one_attempt_in_hand_is_owed_however_many_others_wait() {
    let mut scenario = given(
        "nodes: { each: { map: { over: '=inputs.items' }, task: t, with: '=item',
                          retry: { max_attempts: 3, backoff: constant, base: 1h, max: 1h } } }",
    );
    scenario.starts(json!({"items": [1, 2, 3]}));
    for item in ["each[0]", "each[1]"] {
        scenario.fails_with(item, error(ErrorCategory::NetworkError));
        assert_eq!(scenario.execution.rest(), Rest::Owes);
    }
    scenario.fails_with("each[2]", error(ErrorCategory::NetworkError));
    assert!(matches!(scenario.execution.rest(), Rest::Until(_)), "the map itself is nobody's job");
}

#[test]
fn what_is_held_waits_for_a_command_whatever_workers_still_have() {
    let mut scenario = given(RETRIED);
    scenario.starts(json!({})).begins("a").when(pause());
    assert_eq!((scenario.execution.rest(), scenario.execution.in_hand()), (Rest::Command, 1));
    scenario.fails_with("a", error(ErrorCategory::NetworkError));
    assert_eq!((scenario.execution.rest(), scenario.execution.in_hand()), (Rest::Command, 0));
    scenario.when(Command::Resume);
    assert!(matches!(scenario.execution.rest(), Rest::Until(_)));
    scenario.when(Command::Cancel { reason: "no more".to_owned() });
    assert_eq!(scenario.execution.rest(), Rest::Over);
}

#[test]
fn what_is_held_waits_until_it_is_sure_that_no_worker_has_anything_of_it() {
    let mut scenario = given(RETRIED);
    scenario.starts(json!({})).when(pause());
    let Rest::Until(quiet) = scenario.execution.rest() else { panic!("{:?}", scenario.execution.rest()) };
    scenario.now = quiet;
    scenario.ticks().records("execution_quiescent");
    assert_eq!((scenario.execution.rest(), scenario.execution.in_hand()), (Rest::Command, 1));
}

#[test]
fn what_waits_wakes_for_its_deadline() {
    let mut scenario = given("limits: { wall_time: 2h }\nnodes: { a: { task: t } }");
    let due = scenario.now.after(Duration::from_secs(7200));
    scenario.starts(json!({})).when(Command::Wait { reason: WaitReason::Approval });
    assert_eq!(scenario.execution.rest(), Rest::Until(due));

    let mut without = given("nodes: { a: { task: t } }");
    without.starts(json!({})).when(Command::Wait { reason: WaitReason::Approval });
    assert_eq!(without.execution.rest(), Rest::Command);
}

#[test]
fn a_snapshot_says_the_same_as_the_state_it_was_made_of() {
    let mut scenario = given("nodes: { each: { map: { over: '=inputs.items' }, task: t, with: '=item' } }");
    scenario.starts(json!({"items": [1, 2, 3]})).completes("each[1]");
    let kept = Execution::from_snapshot(&scenario.execution.to_snapshot()).unwrap();
    assert_eq!((kept.in_hand(), kept.rest()), (2, Rest::Owes));
}
