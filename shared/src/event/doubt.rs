//! Steps that do not end by themselves: whose worker is lost and which may not run twice, and dead letters.

use serde::{Deserialize, Serialize};

use crate::wire::ClaimId;

/// An attempt of which nobody knows what became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    #[serde(rename = "c")]
    pub cause: DoubtCause,
    /// Who had it.
    #[serde(rename = "w")]
    pub worker: String,
    #[serde(rename = "g")]
    pub claim: ClaimId,
    /// The step that asks the target, once there is one.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<u32>,
}

/// Why an attempt is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DoubtCause {
    /// Its worker has been silent for longer than its lease.
    #[default]
    #[serde(rename = "s")]
    Silence,
    /// It ran longer than its `start_to_close`.
    #[serde(rename = "t")]
    TimedOut,
    /// Its worker stopped it, and does not know how far it was.
    #[serde(rename = "p")]
    Stopped,
}

impl DoubtCause {
    pub const fn name(self) -> &'static str {
        match self {
            DoubtCause::Silence => "silence",
            DoubtCause::TimedOut => "timed_out",
            DoubtCause::Stopped => "stopped",
        }
    }
}

/// A step that has failed for good and is held instead of failing, for somebody to put right what it failed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    #[serde(rename = "r")]
    pub reason: DeadReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadReason {
    /// Its job was delivered again and again and never reported: whoever ran it died.
    #[serde(rename = "p")]
    Poison,
    /// Its failure is not tried again, and its task holds such (`dead_letter: exhausted`).
    #[serde(rename = "x")]
    Exhausted,
}

impl DeadReason {
    pub const fn name(self) -> &'static str {
        match self {
            DeadReason::Poison => "poison",
            DeadReason::Exhausted => "exhausted",
        }
    }
}

/// What becomes of a step that was in doubt, or a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    #[serde(rename = "c")]
    Completed,
    #[serde(rename = "f")]
    Failed,
    /// Another attempt.
    #[serde(rename = "r")]
    Retry,
}

impl Resolution {
    pub const fn name(self) -> &'static str {
        match self {
            Resolution::Completed => "completed",
            Resolution::Failed => "failed",
            Resolution::Retry => "retry",
        }
    }
}
