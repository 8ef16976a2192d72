//! Executions in which nothing happens, and limits that are nearly used up.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::event::{EventData, Note, StepSourceType, Violation};
use crate::execution::{Command, ExecutionState, Rejection, Steering, WaitReason};
use crate::graph::{LongRunningPolicy, NodeKind};

const MINUTE: Duration = Duration::from_secs(60);

fn idle(on_limit: &str) -> Scenario {
    given(&format!(
        "limits: {{ idle_timeout: 10m, on_limit: {on_limit} }}\nnodes: {{ a: {{ task: t, next: {{ to: b }} }}, b: {{ task: t }} }}"
    ))
}

impl Scenario {
    fn reached(&self) -> Vec<(Violation, u64, u64)> {
        let all = self.log.iter().flat_map(|append| &append.events);
        all.filter_map(|event| match event {
            EventData::LimitReached { limit, current, max, .. } => Some((*limit, *current, *max)),
            _ => None,
        })
        .collect()
    }

    fn warned(&self) -> Vec<(Violation, u64, u64)> {
        let all = self.log.iter().flat_map(|append| &append.events);
        all.filter_map(|event| match event {
            EventData::LimitWarned { limit, current, max, .. } => Some((*limit, *current, *max)),
            _ => None,
        })
        .collect()
    }
}

#[test]
fn an_execution_in_which_nothing_happens_for_too_long_fails() {
    let mut scenario = idle("stop");
    scenario.starts(json!({})).after(MINUTE * 9).begins("a").after(MINUTE * 9);
    assert_eq!(scenario.refused(tick()), Rejection::NotDue, "it has begun a step meanwhile");
    scenario.after(MINUTE).ticks().then_fails_with("idle_timeout");
    assert_eq!(scenario.reached(), [(Violation::IdleTimeout, 600_000, 600_000)]);
}

#[test]
fn an_execution_is_not_idle_while_it_is_paused_or_waits() {
    let mut scenario = idle("stop");
    scenario.starts(json!({})).after(MINUTE * 4);
    scenario.when(Command::Pause { reason: "lunch".to_owned() }).after(MINUTE * 60);
    scenario.when(Command::Resume).after(MINUTE * 9);
    assert_eq!(scenario.refused(tick()), Rejection::NotDue);
    scenario.asks("ada", Steering::Wait { reason: WaitReason::External });
    assert_eq!(scenario.execution.next_deadline(), None);
    scenario.after(MINUTE * 600).asks("ada", Steering::Input { input: data(&json!(null)) });
    scenario.after(MINUTE * 9).completes("a").after(MINUTE * 9).completes("b").is(ExecutionState::Completed);

    let mut waits =
        given("limits: { idle_timeout: 10m }\nnodes: { w: { wait: { signal: go }, next: { to: b } }, b: { task: t } }");
    waits.starts(json!({})).is(ExecutionState::Waiting(WaitReason::Signal));
    assert_eq!(waits.execution.next_deadline(), None);
    let go = Steering::Signal { name: "go".to_owned(), correlation: None, payload: data(&json!(null)) };
    waits.after(MINUTE * 600).asks("ada", go).after(MINUTE * 10).ticks().then_fails_with("idle_timeout");
}

#[test]
fn what_changes_nothing_is_no_progress() {
    let mut scenario = idle("stop");
    scenario.starts(json!({})).after(MINUTE * 9);
    scenario.asks("ada", Steering::Breakpoint { node: "b".to_owned(), on: true });
    scenario.after(MINUTE).ticks().then_fails_with("idle_timeout");
}

#[test]
fn an_idle_execution_is_paused_or_asks_where_the_graph_says_so_and_goes_on_afterwards() {
    let mut scenario = idle("pause");
    scenario.starts(json!({})).after(MINUTE * 10).ticks().is(ExecutionState::Paused);
    scenario.after(MINUTE * 100).when(Command::Resume).after(MINUTE * 9);
    assert_eq!(scenario.refused(tick()), Rejection::NotDue, "resuming begins anew");
    scenario.completes("a").completes("b").is(ExecutionState::Completed);

    let mut scenario = idle("approve");
    scenario.starts(json!({})).after(MINUTE * 10).ticks().is(ExecutionState::Waiting(WaitReason::Approval));
    scenario.asks("ada", Steering::Input { input: data(&json!(null)) }).completes("a").completes("b");
    scenario.is(ExecutionState::Completed);
    idle("fail_step").starts(json!({})).after(MINUTE * 10).ticks().then_fails_with("idle_timeout");
}

#[test]
fn a_limit_of_steps_is_warned_of_once_and_reaching_it_is_on_record() {
    let nodes: Vec<String> = (0..6)
        .map(|node| {
            format!(
                "n{node}: {{ task: t{} }}",
                if node < 5 { format!(", next: {{ to: n{} }}", node + 1) } else { String::new() }
            )
        })
        .collect();
    let mut scenario = given(&format!("limits: {{ max_steps: 5 }}\nnodes: {{ {} }}", nodes.join(", ")));
    scenario.starts(json!({}));
    for node in 0..5 {
        scenario.completes(&format!("n{node}"));
    }
    scenario.then_fails_with("step_limit");
    assert_eq!(scenario.warned(), [(Violation::StepLimit, 4, 5)]);
    assert_eq!(scenario.reached(), [(Violation::StepLimit, 6, 5)]);
}

