//! What the original did not enforce (its defects 29 to 32), each limit at the operation that it bounds.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::cost::Money;
use crate::event::{EventData, Note, StepSourceType, Violation};
use crate::execution::{Command, Execution, ExecutionState, Rejection, WaitReason};
use crate::id::{ExecutionId, TenantId};

const MINUTE: Duration = Duration::from_secs(60);

fn uses(micros: u64, tokens: u64) -> Note {
    let cost = Some(Money::from_micros(micros));
    Note::Usage { model: "m".to_owned(), prompt_tokens: tokens, completion_tokens: 0, cost }
}

fn finds(name: &str) -> Note {
    let (name, input, reason) = (name.to_owned(), data(&json!(name)), String::new());
    Note::Discovered { name, input, source: StepSourceType::Discovered, reason }
}

impl Scenario {
    #[track_caller]
    fn tells(&mut self, name: &str, notes: Vec<Note>) -> &mut Self {
        let result = Box::new(self.completed(name, &json!(1)));
        self.when(Command::Noted { notes, result })
    }

    /// What the last decision says is reached.
    fn reaches(&self) -> Vec<Violation> {
        let last = self.log.last().unwrap();
        let reached = |event: &EventData| match event {
            EventData::LimitReached { limit, .. } => Some(*limit),
            _ => None,
        };
        last.events.iter().filter_map(reached).collect()
    }
}

/// Running a graph checked no limit at all.
#[test]
fn d29_each_limit_is_checked_in_the_decision_that_would_pass_it() {
    let two = |limits: &str| {
        let mut scenario = given(&format!(
            "limits: {{ {limits} }}\nnodes: {{ a: {{ task: t, next: {{ to: b }} }}, b: {{ task: t }} }}"
        ));
        scenario.starts(json!({}));
        scenario
    };
    let mut steps = two("max_steps: 1");
    assert_eq!(steps.completes("a").then_fails_with("step_limit").reaches(), [Violation::StepLimit]);
    let mut money = two("cost_usd: '0.01'");
    assert_eq!(money.tells("a", vec![uses(10_000, 1)]).then_fails_with("cost_limit").reaches(), [Violation::CostLimit]);
    let mut tokens = two("max_tokens: 10");
    assert_eq!(tokens.tells("a", vec![uses(0, 10)]).then_fails_with("token_limit").reaches(), [Violation::TokenLimit]);
    let mut wall = two("wall_time: 1m");
    assert_eq!(wall.after(MINUTE).ticks().then_fails_with("wall_time_limit").reaches(), [Violation::WallTimeLimit]);
    let mut idle = two("idle_timeout: 1m");
    assert_eq!(idle.after(MINUTE).ticks().then_fails_with("idle_timeout").reaches(), [Violation::IdleTimeout]);
    let mut alert = two("cost_alert_usd: '0.01'");
    alert.tells("a", vec![uses(10_000, 1)]).is(ExecutionState::Waiting(WaitReason::CostThreshold));
    assert_eq!(alert.reaches(), [Violation::CostThreshold]);

    let search = |bounds: &str| {
        let mut scenario =
            given(&format!("nodes: {{ m: {{ map: {{ over: [0], discover: {{ {bounds} }} }}, task: t }} }}"));
        scenario.starts(json!({}));
        scenario
    };
    let mut many = search("max_steps: 1, max_depth: 9, same_step_repeats: 9");
    assert_eq!(many.tells("m[0]", vec![finds("x"), finds("y")]).reaches(), [Violation::DiscoveredStepLimit]);
    let mut deep = search("max_steps: 9, max_depth: 1, same_step_repeats: 9");
    assert_eq!(
        deep.tells("m[0]", vec![finds("x")]).tells("m[1]", vec![finds("y")]).reaches(),
        [Violation::DiscoveryDepthLimit]
    );
    let mut same = search("max_steps: 9, max_depth: 9, same_step_repeats: 1");
    assert_eq!(same.tells("m[0]", vec![finds("x"), finds("x")]).reaches(), [Violation::SameStepLoop]);
}

