//! Stored values to values of expressions, once.
//!
//! The `with` of a map is evaluated for each of its items and may name the whole list each time, so large decoded
//! values are kept for a while. The key is the identity of the stored bytes, which the cache keeps alive; equal
//! content elsewhere is decoded again, which costs time and changes nothing. A hit costs the same budget as a miss.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::OutputView;
use super::value::Value;
use crate::data::Data;
use crate::error::ExecutionError;

/// Values smaller than this are decoded faster than they are looked up.
const MIN_BYTES: usize = 256;
/// Most values that a thread keeps.
const MAX_ENTRIES: usize = 16;
/// Most decoded nodes that a thread keeps, about forty bytes each.
const MAX_NODES: u64 = 2_000_000;
/// Most stored bytes that a thread keeps alive.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A decoded value, and how many nodes it has.
#[derive(Debug, Clone)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    pub(crate) nodes: u64,
}

enum Key {
    One(Bytes),
    All(Vec<Bytes>),
    Settled(Vec<Result<Bytes, ExecutionError>>),
}

struct Entry {
    key: Key,
    bytes: usize,
    decoded: Decoded,
}

thread_local! {
    /// Most recently used first.
    static KEPT: RefCell<VecDeque<Entry>> = const { RefCell::new(VecDeque::new()) };
}

pub(crate) fn one(data: &Data) -> Decoded {
    let bytes = data.as_msgpack();
    if bytes.len() < MIN_BYTES {
        return decode(bytes);
    }
    kept(
        |key| matches!(key, Key::One(kept) if same(kept, data)),
        || (Key::One(bytes.clone()), bytes.len()),
        || decode(bytes),
    )
}

pub(crate) fn output(view: &OutputView<'_>) -> Decoded {
    match view {
        OutputView::One(data) => one(data),
        OutputView::All(items) => kept(
            |key| {
                matches!(key, Key::All(kept) if kept.len() == items.len()
                    && kept.iter().zip(items).all(|(kept, item)| same(kept, item)))
            },
            || {
                let bytes = items.iter().map(|item| item.len()).sum();
                (Key::All(items.iter().map(|item| item.as_msgpack().clone()).collect()), bytes)
            },
            || {
                let mut nodes = 1;
                let values = items.iter().map(|item| counted(decode(item.as_msgpack()), &mut nodes)).collect();
                Decoded { value: Value::list(values), nodes }
            },
        ),
        OutputView::Settled(items) => kept(
            |key| {
                matches!(key, Key::Settled(kept) if kept.len() == items.len()
                && kept.iter().zip(items).all(|pair| match pair {
                    (Ok(kept), Ok(item)) => same(kept, item),
                    (Err(kept), Err(error)) => kept == *error,
                    _ => false,
                }))
            },
            || {
                let bytes = items.iter().map(|item| item.map_or(64, Data::len)).sum();
                let kept = items.iter().map(|item| match item {
                    Ok(item) => Ok(item.as_msgpack().clone()),
                    Err(error) => Err((*error).clone()),
                });
                (Key::Settled(kept.collect()), bytes)
            },
            || {
                let mut nodes = 1;
                let values = items.iter().map(|item| settled(*item, &mut nodes)).collect();
                Decoded { value: Value::list(values), nodes }
            },
        ),
    }
}

/// `{status, value}` or `{status, error}`, as JavaScript's `allSettled` has it.
fn settled(item: Result<&Data, &ExecutionError>, nodes: &mut u64) -> Value {
    *nodes += 3;
    let entries: [(Arc<str>, Value); 2] = match item {
        Ok(item) => {
            [("status".into(), Value::text("completed")), ("value".into(), counted(decode(item.as_msgpack()), nodes))]
        }
        Err(reason) => [("status".into(), Value::text("failed")), ("error".into(), counted(error(reason), nodes))],
    };
    Value::map(BTreeMap::from(entries))
}

/// `{category, message, code}`; a code that is not there is absent.
pub(crate) fn error(error: &ExecutionError) -> Decoded {
    let mut entries: BTreeMap<Arc<str>, Value> = BTreeMap::from([
        ("category".into(), Value::text(error.category.name())),
        ("message".into(), Value::text(&error.message)),
    ]);
    if let Some(code) = &error.code {
        entries.insert("code".into(), Value::text(code.as_str()));
    }
    Decoded { value: Value::map(entries), nodes: 7 }
}

