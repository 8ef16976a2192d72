//! The audit of control: who asked for what, and what became of it.

use serde::{Deserialize, Serialize};

/// What was asked for. Who asked stands in the envelope of the append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlAction {
    Stop,
    Pause,
    Resume,
    Cancel,
    Approve,
    Deny,
    Escalate,
}

impl ControlAction {
    pub const fn name(self) -> &'static str {
        match self {
            ControlAction::Stop => "stop",
            ControlAction::Pause => "pause",
            ControlAction::Resume => "resume",
            ControlAction::Cancel => "cancel",
            ControlAction::Approve => "approve",
            ControlAction::Deny => "deny",
            ControlAction::Escalate => "escalate",
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlOutcome {
    #[default]
    Allowed,
    /// It meant nothing where the execution stood: nothing else has changed.
    Denied,
    Modified,
    Escalated,
}

impl ControlOutcome {
    pub const fn name(self) -> &'static str {
        match self {
            ControlOutcome::Allowed => "allowed",
            ControlOutcome::Denied => "denied",
            ControlOutcome::Modified => "modified",
            ControlOutcome::Escalated => "escalated",
        }
    }
}
