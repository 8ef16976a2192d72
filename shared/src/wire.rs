//! What coordinators and workers say to each other: MessagePack maps with text keys, so that a worker can be written in
//! any language. Ids are text, values are MessagePack inside a byte string, unknown fields are ignored.

mod control;
mod forwarded;
mod judgement;
mod sealed;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::error::ExecutionError;
use crate::event::Note;
use crate::graph::Priority;
use crate::id::{ExecutionId, PartitionId, StepId, TenantId};
use crate::time::Timestamp;

pub use control::Control;
pub use forwarded::{Answer, Forwarded, ForwardedRequest};
pub use judgement::Judgement;
pub use sealed::{SealId, SealKey, Sealed};

/// The version of this protocol. A message of a newer one is refused; the worker or coordinator is too old for it.
pub const PROTOCOL: u8 = 1;

/// Room for everything in a message that is not its payload, in bytes.
pub const ENVELOPE_BYTES: usize = 16 * 1024;

/// Ids as text on the wire, whatever the encoding says.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Which try at which step, as the log decided it. The MAC proves that a coordinator of this store minted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Grows with every restore of the store: a token of a lost branch is refused.
    pub incarnation: u64,
    #[serde(with = "text")]
    pub execution: ExecutionId,
    #[serde(with = "text")]
    pub step: StepId,
    /// The step's place in its execution.
    pub ordinal: u32,
    /// From 1.
    pub attempt: u32,
    pub mac: Mac,
}

/// A keyed BLAKE3 tag of sixteen bytes over everything else in the token and the tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 16]);

impl Mac {
    /// Compares in constant time.
    fn is(&self, other: &Mac) -> bool {
        // Folding every byte keeps the time independent of where they differ.
        self.0.iter().zip(other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let mut bytes = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return Err(serde::de::Error::custom("a MAC is 32 hexadecimal digits"));
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).map_err(serde::de::Error::custom)?;
        }
        Ok(Mac(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(…)")
    }
}

/// The key of the MACs: one per store, known to its coordinators only.
#[derive(Clone)]
pub struct MacKey(pub [u8; 32]);

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

impl MacKey {
    fn mac(
        &self,
        tenant: &TenantId,
        incarnation: u64,
        execution: ExecutionId,
        step: StepId,
        ordinal: u32,
        attempt: u32,
    ) -> Mac {
        let (incarnation, ordinal, attempt) = (incarnation.to_le_bytes(), ordinal.to_le_bytes(), attempt.to_le_bytes());
        let tenant = tenant.as_str().as_bytes();
        let parts: [&[u8]; 6] = [&incarnation, execution.as_bytes(), step.as_bytes(), &ordinal, &attempt, tenant];
        self.tag(b"stepstream token 1", &parts)
    }

    /// The tag of these parts, which must not run together.
    fn tag(&self, domain: &[u8], parts: &[&[u8]]) -> Mac {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(domain);
        parts.iter().for_each(|part| {
            hasher.update(part);
        });
        let mut tag = [0; 16];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Mac(tag)
    }

    /// Mints the token of an attempt.
    pub fn token(
        &self,
        tenant: &TenantId,
        incarnation: u64,
        execution: ExecutionId,
        step: StepId,
        ordinal: u32,
        attempt: u32,
    ) -> Token {
        let mac = self.mac(tenant, incarnation, execution, step, ordinal, attempt);
        Token { incarnation, execution, step, ordinal, attempt, mac }
    }

    /// Whether a coordinator of this store minted the token for this tenant. Compares in constant time.
    pub fn verify(&self, tenant: &TenantId, token: &Token) -> bool {
        let expected = self.mac(tenant, token.incarnation, token.execution, token.step, token.ordinal, token.attempt);
        expected.is(&token.mac)
    }
}

/// The right to run one delivery of a job: made fresh by the worker for each delivery, never its name, because a
/// restarted worker keeps its name (the model of the protocol shows a step run twice otherwise).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ClaimId(pub u128);

impl Serialize for ClaimId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0.to_be_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for ClaimId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
            u128::from_str_radix(&text, 16).map(ClaimId).map_err(D::Error::custom)
        } else {
            let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
            let bytes: [u8; 16] =
                bytes.as_slice().try_into().map_err(|_| D::Error::invalid_length(bytes.len(), &"16 bytes"))?;
            Ok(ClaimId(u128::from_be_bytes(bytes)))
        }
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// W3C trace context, as text (<https://www.w3.org/TR/trace-context/>).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    pub traceparent: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
}

/// Asks for one attempt at one step. Self-contained: a worker needs no database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub protocol: u8,
    pub token: Token,
    /// Counts publications of the same attempt; part of the deduplication id, so that a copy of a lost message is
    /// not swallowed with it.
    pub dispatch: u64,
    pub tenant: TenantId,
    /// Where the outcome goes.
    pub partition: PartitionId,
    /// The log position this job was decided at: the sequence of its `step_scheduled`.
    pub position: u64,
    pub graph: String,
    pub node: String,
    pub callable: String,
    pub queue: String,
    pub priority: Priority,
    pub input: Data,
    /// Messages that came for the execution, the most urgent first: a list of objects, or null.
    #[serde(default, skip_serializing_if = "Data::is_null")]
    pub inbox: Data,
    /// Unix microseconds.
    pub scheduled_at: i64,
    /// The attempt is cancelled after running this long, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_to_close_ms: Option<u64>,
    /// The coordinator gives the attempt up after this much silence, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u64>,
    /// Expressions look into the output: it comes with the outcome, whatever its size, and is not put away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inline: bool,
    /// Mebibytes that the programs which the callable starts may have in memory together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_mb: Option<u32>,
    /// The worker asks for the attempt before it runs it, and for an answer to what it reports in the end. Who holds it is
    /// given up after as much silence as `heartbeat_ms` says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub claim: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