fn counted(decoded: Decoded, nodes: &mut u64) -> Value {
    *nodes += decoded.nodes;
    decoded.value
}

fn same(kept: &Bytes, data: &Data) -> bool {
    let bytes = data.as_msgpack();
    kept.as_ptr() == bytes.as_ptr() && kept.len() == bytes.len()
}

fn kept(is: impl Fn(&Key) -> bool, key: impl FnOnce() -> (Key, usize), make: impl FnOnce() -> Decoded) -> Decoded {
    KEPT.with_borrow_mut(|kept| {
        if let Some(at) = kept.iter().position(|entry| is(&entry.key))
            && let Some(entry) = kept.remove(at)
        {
            let decoded = entry.decoded.clone();
            kept.push_front(entry);
            return decoded;
        }
        let decoded = make();
        let (key, bytes) = key();
        if decoded.nodes <= MAX_NODES && bytes <= MAX_BYTES {
            kept.push_front(Entry { key, bytes, decoded: decoded.clone() });
        }
        while kept.len() > MAX_ENTRIES
            || kept.iter().map(|entry| entry.decoded.nodes).sum::<u64>() > MAX_NODES
            || kept.iter().map(|entry| entry.bytes).sum::<usize>() > MAX_BYTES
        {
            kept.pop_back();
        }
        decoded
    })
}

/// Decodes bytes that [`Data`] has checked; what cannot be there reads as null.
fn decode(bytes: &[u8]) -> Decoded {
    let mut reader = Reader { bytes, at: 0, nodes: 0 };
    let value = reader.value();
    Decoded { value, nodes: reader.nodes }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: u64,
}

impl Reader<'_> {
    fn unsigned(&mut self, width: usize) -> u64 {
        let raw = self.bytes.get(self.at..self.at + width).unwrap_or_default();
        self.at += width;
        raw.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    fn text(&mut self, length: usize) -> Arc<str> {
        let raw = self.bytes.get(self.at..self.at + length).unwrap_or_default();
        self.at += length;
        String::from_utf8_lossy(raw).into()
    }

    fn key(&mut self) -> Arc<str> {
        match self.value() {
            Value::Text(key) => key,
            _ => "".into(),
        }
    }

    fn list(&mut self, length: usize) -> Value {
        Value::list((0..length).map(|_| self.value()).collect())
    }

    fn map(&mut self, length: usize) -> Value {
        Value::map((0..length).map(|_| (self.key(), self.value())).collect())
    }

    fn double(double: f64) -> Value {
        // JSON has no such numbers, and `Data` shows them as null too.
        if double.is_finite() { Value::Double(double) } else { Value::Null }
    }

    fn value(&mut self) -> Value {
        let Some(&marker) = self.bytes.get(self.at) else { return Value::Null };
        self.at += 1;
        self.nodes += 1;
        match marker {
            0x00..=0x7f => Value::Int(i64::from(marker)),
            0xe0..=0xff => Value::Int(i64::from(marker as i8)),
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xcc..=0xcf => Value::whole(self.unsigned(1 << (marker - 0xcc))),
            0xd0 => Value::Int(i64::from(self.unsigned(1) as i8)),
            0xd1 => Value::Int(i64::from(self.unsigned(2) as i16)),
            0xd2 => Value::Int(i64::from(self.unsigned(4) as i32)),
            0xd3 => Value::Int(self.unsigned(8) as i64),
            0xca => Self::double(f64::from(f32::from_bits(self.unsigned(4) as u32))),
            0xcb => Self::double(f64::from_bits(self.unsigned(8))),
            0xa0..=0xbf => Value::Text(self.text(usize::from(marker & 0x1f))),
            0xd9..=0xdb => {
                let length = self.unsigned(1 << (marker - 0xd9)) as usize;
                Value::Text(self.text(length))
            }
            0x90..=0x9f => self.list(usize::from(marker & 0x0f)),
            0x80..=0x8f => self.map(usize::from(marker & 0x0f)),
            0xdc | 0xdd => {
                let length = self.unsigned(if marker == 0xdc { 2 } else { 4 }) as usize;
                self.list(length)
            }
            0xde | 0xdf => {
                let length = self.unsigned(if marker == 0xde { 2 } else { 4 }) as usize;
                self.map(length)
            }
            _ => Value::Null,
        }
    }
}
