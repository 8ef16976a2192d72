//! What workers report: late, doubled, out of order, invented.

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;
use crate::event::Event;
use crate::event::EventData;
use crate::execution::{ApplyError, Command, ExecutionState, Rejection, StepState};
use crate::wire::ClaimId;

const TWO: &str = "nodes: { a: { task: t, next: { to: b } }, b: { task: t } }";

#[test]
fn a_quick_step_is_started_and_completed_in_one_append() {
    given(TWO)
        .starts(json!({}))
        .completes("a")
        .records("step_started step_completed step_scheduled")
        .begins("b")
        .records("step_started")
        .completes("b")
        .records("step_completed execution_completed");
}

#[test]
fn a_result_counts_once() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).gives("a", json!(1));
    for command in [scenario.completed("a", &json!(2)), scenario.failed("a", fatal()), scenario.started("a")] {
        let refusal = scenario.refused(command);
        let expected = Rejection::StaleAttempt { step: 0, offered: 1, current: 1, state: StepState::Completed };
        assert_eq!(refusal, expected);
    }
    assert_eq!(scenario.execution.step(0).unwrap().output().to_json(), json!(1));
}

#[test]
fn an_attempt_starts_once() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).begins("a");
    let again = scenario.started("a");
    assert_eq!(scenario.refused(again), Rejection::AlreadyStarted { step: 0, attempt: 1 });
    assert_eq!(scenario.execution.steps().len(), 1);
}

#[test]
fn a_report_of_an_earlier_attempt_is_refused() {
    let mut scenario = given("nodes: { a: { task: t, retry: { backoff: none } } }");
    scenario.starts(json!({})).fails_with("a", error(ErrorCategory::ToolError));
    for command in
        [completed(0, 1, &json!(1)), failed(0, 1, fatal()), completed(0, 3, &json!(1)), completed(0, 0, &json!(1))]
    {
        assert!(matches!(scenario.refused(command), Rejection::StaleAttempt { current: 2, .. }));
    }
    scenario.gives("a", json!(2)).then_gives(json!(2));
}

#[test]
fn a_report_while_the_step_waits_for_its_retry_is_refused() {
    let mut scenario = given("nodes: { a: { task: t, retry: { base: 1s } } }");
    scenario.starts(json!({})).fails_with("a", error(ErrorCategory::ToolError));
    for attempt in [1, 2] {
        let refusal = scenario.refused(completed(0, attempt, &json!(1)));
        assert!(matches!(refusal, Rejection::StaleAttempt { state: StepState::Waiting, .. }));
    }
}

#[test]
fn a_report_about_a_step_that_no_worker_runs_is_refused() {
    let mut scenario = given("nodes: { a: { task: t, next: { to: b } }, b: { task: t }, c: { transform: 1 } }");
    scenario.starts(json!({})).then("a due, c ok");
    assert_eq!(scenario.refused(completed(1, 1, &json!(1))), Rejection::UnknownStep(1));
    assert_eq!(scenario.refused(completed(2, 1, &json!(1))), Rejection::UnknownStep(2));
    assert_eq!(scenario.refused(completed(u32::MAX, 1, &json!(1))), Rejection::UnknownStep(u32::MAX));
}

#[test]
fn a_late_result_of_a_step_that_was_closed_is_refused() {
    let mut scenario =
        given("nodes: { m: { map: { over: [1, 2] }, task: t, next: [ { catch: any, to: z } ] }, z: { task: t } }");
    scenario.starts(json!({})).fails("m[0]").then("m failed, m[0] failed, m[1] skipped, z due");
    let late = scenario.completed("m[1]", &json!(1));
    assert!(matches!(scenario.refused(late), Rejection::StaleAttempt { state: StepState::Skipped, .. }));
}

/// Applies one event behind a log and gives the refusal.
#[track_caller]
fn folding(scenario: &Scenario, data: EventData) -> ApplyError {
    let mut execution = scenario.execution.clone();
    let event = Event { sequence: execution.sequence() + 1, at: scenario.now, data };
    execution.apply(&scenario.graphs, &event).expect_err("the fold refuses it")
}

#[test]
fn a_log_in_which_a_finished_step_changes_does_not_fold() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).completes("a").begins("b");
    let completed = EventData::StepCompleted {
        step: 0,
        attempt: 1,
        output: data(&json!("late")),
        duration_us: 0,
        taken: None,
        routing_error: None,
    };
    let failed =
        EventData::StepFailed { step: 0, attempt: 1, error: fatal(), duration_us: 0, taken: None, given_up: false };
    assert!(matches!(folding(&scenario, completed.clone()), ApplyError::IllegalStep { .. }));
    assert!(matches!(folding(&scenario, failed), ApplyError::IllegalStep { .. }));
    scenario.completes("b");
    assert!(matches!(folding(&scenario, completed), ApplyError::Illegal { .. }));
}

