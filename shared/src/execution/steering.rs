//! Steering: what people and programs outside may ask of an execution that exists.
//!
//! A request has an id. One that was carried out is not carried out again, whoever lost its answer; the last
//! [`REMEMBERED`] are known. A request that means nothing where the execution stands changes nothing; what would have
//! controlled it (pause, resume) is on record as denied, [`DENIALS`] times in a row; the rest is refused without a trace.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decide::{Decision, Rejection};
use super::doubts::Verdict;
use super::lifecycle::{ExecutionAction, ExecutionState, WaitReason};
use super::state::{Execution, KeptSignal};
use crate::cost::Money;
use crate::data::Data;
use crate::error::ExecutionError;
use crate::event::message::{InboxAction, Message};
use crate::event::{ControlAction, ControlOutcome, Ending, EventData, SkipReason, Wait};
use crate::graph::NodeIx;
use crate::id::{ControlId, ExecutionId, StepId};

/// Requests that are known by their id: a repeated one among the last so many is done already.
pub const REMEMBERED: usize = 1024;
/// Controls that are put on record as denied, until one is carried out: what else is denied is only answered, so that
/// nobody fills a log with requests that change nothing.
pub const DENIALS: usize = 16;
/// Guidance and evidence that expressions see: the latest.
pub const HEARD: usize = 100;
/// Messages that may wait in an inbox.
pub const INBOX_MESSAGES: usize = 1000;
/// Signals that may wait for their step.
pub const KEPT_SIGNALS: usize = 1000;
/// Bytes of all signals that wait for their step: names, keys and values.
pub const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// Largest value in a message, in bytes.
pub const MESSAGE_BYTES: usize = 16 * 1024;
/// Longest name of a signal, a correlation key, a title or whoever decides, in bytes.
pub const NAME_BYTES: usize = 256;
/// Longest text of guidance or of a comment, in bytes.
pub const TEXT_BYTES: usize = 16 * 1024;
/// Largest form of a decision, in bytes: those of everybody who decides are kept until it is settled.
pub const FORM_BYTES: usize = 64 * 1024;
/// After a pause, how long a job that was on the bus may take to show that a worker has it. Workers say so after a
/// second.
pub const QUIET_AFTER: Duration = Duration::from_secs(2);

/// A request to an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Steer {
    pub id: ControlId,
    /// Whoever asks, by the name under which approvals know people.
    pub by: String,
    pub what: Steering,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steering {
    Pause {
        reason: String,
    },
    Resume {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Cancel {
        reason: String,
    },
    /// Something has happened that a step waits for, or will.
    Signal {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<String>,
        #[serde(default, skip_serializing_if = "Data::is_null")]
        payload: Data,
    },
    /// Yes or no to an approval, by the step's id, or by the node's name where it has not waited in an earlier round.
    Decide {
        step: String,
        approve: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
        #[serde(default, skip_serializing_if = "Data::is_null")]
        form: Data,
    },
    /// What a step waits for from a person (`input`) or from a program (`external`).
    Answer {
        step: String,
        #[serde(default, skip_serializing_if = "Data::is_null")]
        value: Data,
    },
    /// What a step waits for from a program has gone wrong.
    GiveUp {
        step: String,
        error: ExecutionError,
    },
    /// What became of a step that is in doubt, or is to become of one that is a dead letter.
    Resolve {
        step: String,
        verdict: Verdict,
    },
    /// Another attempt at dead letters: at that of one step, or at all that the execution has.
    Redrive {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
    },
    Send {
        message: Message,
    },
    /// Pause before a node runs, or do not any more.
    Breakpoint {
        node: String,
        on: bool,
    },
    /// Another budget: money, tokens or both. An execution that was held for want of it goes on.
    Budget {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_cost: Option<Money>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u64>,
    },
    /// Call back whoever asked for it, once more or anew, now that the execution is over.
    RetryCallback,
    /// Hold the execution for a reason of one's own, until its input comes.
    Wait {
        reason: WaitReason,
    },
    /// The input that a held execution waits for.
    Input {
        #[serde(default, skip_serializing_if = "Data::is_null")]
        input: Data,
    },
}

impl Steering {
    /// What it is called in logs and in the causation of events.
    pub const fn name(&self) -> &'static str {
        match self {
            Steering::Pause { .. } => "pause",
            Steering::Resume { .. } => "resume",
            Steering::Cancel { .. } => "cancel",
            Steering::Signal { .. } => "signal",
            Steering::Decide { approve: true, .. } => "approve",
            Steering::Decide { approve: false, .. } => "reject",
            Steering::Answer { .. } => "answer",
            Steering::GiveUp { .. } => "give_up",
            Steering::Resolve { .. } => "resolve",
            Steering::Redrive { .. } => "redrive",
            Steering::Send { .. } => "send",
            Steering::Breakpoint { .. } => "breakpoint",
            Steering::Budget { .. } => "budget",
            Steering::RetryCallback => "retry_callback",
            Steering::Wait { .. } => "wait",
            Steering::Input { .. } => "input",
        }
    }

    /// The values of users in it.
    pub fn values(&self) -> Option<&Data> {
        match self {
            Steering::Signal { payload: value, .. }
            | Steering::Decide { form: value, .. }
            | Steering::Answer { value, .. }
            | Steering::Resolve { verdict: Verdict::Completed { output: value }, .. }
            | Steering::Input { input: value } => Some(value),
            Steering::Send { message } => message.payload(),
            Steering::GiveUp { error, .. } | Steering::Resolve { verdict: Verdict::Failed { error }, .. } => {
                error.details.as_ref()
            }
            _ => None,
        }
    }
}

