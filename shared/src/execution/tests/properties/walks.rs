//! Random walks through an execution: whatever workers, clocks and people may do.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::scenario::*;
use super::choices::Choices;
use crate::error::{ErrorCategory, ExecutionError};
use crate::event::EventData;
use crate::execution::{Command, ExecutionState, StartRequest, StepState, WaitReason};
use crate::wire::ClaimId;

pub(super) fn walk(scenario: &mut Scenario, choices: &mut Choices<'_>, actions: u32) {
    let list: Vec<usize> = (0..choices.below(6)).collect();
    let inputs = json!({"n": choices.below(4), "list": list});
    let request = scenario.request(&inputs);
    let planning = choices.rarely(10);
    scenario.when(Command::Create(Box::new(StartRequest { planning, ..request })));
    for _ in 0..actions {
        if scenario.execution.state().is_terminal() && !choices.rarely(3) {
            return;
        }
        let command = command(scenario, choices);
        // Legal or not: the scenario checks what must hold of either answer.
        let _ = scenario.attempt(command);
    }
}

/// A step, mostly one that is open.
fn step(scenario: &Scenario, choices: &mut Choices<'_>) -> (u32, u32) {
    let open: Vec<u32> = scenario.execution.open_steps().collect();
    let step = match open.len() {
        0 => choices.below(scenario.execution.steps().len() + 1) as u32,
        _ if choices.rarely(12) => choices.below(scenario.execution.steps().len() + 1) as u32,
        open_count => open[choices.below(open_count)],
    };
    let attempt = scenario.execution.step(step).map_or(1, |step| step.attempt());
    (step, if choices.rarely(12) { attempt + 1 } else { attempt })
}

/// Mostly a number: anything else makes guards fail.
fn output(choices: &mut Choices<'_>) -> Value {
    let rare = [json!([1, 2, 3]), json!({"deep": true}), json!(null), json!("text"), json!(1.5)];
    if choices.rarely(12) { choices.one(&rare).clone() } else { json!(choices.below(3)) }
}

fn failure(choices: &mut Choices<'_>) -> ExecutionError {
    let mut failure = error(*choices.one(&ErrorCategory::ALL));
    if choices.rarely(4) {
        failure.details = Some(data(&json!({"seen": 1})));
        failure.retry_after_ms = Some(5);
    }
    failure
}

fn command(scenario: &mut Scenario, choices: &mut Choices<'_>) -> Command {
    let reason = || "because".to_owned();
    let (worker, claim) = ("worker-1".to_owned(), ClaimId(9));
    match choices.below(26) {
        0..=9 | 12 | 13 => {
            let (step, attempt) = step(scenario, choices);
            completed(step, attempt, &output(choices))
        }
        10 | 11 => {
            let (step, attempt) = step(scenario, choices);
            failed(step, attempt, failure(choices))
        }
        14 | 15 => {
            let (step, attempt) = step(scenario, choices);
            Command::Started { step, attempt, worker, claim }
        }
        16 => {
            let seconds = choices.below(100) as u64;
            scenario.after(Duration::from_secs(seconds));
            tick()
        }
        17 => {
            if let Some(due) = scenario.execution.next_deadline() {
                scenario.now = scenario.now.max(due);
            }
            tick()
        }
        18 => {
            let (step, attempt) = step(scenario, choices);
            Command::HeartbeatMissed { step, attempt, chance: 0.3 }
        }
        19 | 24 => Command::Pause { reason: reason() },
        20 | 25 => Command::Resume,
        21 => match choices.below(3) {
            0 => Command::Wait { reason: *choices.one(&WaitReason::ALL) },
            _ => Command::Input { input: data(&output(choices)) },
        },
        22 => {
            let step = Some(choices.below(3) as u32);
            let data = data(&output(choices));
            Command::Record(Box::new(EventData::Custom { step, event_type: "note".to_owned(), data }))
        }
        _ => match choices.below(16) {
            0 => Command::Start,
            1 => Command::Cancel { reason: reason() },
            2 => Command::Fail { error: failure(choices) },
            3 => Command::Create(Box::new(scenario.request(&json!({})))),
            _ => {
                // The clock steps back.
                scenario.now = crate::time::Timestamp::from_micros(scenario.now.as_micros() - 5_000_000);
                tick()
            }
        },
    }
}

/// Lets go of every hold, and answers for every step and every deadline until nothing is left to answer for.
pub(super) fn drain(scenario: &mut Scenario, choices: &mut Choices<'_>) {
    // A graph of the generator has less than a thousand steps.
    for _ in 0..5000 {
        match scenario.execution.state() {
            ExecutionState::Created | ExecutionState::Planning => scenario.when(Command::Start),
            ExecutionState::Paused => scenario.when(Command::Resume),
            ExecutionState::Waiting(_) => scenario.when(Command::Input { input: data(&json!(null)) }),
            ExecutionState::Running => {
                let job = scenario.owed().into_iter().next();
                match (job, scenario.execution.next_deadline()) {
                    (Some(job), _) if choices.rarely(5) => {
                        scenario.when(failed(job.ordinal, job.attempt, failure(choices)))
                    }
                    (Some(job), _) => scenario.when(completed(job.ordinal, job.attempt, &output(choices))),
                    (None, Some(due)) => {
                        scenario.now = scenario.now.max(due);
                        scenario.ticks()
                    }
                    (None, None) => return,
                }
            }
            ExecutionState::Completed | ExecutionState::Failed | ExecutionState::Cancelled => return,
        };
    }
    let open = scenario.execution.steps().iter().filter(|step| step.state() != StepState::Completed).count();
    panic!("no end in sight: {} steps, {open} of them not completed", scenario.execution.steps().len());
}

/// The event with other numbers in it.
pub(super) fn disturb(mut data: EventData, [a, b, c]: [u32; 3]) -> EventData {
    let small = |number: u32| if number.is_multiple_of(5) { number } else { number % 12 };
    match &mut data {
        EventData::StepScheduled { step, node, parent, index, iterations, .. } => {
            if a.is_multiple_of(2) {
                *step = small(b);
            }
            *node = small(c);
            if a.is_multiple_of(3) {
                (*parent, *index) = (Some(small(b)), Some(small(c)));
            }
            if a.is_multiple_of(7) {
                iterations.push(c);
            }
        }
        EventData::StepStarted { step, attempt, .. }
        | EventData::StepCompleted { step, attempt, .. }
        | EventData::StepFailed { step, attempt, .. }
        | EventData::StepRetryScheduled { step, attempt, .. }
        | EventData::StepRescheduled { step, attempt } => {
            *step = small(a);
            if b.is_multiple_of(2) {
                *attempt = small(c);
            }
        }
        EventData::StepSkipped { step, new, .. } => {
            *step = small(a);
            if b.is_multiple_of(2) {
                *new = None;
            } else if let Some(new) = new {
                new.node = small(c);
            }
        }
        EventData::MapExpanded { step, .. } => *step = small(a),
        _ => {}
    }
    match &mut data {
        EventData::StepCompleted { taken, .. } | EventData::StepFailed { taken, .. } if c.is_multiple_of(2) => {
            *taken = Some(vec![small(a), small(b)]);
        }
        _ => {}
    }
    data
}
