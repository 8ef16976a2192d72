//! Every reason to wait: how an execution comes to it, the one event that leads out, and that nothing else does.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::cost::Money;
use crate::data::Data;
use crate::event::Note;
use crate::event::child::{ChildEnding, Spent};
use crate::event::message::{InboxAction, Message};
use crate::execution::{Command, ExecutionState, POISON, Steering, Verdict, WaitReason};

/// One request of each kind, as somebody would make it who knows the graph.
fn requests() -> Vec<(&'static str, Steering)> {
    let null = Data::null;
    let control = |action| Steering::Send { message: Message::Control { action, reason: None } };
    let decide = |approve| Steering::Decide { step: "w".to_owned(), approve, comment: None, form: null() };
    vec![
        ("signal", Steering::Signal { name: "go".to_owned(), correlation: None, payload: null() }),
        ("approve", decide(true)),
        ("reject", decide(false)),
        ("answer", Steering::Answer { step: "w".to_owned(), value: null() }),
        ("give_up", Steering::GiveUp { step: "w".to_owned(), error: fatal() }),
        ("resolve", Steering::Resolve { step: "w".to_owned(), verdict: Verdict::Completed { output: null() } }),
        ("redrive", Steering::Redrive { step: Some("w".to_owned()) }),
        ("budget", Steering::Budget { max_cost: "9".parse().ok(), max_tokens: None }),
        ("input", Steering::Input { input: null() }),
        ("resume", Steering::Resume { reason: None }),
        ("hold", Steering::Wait { reason: WaitReason::External }),
        ("compact", control(InboxAction::Compact)),
        ("checkpoint", control(InboxAction::Checkpoint)),
        ("breakpoint", Steering::Breakpoint { node: "z".to_owned(), on: true }),
    ]
}

fn waits_for(wait: &str) -> Scenario {
    let mut scenario = given(&format!(
        "nodes: {{ w: {{ wait: {wait}, next: [ {{ to: z }}, {{ catch: any, to: z }} ] }}, z: {{ task: t }} }}"
    ));
    scenario.starts(json!({}));
    scenario
}

fn task(limits: &str) -> Scenario {
    let mut scenario = given(&format!("{limits}nodes: {{ a: {{ task: t, next: {{ to: z }} }}, z: {{ task: t }} }}"));
    scenario.starts(json!({}));
    scenario
}

fn noted(mut scenario: Scenario, note: Note) -> Scenario {
    let result = Box::new(scenario.completed("a", &json!(1)));
    scenario.when(Command::Noted { notes: vec![note], result });
    scenario
}

/// How each is entered without anybody's hand: by what a step waits for, or by what one reports.
fn entered(reason: WaitReason) -> Scenario {
    match reason {
        WaitReason::Approval => waits_for("{ approval: {} }"),
        WaitReason::UserInput => waits_for("{ input: {} }"),
        WaitReason::External => waits_for("{ external: {} }"),
        WaitReason::Signal => waits_for("{ signal: go }"),
        WaitReason::Timer => waits_for("{ timer: 10s }"),
        WaitReason::SubAgent => {
            let mut scenario = given("nodes: { w: { graph: g, next: { to: z } }, z: { task: t } }");
            scenario.starts(json!({}));
            let child = scenario.execution.owed_children(&scenario.graph)[0].child;
            scenario.when(Command::ChildStarted { child });
            scenario
        }
        WaitReason::CostThreshold => {
            let cost = Some(Money::from_micros(2_000_000));
            let usage = Note::Usage { model: "m".to_owned(), prompt_tokens: 1, completion_tokens: 1, cost };
            noted(task("limits: { cost_alert_usd: \"1.00\" }\n"), usage)
        }
        WaitReason::MemoryPressure => noted(task(""), Note::MemoryPressure { used: 31_000, max: 32_000 }),
        WaitReason::Checkpoint => {
            let (id, state_hash) = ("c".to_owned(), "00".to_owned());
            noted(task(""), Note::Checkpoint { id, state_hash, wait: true })
        }
        WaitReason::InDoubt => {
            let mut scenario =
                given("nodes: { w: { task: t, delivery: at_most_once, next: { to: z } }, z: { task: t } }");
            scenario.starts(json!({})).claims("w", 1);
            scenario.when(Command::HeartbeatMissed { step: 0, attempt: 1, chance: 0.5 });
            scenario
        }
        WaitReason::DeadLetter => {
            let mut scenario = given("nodes: { w: { task: t, next: { to: z } }, z: { task: t } }");
            let poison = crate::error::ExecutionError::new(crate::error::ErrorCategory::KernelInternal, "it kills");
            let poison = poison.with_code(crate::error::ErrorCode::new(POISON));
            scenario.starts(json!({})).fails_with("w", poison);
            scenario
        }
        WaitReason::RateLimit => {
            let mut scenario =
                given("nodes: { w: { task: t, concurrency: { key: k, max: 1 }, next: { to: z } }, z: { task: t } }");
            scenario.starts(json!({}));
            scenario
        }
    }
}