/// Why a request was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was carried out before, and its answer may have been lost.
    #[error("the request was carried out already")]
    Repeated,
    #[error("the execution is over: it is {0}")]
    Over(ExecutionState),
    #[error("{what} has {found} bytes; it has 1 to {limit}")]
    Length { what: &'static str, found: usize, limit: usize },
    #[error("{what} is out of range: {why}")]
    Range { what: &'static str, why: &'static str },
    #[error("the graph has no node `{0}`")]
    UnknownNode(String),
    #[error("`{0}` does not wait for anything")]
    NotWaiting(String),
    /// Whoever names the node may have seen an earlier round of its loop.
    #[error("`{node}` has waited in an earlier round as well; name the step that is meant: now {waits} waits")]
    WhichRound { node: String, waits: StepId },
    #[error("`{node}` waits for {waits}, not for {offered}")]
    OtherWait { node: String, waits: &'static str, offered: &'static str },
    #[error("no `wait` of this graph takes the signal `{0}`")]
    UnknownSignal(String),
    #[error("what was given does not fit: {}", .0.join("; "))]
    BadForm(Vec<String>),
    #[error("`{by}` may not decide `{node}`; it is assigned to {}", .assigned.join(", "))]
    NotAssigned { by: String, node: String, assigned: Vec<String> },
    #[error("`{by}` has decided already")]
    DecidedAlready { by: String },
    #[error("{what} is full: at most {limit} wait there")]
    Full { what: &'static str, limit: usize },
    #[error("{what} is full: {found} of at most {limit} bytes wait there")]
    FullBytes { what: &'static str, found: usize, limit: usize },
    #[error("no step of this graph takes messages of this kind (`inbox: true`)")]
    NobodyTakes,
    /// A permit that has come in vain.
    #[error("it is {0} and has no use for a permit now")]
    Withheld(ExecutionState),
    #[error("the execution has no dead letters")]
    NoDeadLetters,
    #[error("{0} is not its parent")]
    NotItsParent(ExecutionId),
    #[error("nobody is to be called back: the execution is not over, is tried again, or has no `callback_url`")]
    NoCallback,
    #[error("it waits for `{node}` ({reason}), which ends by what it waits for")]
    WaitsForStep { node: String, reason: WaitReason },
}

fn bounded(what: &'static str, text: &str, limit: usize) -> Result<(), Rejection> {
    if text.is_empty() || text.len() > limit {
        return Err(Refusal::Length { what, found: text.len(), limit }.into());
    }
    Ok(())
}

impl Execution {
    /// Whether a request of this id was carried out lately.
    pub fn has_done(&self, control: ControlId) -> bool {
        self.asked.iter().rev().any(|done| *done == control)
    }
}

impl Decision<'_> {
    /// Carries out a request. `Ok(true)`: what follows from it is to be recorded.
    pub(super) fn steer(&mut self, steer: Steer) -> Result<bool, Rejection> {
        if self.execution.has_done(steer.id) {
            return Err(Refusal::Repeated.into());
        }
        let Steer { id, by, what } = steer;
        match what {
            Steering::Pause { reason } => {
                if self.controlled(id, ControlAction::Pause, ExecutionAction::Pause, Some(&reason))? {
                    self.pause(reason)?;
                }
            }
            Steering::Resume { reason } => {
                self.not_waiting_for_a_step()?;
                if self.controlled(id, ControlAction::Resume, ExecutionAction::Resume, reason.as_deref())? {
                    self.emit(EventData::ExecutionResumed {})?;
                }
            }
            Steering::Cancel { reason } => {
                if self.controlled(id, ControlAction::Cancel, ExecutionAction::Cancel, Some(&reason))? {
                    self.close_open_steps(SkipReason::ExecutionCancelled)?;
                    self.end_as(Ending::Cancelled { reason })?;
                    return Ok(false);
                }
            }
            Steering::Signal { name, correlation, payload } => self.signal(id, name, correlation, payload)?,
            Steering::Decide { step, approve, comment, form } => self.vote(id, &by, &step, approve, comment, form)?,
            Steering::Answer { step, value } => self.answer(id, &by, &step, value)?,
            Steering::GiveUp { step, error } => self.give_up(id, &step, error)?,
            Steering::Resolve { step, verdict } => self.resolve(id, &step, verdict)?,
            Steering::Redrive { step } => self.redrive(id, step.as_deref())?,
            Steering::Send { message } => self.send(id, message)?,
            Steering::Breakpoint { node, on } => {
                let Some(ix) = self.graph.by_name.get(&node).copied() else {
                    return Err(Refusal::UnknownNode(node).into());
                };
                self.not_over()?;
                if self.execution.breakpoints.contains(&ix.0) != on {
                    self.emit(EventData::BreakpointSet { node: ix.0, on, control: Some(id) })?;
                } else {
                    return Err(Refusal::Repeated.into());
                }
            }
            Steering::Budget { max_cost, max_tokens } => self.set_budget(id, max_cost, max_tokens)?,
            Steering::RetryCallback => {
                self.renew_callback(id)?;
                return Ok(false);
            }
            Steering::Wait { reason } => {
                self.legal(ExecutionAction::Wait(reason))?;
                self.not_while_compensating()?;
                self.emit(EventData::ExecutionWaiting { reason, step: None, control: Some(id) })?;
            }
            Steering::Input { input } => {
                self.not_waiting_for_a_step()?;
                self.legal(ExecutionAction::InputReceived)?;
                self.emit(EventData::InputReceived { input, step: None, control: Some(id) })?;
            }
        }
        Ok(true)
    }

    pub(super) fn not_over(&self) -> Result<(), Rejection> {
        let state = self.execution.state;
        if state.is_terminal() { Err(Refusal::Over(state).into()) } else { Ok(()) }
    }

    /// Puts a request to control the execution on record, as allowed or, if it cannot be, as denied.
    fn controlled(
        &mut self,
        control: ControlId,
        action: ControlAction,
        move_: ExecutionAction,
        reason: Option<&str>,
    ) -> Result<bool, Rejection> {
        self.not_over()?;
        let illegal = match action {
            ControlAction::Cancel => self.not_while_compensating().err(),
            _ => None,
        };
        let illegal = illegal.or_else(|| self.execution.state.after(move_).err().map(Rejection::from));
        let execution = &*self.execution;
        if let Some(illegal) = &illegal
            && (execution.denied.contains(&control) || execution.denied.len() >= DENIALS)
        {
            return Err(illegal.clone());
        }
        let outcome = if illegal.is_none() { ControlOutcome::Allowed } else { ControlOutcome::Denied };
        // The reason stands in the event that follows, where one does.
        let reason = match (outcome, action) {
            (ControlOutcome::Allowed, ControlAction::Pause | ControlAction::Cancel) => None,
            _ => reason.map(str::to_owned),
        };
        self.emit(EventData::ControlRecorded { control, action, outcome, reason })?;
        self.denied = illegal;
        Ok(self.denied.is_none())
    }

    pub(super) fn pause(&mut self, reason: String) -> Result<(), Rejection> {
        self.emit(EventData::ExecutionPaused { reason, breakpoint: None })
    }

    /// Resuming and giving input end a wait that somebody put the execution into, never that of a step.
    pub(super) fn not_waiting_for_a_step(&self) -> Result<(), Rejection> {
        if !self.execution.waits_on_steps || self.execution.state == ExecutionState::Paused {
            return Ok(());
        }
        let Some((ordinal, run)) = self.execution.waits.first_key_value() else { return Ok(()) };
        Err(Refusal::WaitsForStep { node: self.node_name(*ordinal), reason: run.wait.reason() }.into())
    }

    pub(super) fn node_name(&self, ordinal: u32) -> String {
        let step = self.execution.step(ordinal);
        step.and_then(|step| self.graph.node(NodeIx(step.node))).map_or_else(String::new, |node| node.name.clone())
    }

    /// The step that waits under this name: the step's own id, or its node's name as long as no earlier round of a loop
    /// can be meant by it. What somebody says to one round must not count for the next one, however late it arrives.
    pub(super) fn waiting_step(&self, name: &str) -> Result<u32, Rejection> {
        self.not_over()?;
        if let Ok(id) = name.parse::<StepId>() {
            let is = |ordinal: &u32| self.execution.step_id(*ordinal, &self.node_name(*ordinal)) == Some(id);
            let found = self.execution.waits.keys().copied().find(is);
            return found.ok_or_else(|| Refusal::NotWaiting(name.to_owned()).into());
        }
        let Some(ix) = self.graph.by_name.get(name) else {
            return Err(Refusal::UnknownNode(name.chars().take(NAME_BYTES).collect()).into());
        };
        let is = |ordinal: &u32| self.execution.step(*ordinal).is_some_and(|step| step.node == ix.0);
        let found = self.execution.waits.keys().copied().rev().find(|ordinal| is(ordinal));
        let ordinal = found.ok_or_else(|| Refusal::NotWaiting(name.to_owned()))?;
        let later = self.execution.step(ordinal).is_some_and(|step| step.iterations.iter().any(|round| *round > 1));
        match self.execution.step_id(ordinal, name).filter(|_| later) {
            Some(waits) => Err(Refusal::WhichRound { node: name.to_owned(), waits }.into()),
            None => Ok(ordinal),
        }
    }

    fn vote(
        &mut self,
        control: ControlId,
        by: &str,
        name: &str,
        approve: bool,
        comment: Option<String>,
        form: Data,
    ) -> Result<(), Rejection> {
        bounded("the name of whoever decides", by, NAME_BYTES)?;
        if let Some(comment) = &comment {
            bounded("the comment", comment, TEXT_BYTES)?;
        }
        let step = self.waiting_step(name)?;
        let run = &self.execution.waits[&step];
        let Wait::Approval { assignees, .. } = &run.wait else {
            return Err(self.other_wait(step, "a decision"));
        };
        if !assignees.is_empty() && !assignees.iter().any(|each| each == by) {
            let (node, assigned) = (self.node_name(step), assignees.clone());
            return Err(Refusal::NotAssigned { by: by.to_owned(), node, assigned }.into());
        }
        if run.decisions.iter().any(|decision| decision.by == by) {
            return Err(Refusal::DecidedAlready { by: by.to_owned() }.into());
        }
        if form.len() > FORM_BYTES {
            return Err(Refusal::Length { what: "the form", found: form.len(), limit: FORM_BYTES }.into());
        }
        if approve {
            self.fits(step, &form)?; // Whoever says no need not fill in the form.
        }
        let by = by.to_owned();
        self.emit(EventData::ApprovalDecided { control, step, by, approved: approve, comment, form })?;
        self.settle_approval(step)
    }

    fn answer(&mut self, control: ControlId, by: &str, name: &str, value: Data) -> Result<(), Rejection> {
        let step = self.waiting_step(name)?;
        match &self.execution.waits[&step].wait {
            Wait::UserInput { from } => {
                bounded("the name of whoever answers", by, NAME_BYTES)?;
                if !from.is_empty() && !from.iter().any(|each| each == by) {
                    let (node, assigned) = (self.node_name(step), from.clone());
                    return Err(Refusal::NotAssigned { by: by.to_owned(), node, assigned }.into());
                }
            }
            Wait::External {} => {}
            _ => return Err(self.other_wait(step, "an answer")),
        }
        self.fits(step, &value)?;
        // The value is what the step gives; it stands in the log once.
        self.emit(EventData::InputReceived { input: Data::null(), step: Some(step), control: Some(control) })?;
        self.complete_step(step, value, 0)
    }

    fn give_up(&mut self, control: ControlId, name: &str, error: ExecutionError) -> Result<(), Rejection> {
        let step = self.waiting_step(name)?;
        if !matches!(self.execution.waits[&step].wait, Wait::External {}) {
            return Err(self.other_wait(step, "a failure"));
        }
        self.emit(EventData::InputReceived { input: Data::null(), step: Some(step), control: Some(control) })?;
        self.fail_step(step, error, 0)
    }

    fn send(&mut self, control: ControlId, message: Message) -> Result<(), Rejection> {
        self.not_over()?;
        match &message {
            Message::Control { reason, .. } => {
                if let Some(reason) = reason {
                    bounded("the reason", reason, TEXT_BYTES)?;
                }
            }
            Message::Evidence { title, confidence, .. } => {
                bounded("the title", title, NAME_BYTES)?;
                if confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
                    return Err(Refusal::Range { what: "the confidence", why: "it goes from 0 to 1" }.into());
                }
            }
            Message::Guidance { content, .. } => bounded("the guidance", content, TEXT_BYTES)?,
            Message::A2a { from_agent, message_type, .. } => {
                bounded("the name of the agent", from_agent, NAME_BYTES)?;
                bounded("the message type", message_type, NAME_BYTES)?;
            }
        }
        let found = message.payload().map_or(0, Data::len);
        if found > MESSAGE_BYTES {
            return Err(Refusal::Length { what: "the value of a message", found, limit: MESSAGE_BYTES }.into());
        }
        if self.lets_go_on(&message) {
            if self.graph.takes_messages() && self.execution.inbox.len() < INBOX_MESSAGES {
                self.emit(EventData::InboxReceived { control, message, inherited: None })?;
            }
            return self.emit(EventData::InputReceived { input: Data::null(), step: None, control: Some(control) });
        }
        if !self.is_taken(&message) {
            return Err(Refusal::NobodyTakes.into());
        }
        if self.graph.takes_messages() && self.execution.inbox.len() >= INBOX_MESSAGES {
            return Err(Refusal::Full { what: "the inbox", limit: INBOX_MESSAGES }.into());
        }
        if self.execution.relayed.len() >= INBOX_MESSAGES && self.execution.heirs().next().is_some() {
            let what = "what waits for the children that inherit the inbox";
            return Err(Refusal::Full { what, limit: INBOX_MESSAGES }.into());
        }
        self.emit(EventData::InboxReceived { control, message, inherited: None })
    }

    /// Whether the message does what the execution is held for: its context is made smaller, where it is saved.
    fn lets_go_on(&self, message: &Message) -> bool {
        let Message::Control { action, .. } = message else { return false };
        let held_for = match action {
            InboxAction::Compact => WaitReason::MemoryPressure,
            InboxAction::Checkpoint => WaitReason::Checkpoint,
        };
        self.execution.state == ExecutionState::Waiting(held_for) && !self.execution.waits_on_steps
    }

    fn signal(
        &mut self,
        control: ControlId,
        name: String,
        correlation: Option<String>,
        payload: Data,
    ) -> Result<(), Rejection> {
        bounded("the name of the signal", &name, NAME_BYTES)?;
        if let Some(correlation) = &correlation {
            bounded("the correlation key", correlation, NAME_BYTES)?;
        }
        self.not_over()?;
        self.takes_signal(&name, &payload)?;
        let signal = KeptSignal { name, correlation, payload };
        let kept = &self.execution.signals;
        let (what, found) = ("what is kept of signals", kept.bytes());
        let full = match () {
            () if kept.len() >= KEPT_SIGNALS => Some(Refusal::Full { what, limit: KEPT_SIGNALS }),
            () if found + signal.bytes() > KEPT_BYTES => Some(Refusal::FullBytes { what, found, limit: KEPT_BYTES }),
            () => None,
        };
        // One that a step waits for is not kept.
        if let Some(full) = full
            && self.waits_for_signal(&signal).is_none()
        {
            return Err(full.into());
        }
        let KeptSignal { name, correlation, payload } = signal;
        self.emit(EventData::SignalReceived { control, name, correlation, payload })?;
        self.deliver_signal(self.execution.sequence)
    }
}
