//! Permits: what attempts share with other executions, and wait for.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;
use crate::event::{Violation, Wait};
use crate::execution::{
    Command, ExecutionState, PermitStanding, Refusal, Rejection, Rest, Steering, StepState, WaitReason,
};
use crate::graph::OnLimit;
use crate::time::Timestamp;

impl Scenario {
    fn asked(&self) -> Vec<(String, u32, String)> {
        let specs = self.execution.owed_permits().into_iter();
        specs
            .map(|spec| {
                let name = self.execution.step(spec.ordinal).unwrap();
                let name = self.graph.nodes[name.node() as usize].name.clone();
                let key = spec.ask.place.map(|place| place.key).or(spec.ask.pace.map(|pace| pace.key));
                (name, spec.attempt, key.unwrap_or_default())
            })
            .collect()
    }

    pub(super) fn grant(&self, name: &str, from: Option<Timestamp>) -> Command {
        let step = self.find(name);
        Command::PermitGranted { step, attempt: self.attempt_of(step), from }
    }

    #[track_caller]
    fn granted(&mut self, name: &str) -> &mut Self {
        let command = self.grant(name, None);
        self.when(command)
    }
}

const PAY: &str = "nodes: { pay: { task: t, concurrency: { key: '=inputs.who', max: 2 } } }";

#[test]
fn a_step_with_a_key_waits_for_its_permit_and_is_given_to_a_worker_then() {
    let mut scenario = given(PAY);
    scenario.starts(json!({"who": "ada"})).is(ExecutionState::Waiting(WaitReason::RateLimit)).owes("");
    scenario.records("execution_created execution_started step_scheduled step_waiting execution_waiting");
    assert_eq!(scenario.asked(), [("pay".to_owned(), 1, "ada".to_owned())]);
    assert_eq!(scenario.execution.rest(), Rest::Owes, "to ask is owed");
    scenario.granted("pay").records("permit_granted").is(ExecutionState::Running).owes("pay");
    assert_eq!(scenario.asked(), []);
    scenario.completes("pay").is(ExecutionState::Completed);
}

#[test]
fn a_key_is_a_text_or_a_number_of_at_most_256_bytes() {
    let mut scenario = given(PAY);
    scenario.starts(json!({"who": 17}));
    assert_eq!(scenario.asked()[0].2, "17");
    for bad in [json!(""), json!("x".repeat(257)), json!(null), json!(["a"]), json!({"a": 1}), json!("a\u{0}b")] {
        given(PAY).starts(json!({"who": bad})).then_fails_with("bad_key");
    }
    given(PAY).starts(json!({})).then_fails_with("expression_failed");
}

#[test]
fn each_attempt_asks_anew_and_none_is_held_while_a_retry_waits() {
    let mut scenario = given(
        "nodes: { pay: { task: t, concurrency: { key: k, max: 1 }, retry: { max_attempts: 3, base: 5s, backoff: constant } } }",
    );
    scenario.starts(json!({})).granted("pay");
    let step = scenario.find("pay");
    assert_eq!(scenario.execution.permit_standing(step, 1), PermitStanding::Holds);
    scenario.fails_with("pay", error(ErrorCategory::NetworkError));
    assert_eq!(scenario.execution.permit_standing(step, 1), PermitStanding::Over);
    scenario.after(Duration::from_secs(5)).ticks();
    assert_eq!(scenario.asked(), [("pay".to_owned(), 2, "k".to_owned())]);
    assert_eq!(scenario.execution.permit_standing(step, 1), PermitStanding::Over, "of an attempt that is over");
    let late = scenario.refused(Command::PermitGranted { step, attempt: 1, from: None });
    assert!(matches!(late, Rejection::Refused(Refusal::NotWaiting(_))), "{late}");
    scenario.granted("pay").owes("pay").completes("pay").is(ExecutionState::Completed);
}

#[test]
fn an_attempt_that_is_tried_again_at_once_asks_anew_too() {
    let mut scenario = given(
        "nodes: { pay: { task: t, rate: { key: k, max: 1, per: 1s }, retry: { max_attempts: 2, backoff: none } } }",
    );
    scenario.starts(json!({})).granted("pay").fails_with("pay", error(ErrorCategory::NetworkError));
    assert_eq!(scenario.asked(), [("pay".to_owned(), 2, "k".to_owned())]);
}

