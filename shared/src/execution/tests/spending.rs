//! Budgets: reserved before a step is scheduled, settled by what it reports.

use serde_json::json;

use super::scenario::*;
use crate::cost::Money;
use crate::event::Note;
use crate::execution::{Command, ExecutionState, Refusal, Rejection, Steering, WaitReason};

fn used(micros: u64) -> Note {
    let cost = Some(Money::from_micros(micros));
    Note::Usage { model: "m".to_owned(), prompt_tokens: 10, completion_tokens: 5, cost }
}

fn budget(usd: &str) -> Steering {
    Steering::Budget { max_cost: Some(usd.parse().unwrap()), max_tokens: None }
}

impl Scenario {
    #[track_caller]
    fn spends(&mut self, step: &str, micros: u64) -> &mut Self {
        let result = Box::new(self.completed(step, &json!(step)));
        self.when(Command::Noted { notes: vec![used(micros)], result })
    }
}

fn chain(on_limit: &str) -> Scenario {
    given(&format!(
        "limits: {{ cost_usd: \"1.00\", on_limit: {on_limit} }}\nnodes: {{ a: {{ task: t, next: {{ to: b }} }}, b: {{ task: t, next: [ {{ to: c }}, {{ catch: [QuotaExceeded], to: d }} ] }}, c: {{ task: t }}, d: {{ transform: '=error.code' }} }}\noutput: \"=has(steps.d.output) ? steps.d.output : steps.c.output\""
    ))
}

#[test]
fn what_is_spent_is_counted_in_whole_micro_dollars_also_when_the_attempt_fails() {
    let mut scenario = chain("stop");
    scenario.starts(json!({}));
    let result = Box::new(scenario.failed("a", error(crate::error::ErrorCategory::Timeout)));
    scenario.when(Command::Noted { notes: vec![used(1)], result }).spends("a", 9_000);
    let usage = scenario.execution.usage();
    assert_eq!((usage.cost.micros(), usage.tokens()), (9_001, 30));
}

#[test]
fn a_budget_that_is_used_up_stops_the_execution_pauses_it_asks_or_fails_the_step() {
    chain("stop").starts(json!({})).spends("a", 1_000_000).then_fails_with("cost_limit");
    let mut paused = chain("pause");
    paused.starts(json!({})).spends("a", 1_000_000).is(ExecutionState::Paused);
    paused.when(Command::Resume).is(ExecutionState::Paused);
    paused.asks("ada", budget("2.00")).when(Command::Resume).owes("b");
    let mut asked = chain("approve");
    asked.starts(json!({})).spends("a", 1_000_000).is(ExecutionState::Waiting(WaitReason::CostThreshold));
    asked.asks("ada", budget("2.00")).is(ExecutionState::Running).owes("b");
    chain("fail_step").starts(json!({})).spends("a", 1_000_000).then_gives(json!("cost_limit"));
}

#[test]
fn a_warning_is_recorded_once_when_eighty_percent_are_spent() {
    let mut scenario = chain("stop");
    scenario.starts(json!({})).spends("a", 800_000);
    scenario.records("step_started usage_recorded limit_warned step_completed step_scheduled");
    scenario.spends("b", 1).records("step_started usage_recorded step_completed step_scheduled step_skipped");
}

#[test]
fn somebody_is_asked_once_when_the_alert_is_reached() {
    let mut scenario = given(
        "limits: { cost_alert_usd: \"0.50\" }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t, next: { to: c } }, c: { task: t } }",
    );
    scenario.starts(json!({})).spends("a", 600_000).is(ExecutionState::Waiting(WaitReason::CostThreshold)).owes("");
    scenario.asks("ada", Steering::Input { input: data(&json!(null)) }).owes("b").spends("b", 600_000).owes("c");
}

