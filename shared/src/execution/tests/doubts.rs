//! Claims: who has an attempt, what becomes of it when the holder is lost, and how a doubt ends. Dead letters.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::{EventData, Wait};
use crate::execution::{Command, ExecutionState, POISON, Refusal, Rejection, Rest, Steering, Verdict, WaitReason};
use crate::wire::ClaimId;

const DOUBTFUL: ExecutionState = ExecutionState::Waiting(WaitReason::InDoubt);
const DEAD: ExecutionState = ExecutionState::Waiting(WaitReason::DeadLetter);

/// `pay` runs at most once, and `after` behind it.
fn pays(more: &str) -> Scenario {
    let mut scenario = given(&format!(
        "nodes: {{ pay: {{ task: t, delivery: at_most_once{more}, next: {{ to: after }} }}, after: {{ task: t }} }}"
    ));
    scenario.starts(json!({"amount": 5}));
    scenario
}

fn silent(step: u32, attempt: u32) -> Command {
    Command::HeartbeatMissed { step, attempt, chance: 0.5 }
}

/// `pay` was claimed, and its worker has been silent ever since.
fn in_doubt(more: &str) -> Scenario {
    let mut scenario = pays(more);
    scenario.claims("pay", 1).when(silent(0, 1));
    scenario
}

fn by(command: Command, claim: u128) -> Command {
    match command {
        Command::Completed { step, attempt, worker, output, duration_us, .. } => {
            Command::Completed { step, attempt, worker, claim: ClaimId(claim), output, duration_us }
        }
        other => panic!("{other:?} has no claim"),
    }
}

fn says(step: &str, verdict: Verdict) -> Steering {
    Steering::Resolve { step: step.to_owned(), verdict }
}

fn poison() -> ExecutionError {
    error(ErrorCategory::KernelInternal).with_code(ErrorCode::new(POISON))
}

#[test]
fn an_attempt_is_one_claims_and_completed_by_it_alone() {
    let mut scenario = pays("");
    scenario.claims("pay", 1).records("step_claimed").then("pay claimed");
    assert!(scenario.execution.is_held_by(0, 1, ClaimId(1)));
    // The answer was lost and it asks again; another delivery asks, as a restarted worker of the same name would.
    let again = scenario.claim("pay", 1);
    assert_eq!(scenario.refused(again), Rejection::Refused(Refusal::Repeated));
    let other = scenario.claim("pay", 2);
    assert!(matches!(scenario.refused(other), Rejection::StaleAttempt { .. }));
    let theirs = by(scenario.completed("pay", &json!(1)), 2);
    assert!(matches!(scenario.refused(theirs), Rejection::StaleAttempt { .. }));
    let own = scenario.completed("pay", &json!(1));
    scenario.when(own.clone()).then("pay ok, after due");
    assert!(matches!(scenario.refused(own), Rejection::StaleAttempt { .. }));
    assert!(scenario.execution.has_reported(0, 1, ClaimId(1)) && !scenario.execution.has_reported(0, 1, ClaimId(2)));
}

#[test]
fn nobody_runs_what_nobody_has_claimed() {
    let mut scenario = pays("");
    for command in [scenario.completed("pay", &json!(1)), scenario.started("pay")] {
        assert_eq!(scenario.refused(command), Rejection::NotClaimed { step: 0, attempt: 1 });
    }
    let notes = vec![crate::event::Note::Custom { event_type: "n".to_owned(), data: data(&json!(1)) }];
    let result = Box::new(scenario.completed("pay", &json!(1)));
    assert_eq!(scenario.refused(Command::Noted { notes, result }), Rejection::NotClaimed { step: 0, attempt: 1 });
    scenario.then("pay due");
    // And what asks for no claims is not claimed.
    let mut plain = given("nodes: { pay: { task: t } }");
    plain.starts(json!({}));
    let claim = plain.claim("pay", 1);
    assert!(matches!(plain.refused(claim), Rejection::StaleAttempt { .. }));
}

