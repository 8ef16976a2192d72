//! How an execution is changed by those who steer it: pauses, waits, signals, approvals, messages.

use super::{ApplyError, Fold};
use crate::data::Data;
use crate::event::message::Message;
use crate::event::{ControlOutcome, Wait};
use crate::execution::lifecycle::{ExecutionAction, ExecutionState, WaitReason};
use crate::execution::state::{Deadline, Decision, KeptSignal, WaitRun};
use crate::execution::steering::{DENIALS, HEARD, QUIET_AFTER, REMEMBERED};
use crate::execution::step::{StepAction, StepState};
use crate::graph::{NodeIx, NodeKind};
use crate::id::ControlId;

impl Fold<'_> {
    pub(super) fn nonsense<T>(&self, reason: &'static str) -> Result<T, ApplyError> {
        Err(ApplyError::Nonsense { sequence: self.sequence, reason })
    }

    pub(super) fn paused(&mut self, reason: &str, breakpoint: Option<u32>) -> Result<(), ApplyError> {
        let before = self.execution.state;
        self.move_to(ExecutionAction::Pause)?;
        if let ExecutionState::Waiting(wait) = before {
            self.execution.paused_wait = Some(wait);
        }
        self.execution.reason = Some(reason.to_owned());
        self.execution.stopped_before = breakpoint;
        self.execution.paused_at = Some(self.at);
        // A job may be with a worker that has not said so yet.
        let queued = self.execution.open.iter().any(|ordinal| {
            self.execution.step(*ordinal).is_some_and(|step| step.state == StepState::Scheduled)
                && self.task_of(*ordinal).is_some()
        });
        self.execution.quiet_from = Some(if queued { self.at.after(QUIET_AFTER) } else { self.at });
        Ok(())
    }

    pub(super) fn resumed(&mut self) -> Result<(), ApplyError> {
        self.move_to(ExecutionAction::Resume)?;
        let execution = &mut *self.execution;
        execution.reason = None;
        execution.quiet_from = None;
        execution.failures_in_a_row = 0;
        // Only what it has stopped at is passed.
        execution.passing = execution.stopped_before.take();
        match execution.paused_at.take() {
            Some(since) => {
                let paused = self.at.since(since);
                let paused_us = u64::try_from(paused.as_micros()).unwrap_or(u64::MAX);
                execution.held_us = execution.held_us.saturating_add(paused_us);
                self.hold_moments(paused);
                if let Some(wait) = self.execution.paused_wait.take() {
                    self.execution.state = ExecutionState::Waiting(wait);
                }
            }
            None => {
                execution.waits_on_steps = false;
                self.wait_for_workers();
            }
        }
        Ok(())
    }

    /// The execution's clock has stood still; moments have not.
    fn hold_moments(&mut self, paused: std::time::Duration) {
        let moments: Vec<_> = self
            .execution
            .deadlines
            .iter()
            .filter_map(|(due, deadline)| match deadline {
                Deadline::Moment(ordinal) => Some((*due, *ordinal)),
                _ => None,
            })
            .collect();
        for (due, ordinal) in moments {
            self.set_deadline(ordinal, Some((due.before(paused), Deadline::Moment(ordinal))));
        }
    }

    pub(super) fn quiescent(&mut self) -> Result<(), ApplyError> {
        if self.execution.quiet_from.take().is_none() {
            return self.nonsense("nothing was to become quiet");
        }
        Ok(())
    }

    pub(super) fn waits(
        &mut self,
        reason: WaitReason,
        step: Option<u32>,
        control: Option<ControlId>,
    ) -> Result<(), ApplyError> {
        if let Some(control) = control {
            self.remember(control);
        }
        if let Some(step) = step {
            self.step(step)?;
        }
        self.move_to(ExecutionAction::Wait(reason))?;
        self.execution.waits_on_steps = step.is_some();
        self.wait_for_workers();
        Ok(())
    }

    pub(super) fn input_received(
        &mut self,
        input: &Data,
        step: Option<u32>,
        control: Option<ControlId>,
    ) -> Result<(), ApplyError> {
        if let Some(control) = control {
            self.remember(control);
        }
        if let Some(step) = step {
            return if self.execution.waits.contains_key(&step) {
                Ok(())
            } else {
                self.nonsense("the step does not wait")
            };
        }
        self.move_to(ExecutionAction::InputReceived)?;
        self.execution.received = input.clone();
        self.execution.waits_on_steps = false;
        self.wait_for_workers();
        Ok(())
    }

    pub(super) fn controlled(&mut self, control: ControlId, outcome: ControlOutcome) -> Result<(), ApplyError> {
        if self.execution.state.is_terminal() {
            return self.nonsense("the execution is over");
        }
        match outcome {
            ControlOutcome::Denied => {
                let denied = &mut self.execution.denied;
                if denied.len() < DENIALS {
                    denied.push(control);
                }
            }
            _ => {
                self.execution.denied.clear();
                self.remember(control);
            }
        }
        Ok(())
    }

    /// The request was carried out; another under its id is the same one.
    pub(super) fn remember(&mut self, control: ControlId) {
        self.execution.asked.push_back(control);
        while self.execution.asked.len() > REMEMBERED {
            self.execution.asked.pop_front();
        }
    }

    pub(super) fn breakpoint(&mut self, node: u32, on: bool, control: Option<ControlId>) -> Result<(), ApplyError> {
        if let Some(control) = control {
            self.remember(control);
        }
        if self.graph.node(NodeIx(node)).is_none() {
            return Err(ApplyError::UnknownNode { sequence: self.sequence, node });
        }
        if on {
            self.execution.breakpoints.insert(node);
        } else {
            self.execution.breakpoints.remove(&node);
        }
        Ok(())
    }

    pub(super) fn step_waits(&mut self, ordinal: u32, wait: &Wait) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        if let Wait::Permit(ask) = wait {
            return self.waits_for_permit(ordinal, ask);
        }
        let node = self.step(ordinal)?.node;
        let timeout = match (self.graph.node(NodeIx(node)).map(|node| &node.kind), wait) {
            (Some(NodeKind::Wait(node)), _) => node.timeout,
            (Some(NodeKind::Graph(_)), Wait::Child { .. }) => None,
            _ => return self.nonsense("only a wait waits"),
        };
        self.step_moves(ordinal, StepAction::Wait)?;
        let now = self.execution.own_time(self.at);
        let deadline = match wait {
            Wait::Timer { for_us } => {
                Some((now.after(std::time::Duration::from_micros(*for_us)), Deadline::Wait(ordinal)))
            }
            Wait::Until { at } => {
                let held = std::time::Duration::from_micros(self.execution.held_us);
                Some((at.before(held), Deadline::Moment(ordinal)))
            }
            _ => timeout.map(|patience| (now.after(patience), Deadline::Wait(ordinal))),
        };
        self.set_deadline(ordinal, deadline);
        let at = self.at;
        self.execution.steps[ordinal as usize].started_at = Some(at);
        self.execution.waits.insert(ordinal, WaitRun { wait: wait.clone(), since: at, decisions: Vec::new() });
        Ok(())
    }

    /// The step has ended; if it waited, and the execution only because of that, the execution goes on.
    pub(super) fn waits_no_more(&mut self, ordinal: u32) {
        if self.execution.waits.remove(&ordinal).is_some() {
            self.goes_on();
        }
    }

    /// Something that is open does not wait: if the execution did, only because of its steps, it goes on.
    pub(super) fn goes_on(&mut self) {
        let execution = &mut *self.execution;
        if !execution.waits_on_steps {
            return;
        }
        execution.waits_on_steps = false;
        if let ExecutionState::Waiting(_) = execution.state {
            execution.state = ExecutionState::Running;
            execution.changed_at = self.at;
        }
        // Paused meanwhile: resuming finds nothing to wait for.
        execution.paused_wait = None;
    }

    pub(super) fn signalled(
        &mut self,
        control: ControlId,
        name: &str,
        correlation: Option<&str>,
        payload: &Data,
    ) -> Result<(), ApplyError> {
        if self.execution.state.is_terminal() {
            return self.nonsense("the execution is over");
        }
        self.remember(control);
        let signal =
            KeptSignal { name: name.to_owned(), correlation: correlation.map(str::to_owned), payload: payload.clone() };
        self.execution.signals.insert(self.sequence, signal);
        Ok(())
    }

    pub(super) fn signal_delivered(&mut self, signal: u64, step: u32) -> Result<(), ApplyError> {
        if !self.execution.waits.contains_key(&step) {
            return self.nonsense("the step does not wait");
        }
        if self.execution.signals.remove(signal).is_none() {
            return self.nonsense("no such signal is kept");
        }
        Ok(())
    }

    pub(super) fn decided(
        &mut self,
        control: ControlId,
        step: u32,
        by: &str,
        approved: bool,
        comment: Option<&str>,
        form: &Data,
    ) -> Result<(), ApplyError> {
        let at = self.at;
        self.remember(control);
        let Some(run) = self.execution.waits.get_mut(&step) else {
            return self.nonsense("the step does not wait");
        };
        let decision =
            Decision { by: by.to_owned(), approved, comment: comment.map(str::to_owned), form: form.clone(), at };
        run.decisions.push(decision);
        Ok(())
    }

    pub(super) fn inbox_received(
        &mut self,
        control: ControlId,
        message: &Message,
        inherited: Option<u64>,
    ) -> Result<(), ApplyError> {
        if self.execution.state.is_terminal() {
            return self.nonsense("the execution is over");
        }
        match inherited {
            Some(of) if of <= self.execution.inherited_to => return self.nonsense("it has the message already"),
            Some(of) => self.execution.inherited_to = of,
            None => self.remember(control),
        }
        let sequence = self.sequence;
        self.pass_on(sequence, message);
        // What only expressions read does not wait for a step.
        if self.graph.takes_messages() {
            self.execution.inbox.insert((message.order(), sequence), message.clone());
        }
        if matches!(message, Message::Guidance { .. } | Message::Evidence { .. }) {
            self.execution.heard.push_back((sequence, message.clone()));
            while self.execution.heard.len() > HEARD {
                self.execution.heard.pop_front();
            }
        }
        Ok(())
    }

    pub(super) fn inbox_delivered(&mut self, step: u32, messages: &[u64]) -> Result<(), ApplyError> {
        if !self.execution.open.contains(&step) {
            return self.nonsense("the step is not open");
        }
        let mut taken = Vec::with_capacity(messages.len());
        for wanted in messages {
            let key = self.execution.inbox.keys().find(|(_, sequence)| sequence == wanted).copied();
            let Some(message) = key.and_then(|key| self.execution.inbox.remove(&key)) else {
                return self.nonsense("no such message is in the inbox");
            };
            taken.push((*wanted, message));
        }
        self.execution.taken.insert(step, taken);
        Ok(())
    }
}