#[test]
fn a_log_in_which_a_step_starts_twice_does_not_fold() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).begins("a");
    let start = |attempt| EventData::StepStarted { step: 0, attempt, worker: "w".to_owned(), claim: ClaimId(2) };
    assert!(matches!(folding(&scenario, start(1)), ApplyError::IllegalStep { .. }));
    assert!(matches!(folding(&scenario, start(2)), ApplyError::WrongAttempt { .. }));
    let again = EventData::StepScheduled {
        step: 0,
        node: 0,
        iterations: vec![],
        parent: None,
        index: None,
        input: crate::event::Input::Inputs,
        undoes: None,
    };
    assert!(matches!(folding(&scenario, again), ApplyError::NotReady { .. }));
}

#[test]
fn a_log_that_ends_while_steps_are_open_does_not_fold() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).begins("a");
    let ends = [
        EventData::ExecutionCompleted { output: data(&json!(1)) },
        EventData::ExecutionFailed { error: fatal(), step: None, undone: None },
        EventData::ExecutionCancelled { reason: "x".to_owned(), undone: None },
    ];
    for end in ends {
        assert!(matches!(folding(&scenario, end), ApplyError::Nonsense { reason: "steps are still open", .. }));
    }
}

#[test]
fn an_item_must_belong_to_a_map_that_is_open() {
    let mut scenario = given(
        "
nodes:
  m: { map: { over: [1, 2, 3], max_concurrency: 1 }, task: t, next: [ { catch: any, to: z } ] }
  z: { task: t }",
    );
    scenario.starts(json!({}));
    let item = |node, parent, index| EventData::StepScheduled {
        step: 2,
        node,
        iterations: vec![],
        parent,
        index,
        input: crate::event::Input::Item,
        undoes: None,
    };
    assert!(matches!(folding(&scenario, item(0, Some(0), Some(1))), ApplyError::NotReady { .. }), "the window is full");
    assert!(matches!(folding(&scenario, item(0, Some(9), Some(0))), ApplyError::NotReady { .. }), "no such map");
    assert!(matches!(folding(&scenario, item(0, Some(0), None)), ApplyError::Nonsense { .. }));
    let mut roomy = given(
        "
nodes:
  m: { map: { over: [1, 2, 3], max_concurrency: 2 }, task: t, with: '=1 / (item - 2)', next: [ { catch: any, to: z } ] }
  z: { task: t }",
    );
    roomy.starts(json!({})).then("m failed, m[0] skipped, m[1] failed, z due");
    let third = |node| EventData::StepScheduled {
        step: 4,
        node,
        iterations: vec![],
        parent: Some(0),
        index: Some(2),
        input: crate::event::Input::Item,
        undoes: None,
    };
    assert!(matches!(folding(&roomy, third(0)), ApplyError::NotReady { .. }), "the map is over");
    assert!(matches!(folding(&roomy, third(1)), ApplyError::NotReady { .. }), "an item runs its map's node");
}

#[test]
fn a_gap_or_a_repetition_in_a_log_is_found() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let mut execution = scenario.execution.clone();
    let last = execution.sequence();
    for sequence in [0, last, last + 2] {
        let event = Event { sequence, at: scenario.now, data: EventData::ExecutionResumed {} };
        assert_eq!(execution.apply(&scenario.graphs, &event), Err(ApplyError::Gap { last, found: sequence }));
    }
    let mut empty = given(TWO);
    let event = Event { sequence: 1, at: empty.now, data: EventData::ExecutionStarted {} };
    assert_eq!(
        empty.execution.apply(&empty.graphs, &event),
        Err(ApplyError::NotCreated { found: "execution_started" })
    );
}

#[test]
fn what_runs_while_the_store_is_restored_waits_for_a_worker_again_under_the_same_attempt() {
    let mut scenario = given(
        "nodes: { a: { task: t, timeout: { schedule_to_start: 1m, start_to_close: 1h } }, m: { map: { over: [1, 2] }, task: t } }",
    );
    scenario.starts(json!({})).begins("a").begins("m[0]");
    let restored = Command::Restored { incarnation: 2 };
    scenario.when(restored.clone()).owes("a m[0] m[1]");
    for job in scenario.owed() {
        assert_eq!((job.attempt, job.running), (1, false));
    }
    assert_eq!(scenario.execution.at_work(), 0);
    // It may begin, and the time to do so counts from the restore.
    scenario.begins("a").after(std::time::Duration::from_secs(120)).refused(Command::Tick { chance: 0.0 });
    // What is over cannot be restored.
    scenario.completes("a").completes("m[0]").completes("m[1]").is(ExecutionState::Completed);
    scenario.refused(restored);
}