#[test]
fn a_claim_starts_the_clock_of_the_attempt_and_names_its_lease() {
    let mut scenario = pays(", timeout: { schedule_to_start: 1m, start_to_close: 10s, heartbeat: 4s }");
    let job = scenario.owed().pop().expect("a job");
    assert!(job.claim && job.heartbeat == Some(Duration::from_secs(4)));
    scenario.after(Duration::from_secs(59)).claims("pay", 1);
    let Some(EventData::StepClaimed { lease_ms, .. }) = scenario.log.last().map(|append| append.events[0].clone())
    else {
        panic!("it is claimed")
    };
    assert_eq!(lease_ms, 4000);
    scenario.after(Duration::from_secs(10)).ticks().is(DOUBTFUL).records("step_in_doubt execution_waiting");
    assert_eq!(pays("").owed().pop().and_then(|job| job.heartbeat), Some(crate::graph::CLAIM_LEASE));
}

#[test]
fn a_silent_holder_leaves_a_doubt_that_nothing_runs_out_of() {
    let mut scenario = in_doubt("");
    scenario.is(DOUBTFUL).then("pay in doubt").records("step_in_doubt execution_waiting").owes("");
    assert_eq!((scenario.execution.rest(), scenario.execution.next_deadline()), (Rest::Command, None));
    // The holder comes back: it is fenced, whatever it says.
    let (step, attempt, claim, chance) = (0, 1, ClaimId(1), 0.5);
    let late = scenario.completed("pay", &json!("done"));
    assert!(matches!(scenario.refused(late), Rejection::StaleAttempt { .. }));
    scenario.refused(Command::Stopped { step, attempt, claim, chance });
    scenario.refused(silent(0, 1));
    for claim in [1, 2] {
        let claim = scenario.claim("pay", claim);
        scenario.refused(claim);
    }
    scenario.is(DOUBTFUL);
}

#[test]
fn a_person_resolves_a_doubt_in_three_ways() {
    let output = data(&json!({"id": 7}));
    let mut scenario = in_doubt("");
    scenario
        .asks("ada", says("pay", Verdict::Completed { output }))
        .records("step_resolved step_completed step_scheduled");
    scenario.then("pay ok, after due").is(ExecutionState::Running).owes("after");

    let mut scenario = in_doubt("");
    scenario.asks("ada", says("pay", Verdict::Failed { error: fatal() })).is(ExecutionState::Failed);

    let mut scenario = in_doubt("");
    scenario.asks("ada", says("pay", Verdict::Retry)).records("step_resolved step_rescheduled").owes("pay");
    assert_eq!(scenario.attempt_of(0), 2);
    let late = by(completed(0, 1, &json!("late")), 1);
    assert!(matches!(scenario.refused(late), Rejection::StaleAttempt { .. }));
    scenario.claims("pay", 3);
    let own = by(scenario.completed("pay", &json!(1)), 3);
    scenario.when(own).then("pay ok, after due");
}

#[test]
fn a_doubt_is_resolved_once_and_only_a_doubt_is() {
    let mut scenario = in_doubt("");
    let steer = scenario.ask("ada", says("pay", Verdict::Retry));
    scenario.when(Command::Steer(Box::new(steer.clone())));
    assert_eq!(scenario.refused(Command::Steer(Box::new(steer))), Refusal::Repeated.into());
    let not_waiting = scenario.asks_in_vain("ada", says("pay", Verdict::Retry));
    assert!(matches!(not_waiting, Rejection::Refused(Refusal::NotWaiting(_))));
    let mut waits = given("nodes: { w: { wait: { signal: go } } }");
    waits.starts(json!({}));
    let other = waits.asks_in_vain("ada", says("w", Verdict::Retry));
    assert!(matches!(other, Rejection::Refused(Refusal::OtherWait { .. })), "{other}");
    let mut doubt = in_doubt("");
    let other = doubt.asks_in_vain("ada", Steering::Answer { step: "pay".to_owned(), value: data(&json!(1)) });
    assert!(matches!(other, Rejection::Refused(Refusal::OtherWait { .. })), "{other}");
    let other = doubt.asks_in_vain("ada", Steering::Redrive { step: Some("pay".to_owned()) });
    assert!(matches!(other, Rejection::Refused(Refusal::OtherWait { .. })), "{other}");
}

