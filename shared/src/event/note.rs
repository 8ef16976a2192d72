//! What an attempt puts on record beside its result.

use serde::{Deserialize, Serialize};

use super::decision::DecisionRecord;
use super::{GoalStatus, StepSourceType};
use crate::artifact::Artifact;
use crate::cost::Money;
use crate::data::Data;
use crate::error::ExecutionError;

/// Most notes of one attempt.
pub const MAX_NOTES: usize = 256;
/// Longest name or id in a note, in bytes.
pub const MAX_NOTE_NAME_BYTES: usize = 256;
/// Longest reason in a note, in bytes.
pub const MAX_NOTE_REASON_BYTES: usize = 4096;

/// Something that an attempt found, used or decided. Travels with its outcome and is recorded with it, or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// More work, for the map that the step is an item of.
    Discovered {
        name: String,
        #[serde(default, skip_serializing_if = "Data::is_null")]
        input: Data,
        #[serde(default)]
        source: StepSourceType,
        #[serde(default)]
        reason: String,
    },
    ToolCall {
        id: String,
        name: String,
        #[serde(default, skip_serializing_if = "Data::is_null")]
        input: Data,
        #[serde(default, skip_serializing_if = "Data::is_null")]
        output: Data,
        /// It failed with this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Box<ExecutionError>>,
    },
    /// What was chosen, and why.
    Decision(Box<DecisionRecord>),
    /// A goal that is met ends the discovery that the step belongs to: what is open ends, nothing new begins.
    Goal {
        id: String,
        status: GoalStatus,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        score: Option<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Checkpoint {
        id: String,
        state_hash: String,
        /// Nothing new begins before somebody has seen it: the execution is held for `checkpoint`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        wait: bool,
    },
    /// There is hardly any room left, in memory or in a model's context: the execution is held for `memory_pressure`
    /// until somebody has made some. In units of the step's own, such as tokens or MiB.
    MemoryPressure { used: u64, max: u64 },
    Usage {
        model: String,
        prompt_tokens: u64,
        completion_tokens: u64,
        /// What it cost, if the worker knows better than the price list.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Money>,
    },
    Custom {
        event_type: String,
        #[serde(default, skip_serializing_if = "Data::is_null")]
        data: Data,
    },
    /// Bytes that the attempt put into the artifact store before it said so.
    Artifact(Box<Artifact>),
}

impl Note {
    /// The values of users in it.
    pub fn values(&self) -> impl Iterator<Item = &Data> {
        let (first, second) = match self {
            Note::Discovered { input: value, .. } | Note::Custom { data: value, .. } => (Some(value), None),
            Note::ToolCall { input, output, .. } => (Some(input), Some(output)),
            Note::Artifact(artifact) => (Some(&artifact.metadata), None),
            Note::Goal { .. }
            | Note::Checkpoint { .. }
            | Note::Usage { .. }
            | Note::Decision(_)
            | Note::MemoryPressure { .. } => (None, None),
        };
        let details = match self {
            Note::ToolCall { error: Some(error), .. } => error.details.as_ref(),
            _ => None,
        };
        first.into_iter().chain(second).chain(details)
    }

    /// Why it cannot be recorded.
    pub fn problem(&self) -> Option<String> {
        let (names, reason): (&[&str], &str) = match self {
            Note::Discovered { name, reason, .. } => (&[name], reason),
            Note::ToolCall { id, name, error, .. } => {
                (&[id, name], error.as_ref().map_or("", |error| error.message.as_str()))
            }
            Note::Decision(record) => return record.problem(),
            Note::MemoryPressure { max: 0, .. } => return Some("the room that there is cannot be none".to_owned()),
            Note::MemoryPressure { .. } => return None,
            Note::Goal { id, reason, score, .. } => {
                if score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
                    return Some("the score of a goal goes from 0 to 1".to_owned());
                }
                (&[id], reason.as_deref().unwrap_or_default())
            }
            Note::Checkpoint { id, state_hash, .. } => (&[id, state_hash], ""),
            Note::Usage { model, .. } => (&[model], ""),
            Note::Custom { event_type, .. } => (&[event_type], ""),
            Note::Artifact(artifact) => return artifact.problem(),
        };
        if names.iter().any(|name| name.is_empty() || name.len() > MAX_NOTE_NAME_BYTES) {
            return Some(format!("a name or id in a note has 1 to {MAX_NOTE_NAME_BYTES} bytes"));
        }
        (reason.len() > MAX_NOTE_REASON_BYTES)
            .then(|| format!("a reason in a note has at most {MAX_NOTE_REASON_BYTES} bytes"))
    }
}
