//! What a step takes from the inbox, and what expressions see of it.

use serde_json::json;

use super::decide::{Decision, Rejection};
use super::state::Execution;
use crate::data::Data;
use crate::event::EventData;
use crate::event::message::Message;

/// Messages that one step takes: its job carries them.
pub(super) const MESSAGES_PER_STEP: usize = 100;

/// Their values and texts together, in bytes: a job has to fit into a message of the bus.
pub(super) const BYTES_PER_STEP: usize = 256 * 1024;

impl Decision<'_> {
    /// A step that asks for its inbox has what is in it, the most urgent first; nobody after it has the same.
    pub(super) fn deliver_inbox(&mut self, step: u32) -> Result<(), Rejection> {
        let mut bytes = 0;
        let fits = |message: &Message| {
            bytes += message.bytes();
            bytes <= BYTES_PER_STEP
        };
        let mut fits = fits;
        // The most urgent one is given however large it is.
        let given = self.execution.inbox.iter().enumerate().take(MESSAGES_PER_STEP);
        let messages: Vec<u64> = given
            .take_while(|(at, (_, message))| fits(message) || *at == 0)
            .map(|(_, ((_, sequence), _))| *sequence)
            .collect();
        if messages.is_empty() {
            return Ok(());
        }
        self.emit(EventData::InboxDelivered { step, messages })
    }
}

impl Execution {
    /// What an open step has taken from the inbox, with the sequences of their events.
    pub fn messages_of(&self, step: u32) -> &[(u64, Message)] {
        self.taken.get(&step).map_or(&[], Vec::as_slice)
    }

    /// The same as a value for its worker: a list, or null when there is nothing.
    pub(super) fn inbox_of(&self, step: u32) -> Data {
        let messages = self.messages_of(step);
        if messages.is_empty() {
            return Data::null();
        }
        let of = |(sequence, message): &(u64, Message)| {
            let mut message = message.to_json();
            if let Some(fields) = message.as_object_mut() {
                fields.insert("sequence".to_owned(), json!(sequence));
            }
            message
        };
        Data::from_json(&messages.iter().map(of).collect()).unwrap_or_default()
    }

    /// The `inbox` of expressions: the latest guidance and evidence, in the order in which they came.
    pub(super) fn heard(&self) -> Data {
        let of = |kind: &str| -> Vec<serde_json::Value> {
            self.heard
                .iter()
                .filter(|(_, message)| message.kind() == kind)
                .map(|(_, message)| message.to_json())
                .collect()
        };
        let (guidance, evidence) = (of("guidance"), of("evidence"));
        Data::from_json(&json!({"guidance": guidance, "evidence": evidence})).unwrap_or_default()
    }
}
