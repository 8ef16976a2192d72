//! Inherited inboxes: what comes for an execution comes for those children, too, whose spawn says so.
//!
//! A parent keeps its message and the child gets a copy: each message that is received while the child is there, and
//! those that nobody had taken when it was wanted. What a child is to be given is state of its parent until the child
//! has it; the child remembers up to which of its parent's messages it has them, so that one that is brought twice
//! counts once. Messages are brought in the order in which they came, and the child delivers them by their urgency, as
//! any. What is asked of whoever works on an execution (`compact`, `checkpoint`) is asked of that one alone; and what
//! cancels a parent reaches its children by their cancellation policy only.

use super::decide::{Decision, Rejection};
use super::inbox::{BYTES_PER_STEP, MESSAGES_PER_STEP};
use super::state::Execution;
use super::steering::{INBOX_MESSAGES, Refusal};
use crate::event::{ChildState, EventData, Message};
use crate::id::{ControlId, ExecutionId};

/// Whether children have it, too.
pub(super) const fn is_inherited(message: &Message) -> bool {
    !matches!(message, Message::Control { .. })
}

/// Messages that a child is to be given, in the order in which they came, by the sequence of their event.
#[derive(Debug, Clone, PartialEq)]
pub struct Bequest {
    pub child: ExecutionId,
    pub messages: Vec<(u64, Message)>,
}

impl Execution {
    /// Children that are given what comes, by the steps that want them.
    pub(super) fn heirs(&self) -> impl Iterator<Item = u32> + '_ {
        let inherits = self.children.iter().filter(|(_, child)| child.inherit_inbox && !child.state.is_over());
        inherits.map(|(step, _)| *step)
    }

    /// What children are to be given that are there: of each as much as one request carries.
    pub fn owed_messages(&self) -> Vec<Bequest> {
        if self.relayed.is_empty() || self.state.is_terminal() {
            return Vec::new();
        }
        let owed = self.children.values().filter(|child| child.state == ChildState::Running && !child.owed.is_empty());
        owed.map(|child| {
            let mut bytes = 0;
            let held = child.owed.iter().filter_map(|at| Some((*at, self.relayed.get(at)?.message.clone())));
            let messages = held.take(MESSAGES_PER_STEP).take_while(|(_, message)| {
                let first = bytes == 0;
                bytes += message.bytes();
                first || bytes <= BYTES_PER_STEP
            });
            Bequest { child: child.id, messages: messages.collect() }
        })
        .collect()
    }

    /// Some child is to be given something.
    pub(super) fn owes_messages(&self) -> bool {
        let owed = || self.children.values().any(|each| each.state == ChildState::Running && !each.owed.is_empty());
        !self.relayed.is_empty() && !self.state.is_terminal() && owed()
    }
}

impl Decision<'_> {
    /// A child has these messages.
    pub(super) fn inbox_forwarded(&mut self, child: ExecutionId, messages: &[u64]) -> Result<(), Rejection> {
        self.not_over()?;
        let (step, _) = self.step_of_child(child)?;
        let Some(run) = self.execution.children.get(&step) else { return Err(Refusal::Repeated.into()) };
        let messages: Vec<u64> = messages.iter().copied().filter(|message| run.owed.contains(message)).collect();
        if messages.is_empty() {
            return Err(Refusal::Repeated.into());
        }
        self.emit(EventData::InboxForwarded { step, messages })
    }

    /// Messages that came for the parent. Those that it has already are not taken again.
    pub(super) fn inherit(&mut self, from: ExecutionId, messages: Vec<(u64, Message)>) -> Result<(), Rejection> {
        self.not_over()?;
        if self.execution.parent.as_ref().and_then(|parent| parent.execution) != Some(from) {
            return Err(Refusal::NotItsParent(from).into());
        }
        let known = self.execution.inherited_to;
        let new: Vec<(u64, Message)> = messages
            .into_iter()
            .filter(|(sequence, message)| *sequence > known && is_inherited(message) && self.is_taken(message))
            .collect();
        if new.is_empty() {
            return Err(Refusal::Repeated.into());
        }
        if self.graph.takes_messages() && self.execution.inbox.len() + new.len() > INBOX_MESSAGES {
            return Err(Refusal::Full { what: "the inbox", limit: INBOX_MESSAGES }.into());
        }
        for (sequence, message) in new {
            let parts = [from.as_bytes().as_slice(), self.execution.id.as_bytes(), &sequence.to_be_bytes()];
            let control = ControlId::derived("stepstream 2026 inherited message", &parts);
            self.emit(EventData::InboxReceived { control, message, inherited: Some(sequence) })?;
        }
        Ok(())
    }

    /// Somebody makes something of such a message: a step, an expression, or a child.
    pub(super) fn is_taken(&self, message: &Message) -> bool {
        self.graph.takes_messages()
            || matches!(message, Message::Guidance { .. } | Message::Evidence { .. })
            || (is_inherited(message) && self.execution.heirs().next().is_some())
    }
}
