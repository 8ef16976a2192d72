//! Random walks through an execution: whatever workers, clocks and people may do.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::scenario::*;
use super::choices::Choices;
use crate::background::{Background, BackgroundRetry, TargetBinding, TargetType, Transform};
use crate::error::{ErrorCategory, ExecutionError};
use crate::event::child::ChildEnding;
use crate::event::message::{GuidancePriority, GuidanceSource, Message};
use crate::event::{EventData, GoalStatus, Note, Spent, Violation, Wait};
use crate::execution::{AfterEnd, CallbackReport, CallbackResult};
use crate::execution::{Command, ExecutionState, StartRequest, Steering, StepState, Verdict, WaitReason};
use crate::graph::OnLimit;
use crate::id::ExecutionId;
use crate::wire::ClaimId;

const PLENTY: crate::cost::Money = crate::cost::Money::from_micros(u64::MAX);

pub(super) fn walk(scenario: &mut Scenario, choices: &mut Choices<'_>, actions: u32) {
    let list: Vec<usize> = (0..choices.below(6)).collect();
    let inputs = json!({"n": choices.below(4), "list": list});
    let request = scenario.request(&inputs);
    let planning = choices.rarely(10);
    let governed = choices.rarely(3);
    let background = choices.rarely(3).then(|| Box::new(background(scenario, choices)));
    let queued = background.is_some();
    scenario.when(Command::Create(Box::new(StartRequest { planning, background, governed, ..request })));
    if queued && !choices.rarely(4) {
        let _ = scenario.attempt(tick());
        let _ = scenario.attempt(Command::Admit);
    }
    walk_on(scenario, choices, actions);
}

/// Goes on with an execution that there is.
pub(super) fn walk_on(scenario: &mut Scenario, choices: &mut Choices<'_>, actions: u32) {
    for _ in 0..actions {
        if scenario.execution.state().is_terminal() {
            if scenario.execution.owed_callback().is_some() || scenario.execution.owed_attempt().is_some() {
                let command = if choices.rarely(4) { command(scenario, choices) } else { after_end(scenario, choices) };
                let _ = scenario.attempt(command);
                continue;
            }
            if !choices.rarely(3) {
                return;
            }
        }
        let command = command(scenario, choices);
        // Legal or not: the scenario checks what must hold of either answer.
        let _ = scenario.attempt(command);
    }
}

/// Anything that can be asked for, with short times.
fn background(scenario: &Scenario, choices: &mut Choices<'_>) -> Background {
    let binding = choices.rarely(2).then(|| TargetBinding {
        target: *choices.one(&TargetType::ALL),
        path: None,
        transform: *choices.one(&[Transform::None, Transform::FirstLine, Transform::Truncate, Transform::JsonExtract]),
        max_length: None,
        json_path: choices.rarely(2).then(|| "$.deep".to_owned()),
        thread_id: None,
        execution_id: None,
    });
    Background {
        timeout_ms: 1 + choices.below(200_000) as u64,
        run_at: choices.rarely(4).then(|| scenario.now.after(Duration::from_secs(choices.below(100) as u64))),
        retry: choices.rarely(2).then(BackgroundRetry::default),
        callback_url: choices.rarely(2).then(|| "https://example.org".to_owned()),
        target_binding: binding,
        attempt: 1 + choices.below(3) as u32,
        ..Background::default()
    }
}

/// What is done, or tried, after an end.
fn after_end(scenario: &Scenario, choices: &mut Choices<'_>) -> Command {
    let made = scenario.execution.owed_callback().map_or(0, |callback| callback.attempts());
    let results = [CallbackResult::Delivered, CallbackResult::Failed, CallbackResult::Refused];
    let (result, status) = (*choices.one(&results), choices.rarely(2).then_some(500));
    let attempt = if choices.rarely(6) { made } else { made + 1 };
    let report = CallbackReport { attempt, result, status, error: None };
    let what = if choices.rarely(3) { AfterEnd::AttemptBegun } else { AfterEnd::Callback(report) };
    Command::AfterEnd(Box::new(what))
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
    let rare = [
        json!([1, 2, 3]),
        json!({"deep": true}),
        json!(null),
        json!("text"),
        json!(1.5),
        json!({"happened": true, "output": 1}),
        json!({"happened": false}),
        json!({"happened": false, "retry": true}),
    ];
    if choices.rarely(8) { choices.one(&rare).clone() } else { json!(choices.below(3)) }
}

