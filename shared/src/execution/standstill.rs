//! Executions that do not go on by themselves: what they wait for, and until when.
//!
//! Told to people and to whoever drives one execution alone; what may leave memory is [`Execution::rest`].

use super::lifecycle::{ExecutionState, WaitReason};
use super::state::{Deadline, Execution};
use super::steering::QUIET_AFTER;
use super::step::StepState;
use crate::time::Timestamp;

impl Execution {
    /// What it waits for, also where somebody has paused it meanwhile.
    pub fn waiting_for(&self) -> Option<WaitReason> {
        match self.state {
            ExecutionState::Waiting(reason) => Some(reason),
            ExecutionState::Paused => self.paused_wait,
            _ => None,
        }
    }

    /// It waits because somebody put it there, and not because its steps wait: resuming or an input ends that.
    pub fn is_held(&self) -> bool {
        matches!(self.state, ExecutionState::Waiting(_)) && !self.waits_on_steps
    }

    /// Nothing happens to it until its next deadline, unless somebody outside does something; other executions that it
    /// waits for are outside.
    pub fn stands_still(&self, now: Timestamp) -> bool {
        match self.state {
            ExecutionState::Created => self.deferred_until().is_some(),
            ExecutionState::Paused => self.is_quiescent(),
            ExecutionState::Waiting(_) if self.waits_on_steps => true,
            // What workers have may end; one that has just been given a job has not said so yet.
            ExecutionState::Waiting(_) => {
                let queued = self
                    .open
                    .iter()
                    .any(|ordinal| self.step(*ordinal).is_some_and(|step| step.state == StepState::Scheduled));
                self.at_work == 0 && (!queued || self.changed_at.after(QUIET_AFTER) <= now)
            }
            _ => false,
        }
    }

    /// When the wait of a step ends by itself. While the execution is paused, its own time stands still, and only
    /// moments that somebody named are known.
    pub fn wait_due(&self, ordinal: u32) -> Option<Timestamp> {
        match self.step(ordinal)?.deadline? {
            (_, Deadline::Wait(_)) if self.state == ExecutionState::Paused => None,
            (own, Deadline::Wait(_) | Deadline::Moment(_)) => Some(self.moment_of(own)),
            _ => None,
        }
    }
}
