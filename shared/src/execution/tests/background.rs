//! Executions that nobody stands by.

use std::time::Duration;

use serde_json::{Value, json};

use super::scenario::*;
use crate::background::{Background, BackgroundRequest, BackgroundStatus};
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::execution::background::CALLBACK_RENEWALS;
use crate::execution::{
    AfterEnd, CALLBACK_WAITS, CallbackReport, CallbackResult, CallbackState, Command, ExecutionState, Rejection, Rest,
    StartRequest, Steering,
};
use crate::id::ExecutionId;
use crate::time::Timestamp;

const ONE: &str = "nodes: { a: { task: t, retry: { max_attempts: 1 } } }";

impl Scenario {
    #[track_caller]
    fn in_background(&mut self, background: Value) -> &mut Self {
        let request: BackgroundRequest = serde_json::from_value(background).unwrap();
        let background = request.check(self.now).unwrap();
        self.created(background)
    }

    #[track_caller]
    fn created(&mut self, background: Background) -> &mut Self {
        let request = StartRequest { background: Some(Box::new(background)), ..self.request(&json!({})) };
        self.when(Command::Create(Box::new(request)))
    }

    #[track_caller]
    fn stands(&mut self, status: BackgroundStatus) -> &mut Self {
        assert_eq!(self.execution.background_status(), Some(status));
        self
    }

    #[track_caller]
    fn admitted(&mut self) -> &mut Self {
        self.when(Command::Admit)
    }

    fn callback(&self) -> (CallbackState, u32) {
        let callback = self.execution.background().unwrap().callback().expect("a callback");
        (callback.state(), callback.attempts())
    }
}

fn report(attempt: u32, result: CallbackResult, status: u16) -> Command {
    let error = (result != CallbackResult::Delivered).then(|| format!("answered {status}"));
    Command::AfterEnd(Box::new(AfterEnd::Callback(CallbackReport { attempt, result, status: Some(status), error })))
}

/// D35: the status is a projection of the state, and nothing but events changes it.
#[test]
fn d35_the_status_follows_from_the_state() {
    let mut scenario = given(ONE);
    scenario
        .in_background(json!({}))
        .stands(BackgroundStatus::Queued)
        .is(ExecutionState::Created)
        .records("execution_created");
    assert_eq!(scenario.execution.rest(), Rest::Command, "it waits for a place, and for nothing else");
    scenario.admitted().stands(BackgroundStatus::Running);
    scenario.asks("ada", Steering::Pause { reason: "lunch".to_owned() }).stands(BackgroundStatus::Running);
    assert!(!scenario.execution.holds_place(), "what is paused leaves its place to others");
    scenario.asks("ada", Steering::Resume { reason: None });
    scenario.gives("a", json!(7)).stands(BackgroundStatus::Completed).then_gives(json!(7));

    let mut scenario = given(ONE);
    scenario.in_background(json!({})).admitted().fails("a").stands(BackgroundStatus::Failed);
}

/// D35: what was cancelled does not start and end as a success.
#[test]
fn d35_what_is_cancelled_in_the_queue_never_starts() {
    let mut scenario = given(ONE);
    scenario.in_background(json!({})).asks("ada", Steering::Cancel { reason: "no".to_owned() });
    scenario.stands(BackgroundStatus::Cancelled);
    assert_eq!(scenario.execution.queue_rank(), None);
    assert!(matches!(scenario.refused(Command::Admit), Rejection::Illegal(_)));
}

#[test]
fn only_what_is_queued_is_admitted_and_only_once() {
    let mut scenario = given(ONE);
    scenario.in_background(json!({})).admitted();
    assert!(matches!(scenario.refused(Command::Admit), Rejection::Illegal(_)));
    let mut plain = given(ONE);
    let request = StartRequest { planning: true, ..plain.request(&json!({})) };
    plain.when(Command::Create(Box::new(request)));
    assert!(matches!(plain.refused(Command::Admit), Rejection::NotDue));
}

/// D34: deferred means later, kept by a timer that is state.
#[test]
fn d34_what_is_deferred_waits_for_its_moment_and_then_for_its_place() {
    let mut scenario = given(ONE);
    let moment = scenario.now.after(Duration::from_secs(3600));
    scenario.in_background(json!({"run_at": moment, "priority": 60})).stands(BackgroundStatus::Queued);
    assert_eq!(scenario.execution.rest(), Rest::Until(moment));
    assert_eq!(scenario.execution.queue_rank(), None, "it is not in the queue before");
    assert!(matches!(scenario.refused(Command::Admit), Rejection::NotDue));
    assert!(matches!(scenario.refused(tick()), Rejection::NotDue));
    scenario.now = moment;
    scenario.ticks().records("background_queued").stands(BackgroundStatus::Queued);
    let config = scenario.execution.background().unwrap().config().clone();
    assert_eq!(scenario.execution.queue_rank(), Some(config.rank(moment)));
    scenario.admitted().completes("a").stands(BackgroundStatus::Completed);
}