#[test]
fn a_worker_that_had_not_begun_makes_room_for_another_attempt() {
    let released = |attempt| Command::Released { step: 0, attempt, claim: ClaimId(1) };
    let mut scenario = pays("");
    scenario.refused(released(1));
    scenario.claims("pay", 1).when(released(1)).records("step_retry_scheduled step_rescheduled").owes("pay");
    // Also when the doubt came first.
    let mut scenario = in_doubt("");
    scenario.refused(Command::Released { step: 0, attempt: 1, claim: ClaimId(2) });
    scenario.when(released(1)).records("step_resolved step_rescheduled").is(ExecutionState::Running).owes("pay");
    // And a failure before anything had begun is tried again, within the attempts of the task.
    let mut scenario = pays(", retry: { max_attempts: 2, backoff: none }");
    for attempt in 1..=2 {
        scenario.claims("pay", 1);
        let (worker, error) = ("w".to_owned(), error(ErrorCategory::NetworkError));
        let (step, claim, duration_us, chance) = (0, ClaimId(1), 1, 0.5);
        scenario.when(Command::NotStarted { step, attempt, worker, claim, error, duration_us, chance });
    }
    scenario.is(ExecutionState::Failed).then("pay failed");
}

#[test]
fn what_the_holder_reports_is_no_doubt_and_is_not_tried_again() {
    let mut scenario = pays(", retry: { max_attempts: 5, backoff: none }");
    scenario.claims("pay", 1).fails_with("pay", error(ErrorCategory::NetworkError));
    scenario.is(ExecutionState::Failed).then("pay failed");
    // Before it was claimed nothing had begun: the coordinator could not hand it over, say.
    let mut scenario = pays(", retry: { max_attempts: 5, backoff: none }");
    scenario.fails_with("pay", error(ErrorCategory::NetworkError)).then("pay due").owes("pay");
    // Stopped while it ran: nobody knows how far.
    let mut scenario = pays("");
    scenario.claims("pay", 1).when(Command::Stopped { step: 0, attempt: 1, claim: ClaimId(1), chance: 0.5 });
    scenario.is(DOUBTFUL);
}

#[test]
fn a_step_that_may_run_again_has_attempts_instead_of_doubts() {
    let mut scenario = given("nodes: { pay: { task: t, claim: true, retry: { max_attempts: 3, backoff: none } } }");
    scenario.starts(json!({})).claims("pay", 1).when(silent(0, 1)).then("pay due");
    scenario.claims("pay", 2).when(Command::Stopped { step: 0, attempt: 2, claim: ClaimId(2), chance: 0.5 });
    let late = by(completed(0, 2, &json!(1)), 2);
    scenario.refused(late);
    scenario.claims("pay", 3);
    let own = by(scenario.completed("pay", &json!(1)), 3);
    scenario.when(own).is(ExecutionState::Completed);
}

#[test]
fn a_paused_execution_hands_out_no_claims_and_keeps_those_it_gave() {
    let mut scenario = pays("");
    scenario.when(Command::Pause { reason: "lunch".to_owned() });
    let claim = scenario.claim("pay", 1);
    assert!(matches!(scenario.refused(claim.clone()), Rejection::Refused(Refusal::Withheld(_))));
    scenario.when(Command::Resume).when(claim).when(Command::Pause { reason: "lunch".to_owned() });
    assert!(!scenario.execution.is_quiescent(), "a worker has it");
    // Its holder is lost during the pause; whoever says so meanwhile is heard, and it goes on when the execution does.
    scenario.when(silent(0, 1)).asks("ada", says("pay", Verdict::Retry)).is(ExecutionState::Paused).owes("");
    scenario.when(Command::Resume).owes("pay").then("pay due");
}