#[test]
fn a_thousand_steps_at_once_cannot_overshoot() {
    let graph = "limits: { cost_usd: \"1.00\", on_limit: fail_step }\nnodes: { m: { map: { over: \"=inputs.list\", max_concurrency: 1000, collect: all_settled }, task: t, reserve: { cost_usd: \"0.01\" } } }";
    let mut scenario = given(graph);
    let list: Vec<u32> = (0..1000).collect();
    scenario.starts(json!({ "list": list }));
    assert_eq!(scenario.owed().len(), 100, "what is set aside is the whole budget");
    assert_eq!(scenario.execution.next_deadline(), None, "nothing to do until one of them has ended");
    let mut least = u64::MAX;
    while let Some(job) = scenario.owed().into_iter().next() {
        let result = Box::new(completed(job.ordinal, job.attempt, &json!(1)));
        // Each uses a half of what was set aside for it.
        scenario.when(Command::Noted { notes: vec![used(5_000)], result });
        let usage = scenario.execution.usage();
        let room = 1_000_000_u64.checked_sub(usage.cost.micros() + usage.reserved.micros());
        least = least.min(room.expect("what is spent and set aside is never more than the budget"));
        while scenario.execution.has_more() && scenario.execution.state() == ExecutionState::Running {
            scenario.ticks();
        }
    }
    scenario.is(ExecutionState::Completed);
    let usage = scenario.execution.usage();
    assert!(usage.cost.micros() > 980_000 && usage.reserved.micros() == 0, "{usage:?}");
    assert!(least < 10_000);
}

#[test]
fn tokens_have_a_limit_of_their_own() {
    let mut scenario = given(
        "limits: { max_tokens: 20 }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t, next: { to: c } }, c: { task: t } }",
    );
    scenario.starts(json!({})).spends("a", 0).owes("b").spends("b", 0).then_fails_with("token_limit");
}

#[test]
fn a_budget_of_nothing_and_one_for_what_is_over_are_refused() {
    let mut scenario = chain("stop");
    scenario.starts(json!({}));
    let nothing = scenario.asks_in_vain("ada", Steering::Budget { max_cost: None, max_tokens: None });
    assert!(matches!(nothing, Rejection::Refused(Refusal::Range { .. })), "{nothing}");
    scenario.when(Command::Cancel { reason: "no more".to_owned() });
    assert!(matches!(scenario.asks_in_vain("ada", budget("1")), Rejection::Refused(Refusal::Over(_))));
}

#[test]
fn a_map_that_is_short_of_money_while_the_execution_is_held_waits_for_both() {
    let graph = "limits: { cost_usd: \"0.01\", on_limit: pause }\nnodes: { m: { map: { over: [1, 2, 3], max_concurrency: 1 }, task: t } }";
    let mut scenario = given(graph);
    scenario.starts(json!({})).when(Command::Pause { reason: "lunch".to_owned() });
    scenario.spends("m[0]", 10_000).is(ExecutionState::Paused).when(Command::Resume).is(ExecutionState::Paused);
    scenario.asks("ada", budget("1")).when(Command::Resume).owes("m[1]");
}

#[test]
fn what_has_used_the_budget_up_gets_no_other_try() {
    let with = |on_limit: &str| {
        given(&format!(
            "limits: {{ cost_usd: \"1.00\", on_limit: {on_limit} }}\nnodes: {{ a: {{ task: t, retry: {{ max_attempts: 20, backoff: none }}, next: [ {{ to: b }}, {{ catch: [QuotaExceeded], to: b }} ] }}, b: {{ join: any, transform: 1 }} }}"
        ))
    };
    let spend = |scenario: &mut Scenario| {
        scenario.starts(json!({}));
        let result = Box::new(scenario.failed("a", error(crate::error::ErrorCategory::NetworkError)));
        scenario.when(Command::Noted { notes: vec![used(1_000_000)], result });
    };
    let mut scenario = with("stop");
    spend(&mut scenario);
    scenario.then_fails_with("cost_limit");
    let mut scenario = with("fail_step");
    spend(&mut scenario);
    scenario.then("a failed, b ok").is(ExecutionState::Completed);
    let mut scenario = with("approve");
    spend(&mut scenario);
    scenario.is(ExecutionState::Waiting(WaitReason::CostThreshold)).owes("");
    scenario.asks("ada", budget("9")).is(ExecutionState::Running).owes("a");
}

