//! How an execution in the background is changed: queued, bound, tried again, called back.

use super::{ApplyError, Fold};
use crate::data::Data;
use crate::error::ExecutionError;
use crate::execution::background::{BackgroundRun, Bound, CallbackRun, CallbackState, NextAttempt, is_timeout};
use crate::execution::lifecycle::{ExecutionAction, ExecutionState};
use crate::execution::state::Deadline;
use crate::id::{ControlId, ExecutionId};
use crate::time::Timestamp;

impl Fold<'_> {
    /// Its moment has come.
    pub(super) fn background_queued(&mut self) -> Result<(), ApplyError> {
        if self.execution.deferred_until().is_none() {
            return self.nonsense("nothing was deferred");
        }
        let at = self.at;
        self.execution.changed_at = at; // What lists show of it changes.
        self.background()?.queued_at = Some(at);
        Ok(())
    }

    /// It has been started: from now on its timeout runs.
    pub(super) fn background_started(&mut self) {
        let Some(run) = self.execution.background.as_deref() else { return };
        let due = self.execution.own_time(self.at).after(run.config.timeout());
        self.execution.deadlines.insert((due, Deadline::Timeout));
    }

    pub(super) fn bound(&mut self, value: &Data, error: Option<&str>) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::Complete)?;
        let applied_at = self.at;
        let run = self.background()?;
        if run.config.target_binding.is_none() || run.bound.is_some() {
            return self.nonsense("there is nothing to bind");
        }
        run.bound = Some(Bound { value: value.clone(), error: error.map(str::to_owned), applied_at });
        Ok(())
    }

    pub(super) fn retry_scheduled(&mut self, execution: ExecutionId, due: Timestamp) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::Fail)?;
        let run = self.background()?;
        if run.next.is_some() {
            return self.nonsense("the next attempt is scheduled already");
        }
        run.next = Some(NextAttempt { execution, due, begun: false });
        Ok(())
    }

    pub(super) fn retry_started(&mut self) -> Result<(), ApplyError> {
        if self.execution.owed_attempt().is_none() {
            return self.nonsense("no attempt is to begin");
        }
        if let Some(next) = &mut self.background()?.next {
            next.begun = true;
        }
        Ok(())
    }

    /// The execution is over: whoever asked to be called back is, once there will be no further attempt.
    pub(super) fn background_ended(&mut self, error: Option<(&ExecutionError, Option<u32>)>) {
        let (at, failed) = (self.at, self.execution.state == ExecutionState::Failed);
        let Some(run) = self.execution.background.as_deref_mut() else { return };
        run.timed_out = error.is_some_and(|(error, step)| is_timeout(error, step));
        if !failed {
            run.next = None;
        }
        if run.config.callback_url.is_some() && run.next.is_none() {
            run.callback = Some(CallbackRun::owed(at));
        }
    }

    pub(super) fn callback_attempted(
        &mut self,
        attempt: u32,
        status: Option<u16>,
        error: Option<&str>,
        next: CallbackState,
        due: Option<Timestamp>,
    ) -> Result<(), ApplyError> {
        let at = self.at;
        if self.execution.owed_callback().is_none_or(|callback| callback.attempts + 1 != attempt) {
            return self.nonsense("this attempt at a callback was not to be made");
        }
        if let Some(callback) = &mut self.background()?.callback {
            callback.attempts = attempt;
            callback.round += 1;
            callback.status = status;
            callback.error = error.map(str::to_owned);
            callback.at = Some(at);
            callback.state = next;
            callback.due = due.unwrap_or(callback.due);
        }
        Ok(())
    }

    pub(super) fn callback_renewed(&mut self, control: ControlId) -> Result<(), ApplyError> {
        let at = self.at;
        self.remember(control);
        let Some(callback) = &mut self.background()?.callback else {
            return self.nonsense("nobody is to be called back");
        };
        callback.state = CallbackState::Owed;
        callback.round = 0;
        callback.renewals += 1;
        callback.due = at;
        Ok(())
    }

    fn background(&mut self) -> Result<&mut BackgroundRun, ApplyError> {
        let sequence = self.sequence;
        let reason = "the execution does not run in the background";
        self.execution.background.as_deref_mut().ok_or(ApplyError::Nonsense { sequence, reason })
    }
}