#[test]
fn a_wall_time_is_warned_of_by_what_happens_late_in_it_and_ends_as_a_timeout() {
    let mut scenario = given(
        "limits: { wall_time: 10m }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t, next: { to: c } }, c: { task: t } }",
    );
    scenario.starts(json!({})).after(MINUTE * 7).completes("a");
    assert_eq!(scenario.warned(), []);
    scenario.after(MINUTE).completes("b").after(MINUTE);
    assert_eq!(scenario.warned(), [(Violation::WallTimeLimit, 480_000, 600_000)]);
    scenario.after(MINUTE).ticks().then_fails_with("wall_time_limit");
    assert_eq!(scenario.execution.error().unwrap().category, crate::error::ErrorCategory::Timeout);
    assert_eq!(scenario.reached(), [(Violation::WallTimeLimit, 600_000, 600_000)]);
    assert_eq!(scenario.warned().len(), 1);
}

#[test]
fn discovery_is_warned_of_before_its_bound() {
    let mut scenario =
        given("nodes: { look: { map: { over: [0], discover: { max_steps: 5, same_step_repeats: 9 } }, task: t } }");
    scenario.starts(json!({}));
    let found = |_| {
        let (name, input, reason) = ("ask".to_owned(), data(&json!(1)), String::new());
        Note::Discovered { name, input, source: StepSourceType::Discovered, reason }
    };
    let result = Box::new(scenario.completed("look[0]", &json!(1)));
    scenario.when(Command::Noted { notes: (0..6).map(found).collect(), result });
    assert_eq!(scenario.warned(), [(Violation::DiscoveredStepLimit, 4, 5)]);
    assert_eq!(scenario.reached(), [(Violation::DiscoveredStepLimit, 6, 5)]);
}

#[test]
fn policies_have_the_numbers_of_the_original_and_what_is_said_wins() {
    let limits = |text: &str| given(&format!("{text}\nnodes: {{ a: {{ task: t }} }}")).graph.limits;
    let told = |policy: &str| {
        let limits = limits(&format!("limits: {{ policy: {policy} }}"));
        (limits.cost_alert.map(|alert| alert.micros() / 1_000_000), limits.idle_timeout.map(|idle| idle.as_secs()))
    };
    assert_eq!(told("standard"), (Some(5), Some(1_800)));
    assert_eq!(told("extended"), (Some(50), Some(14_400)));
    assert_eq!(told("unlimited"), (Some(100), Some(86_400)));
    assert_eq!(told("disabled"), (None, None));
    let unsaid = limits("limits: { max_steps: 9 }");
    assert_eq!((unsaid.cost_alert, unsaid.idle_timeout, unsaid.policy), (None, None, LongRunningPolicy::Standard));
    let said = limits("limits: { policy: standard, idle_timeout: 5s, cost_alert_usd: \"1.00\" }");
    assert_eq!((said.cost_alert.unwrap().micros(), said.idle_timeout.unwrap().as_secs()), (1_000_000, 5));

    let bounds = |limits: &str, discover: &str| {
        let scenario =
            given(&format!("{limits}\nnodes: {{ m: {{ map: {{ over: [1], discover: {discover} }}, task: t }} }}"));
        let NodeKind::Map(map) = &scenario.graph.nodes[0].kind else { panic!("a map") };
        let found = map.discover.unwrap();
        (found.max_steps, found.max_depth, found.same_step_repeats)
    };
    assert_eq!(bounds("", "{}"), (50, 5, 3));
    assert_eq!(bounds("", "extended"), (300, 10, 5));
    assert_eq!(bounds("limits: { policy: extended }", "{ max_depth: 2 }"), (300, 2, 5));
    assert_eq!(bounds("limits: { policy: extended }", "{ policy: standard }"), (50, 5, 3));
    assert_eq!(bounds("limits: { policy: disabled }", "{}"), (100_000, 1000, 100_000));
}

#[test]
fn every_violation_has_the_category_of_the_original() {
    use crate::error::ErrorCategory as C;
    for violation in Violation::ALL {
        let expected = match violation {
            Violation::WallTimeLimit => C::Timeout,
            Violation::RateLimit => C::LlmError,
            Violation::NetworkViolation => C::PolicyViolation,
            _ => C::QuotaExceeded,
        };
        assert_eq!(violation.category(), expected, "{violation:?}");
        assert_eq!(json!(violation), json!(violation.name()), "its stored name is its code");
    }
}

#[test]
fn undoing_is_not_idle_and_its_own_deadlines_hold() {
    let mut scenario = given(
        "limits: { idle_timeout: 10m }\nnodes: { a: { task: t, undo: { task: u, timeout: { start_to_close: 1h }, retry: { max_attempts: 2, backoff: constant, base: 30m } }, next: { to: b } }, b: { task: t } }",
    );
    scenario.starts(json!({})).completes("a").fails("b").begins("~a");
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(MINUTE * 60)));
    scenario.after(MINUTE * 10);
    assert_eq!(scenario.refused(tick()), Rejection::NotDue, "an undo takes the time that it takes");
    scenario.after(MINUTE * 50).ticks().records("step_retry_scheduled");
    scenario.after(MINUTE * 30).ticks().records("step_rescheduled").owes("~a");
    scenario.completes("~a").is(ExecutionState::Failed);
    assert_eq!(scenario.reached(), []);
}

#[test]
fn what_is_due_before_it_in_the_same_tick_is_progress() {
    let mut scenario = given(
        "limits: { idle_timeout: 20s }\nnodes: { a: { task: t, retry: { max_attempts: 3, backoff: constant, base: 10s } } }",
    );
    scenario.starts(json!({})).fails_with("a", error(crate::error::ErrorCategory::NetworkError));
    scenario.after(Duration::from_secs(30)).ticks().records("step_rescheduled").is(ExecutionState::Running).owes("a");
    scenario.after(Duration::from_secs(19));
    assert_eq!(scenario.refused(tick()), Rejection::NotDue);
    scenario.after(Duration::from_secs(1)).ticks().then_fails_with("idle_timeout");
}