#[test]
fn a_permit_from_a_moment_on_is_waited_for_in_the_log() {
    let mut scenario = given("nodes: { pay: { task: t, rate: { key: k, max: 1, per: 10s } } }");
    scenario.starts(json!({}));
    let from = scenario.now.after(Duration::from_secs(30));
    let command = scenario.grant("pay", Some(from));
    scenario.when(command).is(ExecutionState::Waiting(WaitReason::RateLimit)).owes("");
    assert_eq!(scenario.execution.rest(), Rest::Until(from), "nothing is owed before");
    assert_eq!(scenario.execution.permit_from(scenario.find("pay")), Some(from));
    let twice = scenario.grant("pay", Some(from));
    assert_eq!(scenario.refused(twice), Rejection::Refused(Refusal::Repeated));
    scenario.after(Duration::from_secs(30)).ticks().records("permit_granted").owes("pay");
    scenario.completes("pay").is(ExecutionState::Completed);
}

#[test]
fn a_moment_stays_where_it_is_while_the_execution_is_paused() {
    let mut scenario = given("nodes: { pay: { task: t, rate: { key: k, max: 1, per: 10s } } }");
    scenario.starts(json!({}));
    let from = scenario.now.after(Duration::from_secs(30));
    let command = scenario.grant("pay", Some(from));
    scenario.when(command).after(Duration::from_secs(10)).when(Command::Pause { reason: "lunch".to_owned() });
    scenario.after(Duration::from_secs(60)).when(Command::Resume).ticks().owes("pay");
}

#[test]
fn a_grant_of_the_past_is_one_for_now() {
    let mut scenario = given("nodes: { pay: { task: t, rate: { key: k, max: 1, per: 10s } } }");
    scenario.starts(json!({}));
    let command = scenario.grant("pay", Some(scenario.now.before(Duration::from_secs(1))));
    scenario.when(command).owes("pay");
}

#[test]
fn a_grant_that_comes_twice_is_done_once() {
    let mut scenario = given(PAY);
    scenario.starts(json!({"who": "ada"})).granted("pay");
    let again = scenario.grant("pay", None);
    assert_eq!(scenario.refused(again.clone()), Rejection::Refused(Refusal::Repeated));
    scenario.begins("pay");
    assert_eq!(scenario.refused(again), Rejection::Refused(Refusal::Repeated), "also while it runs");
}

#[test]
fn what_is_paused_asks_for_nothing_and_takes_nothing() {
    let mut scenario = given(PAY);
    scenario.starts(json!({"who": "ada"})).when(Command::Pause { reason: "lunch".to_owned() });
    let step = scenario.find("pay");
    assert_eq!(scenario.asked(), []);
    assert_eq!(scenario.execution.permit_standing(step, 1), PermitStanding::Withheld);
    let command = scenario.grant("pay", None);
    let refused = scenario.refused(command);
    assert!(matches!(refused, Rejection::Refused(Refusal::Withheld(ExecutionState::Paused))), "{refused}");
    scenario.when(Command::Resume);
    assert_eq!(scenario.asked().len(), 1, "it asks again");
    scenario.granted("pay").completes("pay").is(ExecutionState::Completed);
}

#[test]
fn what_somebody_holds_takes_no_permit_either() {
    let mut scenario = given("nodes: { a: { task: t }, pay: { task: t, concurrency: { key: k, max: 1 } } }");
    scenario.starts(json!({})).asks("ada", Steering::Wait { reason: WaitReason::External });
    assert_eq!(scenario.asked(), []);
    let command = scenario.grant("pay", None);
    assert!(matches!(scenario.refused(command), Rejection::Refused(Refusal::Withheld(_))));
}

#[test]
fn a_permit_granted_before_a_pause_is_kept_and_a_repeated_grant_is_no_reason_to_take_it_away() {
    let mut scenario = given(PAY);
    scenario.starts(json!({"who": "ada"})).granted("pay").when(Command::Pause { reason: "lunch".to_owned() });
    let again = scenario.grant("pay", None);
    assert_eq!(scenario.refused(again), Rejection::Refused(Refusal::Repeated));
    assert_eq!(scenario.execution.permit_standing(scenario.find("pay"), 1), PermitStanding::Holds);
}

