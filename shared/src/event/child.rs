//! Executions that are started by a step of another one.

use serde::{Deserialize, Serialize};

use super::parts::is_default;
use crate::cost::Money;
use crate::data::Data;
use crate::error::ExecutionError;

/// What becomes of a child when its parent ends before it. By the names of the original specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancellationPolicy {
    /// It is cancelled, and the parent ends once it has ended.
    #[default]
    CascadeCancel,
    /// It goes on to its end, and the parent ends then.
    WaitForChildren,
    /// It goes on alone.
    Detach,
}

impl CancellationPolicy {
    pub const ALL: [CancellationPolicy; 3] =
        [CancellationPolicy::CascadeCancel, CancellationPolicy::WaitForChildren, CancellationPolicy::Detach];

    pub const fn name(self) -> &'static str {
        match self {
            CancellationPolicy::CascadeCancel => "cascade_cancel",
            CancellationPolicy::WaitForChildren => "wait_for_children",
            CancellationPolicy::Detach => "detach",
        }
    }
}

/// What a child may spend of its parent's purse: set aside there until the child has ended. `None`: no bound from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Share {
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// Prompt and completion together.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// What an execution has used, with all that its children have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    #[serde(rename = "p", default, skip_serializing_if = "is_default")]
    pub prompt_tokens: u64,
    #[serde(rename = "c", default, skip_serializing_if = "is_default")]
    pub completion_tokens: u64,
    #[serde(rename = "u", default, skip_serializing_if = "is_default")]
    pub cost: Money,
}

impl Spent {
    pub const fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    #[must_use]
    pub const fn plus(self, other: Spent) -> Spent {
        Spent {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_add(other.completion_tokens),
            cost: self.cost.plus(other.cost),
        }
    }
}

/// How a child ended, as its parent is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildEnding {
    Completed {
        #[serde(default, skip_serializing_if = "Data::is_null")]
        output: Data,
    },
    Failed {
        error: ExecutionError,
    },
    Cancelled {
        reason: String,
    },
}

impl ChildEnding {
    pub const fn state(&self) -> ChildState {
        match self {
            ChildEnding::Completed { .. } => ChildState::Completed,
            ChildEnding::Failed { .. } => ChildState::Failed,
            ChildEnding::Cancelled { .. } => ChildState::Cancelled,
        }
    }

    /// The value of a user in it.
    pub fn value(&self) -> Option<&Data> {
        match self {
            ChildEnding::Completed { output } => Some(output),
            ChildEnding::Failed { error } => error.details.as_ref(),
            ChildEnding::Cancelled { .. } => None,
        }
    }
}

/// Where a child stands, as far as its parent has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ChildState {
    /// To be started.
    #[default]
    #[serde(rename = "w")]
    Wanted,
    #[serde(rename = "r")]
    Running,
    #[serde(rename = "c")]
    Completed,
    #[serde(rename = "f")]
    Failed,
    #[serde(rename = "x")]
    Cancelled,
}

impl ChildState {
    pub const fn is_over(self) -> bool {
        matches!(self, ChildState::Completed | ChildState::Failed | ChildState::Cancelled)
    }

    pub const fn name(self) -> &'static str {
        match self {
            ChildState::Wanted => "Wanted",
            ChildState::Running => "Running",
            ChildState::Completed => "Completed",
            ChildState::Failed => "Failed",
            ChildState::Cancelled => "Cancelled",
        }
    }
}
