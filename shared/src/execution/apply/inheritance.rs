//! How an execution is changed by the messages that it passes on to its children.

use super::{ApplyError, Fold};
use crate::event::Message;
use crate::execution::inheritance::is_inherited;
use crate::execution::state::{Execution, Relayed};

impl Fold<'_> {
    /// A child that inherits the inbox is to be given what nobody has taken yet.
    pub(super) fn bequeath(&mut self, child: u32) {
        let execution = &*self.execution;
        // Where no step takes messages, all of them are only heard.
        let held: Vec<(u64, Message)> = if self.graph.takes_messages() {
            execution.inbox.iter().map(|((_, sequence), message)| (*sequence, message.clone())).collect()
        } else {
            execution.heard.iter().cloned().collect()
        };
        for (sequence, message) in held.iter().filter(|(_, message)| is_inherited(message)) {
            self.execution.relay(child, *sequence, message);
        }
    }

    /// A message has come: it comes for the children that inherit the inbox, too.
    pub(super) fn pass_on(&mut self, sequence: u64, message: &Message) {
        if !is_inherited(message) || !self.graph.hands_messages_on() {
            return;
        }
        let heirs: Vec<u32> = self.execution.heirs().collect();
        heirs.into_iter().for_each(|child| self.execution.relay(child, sequence, message));
    }

    pub(super) fn inbox_forwarded(&mut self, child: u32, messages: &[u64]) -> Result<(), ApplyError> {
        for message in messages {
            let owed = self.execution.children.get_mut(&child).is_some_and(|child| child.owed.remove(message));
            if !owed {
                return self.nonsense("the child was not to be given such a message");
            }
            self.execution.relayed_to_one(*message);
        }
        Ok(())
    }
}

impl Execution {
    fn relay(&mut self, child: u32, sequence: u64, message: &Message) {
        let Some(child) = self.children.get_mut(&child) else { return };
        if child.owed.insert(sequence) {
            let relayed = self.relayed.entry(sequence);
            relayed.or_insert_with(|| Relayed { message: message.clone(), to: 0 }).to += 1;
        }
    }

    /// One child less is to be given it.
    pub(super) fn relayed_to_one(&mut self, sequence: u64) {
        let Some(relayed) = self.relayed.get_mut(&sequence) else { return };
        relayed.to = relayed.to.saturating_sub(1);
        if relayed.to == 0 {
            self.relayed.remove(&sequence);
        }
    }

    /// The execution is over: it passes nothing on any more.
    pub(super) fn forget_relayed(&mut self) {
        if self.relayed.is_empty() {
            return;
        }
        self.relayed.clear();
        self.children.values_mut().for_each(|child| child.owed.clear());
    }
}