/// Where nothing was known of an execution, everything was allowed.
#[test]
fn d30_what_is_not_known_is_refused_and_not_allowed() {
    let known = given("nodes: { a: { task: t } }");
    let stranger = Execution::empty(ExecutionId::from_bytes([9; 20]), TenantId::default_tenant());
    let granted = Command::PermitGranted { step: 0, attempt: 1, from: None };
    let warned = Command::TenantWarned { limit: Violation::CostLimit, current: 1, max: 2, day: 3 };
    for command in [Command::Start, Command::Admit, granted, warned] {
        let refused = stranger.decide(&known.graphs, command, known.now);
        assert!(matches!(refused, Err(Rejection::Missing)), "{refused:?}");
    }
}

/// Counters were lost with their process.
#[test]
fn d30_a_budget_that_was_used_up_before_a_restart_is_used_up_after_it() {
    let mut scenario = given(
        "limits: { cost_usd: '0.02', on_limit: pause }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t, next: { to: c } }, c: { task: t } }",
    );
    scenario.starts(json!({})).tells("a", vec![uses(15_000, 1)]);
    scenario.execution = scenario.refold();
    scenario.tells("b", vec![uses(5_000, 1)]).is(ExecutionState::Paused);
    scenario.execution = scenario.refold();
    assert_eq!(scenario.execution.usage().cost, Money::from_micros(20_000));
    scenario.when(Command::Resume).is(ExecutionState::Paused);
}

/// Each call lost what was less than a cent.
#[test]
fn d31_a_thousand_calls_at_nine_tenths_of_a_cent_are_nine_dollars_on_record() {
    let list: Vec<u32> = (0..10).collect();
    let mut scenario = given("limits: { cost_usd: '9.00' }\nnodes: { m: { map: { over: '=inputs' }, task: t } }");
    scenario.starts(json!(list));
    for item in 0..10 {
        scenario.tells(&format!("m[{item}]"), vec![uses(9_000, 1); 100]);
    }
    assert_eq!(scenario.execution.usage().cost.to_string(), "9.00");
    assert_eq!(scenario.refold().usage().cost, Money::from_micros(9_000_000));
    scenario.is(ExecutionState::Completed);
}

/// Time passed while an execution was paused, and a percentage of nothing was asked for.
#[test]
fn d32_a_pause_stops_the_clocks_and_a_limit_of_nothing_is_none() {
    let mut scenario = given(
        "limits: { wall_time: 10m, idle_timeout: 8m }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t } }",
    );
    scenario.starts(json!({})).after(MINUTE * 5).when(Command::Pause { reason: "night".to_owned() });
    scenario.after(MINUTE * 600).when(Command::Resume).after(MINUTE * 4).completes("a");
    scenario.after(MINUTE).ticks().then_fails_with("wall_time_limit");

    // What bounds nothing is refused when it is written, so nobody ever divides by it.
    for limit in ["max_steps: 0", "max_tokens: 0", "wall_time: 0s", "idle_timeout: 0s", "warn_at: 0"] {
        let text = format!("stepstream: 1\nname: g\nlimits: {{ {limit} }}\nnodes: {{ a: {{ task: t }} }}");
        let compiled = crate::graph::compile(&crate::graph::Source { name: "g.yaml", text: &text });
        assert!(compiled.is_err(), "{limit}");
    }
    // No money at all is a budget, and nothing fits into it.
    given("limits: { cost_usd: '0' }\nnodes: { a: { task: t } }").starts(json!({})).then_fails_with("cost_limit");
}

/// What bounds the search stopped every step.
#[test]
fn d32_a_search_that_has_found_all_it_may_goes_on_with_what_it_has() {
    let mut scenario = given(
        "nodes: { m: { map: { over: [0], discover: { max_steps: 1, max_depth: 9 } }, task: t, next: { to: b } }, b: { task: t } }",
    );
    scenario.starts(json!({})).tells("m[0]", vec![finds("x"), finds("y")]).tells("m[1]", vec![finds("z")]);
    assert_eq!(scenario.reaches(), [Violation::DiscoveredStepLimit]);
    scenario.completes("b").is(ExecutionState::Completed);
}
