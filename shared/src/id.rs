//! Typed identifiers, parsed once at the edge.
//!
//! An id is a prefix that says what it names and 27 base-62 characters that encode 20 bytes (the KSUID layout:
//! four bytes of seconds since 2014, then sixteen random bytes, where the id was minted by the clock; a hash where it
//! was derived). The order of ids means nothing: events are ordered by their sequence.
//!
//! Tenants are the exception: operators choose their names, so a tenant id is `tenant_` and up to 64 characters that
//! are safe in a NATS subject, a file name and a header.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Bytes in an id.
pub const ID_BYTES: usize = 20;
/// Base-62 characters that encode [`ID_BYTES`].
const ID_CHARS: usize = 27;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    #[error("expected an id that starts with `{expected}`, found `{found}`")]
    Prefix { expected: &'static str, found: String },
    #[error("expected {expected} base-62 characters after `{prefix}`, found {found}")]
    Length { prefix: &'static str, expected: usize, found: usize },
    #[error("`{found}` may not stand in an id")]
    Character { found: char },
    #[error("the characters encode more than {ID_BYTES} bytes")]
    Overflow,
    #[error("a tenant id has 1 to {MAX_TENANT_NAME} characters after `tenant_`, found {found}")]
    TenantLength { found: usize },
}

/// A kind of id: only its prefix.
pub trait Kind: 'static {
    const PREFIX: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $alias:ident, $prefix:literal;)*) => {$(
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $kind;
        impl Kind for $kind { const PREFIX: &'static str = $prefix; }
        $(#[$doc])*
        pub type $alias = Id<$kind>;
    )*};
}

kinds! {
    /// One run of a graph for a tenant; owns one event log.
    ExecutionKind, ExecutionId, "exec_";
    /// One run of one node inside an execution.
    StepKind, StepId, "step_";
    /// A published, immutable graph: the digest of its document.
    GraphKind, GraphId, "graph_";
    /// Bytes by content digest, outside the log.
    ArtifactKind, ArtifactId, "artifact_";
    /// One event: the append that stored it and its place in it.
    EventKind, EventId, "evt_";
    /// The person behind a request.
    UserKind, UserId, "user_";
    /// A recorded decision.
    DecisionKind, DecisionId, "dec_";
    /// A recorded control request.
    ControlKind, ControlId, "ctrl_";
    /// A conversation.
    ThreadKind, ThreadId, "thread_";
    /// A message in a conversation or an inbox.
    MessageKind, MessageId, "msg_";
    /// A background trigger.
    TriggerKind, TriggerId, "trigger_";
}

/// An id of kind `K`. A value that exists is well formed.
pub struct Id<K>([u8; ID_BYTES], PhantomData<fn() -> K>);

impl<K> Id<K> {
    /// Wraps twenty bytes: random ones from the shell, or a digest.
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Id(bytes, PhantomData)
    }

    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    /// The KSUID layout: whole seconds since 2014-05-13T16:53:20Z, then sixteen bytes of chance from the caller.
    pub fn from_parts(unix_seconds: i64, random: [u8; 16]) -> Self {
        const KSUID_EPOCH: i64 = 1_400_000_000;
        let seconds = u32::try_from(unix_seconds.saturating_sub(KSUID_EPOCH).max(0)).unwrap_or(u32::MAX);
        let mut bytes = [0; ID_BYTES];
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        bytes[4..].copy_from_slice(&random);
        Id(bytes, PhantomData)
    }

    /// An id that is a pure function of the parts, for things that must be found again by what they are.
    pub fn derived(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(domain);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; ID_BYTES];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..ID_BYTES]);
        Id(bytes, PhantomData)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::PREFIX)?;
        let encoded = encode(&self.0);
        f.write_str(std::str::from_utf8(&encoded).map_err(|_| fmt::Error)?)
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K: Kind> FromStr for Id<K> {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let Some(rest) = text.strip_prefix(K::PREFIX) else {
            return Err(ParseIdError::Prefix { expected: K::PREFIX, found: text.chars().take(40).collect() });
        };
        decode(rest, K::PREFIX).map(Id::from_bytes)
    }
}

