//! How an execution is changed by claims, doubts and dead letters.

use super::{ApplyError, Fold};
use crate::error::ExecutionError;
use crate::event::{DeadLetter, DeadReason, Doubt, DoubtCause, Input, Wait};
use crate::execution::lifecycle::ExecutionAction;
use crate::execution::state::{Deadline, Step, WaitRun};
use crate::execution::step::{StepAction, StepState};
use crate::graph::Guarantee;
use crate::id::ControlId;
use crate::wire::ClaimId;

impl Fold<'_> {
    pub(super) fn claimed(
        &mut self,
        ordinal: u32,
        attempt: u32,
        worker: &str,
        claim: ClaimId,
    ) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        self.attempt(ordinal, attempt)?;
        let Some(task) = self.task_of(ordinal).filter(|task| task.claim) else {
            return self.nonsense("the step takes no claims");
        };
        let limit = task.timeouts.start_to_close;
        self.step_moves(ordinal, StepAction::Claim)?;
        let now = self.execution.own_time(self.at);
        let deadline = limit.map(|limit| (now.after(limit), Deadline::StartToClose(ordinal)));
        self.set_deadline(ordinal, deadline);
        let at = self.at;
        let step = &mut self.execution.steps[ordinal as usize];
        step.started_at = Some(at);
        step.worker = Some(worker.into());
        step.claim = Some(claim);
        Ok(())
    }

    pub(super) fn in_doubt(&mut self, ordinal: u32, attempt: u32, cause: DoubtCause) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepFailed)?;
        self.attempt(ordinal, attempt)?;
        if self.task_of(ordinal).is_none_or(|task| task.guarantee != Guarantee::AtMostOnce) {
            return self.nonsense("the step may run again");
        }
        self.step_moves(ordinal, StepAction::Doubt)?;
        self.given_up(ordinal, attempt, true);
        self.set_deadline(ordinal, None);
        let at = self.at;
        let step = &mut self.execution.steps[ordinal as usize];
        let worker = step.worker.as_deref().unwrap_or_default().to_owned();
        let claim = step.claim.take().unwrap_or_default();
        let wait = Wait::Doubt(Box::new(Doubt { cause, worker, claim, asked: None }));
        self.execution.waits.insert(ordinal, WaitRun { wait, since: at, decisions: Vec::new() });
        Ok(())
    }

    pub(super) fn reconciliation(&mut self, ordinal: u32, of: u32, key: &str) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        if self.execution.losing.contains(&of) || self.task_of(of).is_none_or(|task| task.reconcile.is_none()) {
            return self.nonsense("nobody is to be asked about the step");
        }
        let Step { node, iterations, index, attempt, .. } = self.step(of)?.clone();
        match self.execution.waits.get_mut(&of).map(|run| &mut run.wait) {
            Some(Wait::Doubt(doubt)) if doubt.asked.is_none() => doubt.asked = Some(ordinal),
            _ => return self.nonsense("the step is not in doubt, or somebody is asked already"),
        }
        let new = self.new_step(node, &iterations, StepState::Scheduled);
        let input = Input::Doubted(key.to_owned());
        self.mint(ordinal, Step { index, input, reconciles: Some((of, attempt)), ..new })?;
        self.execution.open.insert(ordinal);
        self.execution.in_hand += 1;
        self.execution.reconciliations += 1;
        // Something of the execution goes on.
        self.goes_on();
        self.await_start(ordinal);
        Ok(())
    }

    pub(super) fn resolved(
        &mut self,
        ordinal: u32,
        attempt: u32,
        control: Option<ControlId>,
    ) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepFailed)?;
        self.attempt(ordinal, attempt)?;
        if let Some(control) = control {
            self.remember(control);
        }
        match self.execution.waits.get(&ordinal).map(|run| &run.wait) {
            Some(Wait::Doubt(_) | Wait::DeadLetter(_)) => Ok(()),
            _ => self.nonsense("the step is neither in doubt nor a dead letter"),
        }
    }

    pub(super) fn dead_lettered(
        &mut self,
        ordinal: u32,
        attempt: u32,
        reason: DeadReason,
        error: &ExecutionError,
    ) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepFailed)?;
        self.attempt(ordinal, attempt)?;
        if self.task_of(ordinal).is_none() || self.step(ordinal)?.is_aside() {
            return self.nonsense("only a task of the graph is held as a dead letter");
        }
        self.step_moves(ordinal, StepAction::Shelve)?;
        self.set_deadline(ordinal, None);
        self.execution.failures_in_a_row += 1;
        let at = self.at;
        let step = &mut self.execution.steps[ordinal as usize];
        step.error = Some(Box::new(error.clone()));
        step.claim = None;
        let wait = Wait::DeadLetter(DeadLetter { reason });
        self.execution.waits.insert(ordinal, WaitRun { wait, since: at, decisions: Vec::new() });
        Ok(())
    }
}
