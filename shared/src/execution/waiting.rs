//! Steps that wait: how a wait begins, what ends it, and when the execution as a whole waits.

use super::decide::{Decision, Rejection, timeout};
use super::lifecycle::ExecutionState;
use super::scope::View;
use super::state::KeptSignal;
use super::steering::{NAME_BYTES, Refusal};
use crate::data::Data;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::{ApprovalPolicy, EventData, Wait};
use crate::graph::{NodeIx, NodeKind, WaitFor, WaitNode};
use crate::time::Timestamp;

/// Longest wait that an expression may ask for: as long as a document may.
const LONGEST_US: u64 = 366 * 24 * 3600 * 1_000_000;

impl Decision<'_> {
    pub(super) fn wait_node(&self, ordinal: u32) -> Option<&WaitNode> {
        let step = self.execution.step(ordinal)?;
        match &self.graph.node(NodeIx(step.node))?.kind {
            NodeKind::Wait(wait) => Some(wait),
            _ => None,
        }
    }

    /// A scheduled step begins to wait; what it waits for may be there already.
    pub(super) fn begin_wait(&mut self, step: u32, wait: Result<Wait, ExecutionError>) -> Result<(), Rejection> {
        let wait = match wait {
            Ok(wait) => wait,
            Err(error) => return self.fail_step(step, error, 0),
        };
        let kept = match &wait {
            Wait::Signal { name, correlation } => {
                let node = self.wait_node(step);
                let mut kept = self.execution.signals.iter();
                kept.find(|(_, signal)| matches_wait(signal, name, correlation.as_deref(), node)).map(|(at, _)| at)
            }
            _ => None,
        };
        self.emit(EventData::StepWaiting { step, wait })?;
        match kept {
            Some(signal) => self.hand_over(signal, step),
            None => Ok(()),
        }
    }

    /// What a node waits for, evaluated once, when the wait begins.
    pub(super) fn wait_for(&self, wait: &WaitNode, view: &View<'_>) -> Result<Wait, ExecutionError> {
        let evaluated = |template: &crate::graph::expression::Template| {
            template.evaluate(view).map(|value| value.to_json()).map_err(|error| bad_wait(error.to_string()))
        };
        let text = |value: serde_json::Value, what: &str| match value {
            serde_json::Value::String(text) if !text.is_empty() && text.len() <= NAME_BYTES => Ok(text),
            serde_json::Value::Number(number) => Ok(number.to_string()),
            _ => Err(bad_wait(format!("{what} is a text of 1 to {NAME_BYTES} bytes"))),
        };
        let people = |template: &Option<crate::graph::expression::Template>| -> Result<Vec<String>, ExecutionError> {
            let Some(template) = template else { return Ok(Vec::new()) };
            match evaluated(template)? {
                serde_json::Value::Array(names) => {
                    let mut people: Vec<String> = Vec::with_capacity(names.len());
                    for name in names {
                        let name = text(name, "whoever is assigned")?;
                        // Named twice, nobody has two votes, and two are not waited for.
                        if !people.contains(&name) {
                            people.push(name);
                        }
                    }
                    Ok(people)
                }
                one => Ok(vec![text(one, "whoever is assigned")?]),
            }
        };
        Ok(match &wait.what {
            WaitFor::Timer(span) => {
                let value = evaluated(span)?;
                let for_us = match &value {
                    serde_json::Value::String(written) => crate::graph::parse_duration(written)
                        .and_then(|span| u64::try_from(span.as_micros()).ok())
                        .ok_or_else(|| bad_wait(format!("`{written}` is not a duration such as 30s or 1h30m")))?,
                    serde_json::Value::Number(seconds) => seconds
                        .as_u64()
                        .and_then(|seconds| seconds.checked_mul(1_000_000))
                        .ok_or_else(|| bad_wait(format!("{seconds} is not a number of seconds")))?,
                    _ => return Err(bad_wait("a timer is a duration such as 30s, or seconds".to_owned())),
                };
                if for_us > LONGEST_US {
                    return Err(bad_wait("a timer runs for at most 366d".to_owned()));
                }
                Wait::Timer { for_us }
            }
            WaitFor::Until(moment) => {
                let serde_json::Value::String(written) = evaluated(moment)? else {
                    return Err(bad_wait("`until` is a time such as 2026-12-24T18:00:00Z".to_owned()));
                };
                let at: Timestamp = written
                    .parse()
                    .map_err(|_| bad_wait(format!("`{written}` is not a time such as 2026-12-24T18:00:00Z")))?;
                Wait::Until { at }
            }
            WaitFor::Signal { name, correlation, .. } => Wait::Signal {
                name: name.clone(),
                correlation: match correlation {
                    Some(template) => Some(text(evaluated(template)?, "the correlation key")?),
                    None => None,
                },
            },
            WaitFor::Approval { assignees, policy, .. } => {
                let assignees = people(assignees)?;
                match policy {
                    ApprovalPolicy::All if assignees.is_empty() => {
                        return Err(bad_wait("`policy: all` needs assignees".to_owned()));
                    }
                    ApprovalPolicy::Quorum(needed) if !assignees.is_empty() && *needed as usize > assignees.len() => {
                        return Err(bad_wait(format!(
                            "a quorum of {needed} cannot be met by {} assignees",
                            assignees.len()
                        )));
                    }
                    _ => {}
                }
                Wait::Approval { assignees, policy: *policy }
            }
            WaitFor::Input { from, .. } => Wait::UserInput { from: people(from)? },
            WaitFor::External => Wait::External {},
        })
    }

    /// Its time has come: a timer fires, any other wait has been in vain.
    pub(super) fn wait_is_over(&mut self, step: u32) -> Result<(), Rejection> {
        let Some(run) = self.execution.waits.get(&step) else { return Ok(()) };
        match &run.wait {
            Wait::Timer { .. } | Wait::Until { .. } => self.complete_step(step, Data::null(), 0),
            Wait::Permit(_) => self.permit_is_due(step),
            other => {
                let message = format!("nothing came for `{}` in time ({})", self.node_name(step), other.reason());
                self.fail_step(step, timeout("wait_timeout", &message), 0)
            }
        }
    }

    /// Whether some wait of the graph takes such a signal, now or later.
    pub(super) fn takes_signal(&self, name: &str, payload: &Data) -> Result<(), Rejection> {
        let mut problems = None;
        for node in &self.graph.nodes {
            let NodeKind::Wait(WaitNode { what: WaitFor::Signal { name: waited, .. }, form, .. }) = &node.kind else {
                continue;
            };
            if waited != name {
                continue;
            }
            let found = form.as_deref().map(|form| crate::graph::form_problems(form, &payload.to_json()));
            match found {
                Some(found) if !found.is_empty() => problems = Some(found),
                _ => return Ok(()),
            }
        }
        Err(match problems {
            Some(problems) => Refusal::BadForm(problems).into(),
            None => Refusal::UnknownSignal(name.to_owned()).into(),
        })
    }

    /// The step that has waited for such a signal for the longest time.
    pub(super) fn waits_for_signal(&self, signal: &KeptSignal) -> Option<u32> {
        self.execution.waits.iter().find_map(|(step, run)| match &run.wait {
            Wait::Signal { name, correlation }
                if matches_wait(signal, name, correlation.as_deref(), self.wait_node(*step)) =>
            {
                Some(*step)
            }
            _ => None,
        })
    }

    /// Gives a signal that has just come to the step that waits for it, if one does.
    pub(super) fn deliver_signal(&mut self, signal: u64) -> Result<(), Rejection> {
        let Some(kept) = self.execution.signals.get(signal) else { return Ok(()) };
        match self.waits_for_signal(kept) {
            Some(step) => self.hand_over(signal, step),
            None => Ok(()),
        }
    }

    fn hand_over(&mut self, signal: u64, step: u32) -> Result<(), Rejection> {
        let payload = self.execution.signals.get(signal).map(|kept| kept.payload.clone()).unwrap_or_default();
        self.emit(EventData::SignalDelivered { signal, step })?;
        self.complete_step(step, payload, 0)
    }

    /// Whether what was given fits the form that the step's node declares.
    pub(super) fn fits(&self, step: u32, value: &Data) -> Result<(), Rejection> {
        let Some(form) = self.wait_node(step).and_then(|wait| wait.form.as_deref()) else { return Ok(()) };
        let problems = crate::graph::form_problems(form, &value.to_json());
        if problems.is_empty() { Ok(()) } else { Err(Refusal::BadForm(problems).into()) }
    }

    pub(super) fn other_wait(&self, step: u32, offered: &'static str) -> Rejection {
        let waits = match self.execution.waits.get(&step).map(|run| &run.wait) {
            Some(Wait::Timer { .. } | Wait::Until { .. }) => "a timer",
            Some(Wait::Signal { .. }) => "a signal",
            Some(Wait::Approval { .. }) => "a decision",
            Some(Wait::UserInput { .. } | Wait::External {}) => "an answer",
            Some(Wait::Child { .. }) => "its child",
            Some(Wait::Permit(_)) => "its turn",
            Some(Wait::Doubt(_)) => "somebody to say what became of it",
            Some(Wait::DeadLetter(_)) => "a redrive",
            None => "nothing",
        };
        Refusal::OtherWait { node: self.node_name(step), waits, offered }.into()
    }

    /// Ends an approval if what was said so far decides it.
    pub(super) fn settle_approval(&mut self, step: u32) -> Result<(), Rejection> {
        let Some(run) = self.execution.waits.get(&step) else { return Ok(()) };
        let Wait::Approval { assignees, policy } = &run.wait else { return Ok(()) };
        let yes = run.decisions.iter().filter(|decision| decision.approved).count();
        let no = run.decisions.len() - yes;
        let verdict = match policy {
            ApprovalPolicy::Any => Some(yes > 0),
            ApprovalPolicy::All if no > 0 => Some(false),
            ApprovalPolicy::All => (yes >= assignees.len()).then_some(true),
            ApprovalPolicy::Quorum(needed) => {
                let needed = *needed as usize;
                // Of those who have not spoken, everybody may still agree.
                let lost = if assignees.is_empty() { no >= needed } else { assignees.len() - no < needed };
                if yes >= needed { Some(true) } else { lost.then_some(false) }
            }
        };
        let Some(approved) = verdict else { return Ok(()) };
        let decisions: Vec<serde_json::Value> = run
            .decisions
            .iter()
            .map(|decision| {
                serde_json::json!({
                    "by": decision.by, "approved": decision.approved, "comment": decision.comment,
                    "form": decision.form, "at": decision.at,
                })
            })
            .collect();
        let last = run.decisions.last();
        if approved {
            let form = run.decisions.iter().rev().find(|decision| decision.approved).map(|decision| &decision.form);
            let value = serde_json::json!({"approved": true, "form": form, "decisions": decisions});
            return match Data::from_json(&value) {
                Ok(output) => self.complete_step(step, output, 0),
                Err(error) => self.fail_step(step, bad_wait(error.to_string()), 0),
            };
        }
        let who = last.map_or("", |decision| decision.by.as_str());
        let why = last.and_then(|decision| decision.comment.as_deref()).map(|comment| format!(": {comment}"));
        let message = format!("`{who}` rejected `{}`{}", self.node_name(step), why.unwrap_or_default());
        let mut error =
            ExecutionError::new(ErrorCategory::PolicyViolation, message).with_code(ErrorCode::new("rejected"));
        error.details = Data::from_json(&serde_json::json!({ "decisions": decisions })).ok();
        self.fail_step(step, error, 0)
    }

    /// The execution waits when all that is open waits, and says for what.
    pub(super) fn wait_if_all_do(&mut self) -> Result<(), Rejection> {
        let execution = &*self.execution;
        if execution.state != ExecutionState::Running || execution.has_more() {
            return Ok(());
        }
        if execution.waits.is_empty() || execution.waits.len() < execution.open.len() {
            return Ok(());
        }
        let Some((step, run)) = execution.waits.first_key_value() else { return Ok(()) };
        let (step, reason) = (*step, run.wait.reason());
        self.emit(EventData::ExecutionWaiting { reason, step: Some(step), control: None })
    }
}

/// Whether a wait takes this signal: the same name, the same correlation, and a payload that fits.
fn matches_wait(signal: &KeptSignal, name: &str, correlation: Option<&str>, node: Option<&WaitNode>) -> bool {
    signal.name == name
        && signal.correlation.as_deref() == correlation
        && node
            .and_then(|node| node.form.as_deref())
            .is_none_or(|form| crate::graph::form_problems(form, &signal.payload.to_json()).is_empty())
}

fn bad_wait(message: String) -> ExecutionError {
    ExecutionError::new(ErrorCategory::ValidationError, message).with_code(ErrorCode::new("bad_wait"))
}
