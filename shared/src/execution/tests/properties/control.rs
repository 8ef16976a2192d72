//! What control may not do, whatever the order in which it comes.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde_json::json;

use super::super::scenario::*;
use crate::data::Data;
use crate::event::child::CancellationPolicy;
use crate::event::message::{EvidenceImpact, EvidenceSource, Message};
use crate::event::{Event, EventData, Wait};
use crate::execution::steering::{NAME_BYTES, TEXT_BYTES};
use crate::execution::{Command, Refusal, Rejection, Steering};

pub(super) fn each_ends_once(events: &[Event]) -> TestCaseResult {
    let mut ended: HashMap<u32, u64> = HashMap::new();
    let mut begun: HashSet<(u32, u32)> = HashSet::new();
    let mut claimed: HashSet<(u32, u32)> = HashSet::new();
    let mut doubted: HashSet<u32> = HashSet::new();
    let mut children: HashMap<u32, CancellationPolicy> = HashMap::new();
    let mut over: Option<u64> = None;
    for event in events {
        // Who is told of an end is told afterwards; and whether it is tried again, as another execution; and what its
        // tenant's account has come to by it; and the end of a child that the end itself has cancelled.
        let name = event.data.name();
        let outside = name.starts_with("callback_")
            || name.starts_with("background_")
            || match &event.data {
                EventData::LimitWarned { day, .. } => day.is_some(),
                EventData::ParentTold {} => true,
                EventData::ChildFinished { step, .. } => children.get(step) == Some(&CancellationPolicy::CascadeCancel),
                _ => false,
            };
        prop_assert!(over.is_none() || outside, "{:?} after the end", event.data);
        match &event.data {
            EventData::ChildSpawned { step, on_cancel, .. } => {
                prop_assert!(children.insert(*step, *on_cancel).is_none(), "step {} has two children", step);
            }
            EventData::ChildFinished { step, .. } => {
                prop_assert!(children.remove(step).is_some(), "the child of step {} ends twice", step);
            }
            EventData::StepCompleted { step, .. } | EventData::StepFailed { step, .. } => {
                prop_assert_eq!(ended.insert(*step, event.sequence), None, "step {} ends twice", step);
            }
            EventData::StepSkipped { step, .. } => {
                prop_assert_eq!(ended.insert(*step, event.sequence), None, "step {} ends twice", step);
            }
            // Whoever had begun has done so for a store that is gone.
            EventData::StoreRestored { .. } => begun.clear(),
            EventData::StepStarted { step, attempt, .. } => {
                prop_assert!(begun.insert((*step, *attempt)), "attempt {} of step {} begins twice", attempt, step);
                prop_assert!(!ended.contains_key(step), "step {} begins after its end", step);
            }
            EventData::StepClaimed { step, attempt, .. } => {
                prop_assert!(
                    claimed.insert((*step, *attempt)),
                    "attempt {} of step {} is claimed twice",
                    attempt,
                    step
                );
                prop_assert!(!ended.contains_key(step), "step {} is claimed after its end", step);
                prop_assert!(!doubted.contains(step), "step {} is claimed while it is in doubt", step);
            }
            EventData::StepInDoubt { step, attempt, .. } => {
                prop_assert!(claimed.contains(&(*step, *attempt)), "step {} is in doubt and nobody had it", step);
                prop_assert!(doubted.insert(*step), "step {} is in doubt twice", step);
            }
            EventData::StepResolved { step, .. } => {
                doubted.remove(step);
            }
            EventData::StepRescheduled { step, .. } | EventData::StepRetryScheduled { step, .. }
                if doubted.contains(step) =>
            {
                prop_assert!(false, "step {} runs again while it is in doubt", step);
            }
            EventData::StepRescheduled { step, .. }
            | EventData::StepRetryScheduled { step, .. }
            | EventData::StepWaiting { step, .. }
            | EventData::StepScheduled { step, .. } => {
                prop_assert!(!ended.contains_key(step), "step {} comes back", step);
            }
            EventData::ExecutionCompleted { .. }
            | EventData::ExecutionFailed { .. }
            | EventData::ExecutionCancelled { .. } => over = Some(event.sequence),
            _ => {}
        }
    }
    Ok(())
}

