//! What the log says of bytes outside the log: the records of an execution, within their limits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decide::{Decision, Rejection};
use super::state::Execution;
use crate::artifact::{
    Artifact, ArtifactType, Compression, MAX_ATTEMPT_ARTIFACTS, MAX_EXECUTION_ARTIFACTS, MAX_EXECUTION_BYTES,
    Reference, artifact_id, mentions_references,
};
use crate::data::Data;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::artifact::ArtifactRecord;
use crate::event::{EventData, Note};
use crate::graph::{CompiledGraph, NodeIx};
use crate::id::{ArtifactId, StepId};
use crate::time::Timestamp;

/// Every artifact on record, by id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Artifacts {
    #[serde(rename = "a", default, skip_serializing_if = "BTreeMap::is_empty")]
    by_id: BTreeMap<ArtifactId, KeptArtifact>,
    /// Of their contents, each artifact counted once.
    #[serde(rename = "b", default, skip_serializing_if = "super::state::is_zero_u64")]
    bytes: u64,
}

/// An artifact on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptArtifact {
    #[serde(rename = "i")]
    id: ArtifactId,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    step: Option<u32>,
    #[serde(rename = "h")]
    content_hash: String,
    #[serde(rename = "z")]
    size: u64,
    #[serde(rename = "t")]
    at: Timestamp,
    #[serde(rename = "q")]
    sequence: u64,
    #[serde(rename = "r")]
    record: ArtifactRecord,
}

impl KeptArtifact {
    pub fn id(&self) -> ArtifactId {
        self.id
    }

    /// The ordinal of the step that stored it; `None` for what the execution was given.
    pub fn step(&self) -> Option<u32> {
        self.step
    }

    /// `blake3:…`.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// Bytes of the content.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// When it was recorded.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Of the event that records it.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn name(&self) -> &str {
        &self.record.name
    }

    pub fn artifact_type(&self) -> ArtifactType {
        self.record.artifact_type
    }

    pub fn content_type(&self) -> &str {
        &self.record.content_type
    }

    /// Bytes in the store, where that is on record.
    pub fn stored_bytes(&self) -> Option<u64> {
        self.record.stored_bytes
    }

    pub fn compression(&self) -> Compression {
        self.record.compression
    }

    pub fn metadata(&self) -> &Data {
        &self.record.metadata
    }
}

impl Artifacts {
    pub(super) fn is_none(&self) -> bool {
        *self == Artifacts::default()
    }

    pub(super) fn keep(
        &mut self,
        id: ArtifactId,
        step: Option<u32>,
        (content_hash, size): (&str, u64),
        (at, sequence): (Timestamp, u64),
        record: &ArtifactRecord,
    ) {
        let kept = KeptArtifact {
            id,
            step,
            content_hash: content_hash.to_owned(),
            size,
            at,
            sequence,
            record: record.clone(),
        };
        if self.by_id.insert(id, kept).is_none() {
            self.bytes = self.bytes.saturating_add(size);
        }
    }
}

impl Execution {
    /// What is on record, in the order in which it was recorded.
    pub fn artifacts(&self) -> Vec<&KeptArtifact> {
        let mut kept: Vec<&KeptArtifact> = self.artifacts.by_id.values().collect();
        kept.sort_unstable_by_key(|kept| kept.sequence);
        kept
    }

    pub fn artifact(&self, id: &ArtifactId) -> Option<&KeptArtifact> {
        self.artifacts.by_id.get(id)
    }

    pub fn artifact_count(&self) -> usize {
        self.artifacts.by_id.len()
    }

    /// Of the contents of all artifacts on record.
    pub fn artifact_bytes(&self) -> u64 {
        self.artifacts.bytes
    }

    /// Whether what a node gives has to be in the log, because expressions may look into it: those of its graph, or of the
    /// graph whose step is given the output of this execution.
    pub fn keeps_inline(&self, graph: &CompiledGraph, node: NodeIx) -> bool {
        let told = self.parent.as_ref().is_some_and(|parent| parent.execution.is_some());
        graph.looked_into.outputs.contains(&node) || (told && graph.looked_into.returned.contains(&node))
    }
}

