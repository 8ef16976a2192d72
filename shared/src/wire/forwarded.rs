//! What coordinators say to each other: a request that reached one of them, on its way to the owner of its partition,
//! and the answer.

use serde::{Deserialize, Serialize};

use super::{PROTOCOL, TraceContext, WireError, decode, encode, holds_values};
use crate::background::Background;
use crate::data::Data;
use crate::event::{Actor, ChildEnding, Message, ParentLink, Spent, Violation};
use crate::execution::{AfterEnd, Steer};
use crate::graph::{GraphDigest, LimitOverrides, OnLimit};
use crate::id::ExecutionId;
use crate::time::Timestamp;

/// A request on its way to another coordinator. The tenant stands in the subject, where the bus enforces it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forwarded {
    pub protocol: u8,
    pub execution: ExecutionId,
    pub actor: Actor,
    /// The idempotency key, if the caller gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    pub what: ForwardedRequest,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedRequest {
    Start {
        graph: GraphDigest,
        inputs: Data,
        #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
        request_hash: Option<Vec<u8>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Data>,
        /// Nodes before which it is to be paused.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        breakpoints: Vec<String>,
        /// The step that wants it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<ParentLink>,
        /// It is to be there and not to begin.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        planning: bool,
        /// In the place of what the graph says.
        #[serde(default, skip_serializing_if = "LimitOverrides::is_none")]
        limits: LimitOverrides,
        /// It runs in the background, so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        background: Option<Box<Background>>,
    },
    /// Something that an execution owes after its end has been done, or tried.
    AfterEnd(AfterEnd),
    /// To a parent: the child is there.
    ChildStarted { child: ExecutionId },
    /// The permit that an attempt waits for is there.
    PermitGranted {
        step: u32,
        attempt: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
    },
    /// To a parent: the child has ended.
    ChildEnded {
        child: ExecutionId,
        ending: ChildEnding,
        #[serde(default)]
        used: Spent,
    },
    /// To a parent: the child has copies of these of its messages, by the sequence of their events.
    InboxForwarded { child: ExecutionId, messages: Vec<u64> },
    /// To a child: messages that came for its parent.
    Inherit { from: ExecutionId, messages: Vec<(u64, Message)> },
    /// To a parent: the child has ended, and what it gave is too large to be said. It is in the store.
    LookAfter { child: ExecutionId },
    /// The tenant's budget is used up, and the permit of an attempt with it.
    PermitDenied { step: u32, attempt: u32, limit: Violation, current: u64, max: u64, on_limit: OnLimit },
    /// What the execution has used has brought the tenant's budget of a day near its end.
    TenantWarned { limit: Violation, current: u64, max: u64, day: i64 },
    /// Something is asked of an execution that exists.
    Steer(Steer),
}

#[derive(Serialize, Deserialize)]
struct Answered {
    protocol: u8,
    answer: Answer,
}

/// The answer on its way back: done and durable, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    NotFound,
    GraphNotFound(String),
    BadGraph(String),
    InvalidInputs(Vec<String>),
    KeyConflict,
    Conflict(String),
    TooLarge(String),
    InvalidForm(Vec<String>),
    Forbidden(String),
    NotThere(String),
    Full(String),
    TooMany(String),
    Backlogged(String),
    Unavailable(String),
    Exhausted(String),
    Corrupt(String),
    Internal(String),
}

impl Forwarded {
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        encode(self)
    }

    /// # Errors
    /// When the bytes are no request, or one of a newer coordinator.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let forwarded = decode(bytes, |forwarded: &Forwarded| forwarded.protocol)?;
        match &forwarded.what {
            ForwardedRequest::Start { inputs, metadata, .. } => holds_values([inputs].into_iter().chain(metadata))?,
            ForwardedRequest::Steer(steer) => holds_values(steer.what.values())?,
            ForwardedRequest::ChildEnded { ending, .. } => holds_values(ending.value())?,
            ForwardedRequest::Inherit { messages, .. } => {
                holds_values(messages.iter().filter_map(|(_, message)| message.payload()))?;
            }
            ForwardedRequest::ChildStarted { .. }
            | ForwardedRequest::LookAfter { .. }
            | ForwardedRequest::PermitGranted { .. }
            | ForwardedRequest::InboxForwarded { .. }
            | ForwardedRequest::AfterEnd(_)
            | ForwardedRequest::PermitDenied { .. }
            | ForwardedRequest::TenantWarned { .. } => {}
        }
        Ok(forwarded)
    }
}

impl Answer {
    pub fn encode(self) -> Result<Vec<u8>, WireError> {
        encode(&Answered { protocol: PROTOCOL, answer: self })
    }

    /// # Errors
    /// When the bytes are no answer, or one of a newer coordinator.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode(bytes, |answered: &Answered| answered.protocol).map(|answered| answered.answer)
    }
}
