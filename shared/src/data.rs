//! JSON-like values as they travel and as they are stored: checked MessagePack bytes.
//!
//! Most values pass through the core untouched, so they stay bytes until an expression or a person asks for one.
//! A `Data` that exists is well formed, holds exactly one value, and respects the limits below, so whoever decodes it
//! later cannot be hurt by it.

use bytes::Bytes;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// Deepest nesting of a value. Decoders recurse; their stacks are finite.
pub const MAX_DEPTH: usize = 64;
/// Most nodes (scalars, keys, lists, maps) in a value: ten bytes of input can cost three hundred in memory.
pub const MAX_NODES: usize = 1_000_000;
/// Largest value in bytes, as stored, unless the configuration says less.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Why bytes are not a value we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    #[error("the value is {found} bytes; the limit is {limit} (payload limit)")]
    TooLarge { found: usize, limit: usize },
    #[error("the value nests deeper than {MAX_DEPTH} levels (depth limit)")]
    TooDeep,
    #[error("the value has more than {MAX_NODES} nodes (node limit)")]
    TooManyNodes,
    #[error("not MessagePack: {reason} at byte {at}")]
    Malformed { reason: &'static str, at: usize },
}

/// One JSON-like value, as MessagePack.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Data(Bytes);

impl Data {
    pub const fn null() -> Self {
        Data(Bytes::from_static(&[0xc0]))
    }

    pub fn is_null(&self) -> bool {
        self.0[..] == [0xc0]
    }

    /// The value, if it is within the limits. Text keys are sorted, so equal values have equal bytes.
    pub fn from_json(value: &Value) -> Result<Self, DataError> {
        fn check(value: &Value, depth: usize, nodes: &mut usize) -> Result<(), DataError> {
            *nodes += 1;
            if *nodes > MAX_NODES {
                return Err(DataError::TooManyNodes);
            }
            match value {
                Value::Array(_) | Value::Object(_) if depth >= MAX_DEPTH => Err(DataError::TooDeep),
                Value::Array(items) => items.iter().try_for_each(|item| check(item, depth + 1, nodes)),
                Value::Object(entries) => {
                    *nodes += entries.len();
                    entries.values().try_for_each(|item| check(item, depth + 1, nodes))
                }
                _ => Ok(()),
            }
        }
        check(value, 0, &mut 0)?;
        let bytes = rmp_serde::to_vec(value).map_err(|_| DataError::Malformed { reason: "not encodable", at: 0 })?;
        if bytes.len() > MAX_BYTES {
            return Err(DataError::TooLarge { found: bytes.len(), limit: MAX_BYTES });
        }
        Ok(Data(bytes.into()))
    }

    /// Any serialisable value that is JSON-like.
    pub fn of(value: &impl Serialize) -> Result<Self, DataError> {
        let json = serde_json::to_value(value).map_err(|_| DataError::Malformed { reason: "not JSON-like", at: 0 })?;
        Self::from_json(&json)
    }

    /// Checks bytes from outside: one value, text keys only, no extension types, within every limit. Does not recurse.
    pub fn from_msgpack(bytes: Bytes) -> Result<Self, DataError> {
        if bytes.len() > MAX_BYTES {
            return Err(DataError::TooLarge { found: bytes.len(), limit: MAX_BYTES });
        }
        scan(&bytes)?;
        Ok(Data(bytes))
    }

    pub fn as_msgpack(&self) -> &Bytes {
        &self.0
    }

    /// Bytes as stored.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value, decoded anew at each call.
    pub fn to_json(&self) -> Value {
        // Checked when this value was made, by a scan that accepts a subset of what the decoder accepts.
        rmp_serde::from_slice(&self.0).unwrap_or(Value::Null)
    }

    /// The elements of a list, each sharing this value's memory; `None` for anything else.
    pub fn elements(&self) -> Option<Vec<Data>> {
        let (count, mut at) = match *self.0.first()? {
            marker @ 0x90..=0x9f => (usize::from(marker & 0x0f), 1),
            0xdc => (usize::from(u16::from_be_bytes(self.0.get(1..3)?.try_into().ok()?)), 3),
            0xdd => (u32::from_be_bytes(self.0.get(1..5)?.try_into().ok()?) as usize, 5),
            _ => return None,
        };
        let mut elements = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            let length = value_length(self.0.get(at..)?).ok()?;
            elements.push(Data(self.0.slice(at..at + length)));
            at += length;
        }
        Some(elements)
    }

    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }

    /// Stands in for a payload that is kept beside its event (see [`crate::event::codec`]).
    pub(crate) const fn hole() -> Self {
        Data(Bytes::new())
    }

    /// Bytes from the log: checked for form, not against today's limits, which may be narrower than those of then.
    pub(crate) fn from_stored(bytes: Bytes) -> Result<Self, DataError> {
        scan(&bytes)?;
        Ok(Data(bytes))
    }
}