/// Requests that lead out, beside cancelling. What a step waits for is brought; what holds the execution is let go.
fn leaves(reason: WaitReason) -> &'static [&'static str] {
    match reason {
        WaitReason::Approval => &["approve", "reject"],
        WaitReason::UserInput => &["answer"],
        WaitReason::External => &["answer", "give_up"],
        WaitReason::Signal => &["signal"],
        WaitReason::InDoubt => &["resolve"],
        WaitReason::DeadLetter => &["redrive", "resolve"],
        WaitReason::Timer | WaitReason::SubAgent | WaitReason::RateLimit => &[],
        WaitReason::CostThreshold => &["budget", "input", "resume"],
        WaitReason::MemoryPressure => &["compact", "input", "resume"],
        WaitReason::Checkpoint => &["checkpoint", "input", "resume"],
    }
}

#[test]
fn every_reason_to_wait_is_reached_and_left_only_by_its_event() {
    for reason in WaitReason::ALL {
        let waiting = ExecutionState::Waiting(reason);
        for (name, what) in requests() {
            let mut scenario = entered(reason);
            scenario.is(waiting);
            scenario.owes("");
            let steer = scenario.ask("ada", what);
            // Refused, denied on record, kept for later, or what it waits for.
            let _ = scenario.attempt(Command::Steer(Box::new(steer)));
            let expected = if leaves(reason).contains(&name) { ExecutionState::Running } else { waiting };
            assert_eq!(scenario.execution.state(), expected, "{name} while it waits for {reason}");
        }
        // Neither does time alone, except where it is what is waited for.
        let mut scenario = entered(reason);
        scenario.after(Duration::from_secs(11));
        let ticked = scenario.attempt(tick()).is_ok();
        assert_eq!(ticked, reason == WaitReason::Timer, "{reason}");
        // And nothing that waits keeps from being ended.
        let mut scenario = entered(reason);
        scenario.asks("ada", Steering::Cancel { reason: "enough".to_owned() });
        if reason == WaitReason::SubAgent {
            let child = scenario.execution.awaited_children().next().expect("its child is told first");
            scenario.when(Command::ChildEnded {
                child,
                ending: ChildEnding::Cancelled { reason: "told".to_owned() },
                used: Spent::default(),
            });
        }
        scenario.is(ExecutionState::Cancelled);
    }
}

#[test]
fn the_end_of_a_child_is_what_its_parent_waits_for() {
    let mut scenario = entered(WaitReason::SubAgent);
    let child = scenario.execution.awaited_children().next().expect("a child is awaited");
    scenario.when(Command::ChildEnded {
        child,
        ending: ChildEnding::Completed { output: Data::null() },
        used: Spent::default(),
    });
    scenario.is(ExecutionState::Running).owes("z");
}

#[test]
fn a_permit_is_what_an_execution_at_its_rate_waits_for() {
    let mut scenario = entered(WaitReason::RateLimit);
    let permit = scenario.grant("w", None);
    scenario.when(permit).is(ExecutionState::Running).owes("w");
}

#[test]
fn an_execution_can_be_held_for_every_reason_by_hand_and_let_go() {
    for reason in WaitReason::ALL {
        let mut scenario = task("");
        scenario.asks("ada", Steering::Wait { reason }).is(ExecutionState::Waiting(reason)).owes("");
        scenario.asks("bob", Steering::Input { input: data(&json!(1)) }).is(ExecutionState::Running).owes("a");
        assert_eq!(scenario.execution.received().to_json(), json!(1));
    }
}

#[test]
fn a_pause_in_between_forgets_no_reason() {
    for reason in WaitReason::ALL {
        let mut scenario = entered(reason);
        scenario.when(Command::Pause { reason: "lunch".to_owned() }).when(Command::Resume);
        scenario.is(ExecutionState::Waiting(reason));
    }
}

#[test]
fn a_message_that_lets_it_go_on_is_kept_for_the_next_step_that_asks_for_its_inbox() {
    let mut scenario = given(
        "nodes: { a: { task: t, next: { to: b } }, b: { task: t, next: { to: z } }, z: { task: t, inbox: true } }",
    );
    scenario.starts(json!({}));
    let mut scenario = noted(scenario, Note::MemoryPressure { used: 9, max: 10 });
    let message = Message::Control { action: InboxAction::Compact, reason: None };
    scenario.asks("ada", Steering::Send { message }).is(ExecutionState::Running);
    scenario.records("inbox_received input_received").completes("b");
    scenario.records("step_started step_completed step_scheduled inbox_delivered");
}

#[test]
fn a_step_that_failed_holds_nothing_at_its_checkpoint() {
    let mut scenario = task("");
    let (id, state_hash) = ("c".to_owned(), "00".to_owned());
    let result = Box::new(scenario.failed("a", error(crate::error::ErrorCategory::Timeout)));
    scenario.when(Command::Noted { notes: vec![Note::Checkpoint { id, state_hash, wait: true }], result });
    scenario.is(ExecutionState::Running);
}