#[test]
fn a_moment_that_has_passed_is_now() {
    let mut scenario = given(ONE);
    scenario.in_background(json!({"run_at": "2001-01-01T00:00:00Z"}));
    assert!(scenario.execution.queue_rank().is_some());
}

/// D35: the timeout is a deadline, from the start on.
#[test]
fn d35_the_timeout_ends_it_as_failed_with_the_status_timeout() {
    let mut scenario = given("nodes: { a: { task: t }, b: { task: t } }");
    scenario.in_background(json!({"timeout_ms": 5000})).after(Duration::from_secs(60));
    assert!(matches!(scenario.refused(tick()), Rejection::NotDue), "the time in the queue does not count");
    scenario.admitted().after(Duration::from_secs(4)).gives("a", json!(1)).after(Duration::from_secs(1)).ticks();
    scenario.then_fails_with("timeout").stands(BackgroundStatus::Timeout);
    scenario.records("step_skipped execution_failed");
}

#[test]
fn a_step_that_fails_with_the_same_code_is_a_failure_and_no_timeout() {
    let mut scenario = given(ONE);
    let error = ExecutionError::new(ErrorCategory::Timeout, "slow").with_code(ErrorCode::new("timeout"));
    scenario.in_background(json!({})).admitted().fails_with("a", error).stands(BackgroundStatus::Failed);
}

#[test]
fn a_failure_that_can_be_mended_is_followed_by_one_attempt() {
    let mut scenario = given(ONE);
    let callback = json!({"retry": {"backoff_ms": 500}, "callback_url": "https://example.org"});
    scenario.in_background(callback).admitted().fails_with("a", error(ErrorCategory::NetworkError));
    scenario.records("step_started step_failed background_retry_scheduled execution_failed");
    scenario.stands(BackgroundStatus::Failed);
    let next = scenario.execution.owed_attempt().expect("an attempt").clone();
    assert_eq!(next.due, scenario.now.after(Duration::from_millis(500)));
    assert_eq!(scenario.execution.rest(), Rest::Owes);
    assert!(scenario.execution.owed_callback().is_none(), "the last attempt calls back, and this is not the last");
    scenario.when(Command::AfterEnd(Box::new(AfterEnd::AttemptBegun))).records("background_retry_started");
    assert_eq!(scenario.execution.rest(), Rest::Over);
    assert!(matches!(scenario.refused(Command::AfterEnd(Box::new(AfterEnd::AttemptBegun))), Rejection::Refused(_)));
    assert!(matches!(scenario.asks_in_vain("ada", Steering::RetryCallback), Rejection::Refused(_)));

    // The last one.
    let config = scenario.execution.background().unwrap().config().clone();
    let last = Background { attempt: 3, first: Some(ExecutionId::from_bytes([1; 20])), ..config };
    let mut scenario = given(ONE);
    scenario.created(last).admitted().fails_with("a", error(ErrorCategory::NetworkError));
    assert!(scenario.execution.owed_attempt().is_none());
    assert_eq!(scenario.execution.rest(), Rest::Until(scenario.now), "it calls back");
}

#[test]
fn what_another_attempt_cannot_mend_is_not_tried_again() {
    let mut scenario = given(ONE);
    scenario.in_background(json!({"retry": {}})).admitted().fails("a");
    assert_eq!(scenario.execution.rest(), Rest::Over);
    let mut scenario = given(ONE);
    scenario.in_background(json!({"retry": {}})).admitted().asks("ada", Steering::Cancel { reason: "no".to_owned() });
    assert_eq!(scenario.execution.rest(), Rest::Over);
}

#[test]
fn a_timeout_is_tried_again_after_what_was_done_is_undone() {
    let mut scenario = given("nodes: { a: { task: t, undo: { task: u }, next: { to: b } }, b: { task: t } }");
    scenario.in_background(json!({"retry": {}, "timeout_ms": 1000})).admitted().completes("a");
    scenario.after(Duration::from_secs(2)).ticks();
    assert!(scenario.execution.owed_attempt().is_none(), "not before it is over");
    scenario.completes("~a").stands(BackgroundStatus::Timeout);
    scenario.records("step_started step_completed background_retry_scheduled execution_failed");
}

#[test]
fn whoever_asked_is_called_back_after_the_end_and_the_end_stays_as_it_is() {
    let mut scenario = given(ONE);
    scenario.in_background(json!({"callback_url": "https://example.org"})).admitted();
    assert!(matches!(scenario.refused(report(1, CallbackResult::Delivered, 200)), Rejection::Refused(_)));
    scenario.gives("a", json!(7));
    assert_eq!(scenario.callback(), (CallbackState::Owed, 0));
    assert_eq!(scenario.execution.rest(), Rest::Until(scenario.now));
    let ended = scenario.execution.ended_at();
    scenario.after(Duration::from_secs(9)).when(report(1, CallbackResult::Failed, 500)).records("callback_attempted");
    assert_eq!(scenario.execution.rest(), Rest::Until(scenario.now.after(CALLBACK_WAITS[0])));
    assert!(matches!(scenario.refused(report(1, CallbackResult::Failed, 500)), Rejection::Refused(_)), "told twice");
    scenario.when(report(2, CallbackResult::Delivered, 204)).records("callback_delivered");
    assert_eq!((scenario.callback(), scenario.execution.rest()), ((CallbackState::Delivered, 2), Rest::Over));
    assert_eq!(scenario.execution.ended_at(), ended);
    scenario.stands(BackgroundStatus::Completed).then_gives(json!(7));
    for late in [Command::Start, Command::Cancel { reason: "no".to_owned() }, tick()] {
        scenario.refused(late);
    }
}