#[test]
fn a_budget_that_comes_while_it_is_paused_lets_it_go_on_afterwards() {
    let mut scenario = chain("approve");
    scenario.starts(json!({})).spends("a", 1_000_000).when(Command::Pause { reason: "lunch".to_owned() });
    scenario.asks("ada", budget("2.00")).is(ExecutionState::Paused).when(Command::Resume);
    scenario.is(ExecutionState::Running).owes("b");
}

/// Retries at once, gives an attempt up after ten seconds, and has room for three dollars.
const SLOW: &str = "limits: { cost_usd: \"3.00\" }\nnodes: { a: { task: t, timeout: { start_to_close: 10s }, retry: { max_attempts: 3, backoff: none }, next: { to: b } }, b: { task: t } }";

fn reports(step: u32, attempt: u32, micros: u64) -> Command {
    let result = Box::new(completed(step, attempt, &json!("late")));
    Command::Noted { notes: vec![used(micros)], result }
}

#[test]
fn what_a_given_up_attempt_has_used_is_counted_once_when_it_is_told_late() {
    let mut scenario = given(SLOW);
    scenario.starts(json!({})).begins("a").after(std::time::Duration::from_secs(10)).ticks();
    scenario.begins("a").after(std::time::Duration::from_secs(10)).ticks().owes("a");
    // The second is heard of before the first; each is refused as a result, and its money is gone.
    for (attempt, spent) in [(2, 1_000_000), (1, 2_000_000)] {
        scenario.when(reports(0, attempt, 1_000_000)).records("usage_recorded").owes("a");
        let denied = &scenario.log.last().unwrap().denied;
        assert!(matches!(denied, Some(Rejection::StaleAttempt { offered, .. }) if *offered == attempt), "{denied:?}");
        assert_eq!(scenario.execution.usage().cost.micros(), spent);
        assert!(matches!(scenario.refused(reports(0, attempt, 1_000_000)), Rejection::StaleAttempt { .. }));
    }
    // What it reports in time is counted with its result, and not again.
    scenario.spends("a", 500_000);
    assert!(matches!(scenario.refused(reports(0, 3, 500_000)), Rejection::StaleAttempt { .. }));
    assert_eq!(scenario.execution.usage().cost.micros(), 2_500_000);
    scenario.spends("b", 1).is(ExecutionState::Completed);
    assert!(matches!(scenario.refused(reports(0, 1, 1)), Rejection::Illegal(_)), "it is over");
}

#[test]
fn a_budget_is_not_overspent_by_what_was_told_late() {
    let mut scenario = given(SLOW);
    scenario.starts(json!({})).begins("a").after(std::time::Duration::from_secs(10)).ticks();
    scenario.when(reports(0, 1, 2_900_000)).records("usage_recorded limit_warned");
    scenario.spends("a", 200_000).then_fails_with("cost_limit");
}

#[test]
fn what_a_failed_attempt_has_told_is_not_told_late_as_well() {
    let mut scenario = given(SLOW);
    scenario.starts(json!({}));
    let result = Box::new(scenario.failed("a", error(crate::error::ErrorCategory::NetworkError)));
    scenario.when(Command::Noted { notes: vec![used(1_000)], result }).owes("a");
    assert!(matches!(scenario.refused(reports(0, 1, 1_000)), Rejection::StaleAttempt { .. }));
    assert_eq!(scenario.execution.usage().cost.micros(), 1_000);
}

#[test]
fn what_the_loser_of_a_race_has_used_is_counted_once() {
    let graph = "nodes: { s: { route: all, next: [ { to: a }, { to: b } ] }, a: { task: t, next: { to: z } }, b: { task: t, next: { to: z } }, z: { join: race, task: t } }";
    let mut scenario = given(graph);
    scenario.starts(json!({})).begins("b").completes("a").then("s ok, a ok, b skipped, z due");
    let loser = scenario.find("b");
    scenario.when(reports(loser, 1, 700)).records("usage_recorded");
    assert_eq!(scenario.execution.usage().cost.micros(), 700);
    assert!(matches!(scenario.refused(reports(loser, 1, 700)), Rejection::StaleAttempt { .. }));
    scenario.completes("z").is(ExecutionState::Completed);
}

