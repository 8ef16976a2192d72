//! What stands in the place of a value that was put away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ContentHash, MAX_ARTIFACT_BYTES, VALUE_CONTENT_TYPE, is_content_type};
use crate::data::{Data, DataError};
use crate::id::ArtifactId;

/// The only key of an object that is a reference.
pub const REFERENCE_KEY: &str = "$artifact";

/// Names bytes in the artifact store: `{"$artifact": {"id", "digest", "size", "content_type"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub id: ArtifactId,
    pub digest: ContentHash,
    /// Bytes of the content.
    pub size: u64,
    pub content_type: String,
}

impl Reference {
    /// As a value.
    pub fn to_json(&self) -> Value {
        serde_json::json!({ REFERENCE_KEY: {
            "id": self.id.to_string(),
            "digest": self.digest.to_string(),
            "size": self.size,
            "content_type": self.content_type,
        }})
    }

    /// As a value of the log.
    pub fn to_data(&self) -> Result<Data, DataError> {
        Data::from_json(&self.to_json())
    }

    /// The reference that a value is; `None` for any other value, one that only looks alike included.
    pub fn of(value: &Value) -> Option<Self> {
        let entries = value.as_object().filter(|entries| entries.len() == 1)?;
        let reference = Reference::deserialize(entries.get(REFERENCE_KEY)?).ok()?;
        (reference.size <= MAX_ARTIFACT_BYTES && is_content_type(&reference.content_type)).then_some(reference)
    }

    /// A value was put away there, as opposed to an artifact that somebody stored as one.
    pub fn stands_for_value(&self) -> bool {
        self.content_type == VALUE_CONTENT_TYPE
    }
}

/// How a value is referred to within another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occurrences {
    pub count: u64,
    /// The most bytes of content that any of the references claims. Whoever wrote them may have been wrong.
    pub claimed: u64,
}

/// Whether a value may hold references: false is certain, and found without decoding it.
pub fn mentions_references(data: &Data) -> bool {
    let bytes: &[u8] = data.as_msgpack();
    bytes.len() > REFERENCE_KEY.len()
        && bytes.windows(REFERENCE_KEY.len()).any(|window| window == REFERENCE_KEY.as_bytes())
}

/// Every reference in a value, by the hash of what it names.
pub fn references(value: &Value) -> BTreeMap<ContentHash, Reference> {
    // Recursion is as deep as a value may nest.
    fn collect(value: &Value, found: &mut BTreeMap<ContentHash, Reference>) {
        if let Some(reference) = Reference::of(value) {
            found.insert(reference.digest, reference);
            return;
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(entries) => entries.values().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    collect(value, &mut found);
    found
}

/// The values that were put away and that a value refers to: each may stand there many times.
pub fn values_referred_to(value: &Value) -> BTreeMap<ContentHash, Occurrences> {
    fn collect(value: &Value, found: &mut BTreeMap<ContentHash, Occurrences>) {
        if let Some(reference) = Reference::of(value) {
            if reference.stands_for_value() {
                let of = found.entry(reference.digest).or_default();
                of.count = of.count.saturating_add(1);
                of.claimed = of.claimed.max(reference.size);
            }
            return;
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(entries) => entries.values().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    collect(value, &mut found);
    found
}

/// Puts values in the place of the references that stand for them, as far as `values` has any. Each costs a copy wherever it
/// stands: [`values_referred_to`] says how often that is.
pub fn replace_references(value: &mut Value, values: &BTreeMap<ContentHash, Value>) {
    if let Some(reference) = Reference::of(value) {
        if reference.stands_for_value()
            && let Some(real) = values.get(&reference.digest)
        {
            *value = real.clone();
        }
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace_references(item, values)),
        Value::Object(entries) => entries.values_mut().for_each(|item| replace_references(item, values)),
        _ => {}
    }
}
