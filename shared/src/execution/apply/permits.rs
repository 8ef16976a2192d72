//! How an execution is changed by permits.

use std::time::Duration;

use super::{ApplyError, Fold};
use crate::event::{PermitAsk, Wait};
use crate::execution::lifecycle::ExecutionAction;
use crate::execution::permits::Held;
use crate::execution::state::{Deadline, WaitRun};
use crate::execution::step::StepAction;
use crate::time::Timestamp;

impl Fold<'_> {
    pub(super) fn waits_for_permit(&mut self, ordinal: u32, ask: &PermitAsk) -> Result<(), ApplyError> {
        let aside = self.step(ordinal)?.is_aside();
        if aside || self.task_of(ordinal).is_none() {
            return self.nonsense("only a task waits for a permit");
        }
        self.step_moves(ordinal, StepAction::Wait)?;
        let patience = self.execution.permit_patience(self.graph, ordinal, self.at);
        self.set_deadline(ordinal, patience);
        let (since, position) = (self.at, self.sequence);
        let execution = &mut *self.execution;
        execution.steps[ordinal as usize].position = position;
        execution.permits.held.remove(&ordinal);
        execution.permits.asking.insert(ordinal);
        execution.waits.insert(ordinal, WaitRun { wait: Wait::Permit(ask.clone()), since, decisions: Vec::new() });
        Ok(())
    }

    pub(super) fn permit_granted(
        &mut self,
        ordinal: u32,
        attempt: u32,
        from: Option<Timestamp>,
    ) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        self.attempt(ordinal, attempt)?;
        if !self.execution.waits_for_permit(ordinal) || self.execution.losing.contains(&ordinal) {
            return self.nonsense("the step does not wait for a permit");
        }
        let Some(Wait::Permit(ask)) = self.execution.waits.get(&ordinal).map(|run| run.wait.clone()) else {
            return self.nonsense("the step does not wait for a permit");
        };
        if let Some(from) = from {
            if !self.execution.permits.asking.remove(&ordinal) {
                return self.nonsense("the moment of the permit is known");
            }
            self.execution.permits.held.insert(ordinal, Held { ask, attempt, from: Some(from) });
            let held = Duration::from_micros(self.execution.held_us);
            self.set_deadline(ordinal, Some((from.before(held), Deadline::Moment(ordinal))));
            return Ok(());
        }
        self.step_moves(ordinal, StepAction::Admit)?;
        self.execution.permits.asking.remove(&ordinal);
        self.execution.permits.held.insert(ordinal, Held { ask, attempt, from: None });
        self.waits_no_more(ordinal);
        let (sequence, at) = (self.sequence, self.at);
        let step = &mut self.execution.steps[ordinal as usize];
        step.position = sequence;
        step.scheduled_at = at;
        self.await_start(ordinal);
        Ok(())
    }

    /// The step is over: its permit goes with its attempt.
    pub(super) fn leave_permit(&mut self, ordinal: u32) {
        self.execution.permits.asking.remove(&ordinal);
        self.execution.permits.held.remove(&ordinal);
    }
}
