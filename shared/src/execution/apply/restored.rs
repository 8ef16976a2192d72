//! How an execution is changed by a restore of its store.

use super::{ApplyError, Fold};
use crate::execution::lifecycle::ExecutionAction;
use crate::execution::step::{StepAction, StepState};

impl Fold<'_> {
    /// Attempts that are on record as running wait for a worker again, under their number: what a worker may still report
    /// for one names the incarnation before, and is refused by that.
    pub(super) fn restored(&mut self) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        let running = |ordinal: &u32| self.execution.steps[*ordinal as usize].state == StepState::Running;
        let running: Vec<u32> = self.execution.open.iter().copied().filter(running).collect();
        for ordinal in running {
            // The own step of a map runs as long as its items do.
            if self.task_of(ordinal).is_none() {
                continue;
            }
            self.step_moves(ordinal, StepAction::Restamp)?;
            let step = &mut self.execution.steps[ordinal as usize];
            step.started_at = None;
            step.worker = None;
            step.told = false;
            self.await_start(ordinal);
        }
        Ok(())
    }
}