#[test]
fn what_is_cancelled_while_it_waits_is_over_and_refuses_a_late_grant() {
    let mut scenario = given(PAY);
    scenario.starts(json!({"who": "ada"}));
    let late = scenario.grant("pay", None);
    scenario.when(Command::Cancel { reason: "no more".to_owned() }).then("pay skipped");
    assert_eq!(scenario.execution.permit_standing(scenario.find("pay"), 1), PermitStanding::Over);
    assert!(matches!(scenario.refused(late), Rejection::Refused(Refusal::Over(_))));
}

#[test]
fn who_waits_for_a_permit_can_lose_a_race() {
    let mut scenario = given(
        "nodes: { a: { task: t, next: { to: won } }, b: { task: t, concurrency: { key: k, max: 1 }, next: { to: won } }, won: { join: race, transform: 1 } }",
    );
    scenario.starts(json!({}));
    let late = scenario.grant("b", None);
    scenario.completes("a").then("a ok, b skipped, won ok").is(ExecutionState::Completed);
    assert!(matches!(scenario.refused(late), Rejection::Refused(Refusal::Over(_))));
}

#[test]
fn patience_ends_in_a_failure_that_an_error_edge_takes() {
    let graph = |more: &str| {
        format!(
            "nodes: {{ pay: {{ task: t, {more}, next: [ {{ to: done }}, {{ catch: any, to: done }} ] }}, done: {{ join: any, transform: '=has(error.code) ? error.code : \"none\"' }} }}\noutput: '=steps.done.output'"
        )
    };
    let mut scenario = given(&graph("concurrency: { key: k, max: 1, timeout: 1m }"));
    scenario.starts(json!({})).after(Duration::from_secs(60)).ticks().then_gives(json!("concurrency_limit"));
    let mut scenario = given(&graph("rate: { key: k, max: 1, per: 1h, timeout: 1m }"));
    scenario.starts(json!({}));
    let from = scenario.now.after(Duration::from_secs(61));
    let command = scenario.grant("pay", Some(from));
    scenario.when(command).then_gives(json!("rate_limit"));
}

#[test]
fn the_time_in_which_a_worker_is_to_take_an_attempt_begins_with_its_permit() {
    let mut scenario =
        given("nodes: { pay: { task: t, concurrency: { key: k, max: 1 }, timeout: { schedule_to_start: 1m } } }");
    scenario.starts(json!({}));
    assert_eq!(scenario.execution.next_deadline(), None);
    scenario.after(Duration::from_secs(600)).granted("pay");
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(Duration::from_secs(60))));
    scenario.after(Duration::from_secs(60)).ticks().then_fails_with("schedule_to_start_timeout");
}

#[test]
fn each_item_of_a_map_has_a_permit_of_its_own() {
    let mut scenario = given(
        "nodes: { m: { map: { over: '=inputs.list', max_concurrency: 2 }, task: t, concurrency: { key: '=item', max: 1 } } }",
    );
    scenario.starts(json!({"list": ["a", "b", "c"]})).is(ExecutionState::Running);
    let keys: Vec<String> = scenario.asked().into_iter().map(|(_, _, key)| key).collect();
    assert_eq!(keys, ["a", "b"]);
    scenario.granted("m[1]").owes("m[1]").completes("m[1]");
    let keys: Vec<String> = scenario.asked().into_iter().map(|(_, _, key)| key).collect();
    assert_eq!(keys, ["a", "c"]);
    scenario.granted("m[0]").completes("m[0]").granted("m[2]").completes("m[2]").is(ExecutionState::Completed);
}

#[test]
fn what_undoes_a_step_needs_no_permit() {
    let mut scenario = given(
        "nodes: { pay: { task: t, concurrency: { key: k, max: 1 }, undo: { task: u }, next: { to: b } }, b: { task: t } }",
    );
    scenario.starts(json!({})).granted("pay").completes("pay").fails("b").owes("~pay");
    assert!(!scenario.execution.needs_permit(&scenario.graph, scenario.find("~pay")));
}

#[test]
fn a_step_that_waits_for_its_turn_is_no_step_to_be_answered() {
    let mut scenario = given(PAY);
    scenario.starts(json!({"who": "ada"}));
    let refused = scenario.asks_in_vain("ada", Steering::Answer { step: "pay".to_owned(), value: data(&json!(1)) });
    assert_eq!(refused.to_string(), "`pay` waits for its turn, not for an answer");
    let (_, run) = scenario.execution.waits().next().unwrap();
    assert!(matches!(run.wait(), Wait::Permit(_)));
    assert_eq!(scenario.execution.steps()[0].state(), StepState::Waiting);
}