#[test]
fn a_callback_is_given_up_after_a_bounded_number_of_attempts_and_can_be_asked_for_anew() {
    let mut scenario = given(ONE);
    scenario.in_background(json!({"callback_url": "https://example.org"})).admitted().completes("a");
    for attempt in 1..=CALLBACK_WAITS.len() as u32 {
        scenario.when(report(attempt, CallbackResult::Failed, 503));
    }
    let last = CALLBACK_WAITS.len() as u32 + 1;
    scenario.when(report(last, CallbackResult::Failed, 503)).records("callback_given_up");
    assert_eq!((scenario.callback(), scenario.execution.rest()), ((CallbackState::GivenUp, last), Rest::Over));
    scenario.after(Duration::from_secs(5)).asks("ada", Steering::RetryCallback).records("callback_renewed");
    assert_eq!(scenario.execution.rest(), Rest::Until(scenario.now));
    scenario.when(report(last + 1, CallbackResult::Refused, 410)).records("callback_given_up");
    for _ in 1..CALLBACK_RENEWALS {
        scenario.asks("ada", Steering::RetryCallback);
    }
    assert!(matches!(scenario.asks_in_vain("ada", Steering::RetryCallback), Rejection::Refused(_)));
}

#[test]
fn a_request_for_a_callback_is_done_once() {
    let mut scenario = given(ONE);
    scenario.in_background(json!({"callback_url": "https://example.org"})).admitted().completes("a");
    scenario.when(report(1, CallbackResult::Delivered, 200));
    let steer = scenario.ask("ada", Steering::RetryCallback);
    scenario.when(Command::Steer(Box::new(steer.clone())));
    assert!(matches!(scenario.refused(Command::Steer(Box::new(steer))), Rejection::Refused(_)));
}

#[test]
fn d39_a_target_binding_is_applied_when_it_completes() {
    let title = json!({"target_binding": {"target_type": "thread.title"}});
    let mut scenario = given(ONE);
    scenario.in_background(title).admitted().gives("a", json!("  One line\ntwo"));
    scenario.records("step_started step_completed target_binding_applied execution_completed");
    assert_eq!(scenario.execution.bound_value().map(crate::data::Data::to_json), Some(json!("One line")));

    let whole = json!({"target_binding": {"target_type": "memory.write", "target_path": "k"}});
    let mut scenario = given(ONE);
    scenario.in_background(whole).admitted().gives("a", json!({"x": 1}));
    assert_eq!(scenario.execution.bound_value().map(crate::data::Data::to_json), Some(json!({"x": 1})));
}

#[test]
fn a_binding_that_fails_fails_nothing() {
    let wrong = json!({"target_binding": {"target_type": "custom", "target_path": "p", "json_path": "$.z"}});
    let mut scenario = given(ONE);
    scenario.in_background(wrong).admitted().gives("a", json!({"x": 1})).then_gives(json!({"x": 1}));
    let bound = scenario.execution.background().unwrap().bound().unwrap();
    assert!(!bound.success() && bound.error.as_ref().unwrap().contains("no field `z`"));
    assert_eq!(scenario.execution.bound_value(), None);
}

#[test]
fn breakpoints_are_set_before_it_starts() {
    let mut scenario = given(ONE);
    let background = Some(Box::new(Background::default()));
    let request = StartRequest { background, breakpoints: vec!["a".to_owned()], ..scenario.request(&json!({})) };
    scenario.when(Command::Create(Box::new(request))).admitted().is(ExecutionState::Paused);
}

#[test]
fn a_log_that_says_what_cannot_be_is_refused() {
    use crate::event::{Event, EventData};
    let mut scenario = given(ONE);
    scenario.in_background(json!({})).admitted();
    for data in [
        EventData::BackgroundQueued {},
        EventData::BackgroundRetryStarted {},
        EventData::CallbackDelivered { attempt: 1, status: None },
        EventData::TargetBindingApplied {
            target: crate::background::TargetType::Custom,
            path: None,
            value: crate::data::Data::null(),
            error: None,
        },
    ] {
        let event = Event { sequence: scenario.execution.sequence() + 1, at: Timestamp::from_micros(0), data };
        assert!(scenario.execution.clone().apply(&scenario.graphs, &event).is_err(), "{event:?}");
    }
}
