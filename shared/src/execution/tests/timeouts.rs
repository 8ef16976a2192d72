//! What happens when nothing happens.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;
use crate::execution::{Command, ExecutionState, Rejection, WaitReason};
use crate::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);

fn limited(timeout: &str) -> Scenario {
    given(&format!(
        "
nodes:
  a: {{ task: t, timeout: {{ {timeout} }}, retry: {{ max_attempts: 2, backoff: none }}, next: [ {{ to: b }}, {{ catch: [Timeout], to: sorry }} ] }}
  b: {{ task: t }}
  sorry: {{ transform: '=error.code' }}
output: '=steps.sorry.output'"
    ))
}

#[test]
fn an_attempt_that_nobody_takes_fails_its_step() {
    let mut scenario = limited("schedule_to_start: 1m");
    scenario.starts(json!({}));
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(MINUTE)));
    scenario.after(MINUTE).ticks().then("a failed, b skipped, sorry ok").then_gives(json!("schedule_to_start_timeout"));
}

#[test]
fn an_attempt_that_was_taken_is_no_longer_waited_for() {
    let mut scenario = limited("schedule_to_start: 1m");
    scenario.starts(json!({})).begins("a");
    assert_eq!(scenario.execution.next_deadline(), None);
}

#[test]
fn an_attempt_that_runs_too_long_is_tried_again_and_then_fails() {
    let mut scenario = limited("start_to_close: 1m");
    scenario.starts(json!({}));
    assert_eq!(scenario.execution.next_deadline(), None, "it waits as long as it must");
    scenario.begins("a").after(MINUTE).ticks().records("step_retry_scheduled step_rescheduled").then("a due");
    let late = completed(0, 1, &json!("late"));
    assert!(matches!(scenario.refused(late), Rejection::StaleAttempt { offered: 1, current: 2, .. }));
    scenario
        .begins("a")
        .after(MINUTE)
        .ticks()
        .then("a failed, b skipped, sorry ok")
        .then_gives(json!("start_to_close_timeout"));
}

#[test]
fn a_silent_worker_loses_its_attempt() {
    let mut scenario = limited("heartbeat: 10s");
    let missed = |attempt| Command::HeartbeatMissed { step: 0, attempt, chance: 0.0 };
    scenario.starts(json!({}));
    assert_eq!(scenario.owed()[0].heartbeat, Some(Duration::from_secs(10)));
    assert_eq!(scenario.refused(missed(1)), Rejection::NotDue, "nobody runs it yet");
    scenario.begins("a").when(missed(1)).then("a due");
    assert!(matches!(scenario.refused(missed(1)), Rejection::StaleAttempt { .. }));
    scenario.begins("a").when(missed(2)).then_gives(json!("heartbeat_timeout"));
}

#[test]
fn an_execution_that_runs_too_long_fails_and_closes_its_steps() {
    let mut scenario = given("limits: { wall_time: 1h }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t } }");
    scenario.starts(json!({})).completes("a").begins("b");
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(60 * MINUTE)));
    scenario.after(60 * MINUTE).ticks().then("a ok, b skipped").then_fails_with("wall_time_limit");
    assert_eq!(scenario.execution.next_deadline(), None);
}

#[test]
fn a_tick_before_anything_is_due_is_refused() {
    let mut scenario = limited("schedule_to_start: 1m");
    scenario.starts(json!({})).after(MINUTE - Duration::from_micros(1));
    assert_eq!(scenario.refused(tick()), Rejection::NotDue);
}