#[test]
fn an_execution_that_ends_takes_its_doubts_with_it() {
    let mut scenario = in_doubt("");
    scenario.asks("ada", Steering::Cancel { reason: "enough".to_owned() });
    scenario.is(ExecutionState::Cancelled).then("pay skipped");
    // One that is claimed too; its holder is told to stop and fenced.
    let mut scenario = pays("");
    scenario.claims("pay", 1).asks("ada", Steering::Cancel { reason: "enough".to_owned() });
    assert!(matches!(scenario.attempt(completed(0, 1, &json!(1))), Err(Rejection::Illegal(_))));
    // What was done before is undone; what is in doubt cannot be.
    let mut scenario = given(
        "nodes: { book: { task: t, undo: { task: u }, next: { to: pay } },
                  pay: { task: t, delivery: at_most_once, undo: { task: u } } }",
    );
    scenario.starts(json!({})).completes("book").claims("pay", 1).when(silent(1, 1));
    scenario.asks("ada", Steering::Cancel { reason: "enough".to_owned() }).owes("~book");
    scenario.completes("~book").is(ExecutionState::Cancelled);
}

#[test]
fn a_race_is_lost_in_doubt_too() {
    let mut scenario = given(
        "nodes: { pay: { task: t, delivery: at_most_once, reconcile: { task: ask }, next: { to: j } },
                  cash: { task: t, next: { to: j } }, j: { join: race, task: t } }",
    );
    scenario.starts(json!({})).claims("pay", 1);
    let pay = scenario.find("pay");
    scenario.when(silent(pay, 1)).owes("cash ?pay").completes("cash").owes("j").is(ExecutionState::Running);
    let asked = scenario.find("?pay");
    for step in [pay, asked] {
        assert_eq!(scenario.execution.step(step).unwrap().skip_reason().map(|reason| reason.name()), Some("lost"));
    }
}

#[test]
fn the_target_is_asked_by_the_idempotency_key() {
    let mut scenario =
        in_doubt(", reconcile: { task: find-payment, queue: money, retry: { max_attempts: 2, backoff: none } }");
    scenario.is(ExecutionState::Running).then("pay in doubt, ?pay due").owes("?pay");
    scenario.records("step_in_doubt reconciliation_scheduled");
    let job = scenario.owed().pop().expect("somebody is asked");
    assert_eq!(
        (job.callable.as_str(), job.queue.as_str(), job.claim, job.inline),
        ("find-payment", "money", false, true)
    );
    let (execution, pay) = (scenario.execution.id(), scenario.execution.step_id(0, "pay").unwrap());
    let key = format!("{execution}/{pay}");
    assert_ne!(job.step, pay);
    assert_eq!(job.input.to_json(), json!({"idempotency_key": key, "attempt": 1, "input": {"amount": 5}}));
    scenario.fails_with("?pay", error(ErrorCategory::NetworkError)).owes("?pay");
    scenario.gives("?pay", json!({"happened": true, "output": {"id": 7}}));
    scenario.records("step_started step_completed step_resolved step_completed step_scheduled");
    scenario.then("pay ok, ?pay ok, after due");
    assert_eq!(scenario.execution.step(0).unwrap().output().to_json(), json!({"id": 7}));
    assert_eq!((scenario.execution.counts().completed, scenario.execution.graph_steps()), (1, 2));
}