/// Big-endian base 62, left-padded with `0`, as KSUID writes it.
fn encode(bytes: &[u8; ID_BYTES]) -> [u8; ID_CHARS] {
    let mut words = [0_u32; ID_BYTES / 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    let mut out = [b'0'; ID_CHARS];
    for slot in out.iter_mut().rev() {
        let mut remainder = 0_u64;
        for word in &mut words {
            let value = (remainder << 32) | u64::from(*word);
            *word = (value / 62) as u32;
            remainder = value % 62;
        }
        *slot = ALPHABET[remainder as usize];
    }
    out
}

fn decode(text: &str, prefix: &'static str) -> Result<[u8; ID_BYTES], ParseIdError> {
    let count = text.chars().take(ID_CHARS + 100).count();
    if count != ID_CHARS {
        return Err(ParseIdError::Length { prefix, expected: ID_CHARS, found: count });
    }
    let mut words = [0_u32; ID_BYTES / 4];
    for character in text.chars() {
        let digit = match character {
            '0'..='9' => character as u64 - '0' as u64,
            'A'..='Z' => character as u64 - 'A' as u64 + 10,
            'a'..='z' => character as u64 - 'a' as u64 + 36,
            other => return Err(ParseIdError::Character { found: other }),
        };
        let mut carry = digit;
        for word in words.iter_mut().rev() {
            let value = u64::from(*word) * 62 + carry;
            *word = value as u32;
            carry = value >> 32;
        }
        if carry != 0 {
            return Err(ParseIdError::Overflow);
        }
    }
    let mut bytes = [0; ID_BYTES];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    Ok(bytes)
}

/// Text where people read (JSON, wire headers), twenty bytes where machines store.
impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor<K>(PhantomData<K>);
        impl<K: Kind> Visitor<'_> for IdVisitor<K> {
            type Value = Id<K>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an id that starts with `{}`", K::PREFIX)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id<K>, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Id<K>, E> {
                bytes.try_into().map(Id::from_bytes).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(IdVisitor(PhantomData))
        } else {
            deserializer.deserialize_bytes(IdVisitor(PhantomData))
        }
    }
}

/// Longest tenant name, in characters after the prefix: it travels in every NATS subject.
pub const MAX_TENANT_NAME: usize = 64;

/// The isolation boundary. It comes from the connection, never from a payload.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(std::sync::Arc<str>);

impl TenantId {
    pub const PREFIX: &'static str = "tenant_";

    /// The tenant of a single-tenant installation: `tenant_default`.
    pub fn default_tenant() -> Self {
        TenantId("tenant_default".into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let Some(name) = text.strip_prefix(Self::PREFIX) else {
            return Err(ParseIdError::Prefix { expected: Self::PREFIX, found: text.chars().take(40).collect() });
        };
        if name.is_empty() || name.len() > MAX_TENANT_NAME {
            return Err(ParseIdError::TenantLength { found: name.len() });
        }
        if let Some(found) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
            return Err(ParseIdError::Character { found });
        }
        Ok(TenantId(text.into()))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A slice of executions that one coordinator drives at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// The partition of an execution in a store of `count` partitions. The count is fixed when the store is made.
    pub fn of(execution: ExecutionId, count: u16) -> Self {
        PartitionId::of_bytes(execution.as_bytes(), count)
    }

    /// The partition of a schedule: whoever owns it carries the schedule out.
    pub fn of_schedule(schedule: TriggerId, count: u16) -> Self {
        PartitionId::of_bytes(schedule.as_bytes(), count)
    }

    fn of_bytes(bytes: &[u8; ID_BYTES], count: u16) -> Self {
        let tail = bytes.last_chunk::<8>().copied().unwrap_or_default();
        PartitionId((u64::from_be_bytes(tail) % u64::from(count.max(1))) as u16)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