/// A graph of a tenant that has limits: what a step may need is asked for, whether or not it has keys.
fn governed(document: &str) -> Scenario {
    let mut scenario = given(document);
    let request = crate::execution::StartRequest { governed: true, ..scenario.request(&json!({})) };
    scenario.when(Command::Create(Box::new(request)));
    scenario
}

const DEAR: &str = "nodes: { dear: { task: t, reserve: { cost_usd: '0.02', tokens: 10 }, next: [ { to: fine }, { catch: [QuotaExceeded], to: caught } ] }, fine: { transform: fine }, caught: { transform: '=error.code' } }\noutput: '=has(steps.caught.output) ? steps.caught.output : steps.fine.output'";

fn denied(scenario: &Scenario, on_limit: OnLimit) -> Command {
    let step = scenario.find("dear");
    let (limit, current, max) = (Violation::CostLimit, 1_010_000, 1_000_000);
    Command::PermitDenied { step, attempt: scenario.attempt_of(step), limit, current, max, on_limit }
}

#[test]
fn what_may_be_needed_of_the_tenants_budget_is_asked_for_by_whoever_is_governed() {
    let mut scenario = governed(DEAR);
    let need = scenario.execution.owed_permits()[0].ask.need.unwrap();
    assert_eq!((need.cost.micros(), need.tokens), (20_000, 10));
    scenario.granted("dear").completes("dear").then_gives(json!("fine"));
    let mut free = given(DEAR);
    free.starts(json!({})).owes("dear");
    let mut nothing = governed("nodes: { a: { task: t } }");
    nothing.owes("a");
}

#[test]
fn a_budget_of_the_tenant_that_is_used_up_stops_pauses_asks_or_fails_the_step_as_the_tenant_says() {
    let mut scenario = governed(DEAR);
    let command = denied(&scenario, OnLimit::Stop);
    scenario.when(command).then_fails_with("cost_limit");
    let mut scenario = governed(DEAR);
    let command = denied(&scenario, OnLimit::FailStep);
    scenario.when(command).then_gives(json!("cost_limit"));
    let mut scenario = governed(DEAR);
    let command = denied(&scenario, OnLimit::Pause);
    scenario.when(command.clone()).is(ExecutionState::Paused);
    assert!(matches!(scenario.refused(command), Rejection::Refused(Refusal::Withheld(_))));
    scenario.when(Command::Resume).is(ExecutionState::Waiting(WaitReason::RateLimit));
    assert_eq!(scenario.execution.owed_permits().len(), 1, "it asks again");
    let mut scenario = governed(DEAR);
    let command = denied(&scenario, OnLimit::Approve);
    scenario.when(command).is(ExecutionState::Waiting(WaitReason::CostThreshold));
    scenario.asks("ada", Steering::Input { input: data(&json!(null)) });
    scenario.granted("dear").completes("dear").then_gives(json!("fine"));
}

#[test]
fn a_denial_that_comes_late_changes_nothing() {
    let mut scenario = governed(DEAR);
    let late = denied(&scenario, OnLimit::Stop);
    scenario.granted("dear");
    assert!(matches!(scenario.refused(late), Rejection::Refused(Refusal::NotWaiting(_))));
}

#[test]
fn a_warning_of_the_tenants_day_is_on_record_once_for_each_day_and_budget_and_behind_the_end_too() {
    let warned = |day, max| Command::TenantWarned { limit: Violation::CostLimit, current: 9, max, day };
    let mut scenario = governed("nodes: { a: { task: t } }");
    scenario.when(warned(20_000, 10)).records("limit_warned");
    assert!(matches!(scenario.refused(warned(20_000, 10)), Rejection::Refused(Refusal::Repeated)));
    scenario.when(warned(20_001, 10)).records("limit_warned");
    scenario.completes("a");
    let before = (scenario.execution.state(), scenario.execution.ended_at());
    scenario.when(warned(20_001, 11)).records("limit_warned");
    assert_eq!((scenario.execution.state(), scenario.execution.ended_at()), before);
    assert!(matches!(scenario.refused(warned(20_001, 11)), Rejection::Refused(Refusal::Repeated)));
    // A limit of its own is warned of by itself.
    assert!(scenario.execution.usage().warned.is_empty());
}
