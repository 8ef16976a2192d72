//! Attempts that failed, and the next ones.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::error::{ErrorCategory, ErrorCode};
use crate::execution::{ExecutionState, Rejection};

fn policy(retry: &str) -> Scenario {
    given(&format!("nodes: {{ a: {{ task: t, with: 5, {retry} next: {{ to: b }} }}, b: {{ task: t }} }}"))
}

#[test]
fn the_policy_of_the_node_says_when_to_try_again() {
    let mut scenario = policy("retry: { max_attempts: 3, backoff: exponential, base: 1s, max: 10s },");
    scenario
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::NetworkError))
        .records("step_started step_retry_scheduled")
        .then("a waits")
        .owes("");
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(Duration::from_secs(1))));
    assert_eq!(scenario.refused(tick()), Rejection::NotDue);
    scenario.after(Duration::from_secs(1)).ticks().records("step_rescheduled").then("a due").owes("a");
    assert_eq!((scenario.attempt_of(0), scenario.input("a")), (2, json!(5)), "the same input again");
    scenario.fails_with("a", error(ErrorCategory::NetworkError));
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(Duration::from_secs(2))));
    scenario
        .after(Duration::from_secs(2))
        .ticks()
        .fails_with("a", error(ErrorCategory::NetworkError))
        .records("step_started step_failed execution_failed")
        .then_fails_with("NetworkError");
    assert_eq!(scenario.attempt_of(0), 3);
}

#[test]
fn a_later_attempt_may_complete_the_step() {
    policy("retry: { max_attempts: 2, base: 1s },")
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::ToolError))
        .after(Duration::from_secs(1))
        .ticks()
        .gives("a", json!(1))
        .then("a ok, b due");
}

#[test]
fn without_a_policy_of_its_own_the_category_decides() {
    for (category, attempts, first_delay) in [
        (ErrorCategory::LlmError, 4, 1000),
        (ErrorCategory::ToolError, 3, 500),
        (ErrorCategory::NetworkError, 4, 500),
        (ErrorCategory::Timeout, 2, 0),
        (ErrorCategory::PolicyViolation, 1, 0),
        (ErrorCategory::QuotaExceeded, 1, 0),
        (ErrorCategory::KernelInternal, 1, 0),
        (ErrorCategory::ValidationError, 1, 0),
    ] {
        let mut scenario = policy("");
        scenario.starts(json!({})).fails_with("a", error(category));
        if attempts > 1 && first_delay > 0 {
            let due = scenario.now.after(Duration::from_millis(first_delay));
            assert_eq!(scenario.execution.next_deadline(), Some(due), "{category}");
        }
        while scenario.execution.state() == ExecutionState::Running {
            if let Some(due) = scenario.execution.next_deadline() {
                scenario.now = due;
                scenario.ticks();
            }
            scenario.fails_with("a", error(category));
        }
        assert_eq!(scenario.attempt_of(0), attempts, "{category}");
    }
}

#[test]
fn a_code_that_is_known_overrides_the_category() {
    policy("retry: { max_attempts: 9 },")
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::LlmError).with_code(ErrorCode::new("content_filtered")))
        .then("a failed")
        .then_fails_with("content_filtered");
    policy("retry: { max_attempts: 9, base: 1s },")
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::QuotaExceeded).with_code(ErrorCode::new("rate_limit")))
        .then("a waits");
}

#[test]
fn a_fatal_error_is_not_tried_again_whatever_the_node_asks_for() {
    policy("retry: { max_attempts: 9 },")
        .starts(json!({}))
        .fails("a")
        .then("a failed")
        .then_fails_with("ValidationError");
}

#[test]
fn a_retry_without_delay_is_due_in_the_same_append() {
    let mut scenario = policy("retry: { max_attempts: 2, backoff: none },");
    scenario
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::ToolError))
        .records("step_started step_retry_scheduled step_rescheduled")
        .owes("a");
    assert_eq!((scenario.attempt_of(0), scenario.execution.next_deadline()), (2, None));
}

#[test]
fn a_retry_comes_no_earlier_than_the_other_side_asked_for() {
    let mut scenario = policy("retry: { max_attempts: 2, base: 1s },");
    let mut busy = error(ErrorCategory::NetworkError);
    busy.retry_after_ms = Some(60_000);
    scenario.starts(json!({})).fails_with("a", busy);
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(Duration::from_secs(60))));
}

#[test]
fn full_jitter_is_chance_that_comes_with_the_command_and_stands_in_the_event() {
    let mut scenario = policy("retry: { max_attempts: 2, backoff: constant, base: 10s, max: 10s, jitter: full },");
    scenario.starts(json!({})).fails_with("a", error(ErrorCategory::ToolError));
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(Duration::from_secs(5))));
}

#[test]
fn a_late_backoff_never_wraps_around_to_no_delay() {
    let mut scenario = policy("retry: { max_attempts: 80, backoff: exponential, base: 1ms, max: 7d },");
    scenario.starts(json!({}));
    let mut before = Duration::ZERO;
    for attempt in 1..80 {
        scenario.fails_with("a", error(ErrorCategory::ToolError));
        let due = scenario.execution.next_deadline().unwrap();
        let delay = due.since(scenario.now);
        assert!(delay >= before, "attempt {attempt}: {delay:?} after {before:?}");
        before = delay;
        scenario.now = due;
        scenario.ticks();
    }
    scenario.fails_with("a", error(ErrorCategory::ToolError)).then_fails_with("ToolError");
}

#[test]
fn a_step_that_waits_for_its_retry_is_closed_with_the_execution() {
    given("nodes: { a: { task: t, retry: { base: 1h, max: 1h } }, b: { task: t } }")
        .starts(json!({}))
        .fails_with("a", error(ErrorCategory::ToolError))
        .fails("b")
        .then("a skipped, b failed")
        .then_fails_with("ValidationError");
}

#[test]
fn an_idempotency_key_is_the_same_for_every_attempt() {
    let mut scenario = policy("retry: { max_attempts: 2, backoff: none },");
    scenario.starts(json!({}));
    let first = scenario.owed()[0].step;
    scenario.fails_with("a", error(ErrorCategory::ToolError));
    assert_eq!(scenario.owed()[0].step, first, "what the key is made of");
    assert_ne!(scenario.owed()[0].attempt, 1);
}
