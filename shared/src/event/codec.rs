//! How an append is stored.
//!
//! The body is a MessagePack map: `v` the schema version, `e` the envelope and events as one byte string with every
//! user value taken out, and, if there are any, `p` those values in the order they were taken and `s` a salt. The chain
//! hash of an append covers the hash of the append before it, `v`, the bytes of `e`, and for each value a commitment to
//! it that is salted, so that a value can later be erased, or its key destroyed, and the chain still verifies, and nobody
//! can find an erased short value by trying. Verification works on stored bytes, never on re-encoded ones.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Actor, Causation, ChainHash, Envelope, Event, EventData};
use crate::data::Data;
use crate::id::{ExecutionId, TenantId};
use crate::time::Timestamp;
use crate::wire::TraceContext;

/// The shape that this build writes.
pub const SCHEMA_VERSION: u32 = 1;

/// Why stored bytes are not an append.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error(
        "the event is stored in schema version {found}, this build knows versions up to {known}: use a newer build"
    )]
    Newer { found: u32, known: u32 },
    #[error("the stored event is not decodable: {0}")]
    Malformed(String),
    #[error("the chain is broken: the stored hash is not the hash of what is stored")]
    BrokenChain,
}

fn malformed(error: impl std::fmt::Display) -> CodecError {
    CodecError::Malformed(error.to_string())
}

/// An append ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub body: Bytes,
    pub hash: ChainHash,
}

/// A stored append, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    pub envelope: Envelope,
    pub events: Vec<EventData>,
}

impl Recorded {
    /// The events at their places, the first one at `first_sequence`.
    pub fn into_events(self, first_sequence: u64) -> impl Iterator<Item = Event> {
        let at = self.envelope.at;
        (first_sequence..).zip(self.events).map(move |(sequence, data)| Event { sequence, at, data })
    }
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    v: u32,
    #[serde(borrow, with = "serde_bytes")]
    e: &'a [u8],
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    p: Vec<&'a serde_bytes::Bytes>,
    /// Only where there are values for it.
    #[serde(borrow, default, skip_serializing_if = "<[u8]>::is_empty", with = "serde_bytes")]
    s: &'a [u8],
}

#[derive(Serialize)]
struct ContentRef<'a> {
    t: Timestamp,
    #[serde(skip_serializing_if = "is_system")]
    a: &'a Actor,
    #[serde(skip_serializing_if = "is_outcome")]
    c: &'a Causation,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: &'a Option<TraceContext>,
    d: &'a [EventData],
}

#[derive(Deserialize)]
struct Content {
    t: Timestamp,
    #[serde(default)]
    a: Actor,
    #[serde(default)]
    c: Causation,
    #[serde(default)]
    x: Option<TraceContext>,
    d: Vec<EventData>,
}

fn is_system(actor: &&Actor) -> bool {
    matches!(actor, Actor::System)
}

fn is_outcome(causation: &&Causation) -> bool {
    matches!(causation, Causation::Outcome)
}

/// What the first append of a log is chained to. Where an execution continues another's log, its own first append is
/// chained to the last one that both have, and the genesis is that of the log that began by itself.
pub fn genesis(tenant: &TenantId, execution: ExecutionId) -> ChainHash {
    let mut hasher = blake3::Hasher::new_derive_key("stepstream 2026 log genesis");
    hasher.update(execution.as_bytes());
    hasher.update(tenant.as_str().as_bytes());
    *hasher.finalize().as_bytes()
}

/// Encodes the events of one decision behind the append that has the hash `previous`. The salt is fresh chance.
pub fn encode(
    previous: &ChainHash,
    envelope: &Envelope,
    mut events: Vec<EventData>,
    salt: [u8; 16],
) -> Result<Encoded, CodecError> {
    let mut payloads = Vec::new();
    for event in &mut events {
        event.payloads(|data| {
            // Null is left out of the event by its own encoding; there is nothing to hide in it.
            if !data.is_null() {
                payloads.push(std::mem::replace(data, Data::hole()));
            }
        });
    }
    let content =
        ContentRef { t: envelope.at, a: &envelope.actor, c: &envelope.causation, x: &envelope.trace, d: &events };
    let content = rmp_serde::to_vec_named(&content).map_err(malformed)?;
    let p: Vec<&serde_bytes::Bytes> = payloads.iter().map(|data| serde_bytes::Bytes::new(data.as_msgpack())).collect();
    if p.iter().any(|payload| payload.is_empty()) {
        return Err(CodecError::Malformed("an empty byte string is no value".to_owned()));
    }
    let s = if p.is_empty() { &[][..] } else { &salt[..] };
    let parts = Body { v: SCHEMA_VERSION, e: &content, p, s };
    let hash = chain(previous, &parts);
    let body = rmp_serde::to_vec_named(&parts).map_err(malformed)?;
    Ok(Encoded { body: body.into(), hash })
}

