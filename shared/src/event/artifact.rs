//! What the log keeps of an artifact beside its id, its hash and its size.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::EventData;
use super::parts::is_default;
use crate::artifact::{ArtifactType, Compression, ContentHash, mentions_references, references};
use crate::data::Data;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    #[serde(rename = "n")]
    pub name: String,
    #[serde(rename = "t", default, skip_serializing_if = "is_default")]
    pub artifact_type: ArtifactType,
    #[serde(rename = "c")]
    pub content_type: String,
    /// Bytes in the store, as far as whoever recorded it knew.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    #[serde(rename = "k", default, skip_serializing_if = "is_default")]
    pub compression: Compression,
    #[serde(rename = "m", default, skip_serializing_if = "Data::is_null")]
    pub metadata: Data,
}

/// Every content that events refer to: by their records, and by references anywhere in their values. What a collector must
/// leave alone.
pub fn contents(events: &mut [EventData]) -> BTreeSet<ContentHash> {
    let mut found = BTreeSet::new();
    for event in events {
        if let EventData::ArtifactStored { content_hash, .. } = event {
            found.extend(content_hash.parse::<ContentHash>().ok());
        }
        event.payloads(|value| {
            if mentions_references(value) {
                found.extend(references(&value.to_json()).into_keys());
            }
        });
    }
    found
}