/// Whether the bytes are exactly one value.
fn scan(bytes: &[u8]) -> Result<(), DataError> {
    match value_length(bytes)? {
        end if end == bytes.len() => Ok(()),
        end => Err(DataError::Malformed { reason: "something follows the value", at: end }),
    }
}

/// The length of the value the bytes begin with. Walks it once, with an explicit stack of how many values are still to
/// come on each level.
fn value_length(bytes: &[u8]) -> Result<usize, DataError> {
    struct Level {
        left: usize,
        map: bool,
    }
    let mut stack: Vec<Level> = Vec::new();
    let mut at = 0_usize;
    let mut nodes = 0_usize;
    let malformed = |reason, at| Err(DataError::Malformed { reason, at });
    loop {
        let Some(&marker) = bytes.get(at) else { return malformed("it ends too early", at) };
        let start = at;
        at += 1;
        nodes += 1;
        if nodes > MAX_NODES {
            return Err(DataError::TooManyNodes);
        }
        let length = |at: usize, width: usize| -> Option<usize> {
            bytes.get(at..at + width).map(|raw| raw.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
        };
        // What the marker announces: bytes to skip, or a level to enter.
        let (skip, enter, text) = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, None, false),
            0xcc | 0xd0 => (1, None, false),
            0xcd | 0xd1 => (2, None, false),
            0xca | 0xce | 0xd2 => (4, None, false),
            0xcb | 0xcf | 0xd3 => (8, None, false),
            0xa0..=0xbf => (usize::from(marker & 0x1f), None, true),
            0xd9..=0xdb => {
                let width = 1 << (marker - 0xd9);
                let Some(count) = length(at, width) else { return malformed("it ends too early", at) };
                at += width;
                (count, None, true)
            }
            0x90..=0x9f => (0, Some((usize::from(marker & 0x0f), false)), false),
            0x80..=0x8f => (0, Some((usize::from(marker & 0x0f), true)), false),
            0xdc..=0xdf => {
                let width = if marker & 1 == 0 { 2 } else { 4 };
                let Some(count) = length(at, width) else { return malformed("it ends too early", at) };
                at += width;
                (0, Some((count, marker >= 0xde)), false)
            }
            0xc4..=0xc6 => return malformed("raw bytes are not JSON-like, send text", start),
            _ => return malformed("extension types are not JSON-like", start),
        };
        if let Some(level) = stack.last()
            && level.map
            && level.left.is_multiple_of(2)
            && !text
        {
            return malformed("a map key is not text", start);
        }
        if text {
            let Some(raw) = bytes.get(at..at.saturating_add(skip)) else { return malformed("it ends too early", at) };
            if std::str::from_utf8(raw).is_err() {
                return malformed("text is not UTF-8", at);
            }
        } else if skip > bytes.len() - at.min(bytes.len()) {
            return malformed("it ends too early", at);
        }
        at += skip;
        if let Some((count, map)) = enter {
            if stack.len() >= MAX_DEPTH {
                return Err(DataError::TooDeep);
            }
            // One more than its values: the level itself is settled with the last of them.
            stack.push(Level { left: if map { count.saturating_mul(2) } else { count }.saturating_add(1), map });
        }
        // This value is complete when its level has nothing left; so may be the levels around it.
        while let Some(level) = stack.last_mut() {
            level.left -= 1;
            if level.left > 0 {
                break;
            }
            stack.pop();
        }
        if stack.is_empty() {
            return Ok(at);
        }
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.to_json().to_string();
        match text.char_indices().nth(200) {
            Some((cut, _)) => write!(f, "{}… ({} bytes)", &text[..cut], self.len()),
            None => f.write_str(&text),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Data::null()
    }
}

/// A value where people read; its checked bytes where machines store and on the wire.
impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.to_json().serialize(serializer)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DataVisitor;
        impl Visitor<'_> for DataVisitor {
            type Value = Data;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value as MessagePack bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Data, E> {
                if bytes.is_empty() {
                    return Ok(Data::hole());
                }
                Data::from_msgpack(Bytes::copy_from_slice(bytes)).map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            Data::from_json(&Value::deserialize(deserializer)?).map_err(de::Error::custom)
        } else {
            deserializer.deserialize_bytes(DataVisitor)
        }
    }
}

#[cfg(test)]
mod tests;
