//! The artifacts on record in an execution, as people and programs outside read them.

use serde::Serialize;
use serde_json::Value;
use stepstream_shared::artifact::{ArtifactType, Compression, ContentHash};
use stepstream_shared::execution::KeptArtifact;
use stepstream_shared::graph::NodeIx;
use stepstream_shared::id::{ArtifactId, ExecutionId, StepId};
use stepstream_shared::time::Timestamp;
use utoipa::ToSchema;

use super::Loaded;

/// What is on record of bytes outside the log. The record stays when the bytes are collected.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ArtifactList {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    pub execution_id: ExecutionId,
    /// Of all contents together.
    pub bytes: u64,
    /// In the order in which they were recorded; at most ten thousand.
    pub items: Vec<ArtifactItem>,
}

/// One artifact.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ArtifactItem {
    #[schema(value_type = String, example = "artifact_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    pub artifact_id: ArtifactId,
    pub name: String,
    /// text, code, thought, json, search_results, tool_output, plan, error, image, screenshot, pdf, audio, video or binary.
    #[schema(value_type = String)]
    pub artifact_type: ArtifactType,
    pub content_type: String,
    /// `blake3:` and 64 digits.
    pub digest: String,
    /// Bytes of the content.
    pub size: u64,
    /// Bytes in the store, where that is on record.
    #[schema(required)]
    pub stored_size: Option<u64>,
    /// none or zstd.
    #[schema(value_type = String)]
    pub compression: Compression,
    /// Whose attempt stored it; null for what the execution was given.
    #[schema(value_type = Option<String>, required)]
    pub step_id: Option<StepId>,
    #[schema(required)]
    pub node: Option<String>,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub recorded_at: Timestamp,
    /// Of the event that records it.
    pub sequence: u64,
    /// What whoever stored it said of it.
    pub metadata: Value,
}

impl ArtifactList {
    pub fn of(loaded: &Loaded) -> Self {
        let execution = &loaded.execution;
        ArtifactList {
            execution_id: execution.id(),
            bytes: execution.artifact_bytes(),
            items: execution.artifacts().into_iter().map(|kept| ArtifactItem::of(loaded, kept)).collect(),
        }
    }

    /// The artifact that a text names: its id, its content hash, `name` or `node/name`. Of several with the name, the one
    /// that was recorded last.
    pub fn find(&self, wanted: &str) -> Option<&ArtifactItem> {
        let is = |item: &&ArtifactItem| {
            item.artifact_id.to_string() == wanted
                || item.digest == wanted
                || item.name == wanted
                || item.node.as_ref().is_some_and(|node| {
                    wanted.strip_prefix(node.as_str()).and_then(|rest| rest.strip_prefix('/')) == Some(&item.name)
                })
        };
        self.items.iter().rev().find(is)
    }
}

impl ArtifactItem {
    fn of(loaded: &Loaded, kept: &KeptArtifact) -> Self {
        let execution = &loaded.execution;
        let node = kept.step().and_then(|ordinal| execution.step(ordinal));
        let node = node.and_then(|step| loaded.graph.node(NodeIx(step.node()))).map(|node| node.name.clone());
        ArtifactItem {
            artifact_id: kept.id(),
            name: kept.name().to_owned(),
            artifact_type: kept.artifact_type(),
            content_type: kept.content_type().to_owned(),
            digest: kept.content_hash().to_owned(),
            size: kept.size(),
            stored_size: kept.stored_bytes(),
            compression: kept.compression(),
            step_id: kept.step().zip(node.as_ref()).and_then(|(ordinal, node)| execution.step_id(ordinal, node)),
            node,
            recorded_at: kept.at(),
            sequence: kept.sequence(),
            metadata: kept.metadata().to_json(),
        }
    }

    /// The hash of its content, if the record has one that this build knows.
    pub fn content(&self) -> Option<ContentHash> {
        self.digest.parse().ok()
    }

    /// A name that can stand in a header and as a file on any machine: nothing of it names a folder, a device or an option.
    pub fn file_name(&self) -> String {
        let kept = |character: char| {
            if character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-') { character } else { '_' }
        };
        let name: String = self.name.chars().map(kept).take(100).collect();
        let name = name.trim_start_matches(['.', '-']);
        if name.is_empty() { "artifact".to_owned() } else { name.to_owned() }
    }
}

#[cfg(test)]
mod tests;