/// `b` loses against `a`; it is given up after ten seconds, and tried again an hour after it has failed.
const RETRYING_LOSER: &str = "nodes: { s: { route: all, next: [ { to: a }, { to: b } ] }, a: { task: t, next: { to: z } }, b: { task: t, timeout: { start_to_close: 10s }, retry: { max_attempts: 3, backoff: constant, base: 1h }, next: { to: z } }, z: { join: race, task: t } }";

#[test]
fn what_an_attempt_told_in_time_is_not_told_late_when_its_step_is_given_up_before_the_next_one() {
    let mut scenario = given(RETRYING_LOSER);
    scenario.starts(json!({}));
    let loser = scenario.find("b");
    let result = Box::new(scenario.failed("b", error(crate::error::ErrorCategory::NetworkError)));
    let told = Command::Noted { notes: vec![used(700)], result };
    scenario.when(told.clone()).completes("a").then("s ok, a ok, b skipped, z due");
    assert!(matches!(scenario.refused(told), Rejection::StaleAttempt { .. }), "delivered twice");
    assert!(matches!(scenario.refused(reports(loser, 1, 700)), Rejection::StaleAttempt { .. }));
    assert_eq!(scenario.execution.usage().cost.micros(), 700);

    // The next attempt has told nothing yet.
    let mut scenario = given(RETRYING_LOSER);
    scenario.starts(json!({}));
    let result = Box::new(scenario.failed("b", error(crate::error::ErrorCategory::NetworkError)));
    scenario
        .when(Command::Noted { notes: vec![used(700)], result })
        .after(std::time::Duration::from_secs(3600))
        .ticks();
    scenario.begins("b").completes("a").when(reports(loser, 2, 300)).records("usage_recorded");
    assert!(matches!(scenario.refused(reports(loser, 2, 300)), Rejection::StaleAttempt { .. }));
    assert_eq!(scenario.execution.usage().cost.micros(), 1_000);
}

#[test]
fn what_was_given_up_by_a_deadline_and_then_with_its_step_is_told_late_once() {
    for told_before_it_is_closed in [true, false] {
        let mut scenario = given(RETRYING_LOSER);
        scenario.starts(json!({})).begins("b").after(std::time::Duration::from_secs(10)).ticks();
        let loser = scenario.find("b");
        if told_before_it_is_closed {
            scenario.when(reports(loser, 1, 700)).records("usage_recorded").completes("a");
        } else {
            scenario.completes("a").when(reports(loser, 1, 700)).records("usage_recorded");
        }
        assert!(matches!(scenario.refused(reports(loser, 1, 700)), Rejection::StaleAttempt { .. }));
        assert_eq!(scenario.execution.usage().cost.micros(), 700);
    }
}

#[test]
fn nor_when_its_map_fails_meanwhile() {
    let mut scenario = given(
        "nodes: { m: { map: { over: [1, 2] }, task: t, retry: { max_attempts: 3, backoff: constant, base: 1h }, next: { catch: any, to: z } }, z: { task: t } }",
    );
    scenario.starts(json!({}));
    let item = scenario.find("m[0]");
    let result = Box::new(scenario.failed("m[0]", error(crate::error::ErrorCategory::NetworkError)));
    let told = Command::Noted { notes: vec![used(700)], result };
    scenario.when(told.clone()).fails_with("m[1]", fatal()).owes("z");
    assert_eq!(scenario.execution.step(item).unwrap().state(), crate::execution::StepState::Skipped);
    assert!(matches!(scenario.refused(told), Rejection::StaleAttempt { .. }));
    assert_eq!(scenario.execution.usage().cost.micros(), 700);
}