#[test]
fn what_did_not_happen_fails_or_runs_again_where_that_is_safe() {
    let mut scenario = in_doubt(", reconcile: { task: ask }");
    scenario.gives("?pay", json!({"happened": false})).then_fails_with("did_not_happen");

    let mut scenario = in_doubt(", reconcile: { task: ask }, retry: { max_attempts: 2, backoff: none }");
    scenario.gives("?pay", json!({"happened": false, "retry": true})).then("pay due, ?pay ok").owes("pay");
    // Each attempt is asked about by a step of its own, and there are no more attempts than the task allows.
    let first = scenario.execution.step_id(1, "pay");
    scenario.claims("pay", 2).when(silent(0, 2)).owes("?pay");
    assert_ne!(scenario.execution.step_id(2, "pay"), first);
    scenario.gives("?pay", json!({"happened": false, "retry": true})).then_fails_with("did_not_happen");
}

#[test]
fn a_doubt_that_nobody_can_resolve_waits_for_a_person() {
    let mut scenario = in_doubt(", reconcile: { task: ask, retry: { max_attempts: 1 } }");
    scenario.fails("?pay").is(DOUBTFUL).then("pay in doubt, ?pay failed").owes("");
    scenario.asks("ada", says("pay", Verdict::Completed { output: data(&json!(1)) })).owes("after");
    // Neither can an answer that says nothing.
    let mut scenario = in_doubt(", reconcile: { task: ask }");
    scenario.gives("?pay", json!({"maybe": 1})).is(DOUBTFUL);
    assert_eq!(
        scenario.execution.step(1).unwrap().error().unwrap().code.as_ref().unwrap().as_str(),
        "bad_reconciliation"
    );
    // A person who is quicker than the target ends the asking.
    let mut scenario = in_doubt(", reconcile: { task: ask }");
    scenario.asks("ada", says("pay", Verdict::Completed { output: data(&json!(1)) }));
    scenario.then("pay ok, ?pay skipped, after due");
}

#[test]
fn items_of_a_map_are_in_doubt_one_by_one() {
    let mut scenario = given(
        "nodes: { m: { map: { over: '=inputs.l', max_concurrency: 2 }, task: t, delivery: at_most_once,
                       reconcile: { task: ask } } }",
    );
    scenario.starts(json!({"l": [1, 2, 3]})).claims("m[0]", 1).claims("m[1]", 1).when(silent(1, 1));
    scenario.owes("m[1] ?m[0]").completes("m[1]").owes("?m[0] m[2]");
    scenario.gives("?m[0]", json!({"happened": true, "output": 10})).claims("m[2]", 1).gives("m[2]", json!(30));
    scenario.then_gives(json!([10, null, 30]));
    // Another item fails: who is asked about this one need not answer any more.
    let mut scenario = given(
        "nodes: { m: { map: { over: '=inputs.l', max_concurrency: 2 }, task: t, delivery: at_most_once,
                       reconcile: { task: ask } } }",
    );
    scenario.starts(json!({"l": [1, 2]})).claims("m[0]", 1).claims("m[1]", 1).when(silent(1, 1)).fails("m[1]");
    scenario.is(ExecutionState::Failed).then("m failed, m[0] skipped, m[1] failed, ?m[0] skipped");
}

#[test]
fn poison_is_held_for_somebody_to_redrive() {
    let mut scenario = given("nodes: { a: { task: t, next: [ { to: b }, { catch: any, to: b } ] }, b: { task: t } }");
    scenario.starts(json!({})).fails_with("a", poison()).is(DEAD).owes("");
    scenario.records("step_started step_dead_lettered execution_waiting");
    assert_eq!(scenario.execution.dead_letters().count(), 1);
    scenario.asks("ada", Steering::Redrive { step: None }).records("step_resolved step_rescheduled").owes("a");
    assert_eq!((scenario.execution.dead_letters().count(), scenario.attempt_of(0)), (0, 2));
    scenario.completes("a").owes("b");
    let none = scenario.asks_in_vain("ada", Steering::Redrive { step: None });
    assert_eq!(none, Refusal::NoDeadLetters.into());
}