/// BLAKE3 over the hash before, the version, the stored content, and a salted commitment to each value.
fn chain(previous: &ChainHash, body: &Body<'_>) -> ChainHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous);
    hasher.update(&body.v.to_le_bytes());
    hasher.update(&(body.e.len() as u64).to_le_bytes());
    hasher.update(body.e);
    for (index, payload) in (0_u32..).zip(&body.p) {
        hasher.update(&commitment(&payload_salt(body.s, index), payload));
    }
    *hasher.finalize().as_bytes()
}

/// Each value has a salt of its own, so that the ones that stay can keep theirs when another value is erased.
fn payload_salt(salt: &[u8], index: u32) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("stepstream 2026 payload salt");
    hasher.update(salt);
    hasher.update(&index.to_le_bytes());
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

fn commitment(salt: &[u8; 16], payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt);
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}

/// Lifts content written in an older schema version to the present one, a step at a time.
///
/// Each entry takes what version `n` wrote and gives what version `n + 1` would have written; the first entry is for
/// version 1. Content is lifted as a generic value, because the types of old versions do not exist any more.
pub struct Upcasts<'a>(pub &'a [fn(rmpv::Value) -> rmpv::Value]);

/// No release has written anything but the present version.
pub const UPCASTS: Upcasts<'static> = Upcasts(&[]);

/// Decodes a stored append.
pub fn decode(body: &[u8]) -> Result<Recorded, CodecError> {
    decode_with(body, &UPCASTS)
}

/// As [`decode`], with a given chain of upcasts: the version it ends at is one more than its length.
pub fn decode_with(body: &[u8], upcasts: &Upcasts<'_>) -> Result<Recorded, CodecError> {
    let parsed = split(body, upcasts)?;
    let known = upcasts.0.len() as u32 + 1;
    let mut content: Content = if parsed.v == known {
        rmp_serde::from_slice(parsed.e).map_err(malformed)?
    } else {
        let mut value = rmpv::decode::read_value(&mut &parsed.e[..]).map_err(malformed)?;
        let from = usize::try_from(parsed.v.saturating_sub(1)).unwrap_or(usize::MAX);
        for upcast in upcasts.0.iter().skip(from) {
            value = upcast(value);
        }
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).map_err(malformed)?;
        rmp_serde::from_slice(&bytes).map_err(malformed)?
    };
    let mut payloads = parsed.p.iter();
    let mut failure = None;
    for event in &mut content.d {
        event.payloads(|data| {
            if data.is_empty() {
                match payloads.next() {
                    // Checked when the append was made; the limits of then may have been wider.
                    Some(bytes) => match Data::from_stored(Bytes::copy_from_slice(bytes)) {
                        Ok(value) => *data = value,
                        Err(error) => failure = Some(malformed(error)),
                    },
                    None => failure = Some(CodecError::Malformed("a value is missing".to_owned())),
                }
            }
        });
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    if payloads.next().is_some() {
        return Err(CodecError::Malformed("a value belongs to no event".to_owned()));
    }
    if content.d.is_empty() {
        return Err(CodecError::Malformed("an append holds at least one event".to_owned()));
    }
    let envelope = Envelope { at: content.t, actor: content.a, causation: content.c, trace: content.x };
    Ok(Recorded { envelope, events: content.d })
}

/// Checks that `hash` is what these stored bytes hash to behind `previous`.
pub fn verify(previous: &ChainHash, body: &[u8], hash: &ChainHash) -> Result<(), CodecError> {
    let parsed = split(body, &UPCASTS)?;
    if !is_one_value(body) {
        return Err(CodecError::Malformed("something follows the append".to_owned()));
    }
    if chain(previous, &parsed) == *hash { Ok(()) } else { Err(CodecError::BrokenChain) }
}

/// Whether the bytes end where the value does. The decoder does not ask, and what follows would not be covered.
fn is_one_value(body: &[u8]) -> bool {
    let mut reader = rmp_serde::Deserializer::new(std::io::Cursor::new(body));
    serde::de::IgnoredAny::deserialize(&mut reader).is_ok() && reader.position() == body.len() as u64
}

fn split<'a>(body: &'a [u8], upcasts: &Upcasts<'_>) -> Result<Body<'a>, CodecError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let known = upcasts.0.len() as u32 + 1;
    match rmp_serde::from_slice::<Body<'_>>(body) {
        Ok(parsed) if parsed.v > known => Err(CodecError::Newer { found: parsed.v, known }),
        Ok(parsed) if parsed.v == 0 => Err(CodecError::Malformed("there is no schema version 0".to_owned())),
        Ok(parsed) if parsed.p.is_empty() != parsed.s.is_empty() => {
            Err(CodecError::Malformed("values have a salt, and a salt has values".to_owned()))
        }
        Ok(parsed) => Ok(parsed),
        // A newer shape need not even split; its version is what the reader needs to know.
        Err(error) => match rmp_serde::from_slice::<Version>(body) {
            Ok(Version { v }) if v > known => Err(CodecError::Newer { found: v, known }),
            _ => Err(malformed(error)),
        },
    }
}

#[cfg(test)]
mod tests;