#[test]
fn many_deadlines_at_once_are_handled_together() {
    let mut scenario = given("
nodes:
  m: { map: { over: '=inputs', max_concurrency: 100, collect: all_settled }, task: t, timeout: { schedule_to_start: 1m } }");
    let list: Vec<u32> = (0..150).collect();
    scenario.starts(json!(list)).after(MINUTE).ticks();
    assert_eq!(scenario.execution.counts().failed, 100);
    assert_eq!(scenario.owed().len(), 50, "the next ones have a minute of their own");
    scenario.after(MINUTE).ticks().is(ExecutionState::Completed);
}

#[test]
fn a_deadline_that_ends_the_execution_ends_the_others_with_it() {
    given("limits: { wall_time: 1m }\nnodes: { a: { task: t, timeout: { schedule_to_start: 1m } }, b: { task: t, timeout: { schedule_to_start: 1m } } }")
        .starts(json!({}))
        .after(MINUTE)
        .ticks()
        .records("limit_reached step_skipped step_skipped execution_failed")
        .then_fails_with("wall_time_limit");
}

#[test]
fn an_attempt_that_is_withheld_is_not_blamed_for_waiting() {
    let mut paused = limited("schedule_to_start: 1m");
    paused
        .starts(json!({}))
        .when(Command::Pause { reason: "lunch".to_owned() })
        .after(60 * MINUTE)
        .when(Command::Resume);
    assert_eq!(paused.execution.next_deadline(), Some(paused.now.after(MINUTE)), "a minute from now on");
    paused.after(MINUTE).ticks().then_gives(json!("schedule_to_start_timeout"));

    let mut waiting = limited("schedule_to_start: 1m");
    waiting.starts(json!({})).when(Command::Wait { reason: WaitReason::RateLimit });
    assert_eq!(waiting.execution.next_deadline(), None, "nobody is asked while it is held");
    waiting.after(60 * MINUTE).when(Command::Input { input: data(&json!(null)) });
    assert_eq!(waiting.execution.next_deadline(), Some(waiting.now.after(MINUTE)));

    let mut both = limited("schedule_to_start: 1m");
    both.starts(json!({}))
        .when(Command::Wait { reason: WaitReason::RateLimit })
        .when(Command::Pause { reason: "lunch".to_owned() })
        .when(Command::Resume);
    assert_eq!(both.execution.next_deadline(), None, "it goes on waiting");
}

fn pause() -> Command {
    Command::Pause { reason: "lunch".to_owned() }
}

#[test]
fn time_stands_still_while_an_execution_is_paused() {
    const SECOND: Duration = Duration::from_secs(1);
    // What remains of each kind of timeout after twenty seconds of it, whatever the pauses between.
    let waits = |scenario: &mut Scenario| {
        scenario.starts(json!({}));
    };
    let runs = |scenario: &mut Scenario| {
        scenario.starts(json!({})).begins("a");
    };
    let tries_again = |scenario: &mut Scenario| {
        scenario.starts(json!({})).when(failed(0, 1, error(ErrorCategory::NetworkError)));
    };
    let task = |rest: &str| format!("nodes: {{ a: {{ task: t, {rest} }} }}");
    type Way<'a> = &'a dyn Fn(&mut Scenario);
    let kinds: [(String, Way<'_>); 4] = [
        (task("timeout: { schedule_to_start: 1m }"), &waits),
        (task("timeout: { start_to_close: 1m }"), &runs),
        (task("retry: { max_attempts: 2, backoff: constant, base: 1m }"), &tries_again),
        ("limits: { wall_time: 1m }\nnodes: { a: { task: t } }".to_owned(), &runs),
    ];
    for (document, gets_there) in kinds {
        let mut scenario = given(&document);
        gets_there(&mut scenario);
        assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(MINUTE)), "{document}");
        scenario.after(10 * SECOND).when(pause());
        let quiet = scenario.execution.next_deadline();
        assert!(quiet.is_none_or(|quiet| quiet <= scenario.now.after(2 * SECOND)), "nothing else is due: {document}");
        scenario.after(60 * MINUTE).when(Command::Resume).after(10 * SECOND).when(pause());
        scenario.after(30 * MINUTE).when(Command::Resume);
        assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(40 * SECOND)), "{document}");
        scenario.after(39 * SECOND);
        assert_eq!(scenario.refused(tick()), Rejection::NotDue, "{document}");
        scenario.after(SECOND).ticks();
        assert_ne!(scenario.execution.next_deadline(), Some(scenario.now), "{document}");
    }
}

#[test]
fn what_begins_during_a_pause_has_all_its_time_left_after_it() {
    let mut scenario = limited("start_to_close: 1m");
    scenario.starts(json!({})).when(pause()).after(5 * MINUTE).begins("a").after(60 * MINUTE).when(Command::Resume);
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(MINUTE)));
}

#[test]
fn time_does_not_run_backwards_with_the_clock() {
    let mut scenario =
        given("nodes: { a: { task: t, next: { to: b } }, b: { task: t, timeout: { schedule_to_start: 1m } } }");
    scenario.starts(json!({}));
    let noon = scenario.now;
    scenario.now = Timestamp::from_micros(noon.as_micros() - 3_600_000_000);
    scenario.completes("a");
    assert_eq!(scenario.log[1].at, noon, "stamped no earlier than the event before");
    assert_eq!(scenario.execution.next_deadline(), Some(noon.after(MINUTE)));
    assert_eq!(scenario.refused(tick()), Rejection::NotDue);
    let step = scenario.execution.step(1).unwrap();
    assert_eq!(step.scheduled_at(), noon);
}
