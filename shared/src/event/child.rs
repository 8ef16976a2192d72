//! Executions that are started by a step of another one.

use serde::{Deserialize, Serialize};

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