fn failure(choices: &mut Choices<'_>) -> ExecutionError {
    let mut failure = error(*choices.one(&ErrorCategory::ALL));
    if choices.rarely(4) {
        failure.details = Some(data(&json!({"seen": 1})));
        failure.retry_after_ms = Some(5);
    }
    failure
}

/// Sometimes with notes: work that was found, goals, money.
fn noted(result: Command, choices: &mut Choices<'_>) -> Command {
    if !choices.rarely(3) {
        return result;
    }
    let mut notes = Vec::new();
    for _ in 0..=choices.below(3) {
        notes.push(match choices.below(5) {
            0 | 1 => Note::Discovered {
                name: choices.one::<&str>(&["look", "ask"]).to_string(),
                input: data(&json!(choices.below(3))),
                source: crate::event::StepSourceType::Discovered,
                reason: String::new(),
            },
            2 => Note::Goal {
                id: "goal".to_owned(),
                status: *choices.one(&[GoalStatus::Met, GoalStatus::NotMet, GoalStatus::Progressing]),
                score: None,
                reason: None,
            },
            3 => Note::Custom {
                event_type: if choices.rarely(4) { "x".repeat(500) } else { "note".to_owned() },
                data: data(&json!(1)),
            },
            _ => Note::Usage {
                model: "m".to_owned(),
                prompt_tokens: 20,
                completion_tokens: choices.below(100) as u64,
                cost: Some(crate::cost::Money::from_micros(choices.below(200) as u64)),
            },
        });
    }
    Command::Noted { notes, result: Box::new(result) }
}