#[test]
fn who_wants_no_dead_letters_has_failures() {
    let mut scenario = given("nodes: { a: { task: t, dead_letter: never } }");
    scenario.starts(json!({})).fails_with("a", poison()).then_fails_with(POISON);
    let mut scenario = given("nodes: { a: { task: t } }");
    scenario.starts(json!({})).fails("a").is(ExecutionState::Failed);
}

#[test]
fn what_is_tried_in_vain_is_held_where_the_task_says_so() {
    let mut scenario = given(
        "nodes: { a: { task: t, dead_letter: exhausted, retry: { max_attempts: 2, backoff: none },
                       timeout: { schedule_to_start: 10s } } }",
    );
    scenario.starts(json!({})).fails_with("a", error(ErrorCategory::ToolError)).owes("a");
    scenario.fails_with("a", error(ErrorCategory::ToolError)).is(DEAD).then("a waits");
    scenario.asks("ada", Steering::Redrive { step: Some("a".to_owned()) }).owes("a").then("a due");
    scenario.after(Duration::from_secs(10)).ticks().is(DEAD);
    // Or somebody says how it ends.
    scenario
        .asks("ada", says("a", Verdict::Completed { output: data(&json!("by hand")) }))
        .then_gives(json!("by hand"));
}

#[test]
fn workers_that_are_lost_with_their_claims_are_counted_by_the_log() {
    let mut scenario = given("nodes: { a: { task: t, claim: true, retry: { max_attempts: 3, backoff: none } } }");
    scenario.starts(json!({}));
    for attempt in 1..=3 {
        scenario.claims("a", u128::from(attempt)).when(silent(0, attempt));
    }
    scenario.is(DEAD).then("a waits");
    // Silence without a claim is no such evidence.
    let mut scenario = given("nodes: { a: { task: t, timeout: { heartbeat: 1s }, retry: { max_attempts: 1 } } }");
    scenario.starts(json!({})).begins("a").when(silent(0, 1)).then_fails_with("heartbeat_timeout");
}

#[test]
fn what_an_attempt_has_used_before_it_was_stopped_is_spent() {
    let mut scenario = pays("");
    scenario.claims("pay", 1);
    let usage =
        |cost| crate::event::Note::Usage { model: "m".to_owned(), prompt_tokens: 1, completion_tokens: 1, cost };
    let cost = crate::cost::Money::from_micros(7);
    let custom = crate::event::Note::Custom { event_type: "n".to_owned(), data: data(&json!(1)) };
    let result = Box::new(Command::Stopped { step: 0, attempt: 1, claim: ClaimId(1), chance: 0.5 });
    scenario.when(Command::Noted { notes: vec![usage(Some(cost)), custom], result });
    scenario.is(DOUBTFUL).records("usage_recorded step_in_doubt execution_waiting");
    assert_eq!(scenario.execution.usage().cost, cost);
}

#[test]
fn several_dead_letters_are_redriven_at_once() {
    let mut scenario = given("nodes: { m: { map: { over: '=inputs.l' }, task: t } }");
    scenario.starts(json!({"l": [1, 2, 3]}));
    for item in ["m[0]", "m[2]"] {
        scenario.fails_with(item, poison());
    }
    scenario.completes("m[1]").asks("ada", Steering::Redrive { step: None }).owes("m[0] m[2]");
    assert!(scenario.execution.waits().all(|(_, run)| !matches!(run.wait(), Wait::DeadLetter(_))));
}

#[test]
fn an_undo_that_kills_its_workers_fails_and_the_next_one_has_its_turn() {
    let mut scenario = given("nodes: { a: { task: t, undo: { task: u }, next: { to: b } }, b: { task: t } }");
    scenario.starts(json!({})).completes("a").fails("b").owes("~a").fails_with("~a", poison());
    scenario.is(ExecutionState::Failed);
}