impl Decision<'_> {
    /// Why the artifacts of an attempt cannot be on record. What it stored stays unreferenced then.
    pub(super) fn too_many_artifacts(&self, notes: &[Note]) -> Option<ExecutionError> {
        let stored =
            || notes.iter().filter_map(|note| if let Note::Artifact(stored) = note { Some(stored) } else { None });
        let count = stored().count();
        if count == 0 {
            return None;
        }
        let bytes = stored().fold(self.execution.artifact_bytes(), |sum, stored| sum.saturating_add(stored.size));
        let all = self.execution.artifact_count().saturating_add(count);
        let problem = if count > MAX_ATTEMPT_ARTIFACTS + 1 {
            format!("an attempt has stored {count} artifacts; the limit is {MAX_ATTEMPT_ARTIFACTS} and its output")
        } else if all > MAX_EXECUTION_ARTIFACTS {
            format!("the execution would have {all} artifacts; the limit is {MAX_EXECUTION_ARTIFACTS}")
        } else if bytes > MAX_EXECUTION_BYTES {
            format!("the artifacts of the execution would have {bytes} bytes; the limit is {MAX_EXECUTION_BYTES}")
        } else {
            return None;
        };
        Some(ExecutionError::new(ErrorCategory::QuotaExceeded, problem).with_code(ErrorCode::new("artifact_limit")))
    }

    /// Records what an attempt has stored; what is on record already is not recorded twice.
    pub(super) fn stored(&mut self, ordinal: u32, artifact: Artifact) -> Result<(), Rejection> {
        let Some(step) = self.step_id_of(ordinal) else { return Err(Rejection::UnknownStep(ordinal)) };
        let Artifact { name, artifact_type, content_type, digest, size, stored_size, compression, metadata } = artifact;
        let id = artifact_id(self.execution.id, Some(step), &name, &digest);
        if self.execution.artifact(&id).is_some() {
            return Ok(());
        }
        let stored_bytes = Some(stored_size);
        let record = ArtifactRecord { name, artifact_type, content_type, stored_bytes, compression, metadata };
        self.emit(EventData::ArtifactStored {
            artifact: id,
            step: Some(ordinal),
            content_hash: digest.to_string(),
            size_bytes: size,
            record: Some(Box::new(record)),
        })
    }

    fn step_id_of(&self, ordinal: u32) -> Option<StepId> {
        let node = self.graph.node(NodeIx(self.execution.step(ordinal)?.node))?;
        self.execution.step_id(ordinal, &node.name)
    }

    /// Records which of its inputs an execution was given by reference.
    pub(super) fn inputs_put_away(&mut self) -> Result<(), Rejection> {
        if !mentions_references(&self.execution.inputs) {
            return Ok(());
        }
        let serde_json::Value::Object(inputs) = self.execution.inputs.to_json() else { return Ok(()) };
        for (name, value) in inputs {
            let Some(Reference { digest, size, content_type, .. }) = Reference::of(&value) else { continue };
            let name = input_name(&name);
            let record = ArtifactRecord {
                artifact_type: ArtifactType::Json,
                content_type,
                stored_bytes: None,
                compression: Compression::None,
                metadata: Data::null(),
                name,
            };
            self.emit(EventData::ArtifactStored {
                artifact: artifact_id(self.execution.id, None, &record.name, &digest),
                step: None,
                content_hash: digest.to_string(),
                size_bytes: size,
                record: Some(Box::new(record)),
            })?;
        }
        Ok(())
    }
}

/// The name under which an input is on record that was put away.
pub fn input_name(field: &str) -> String {
    use crate::event::note::MAX_NOTE_NAME_BYTES;
    let mut name: String = "inputs.".to_owned();
    for character in field.chars().filter(|character| !character.is_control()) {
        if name.len() + character.len_utf8() > MAX_NOTE_NAME_BYTES {
            break;
        }
        name.push(character);
    }
    name
}
