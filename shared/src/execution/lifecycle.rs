//! The life of an execution, as one table.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ExecutionState {
    /// Exists, not started.
    #[default]
    Created,
    /// Somebody still decides what it shall do.
    Planning,
    Running,
    /// Held by request: work in flight lands, nothing new begins.
    Paused,
    /// Blocked on something outside.
    Waiting(WaitReason),
    Completed,
    Failed,
    Cancelled,
}

/// What a waiting execution waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    Approval,
    UserInput,
    RateLimit,
    External,
    Checkpoint,
    CostThreshold,
    MemoryPressure,
    SubAgent,
    Timer,
    Signal,
    /// Nobody knows what became of an attempt that must not run twice.
    InDoubt,
    /// A step has failed for good, and is held for somebody to redrive it.
    DeadLetter,
}

/// What can be asked of an execution, or reported about its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutionAction {
    Start,
    StepStarted,
    StepCompleted,
    StepFailed,
    Pause,
    Resume,
    Wait(WaitReason),
    InputReceived,
    Complete,
    Fail,
    Cancel,
    /// What it has done is undone before it ends.
    Compensate,
}

/// A move that the table does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an execution that is {from} cannot {action}")]
pub struct IllegalTransition {
    pub from: ExecutionState,
    pub action: ExecutionAction,
}

impl ExecutionState {
    pub const fn is_terminal(self) -> bool {
        matches!(self, ExecutionState::Completed | ExecutionState::Failed | ExecutionState::Cancelled)
    }

    /// The name without the reason, in Pascal case.
    pub const fn name(self) -> &'static str {
        match self {
            ExecutionState::Created => "Created",
            ExecutionState::Planning => "Planning",
            ExecutionState::Running => "Running",
            ExecutionState::Paused => "Paused",
            ExecutionState::Waiting(_) => "Waiting",
            ExecutionState::Completed => "Completed",
            ExecutionState::Failed => "Failed",
            ExecutionState::Cancelled => "Cancelled",
        }
    }

    /// The whole life cycle. A pair that is not listed cannot happen.
    ///
    /// It is the table of the original specification with four corrections: results of steps are refused once the
    /// execution is over or before it began; an attempt scheduled earlier may still start while the execution is held;
    /// what is being planned can be started; what waits can be paused.
    pub fn after(self, action: ExecutionAction) -> Result<ExecutionState, IllegalTransition> {
        use ExecutionAction as A;
        use ExecutionState::{Cancelled, Completed, Created, Failed, Paused, Planning, Running, Waiting};
        Ok(match (self, action) {
            (Created | Planning, A::Start) => Running,
            (Running | Paused | Waiting(_), A::StepStarted | A::StepCompleted | A::StepFailed) => self,
            (Running | Waiting(_), A::Pause) => Paused,
            (Paused | Waiting(_), A::Resume) => Running,
            (Running, A::Wait(reason)) => Waiting(reason),
            (Waiting(_), A::InputReceived) => Running,
            (Running, A::Complete) => Completed,
            (Created | Planning | Running | Paused | Waiting(_), A::Fail) => Failed,
            (Created | Planning | Running | Paused | Waiting(_), A::Cancel) => Cancelled,
            (Running | Waiting(_), A::Compensate) => Running,
            (Paused, A::Compensate) => Paused,
            (from, action) => return Err(IllegalTransition { from, action }),
        })
    }
}

impl fmt::Display for ExecutionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecutionState::Waiting(reason) => write!(f, "Waiting({reason})"),
            other => f.write_str(other.name()),
        }
    }
}

impl WaitReason {
    pub const ALL: [WaitReason; 12] = [
        WaitReason::Approval,
        WaitReason::UserInput,
        WaitReason::RateLimit,
        WaitReason::External,
        WaitReason::Checkpoint,
        WaitReason::CostThreshold,
        WaitReason::MemoryPressure,
        WaitReason::SubAgent,
        WaitReason::Timer,
        WaitReason::Signal,
        WaitReason::InDoubt,
        WaitReason::DeadLetter,
    ];
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WaitReason::Approval => "approval",
            WaitReason::UserInput => "user_input",
            WaitReason::RateLimit => "rate_limit",
            WaitReason::External => "external",
            WaitReason::Checkpoint => "checkpoint",
            WaitReason::CostThreshold => "cost_threshold",
            WaitReason::MemoryPressure => "memory_pressure",
            WaitReason::SubAgent => "sub_agent",
            WaitReason::Timer => "timer",
            WaitReason::Signal => "signal",
            WaitReason::InDoubt => "in_doubt",
            WaitReason::DeadLetter => "dead_letter",
        })
    }
}

impl fmt::Display for ExecutionAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExecutionAction::Start => "start",
            ExecutionAction::StepStarted => "take the start of a step",
            ExecutionAction::StepCompleted => "take the result of a step",
            ExecutionAction::StepFailed => "take the failure of a step",
            ExecutionAction::Pause => "be paused",
            ExecutionAction::Resume => "be resumed",
            ExecutionAction::Wait(_) => "wait",
            ExecutionAction::InputReceived => "receive input",
            ExecutionAction::Complete => "complete",
            ExecutionAction::Fail => "fail",
            ExecutionAction::Cancel => "be cancelled",
            ExecutionAction::Compensate => "undo what it has done",
        })
    }
}