/// Requests that are wrong in every state of every graph.
fn senseless() -> Vec<(&'static str, Steering)> {
    let null = Data::null;
    let decide = |step: &str, comment: Option<String>| Steering::Decide {
        step: step.to_owned(),
        approve: true,
        comment,
        form: Data::null(),
    };
    let evidence = |confidence| Message::Evidence {
        source: EvidenceSource::Discovery,
        title: "t".to_owned(),
        content: Data::null(),
        confidence: Some(confidence),
        impact: EvidenceImpact::Informational,
    };
    vec![
        (
            "an unknown signal",
            Steering::Signal { name: "no such signal".to_owned(), correlation: None, payload: null() },
        ),
        ("a signal without a name", Steering::Signal { name: String::new(), correlation: None, payload: null() }),
        (
            "a long key",
            Steering::Signal { name: "go".to_owned(), correlation: Some("k".repeat(NAME_BYTES + 1)), payload: null() },
        ),
        ("an approval of an unknown node", decide("no such node", None)),
        ("an approval with too long a comment", decide("n0", Some("x".repeat(TEXT_BYTES + 1)))),
        ("an answer to an unknown node", Steering::Answer { step: "no such node".to_owned(), value: null() }),
        ("a failure of an unknown node", Steering::GiveUp { step: "no such node".to_owned(), error: fatal() }),
        ("an empty budget", Steering::Budget { max_cost: None, max_tokens: None }),
        ("a breakpoint nowhere", Steering::Breakpoint { node: "no such node".to_owned(), on: true }),
        ("evidence that is surer than sure", Steering::Send { message: evidence(1.5) }),
        ("evidence that is no number", Steering::Send { message: evidence(f64::NAN) }),
    ]
}

pub(super) fn refuses_what_makes_no_sense(scenario: &mut Scenario) -> TestCaseResult {
    let before = (scenario.execution.state_hash(), scenario.log.len());
    for (what, request) in senseless() {
        let steer = scenario.ask("ada", request);
        let answer = scenario.attempt(Command::Steer(Box::new(steer)));
        prop_assert!(answer.is_err(), "{} was accepted", what);
    }
    // Whoever is not asked, whoever has spoken, and what does not fit the wait.
    let waits: Vec<(u32, Wait, Vec<String>)> = scenario
        .execution
        .waits()
        .map(|(step, run)| (step, run.wait().clone(), run.decisions().iter().map(|said| said.by.clone()).collect()))
        .collect();
    for (step, wait, spoke) in waits {
        let node = scenario.execution.step(step).map_or(0, |step| step.node());
        let name = scenario.graph.nodes[node as usize].name.clone();
        let id = scenario.execution.step_id(step, &name).map_or(name, |id| id.to_string());
        let decide = || Steering::Decide { step: id.clone(), approve: true, comment: None, form: data(&json!(null)) };
        match wait {
            Wait::Approval { assignees, .. } => {
                if !assignees.is_empty() {
                    let steer = scenario.ask("nobody we know", decide());
                    let answer = scenario.attempt(Command::Steer(Box::new(steer)));
                    prop_assert!(
                        matches!(answer, Err(Rejection::Refused(Refusal::NotAssigned { .. }))),
                        "{:?}",
                        answer
                    );
                }
                for by in spoke {
                    let steer = scenario.ask(&by, decide());
                    let answer = scenario.attempt(Command::Steer(Box::new(steer)));
                    prop_assert!(
                        matches!(answer, Err(Rejection::Refused(Refusal::DecidedAlready { .. }))),
                        "{:?}",
                        answer
                    );
                }
                let answer = Steering::Answer { step: id.clone(), value: Data::null() };
                let steer = scenario.ask("ada", answer);
                prop_assert!(scenario.attempt(Command::Steer(Box::new(steer))).is_err(), "an answer to an approval");
            }
            _ => {
                let steer = scenario.ask("ada", decide());
                prop_assert!(scenario.attempt(Command::Steer(Box::new(steer))).is_err(), "a decision about {:?}", wait);
            }
        }
    }
    prop_assert_eq!((scenario.execution.state_hash(), scenario.log.len()), before);
    Ok(())
}