impl Job {
    /// The same for every attempt at the step: what a callable hands to whatever it changes.
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}", self.token.execution, self.token.step)
    }

    /// JetStream's deduplication id: incarnation/execution/step/attempt/dispatch.
    pub fn message_id(&self) -> String {
        let Token { incarnation, execution, step, attempt, .. } = &self.token;
        format!("{incarnation}/{execution}/{step}/{attempt}/{}", self.dispatch)
    }

    pub fn scheduled_at(&self) -> Timestamp {
        Timestamp::from_micros(self.scheduled_at)
    }
}

/// What a worker reports for an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub protocol: u8,
    pub token: Token,
    #[serde(with = "claim_text")]
    pub claim: ClaimId,
    /// The worker's name, for people.
    pub worker: String,
    /// Counts the worker's reports for this delivery; makes the deduplication id unique.
    pub report: u32,
    pub result: OutcomeResult,
    /// What goes on record with the result; nothing with a sign of life.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

mod claim_text {
    use super::ClaimId;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(claim: &ClaimId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(claim)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClaimId, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(ClaimId).map_err(de::Error::custom)
    }
}

impl Outcome {
    pub fn message_id(&self) -> String {
        format!("{}/{}/{}/{}", self.token.incarnation, self.claim, self.token.attempt, self.report)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeResult {
    /// The attempt has been running for a while; sent once, for attempts that take longer than a second.
    Started,
    /// A sign of life, with whatever the callable wants to show.
    Progress {
        note: Option<Data>,
    },
    Completed {
        output: Data,
        duration_us: u64,
    },
    Failed {
        error: ExecutionError,
        duration_us: u64,
    },
    /// The worker did not run the attempt and will not: it is shutting down. Another may, at once.
    Released,
    /// The worker asks for the attempt, and runs it only once that is granted.
    Claim,
    /// The attempt failed before any of it had begun: another one does nothing twice.
    NotStarted {
        error: ExecutionError,
        duration_us: u64,
    },
    /// The worker was stopped while it ran the attempt, and does not know how far it was.
    Stopped,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the message is not decodable: {0}")]
    Malformed(String),
    #[error("the message speaks protocol {found}, this build speaks {PROTOCOL}: upgrade this side")]
    Newer { found: u64 },
    #[error("the message is {found} bytes; the limit is {limit}")]
    TooLarge { found: usize, limit: usize },
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    rmp_serde::to_vec_named(message).map_err(|error| WireError::Malformed(error.to_string()))
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8], protocol: impl Fn(&T) -> u8) -> Result<T, WireError> {
    decode_up_to(crate::data::MAX_BYTES + ENVELOPE_BYTES, bytes, protocol)
}

fn decode_up_to<T: for<'de> Deserialize<'de>>(
    limit: usize,
    bytes: &[u8],
    protocol: impl Fn(&T) -> u8,
) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::TooLarge { found: bytes.len(), limit });
    }
    match rmp_serde::from_slice::<T>(bytes) {
        Ok(message) if protocol(&message) > PROTOCOL => Err(WireError::Newer { found: u64::from(protocol(&message)) }),
        Ok(message) => Ok(message),
        Err(error) => {
            #[derive(Deserialize)]
            struct Version {
                protocol: u64,
            }
            // A newer message may have another shape; its version is what its reader needs to know.
            match rmp_serde::from_slice::<Version>(bytes) {
                Ok(Version { protocol }) if protocol > u64::from(PROTOCOL) => Err(WireError::Newer { found: protocol }),
                _ => Err(WireError::Malformed(error.to_string())),
            }
        }
    }
}

/// An empty byte string stands for a value kept elsewhere, in the log and nowhere else.
fn holds_values<'a>(values: impl IntoIterator<Item = &'a Data>) -> Result<(), WireError> {
    match values.into_iter().any(Data::is_empty) {
        true => Err(WireError::Malformed("an empty byte string is no value".to_owned())),
        false => Ok(()),
    }
}

impl Job {
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let job = decode(bytes, |job: &Job| job.protocol)?;
        holds_values([&job.input, &job.inbox])?;
        Ok(job)
    }
}

impl Outcome {
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut outcome = decode(bytes, |outcome: &Outcome| outcome.protocol)?;
        holds_values(outcome.notes.iter().flat_map(Note::values))?;
        outcome.result = match outcome.result {
            OutcomeResult::Failed { error, duration_us } => {
                holds_values(&error.details)?;
                OutcomeResult::Failed { error: error.cut(), duration_us }
            }
            OutcomeResult::NotStarted { error, duration_us } => {
                holds_values(&error.details)?;
                OutcomeResult::NotStarted { error: error.cut(), duration_us }
            }
            result => {
                match &result {
                    OutcomeResult::Completed { output, .. } => holds_values([output])?,
                    OutcomeResult::Progress { note } => holds_values(note)?,
                    OutcomeResult::Failed { .. }
                    | OutcomeResult::NotStarted { .. }
                    | OutcomeResult::Started
                    | OutcomeResult::Released
                    | OutcomeResult::Claim
                    | OutcomeResult::Stopped => {}
                }
                result
            }
        };
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests;