fn command(scenario: &mut Scenario, choices: &mut Choices<'_>) -> Command {
    let reason = || "because".to_owned();
    let (worker, claim) = ("worker-1".to_owned(), ClaimId(9));
    match choices.below(48) {
        42 | 43 => {
            let (step, attempt) = step(scenario, choices);
            Command::Claim { step, attempt, worker, claim: ClaimId(1 + 8 * u128::from(choices.rarely(3))) }
        }
        44 | 45 => {
            // A job that is owed is claimed, mostly by whoever reports afterwards.
            let owed = scenario.owed();
            let (step, attempt) = match owed.iter().find(|job| job.claim && !job.running) {
                Some(job) => (job.ordinal, job.attempt),
                None => step(scenario, choices),
            };
            Command::Claim { step, attempt, worker, claim: ClaimId(1) }
        }
        46 => {
            let ((step, attempt), claim, chance) = (step(scenario, choices), ClaimId(1), 0.3);
            let (error, duration_us) = (failure(choices), 1);
            match choices.below(3) {
                0 => Command::Released { step, attempt, claim },
                1 => Command::Stopped { step, attempt, claim, chance },
                _ => noted(Command::NotStarted { step, attempt, worker, claim, error, duration_us, chance }, choices),
            }
        }
        47 => {
            let ((step, attempt), poison) =
                (step(scenario, choices), ExecutionError::new(ErrorCategory::KernelInternal, "p"));
            failed(step, attempt, poison.with_code(crate::error::ErrorCode::new(crate::execution::POISON)))
        }
        0..=9 | 12 | 13 => {
            let (step, attempt) = step(scenario, choices);
            noted(completed(step, attempt, &output(choices)), choices)
        }
        10 | 11 => {
            let (step, attempt) = step(scenario, choices);
            noted(failed(step, attempt, failure(choices)), choices)
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
        26..=31 => {
            let what = steering(scenario, choices);
            let by = *choices.one::<&str>(&["ada", "bob", "eve"]);
            let mut steer = scenario.ask(by, what);
            if choices.rarely(6) {
                // An answer was lost, and the request is made again.
                steer.id = scenario.execution.asked.back().copied().unwrap_or(steer.id);
            }
            Command::Steer(Box::new(steer))
        }
        32..=35 => child_command(scenario, choices),
        38..=41 => permit_command(scenario, choices),
        _ => match choices.below(16) {
            0 => Command::Start,
            1 => Command::Cancel { reason: reason() },
            4 | 5 => Command::Admit,
            6..=9 => after_end(scenario, choices),
            2 => Command::Fail { error: failure(choices) },
            3 => Command::Create(Box::new(scenario.request(&json!({})))),
            10 => Command::Restored { incarnation: 2 },
            _ => {
                // The clock steps back.
                scenario.now = crate::time::Timestamp::from_micros(scenario.now.as_micros() - 5_000_000);
                tick()
            }
        },
    }
}

/// A name of something that waits, mostly.
fn waiting(scenario: &Scenario, choices: &mut Choices<'_>) -> String {
    let waits: Vec<u32> = scenario.execution.waits().map(|(step, _)| step).collect();
    if waits.is_empty() || choices.rarely(10) {
        return choices.one::<&str>(&["n0", "n1", "nowhere"]).to_string();
    }
    let step = *choices.one(&waits);
    let node = scenario.execution.step(step).map_or(0, |step| step.node());
    let name = scenario.graph.nodes[node as usize].name.clone();
    match choices.rarely(2) {
        true => scenario.execution.step_id(step, &name).map_or(name, |id| id.to_string()),
        false => name,
    }
}

/// A permit, mostly one that a step waits for; sometimes for later. Now and then, news of the tenant's budget.
fn permit_command(scenario: &Scenario, choices: &mut Choices<'_>) -> Command {
    if choices.rarely(8) {
        let day = choices.below(3) as i64;
        return Command::TenantWarned { limit: Violation::CostLimit, current: 9, max: 10, day };
    }
    let asked = scenario.execution.owed_permits();
    let (step, attempt) = match asked.is_empty() || choices.rarely(8) {
        true => step(scenario, choices),
        false => {
            let spec = &asked[choices.below(asked.len())];
            (spec.ordinal, spec.attempt)
        }
    };
    if choices.rarely(6) {
        let all = [OnLimit::Stop, OnLimit::Pause, OnLimit::Approve, OnLimit::FailStep];
        let (limit, on_limit) = (Violation::TokenLimit, *choices.one(&all));
        return Command::PermitDenied { step, attempt, limit, current: 11, max: 10, on_limit };
    }
    let from = choices.rarely(3).then(|| scenario.now.after(Duration::from_secs(choices.below(90) as u64)));
    Command::PermitGranted { step, attempt, from }
}

/// What is said of a child, mostly of one that there is.
fn child_command(scenario: &Scenario, choices: &mut Choices<'_>) -> Command {
    let children: Vec<ExecutionId> = scenario.execution.children().map(|(_, child)| child.id()).collect();
    if children.is_empty() || choices.rarely(10) {
        return Command::ChildStarted { child: ExecutionId::from_bytes([1; 20]) };
    }
    let child = *choices.one(&children);
    let cost = crate::cost::Money::from_micros(choices.below(400) as u64);
    let used = Spent { prompt_tokens: choices.below(9) as u64, completion_tokens: 0, cost };
    let ended = |ending| Command::ChildEnded { child, ending, used };
    match choices.below(7) {
        0 | 1 => Command::ChildStarted { child },
        2 | 3 => ended(ChildEnding::Completed { output: data(&output(choices)) }),
        4 | 5 => {
            // Of what is on its way, some has arrived, and something that nobody sent.
            let owed = scenario.execution.owed_messages();
            let owed = owed.into_iter().find(|bequest| bequest.child == child);
            let mut messages: Vec<u64> =
                owed.map(|bequest| bequest.messages.iter().map(|(at, _)| *at).collect()).unwrap_or_default();
            messages.truncate(choices.below(4));
            messages.push(choices.below(50) as u64);
            Command::InboxForwarded { child, messages }
        }
        _ if choices.rarely(2) => ended(ChildEnding::Failed { error: failure(choices) }),
        _ => ended(ChildEnding::Cancelled { reason: "because".to_owned() }),
    }
}

fn steering(scenario: &Scenario, choices: &mut Choices<'_>) -> Steering {
    let reason = || "because".to_owned();
    match choices.below(16) {
        14 => Steering::Resolve {
            step: waiting(scenario, choices),
            verdict: match choices.below(3) {
                0 => Verdict::Completed { output: data(&output(choices)) },
                1 => Verdict::Failed { error: failure(choices) },
                _ => Verdict::Retry,
            },
        },
        15 => Steering::Redrive { step: choices.rarely(2).then(|| waiting(scenario, choices)) },
        0 => Steering::Pause { reason: reason() },
        1 => Steering::Resume { reason: None },
        2 | 3 => Steering::Signal {
            name: choices.one::<&str>(&["go", "go", "stop"]).to_string(),
            correlation: choices.rarely(2).then(|| choices.below(3).to_string()),
            payload: data(&output(choices)),
        },
        4..=6 => Steering::Decide {
            step: waiting(scenario, choices),
            approve: !choices.rarely(3),
            comment: choices.rarely(3).then(reason),
            form: data(&output(choices)),
        },
        7 | 8 => Steering::Answer { step: waiting(scenario, choices), value: data(&output(choices)) },
        9 => Steering::GiveUp { step: waiting(scenario, choices), error: failure(choices) },
        10 => Steering::Send {
            message: Message::Guidance {
                from: GuidanceSource::User,
                content: reason(),
                context: data(&output(choices)),
                priority: *choices.one(GuidancePriority::ALL),
            },
        },
        11 => Steering::Breakpoint {
            node: choices.one::<&str>(&["n0", "n1", "n2", "nowhere"]).to_string(),
            on: !choices.rarely(3),
        },
        12 if choices.rarely(2) => Steering::Budget {
            max_cost: Some(crate::cost::Money::from_micros(choices.below(2000) as u64)),
            max_tokens: None,
        },
        12 => Steering::Wait { reason: *choices.one(&WaitReason::ALL) },
        _ => match choices.rarely(8) {
            true => Steering::Cancel { reason: reason() },
            false => Steering::Input { input: data(&output(choices)) },
        },
    }
}

/// What the first wait needs, whatever it is for.
fn relief(scenario: &Scenario) -> Option<(String, Steering)> {
    let (step, run) = scenario.execution.waits().next()?;
    let node = scenario.execution.step(step)?.node();
    // In a later round of a loop the node's name will not do.
    let name = scenario.execution.step_id(step, &scenario.graph.nodes[node as usize].name)?.to_string();
    Some(match run.wait() {
        // Nobody brings these by hand.
        Wait::Timer { .. } | Wait::Until { .. } | Wait::Child { .. } | Wait::Permit(_) => return None,
        Wait::Signal { name, correlation } => {
            let (name, correlation) = (name.clone(), correlation.clone());
            ("ada".to_owned(), Steering::Signal { name, correlation, payload: data(&json!(1)) })
        }
        Wait::Approval { assignees, .. } => {
            let spoke = |name: &String| run.decisions().iter().any(|decision| decision.by == *name);
            let people =
                if assignees.is_empty() { vec!["ada".to_owned(), "bob".to_owned()] } else { assignees.clone() };
            let by = people.into_iter().find(|name| !spoke(name)).unwrap_or_else(|| "cyd".to_owned());
            (by, Steering::Decide { step: name, approve: true, comment: None, form: data(&json!(null)) })
        }
        Wait::Doubt(doubt) => {
            if doubt.asked.is_some_and(|asked| scenario.execution.open_steps().any(|open| open == asked)) {
                return None; // Somebody is being asked.
            }
            (
                "ada".to_owned(),
                Steering::Resolve { step: name, verdict: Verdict::Completed { output: data(&json!(1)) } },
            )
        }
        Wait::DeadLetter(_) => {
            ("ada".to_owned(), Steering::Resolve { step: name, verdict: Verdict::Failed { error: fatal() } })
        }
        Wait::UserInput { .. } | Wait::External {} => {
            ("ada".to_owned(), Steering::Answer { step: name, value: data(&json!(1)) })
        }
    })
}

/// Lets go of every hold, and answers for every step and every deadline until nothing is left to answer for.
pub(super) fn drain(scenario: &mut Scenario, choices: &mut Choices<'_>) {
    // A graph of the generator has less than a thousand steps.
    for _ in 0..5000 {
        match scenario.execution.state() {
            ExecutionState::Created | ExecutionState::Planning => scenario.when(Command::Start),
            _ if !scenario.execution.state().is_terminal() && scenario.execution.usage.max_cost != Some(PLENTY) => {
                // Whatever it may spend: a graph that pauses when it is short of money would pause for ever.
                scenario.asks("ada", Steering::Budget { max_cost: Some(PLENTY), max_tokens: Some(u64::MAX) })
            }
            ExecutionState::Paused => scenario.when(Command::Resume),
            ExecutionState::Waiting(_) if !scenario.execution.waits_on_steps => {
                scenario.when(Command::Input { input: data(&json!(null)) })
            }
            ExecutionState::Waiting(_) | ExecutionState::Running => {
                let job = scenario.owed().into_iter().next();
                let wanted = scenario.execution.owed_children(&scenario.graph).into_iter().next();
                let awaited = scenario.execution.awaited_children().next();
                let permit = scenario.execution.owed_permits().into_iter().next();
                match (job, scenario.execution.next_deadline()) {
                    _ if wanted.is_some() => {
                        scenario.when(Command::ChildStarted { child: wanted.expect("a child is wanted").child })
                    }
                    (None, due) if awaited.is_some() && (due.is_none() || !choices.rarely(3)) => {
                        let (child, output) = (awaited.expect("a child is awaited"), data(&output(choices)));
                        scenario.when(Command::ChildEnded {
                            child,
                            ending: ChildEnding::Completed { output },
                            used: Spent::default(),
                        })
                    }
                    (None, _) if permit.is_some() => {
                        let spec = permit.expect("a permit is asked for");
                        let later = scenario.now.after(Duration::from_secs(7));
                        let from = choices.rarely(4).then_some(later);
                        scenario.when(Command::PermitGranted { step: spec.ordinal, attempt: spec.attempt, from })
                    }
                    (Some(job), _) if job.claim && !job.running => {
                        let (step, attempt, worker) = (job.ordinal, job.attempt, "worker-1".to_owned());
                        scenario.when(Command::Claim { step, attempt, worker, claim: ClaimId(1) })
                    }
                    (Some(job), _)
                        if job.claim
                            && (choices.rarely(4)
                                || scenario.execution.step(job.ordinal).and_then(|step| step.claim())
                                    != Some(ClaimId(1))) =>
                    {
                        scenario.when(Command::HeartbeatMissed { step: job.ordinal, attempt: job.attempt, chance: 0.5 })
                    }
                    (Some(job), _) if choices.rarely(5) => {
                        scenario.when(failed(job.ordinal, job.attempt, failure(choices)))
                    }
                    (Some(job), _) => scenario.when(completed(job.ordinal, job.attempt, &output(choices))),
                    (None, _) if relief(scenario).is_some() => {
                        let (by, what) = relief(scenario).expect("there is something to be relieved");
                        scenario.asks(&by, what)
                    }
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
        EventData::StepScheduled { step, node, parent, index, iterations, undoes, .. } => {
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
            if b.is_multiple_of(5) {
                *undoes = undoes.map_or(Some(small(a)), |_| None);
            }
        }
        EventData::StepStarted { step, attempt, .. }
        | EventData::StepClaimed { step, attempt, .. }
        | EventData::StepInDoubt { step, attempt, .. }
        | EventData::StepResolved { step, attempt, .. }
        | EventData::StepDeadLettered { step, attempt, .. }
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
        EventData::MapExpanded { step, .. }
        | EventData::ChildSpawned { step, .. }
        | EventData::ChildStarted { step }
        | EventData::ChildFinished { step, .. }
        | EventData::StepWaiting { step, .. }
        | EventData::SignalDelivered { step, .. }
        | EventData::ApprovalDecided { step, .. }
        | EventData::InboxForwarded { step, .. }
        | EventData::InboxDelivered { step, .. } => *step = small(a),
        EventData::PermitGranted { step, attempt, from } => {
            *step = small(a);
            if b.is_multiple_of(2) {
                *attempt = small(c);
            }
            if c.is_multiple_of(3) {
                *from = None;
            }
        }
        EventData::ReconciliationScheduled { step, of, .. } => {
            if a.is_multiple_of(2) {
                *step = small(b);
            }
            *of = small(c);
        }
        EventData::BreakpointSet { node, .. } => *node = small(a),
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
