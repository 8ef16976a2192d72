//! Artifacts: bytes outside the log, addressed by what they are.
//!
//! The log holds a record of each (`artifact_stored`) and the store holds the bytes once for a tenant, under the hash of
//! their content. A value that is too large for the log travels as a [`Reference`] instead.

mod reference;

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::data::{Data, MAX_BYTES};
use crate::id::{ArtifactId, ExecutionId, StepId};

pub use reference::{
    Occurrences, REFERENCE_KEY, Reference, mentions_references, references, replace_references, values_referred_to,
};

/// Values larger than this move into the artifact store where there is one, in bytes as stored, unless set otherwise.
pub const DEFAULT_INLINE_BYTES: usize = 128 * 1024;
/// Least that [`DEFAULT_INLINE_BYTES`] may be set to: a reference has about three hundred bytes itself.
pub const LEAST_INLINE_BYTES: usize = 1024;
/// Largest value that a worker puts away for its callable, or fetches for it (all references of one input together, each
/// counted as often as it stands there), in bytes of JSON. What is larger is an artifact that the callable stores and reads by itself.
pub const MAX_MOVED_BYTES: u64 = 32 * 1024 * 1024;
/// Largest artifact, in bytes of content.
pub const MAX_ARTIFACT_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Most artifacts that a callable may store in one attempt. Its output may be put away beside them.
pub const MAX_ATTEMPT_ARTIFACTS: usize = 64;
/// Most artifacts on record in one execution.
pub const MAX_EXECUTION_ARTIFACTS: usize = 10_000;
/// Most bytes of content on record in one execution.
pub const MAX_EXECUTION_BYTES: u64 = 256 * 1024 * 1024 * 1024;
/// Largest metadata of an artifact, in bytes as stored.
pub const MAX_METADATA_BYTES: usize = 4096;
/// Longest content type, in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 128;
/// The name under which the output of a step is on record that was put away for it.
pub const OUTPUT_NAME: &str = "output";
/// The content type of a value that was put away for whoever gave it, and is put back for whoever gets it: JSON. References
/// to anything else are given as they are.
pub const VALUE_CONTENT_TYPE: &str = "application/vnd.stepstream.value+json";

/// Reads a setting of how large a value may be that stays in the log.
pub fn inline_bytes(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|bytes| (LEAST_INLINE_BYTES..=MAX_BYTES).contains(bytes))
        .ok_or_else(|| format!("a number of bytes from {LEAST_INLINE_BYTES} to {MAX_BYTES}"))
}

/// The BLAKE3 hash of a content, printed `blake3:` and 64 digits of lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

/// Why a text is not the hash of a content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a content hash is `blake3:` and 64 digits of lower-case hexadecimal, found `{0}`")]
pub struct NoContentHash(String);

impl ContentHash {
    pub const PREFIX: &'static str = "blake3:";

