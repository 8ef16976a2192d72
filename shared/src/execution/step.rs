//! The life of a step, as one table.

use serde::{Deserialize, Serialize};

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum StepState {
    /// Named, not yet scheduled.
    #[default]
    Pending,
    /// An attempt waits for a worker.
    Scheduled,
    /// A worker holds the attempt and may be running it; on record before it runs.
    Claimed,
    Running,
    /// For something outside; or an attempt failed and the next one waits for its time.
    Waiting,
    /// Its worker is lost and it must not run twice: somebody has to say what happened.
    InDoubt,
    Completed,
    Failed,
    Skipped,
}

/// What can happen to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepAction {
    Schedule,
    Start,
    Complete,
    Fail,
    /// The attempt failed, another will be made.
    Retry,
    /// The next attempt is due.
    Reschedule,
    Skip,
    /// It waits for something outside.
    Wait,
    /// What it waited for has come, and that completes it.
    Arrive,
    /// What it waited for has not come, or was refused.
    GiveUp,
    /// It may be given to a worker now.
    Admit,
    /// Whoever runs the attempt does so for a store that is gone: it waits for a worker again.
    Restamp,
    /// A worker asks for the attempt and has it.
    Claim,
    /// The worker that has it is lost.
    Doubt,
    /// It has failed for good, and is held for somebody to put that right.
    Shelve,
}

/// A move that the table does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a step that is {from:?} does not take {action:?}")]
pub struct IllegalStepTransition {
    pub from: StepState,
    pub action: StepAction,
}

impl StepState {
    pub const fn is_terminal(self) -> bool {
        matches!(self, StepState::Completed | StepState::Failed | StepState::Skipped)
    }

    /// An attempt is a worker's, or waits for one.
    pub const fn is_in_hand(self) -> bool {
        matches!(self, StepState::Scheduled | StepState::Claimed | StepState::Running)
    }

    pub const fn name(self) -> &'static str {
        match self {
            StepState::Pending => "Pending",
            StepState::Scheduled => "Scheduled",
            StepState::Claimed => "Claimed",
            StepState::Running => "Running",
            StepState::Waiting => "Waiting",
            StepState::InDoubt => "InDoubt",
            StepState::Completed => "Completed",
            StepState::Failed => "Failed",
            StepState::Skipped => "Skipped",
        }
    }

    /// The whole life cycle. A pair that is not listed cannot happen; in particular nothing leaves a terminal state.
    pub fn after(self, action: StepAction) -> Result<StepState, IllegalStepTransition> {
        use StepAction as A;
        use StepState::{Claimed, Completed, Failed, InDoubt, Pending, Running, Scheduled, Skipped, Waiting};
        Ok(match (self, action) {
            (Pending, A::Schedule) => Scheduled,
            (Scheduled | Claimed, A::Start) => Running,
            (Scheduled | Claimed | Running, A::Complete) => Completed,
            (Scheduled | Claimed | Running, A::Fail) => Failed,
            (Scheduled, A::Claim) => Claimed,
            (Claimed, A::Doubt) => InDoubt,
            (Scheduled | Claimed | Running | InDoubt, A::Shelve) => Waiting,
            (Scheduled | Claimed | Running | InDoubt, A::Retry) => Waiting,
            (Waiting | InDoubt, A::Reschedule) => Scheduled,
            (Waiting, A::Admit) => Scheduled,
            (Running, A::Restamp) => Scheduled,
            (Scheduled, A::Wait) => Waiting,
            (Waiting | InDoubt, A::Arrive) => Completed,
            (Waiting | InDoubt, A::GiveUp) => Failed,
            (Pending | Scheduled | Claimed | Running | Waiting | InDoubt, A::Skip) => Skipped,
            (from, action) => return Err(IllegalStepTransition { from, action }),
        })
    }
}
