//! Facts. An event is never changed once it is in the log; everything else is folded from events.

pub mod artifact;
pub mod child;
pub mod codec;
pub mod control;
pub mod decision;
pub mod doubt;
pub mod kinds;
pub mod limit;
pub mod message;
pub mod note;
pub mod parts;
pub mod permit;
pub mod view;
pub mod wait;

use serde::{Deserialize, Serialize};

pub use child::{CancellationPolicy, ChildEnding, ChildState, Share, Spent};
pub use codec::{CodecError, Encoded, Recorded};
pub use control::{ControlAction, ControlOutcome};
pub use decision::{DecisionAlternative, DecisionInputs, DecisionRecord, DecisionType, ModelContext};
pub use doubt::{DeadLetter, DeadReason, Doubt, DoubtCause, Resolution};
pub use kinds::EventData;
pub use limit::Violation;
pub use message::Message;
pub use note::Note;
pub use parts::{
    Ending, GoalStatus, Input, NewStep, Origin, ParentLink, ParentType, SkipReason, StepSourceType, Undone,
};
pub use permit::{Need, Pace, PermitAsk, Place};
pub use wait::{ApprovalPolicy, Wait};

use crate::id::{EventId, ID_BYTES};
use crate::time::Timestamp;
use crate::wire::TraceContext;

/// An event at its place in the log of an execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// From 1, without gaps.
    pub sequence: u64,
    /// When the append that carries it was accepted.
    pub at: Timestamp,
    pub data: EventData,
}

/// What all events of one append have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub at: Timestamp,
    pub actor: Actor,
    pub causation: Causation,
    pub trace: Option<TraceContext>,
}

/// Who made it happen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Actor {
    /// The coordinator: deadlines, recovery.
    #[default]
    #[serde(rename = "s")]
    System,
    #[serde(rename = "u")]
    User(String),
    #[serde(rename = "w")]
    Worker(String),
}

/// What made it happen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Causation {
    /// An outcome: which one stands in the first event of the append.
    #[default]
    #[serde(rename = "o")]
    Outcome,
    /// A request of a user, under the name of the command and, if given, its idempotency key.
    #[serde(rename = "c")]
    Command { name: String, key: Option<String> },
    /// A deadline of the state was reached.
    #[serde(rename = "d")]
    Deadline,
}

/// The hash that an append is chained by; BLAKE3.
pub type ChainHash = [u8; 32];

/// An event's id: the first sixteen bytes of its append's chain hash, then its place in the append.
pub fn event_id(append: &ChainHash, index: u32) -> EventId {
    let mut bytes = [0; ID_BYTES];
    bytes[..16].copy_from_slice(&append[..16]);
    bytes[16..].copy_from_slice(&index.to_be_bytes());
    EventId::from_bytes(bytes)
}