    pub fn of(content: &[u8]) -> Self {
        ContentHash(*blake3::hash(content).as_bytes())
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        ContentHash(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Without the name of the algorithm.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The 64 digits without the name of the algorithm.
    pub fn from_hex(hex: &str) -> Result<Self, NoContentHash> {
        let wrong = || NoContentHash(hex.chars().take(80).collect());
        if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).map_err(|_| wrong())?;
        }
        Ok(ContentHash(bytes))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = NoContentHash;

    fn from_str(text: &str) -> Result<Self, NoContentHash> {
        let wrong = || NoContentHash(text.chars().take(80).collect());
        Self::from_hex(text.strip_prefix(Self::PREFIX).ok_or_else(wrong)?).map_err(|_| wrong())
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What an artifact is for; it has a content type unless another one is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactType {
    Text,
    Code,
    Thought,
    Json,
    SearchResults,
    ToolOutput,
    Plan,
    Error,
    Image,
    Screenshot,
    Pdf,
    Audio,
    Video,
    #[default]
    Binary,
}

impl ArtifactType {
    pub const ALL: [ArtifactType; 14] = [
        ArtifactType::Text,
        ArtifactType::Code,
        ArtifactType::Thought,
        ArtifactType::Json,
        ArtifactType::SearchResults,
        ArtifactType::ToolOutput,
        ArtifactType::Plan,
        ArtifactType::Error,
        ArtifactType::Image,
        ArtifactType::Screenshot,
        ArtifactType::Pdf,
        ArtifactType::Audio,
        ArtifactType::Video,
        ArtifactType::Binary,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            ArtifactType::Text => "text",
            ArtifactType::Code => "code",
            ArtifactType::Thought => "thought",
            ArtifactType::Json => "json",
            ArtifactType::SearchResults => "search_results",
            ArtifactType::ToolOutput => "tool_output",
            ArtifactType::Plan => "plan",
            ArtifactType::Error => "error",
            ArtifactType::Image => "image",
            ArtifactType::Screenshot => "screenshot",
            ArtifactType::Pdf => "pdf",
            ArtifactType::Audio => "audio",
            ArtifactType::Video => "video",
            ArtifactType::Binary => "binary",
        }
    }

    /// The content type of one that names none.
    pub const fn content_type(self) -> &'static str {
        match self {
            ArtifactType::Text | ArtifactType::Code | ArtifactType::Thought => "text/plain",
            ArtifactType::Json
            | ArtifactType::SearchResults
            | ArtifactType::ToolOutput
            | ArtifactType::Plan
            | ArtifactType::Error => "application/json",
            ArtifactType::Image | ArtifactType::Screenshot => "image/png",
            ArtifactType::Pdf => "application/pdf",
            ArtifactType::Audio => "audio/wav",
            ArtifactType::Video => "video/mp4",
            ArtifactType::Binary => "application/octet-stream",
        }
    }
}

impl fmt::Display for ArtifactType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the bytes of an artifact are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    #[default]
    None,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Zstd => "zstd",
        }
    }
}

/// What an artifact is, as it was stored: the part of its record that whoever stored it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Not unique: see [`artifact_id`].
    pub name: String,
    pub artifact_type: ArtifactType,
    pub content_type: String,
    pub digest: ContentHash,
    /// Bytes of the content.
    pub size: u64,
    /// Bytes in the store.
    pub stored_size: u64,
    pub compression: Compression,
    #[serde(default, skip_serializing_if = "Data::is_null")]
    pub metadata: Data,
}

impl Artifact {
    /// Why it cannot be on record.
    pub fn problem(&self) -> Option<String> {
        use crate::event::note::MAX_NOTE_NAME_BYTES;
        if self.name.is_empty() || self.name.len() > MAX_NOTE_NAME_BYTES || self.name.chars().any(char::is_control) {
            return Some(format!(
                "the name of an artifact has 1 to {MAX_NOTE_NAME_BYTES} bytes without control characters"
            ));
        }
        if !is_content_type(&self.content_type) {
            return Some(format!(
                "a content type is like `text/plain`, of at most {MAX_CONTENT_TYPE_BYTES} bytes, not `{}`",
                self.content_type.chars().take(80).collect::<String>()
            ));
        }
        if self.size > MAX_ARTIFACT_BYTES {
            return Some(format!("an artifact has at most {MAX_ARTIFACT_BYTES} bytes (artifact limit)"));
        }
        (self.metadata.len() > MAX_METADATA_BYTES)
            .then(|| format!("the metadata of an artifact has at most {MAX_METADATA_BYTES} bytes (metadata limit)"))
    }
}

/// Whether a text may stand in a `Content-Type`: a type, a slash, a subtype, and parameters without anything that ends a
/// header.
pub fn is_content_type(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    text.len() <= MAX_CONTENT_TYPE_BYTES
        && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// The id of an artifact: a pure function of the execution, the step, the name and the content. An attempt that is run
/// again and stores the same under the same name stores the same artifact; another content is another artifact.
/// `step` is `None` for what an execution was given from outside.
pub fn artifact_id(execution: ExecutionId, step: Option<StepId>, name: &str, digest: &ContentHash) -> ArtifactId {
    let step: &[u8] = step.as_ref().map_or(&[], |step| step.as_bytes());
    ArtifactId::derived("stepstream 2026 artifact", &[execution.as_bytes(), step, name.as_bytes(), digest.as_bytes()])
}

#[cfg(test)]
mod tests;
