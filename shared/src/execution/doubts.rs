//! Claims, and what follows when the worker that holds one is lost: doubts, and who resolves them; dead letters.
//!
//! A worker that claims an attempt has it on record before it runs anything, under a number that it made for this one
//! delivery. What it reports is judged by that number. Where a step may run more than once, a lost holder costs an
//! attempt. Where it runs at most once, nobody can know what became of it: the step is in doubt, and stays so until its
//! task's `reconcile` has found out, or somebody says.
//!
//! A step is in doubt when its holder is silent, too late, or was stopped while it ran. What a holder reports is no doubt:
//! a failure fails the step, and is tried again only if the worker says that nothing of the attempt had begun.

use std::borrow::Cow;

use bytes::Bytes;

use super::decide::{Decision, Rejection};
use super::state::Execution;
use super::steering::Refusal;
use super::step::StepState;
use crate::data::Data;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::{DeadLetter, DeadReason, DoubtCause, EventData, Resolution, SkipReason, Wait};
use crate::graph::{DeadLettering, Guarantee};
use crate::id::ControlId;
use crate::wire::ClaimId;

/// The code of a failure that says: the job was delivered again and again, and nobody reported.
pub const POISON: &str = "poison";
/// The code of attempts whose worker was silent for too long.
pub(super) const HEARTBEAT_TIMEOUT: &str = "heartbeat_timeout";

/// How somebody resolves a step that is in doubt or a dead letter.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It happened, and gave this.
    Completed {
        #[serde(default, skip_serializing_if = "Data::is_null")]
        output: Data,
    },
    /// It did not happen, or not to its end: the step fails with this.
    Failed { error: ExecutionError },
    /// Another attempt. Safe only if the target refuses the idempotency key, or a lower number of the attempt: whoever was
    /// lost may still wake up.
    Retry,
}

impl Execution {
    /// Whether the worker that has claimed an attempt has reported its end under this claim: what it asks is done.
    pub fn has_reported(&self, ordinal: u32, attempt: u32, claim: ClaimId) -> bool {
        self.step(ordinal).is_some_and(|step| {
            step.attempt == attempt
                && step.claim == Some(claim)
                && matches!(step.state, StepState::Completed | StepState::Failed)
        })
    }

    /// Whether an attempt is on record as this claim's.
    pub fn is_held_by(&self, ordinal: u32, attempt: u32, claim: ClaimId) -> bool {
        !self.losing.contains(&ordinal)
            && self.step(ordinal).is_some_and(|step| {
                step.attempt == attempt && step.state == StepState::Claimed && step.claim == Some(claim)
            })
    }

    /// Steps that are held as dead letters, and why.
    pub fn dead_letters(&self) -> impl Iterator<Item = (u32, DeadLetter)> + '_ {
        self.waits.iter().filter_map(|(ordinal, run)| match run.wait {
            Wait::DeadLetter(letter) => Some((*ordinal, letter)),
            _ => None,
        })
    }

    /// Steps that are in doubt.
    pub fn doubts(&self) -> impl Iterator<Item = u32> + '_ {
        self.waits.iter().filter(|(_, run)| matches!(run.wait, Wait::Doubt(_))).map(|(ordinal, _)| *ordinal)
    }

    /// The step that asks about one in doubt.
    pub fn reconciliation_of(&self, ordinal: u32) -> Option<u32> {
        match &self.waits.get(&ordinal)?.wait {
            Wait::Doubt(doubt) => doubt.asked,
            _ => None,
        }
    }

    /// What whoever asks the target is given: `{idempotency_key, attempt, input}`. An input that is too large together
    /// with the rest is null.
    pub(super) fn doubted(&self, of: u32, attempt: u32, key: &str) -> Data {
        let input = self.input_of(of).unwrap_or_default();
        let with = |input: &Data| {
            let mut bytes = Vec::with_capacity(input.len() + key.len() + 40);
            bytes.extend_from_slice(b"\x83\xafidempotency_key\xd9");
            bytes.push(u8::try_from(key.len()).ok()?);
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(b"\xa7attempt\xce");
            bytes.extend_from_slice(&attempt.to_be_bytes());
            bytes.extend_from_slice(b"\xa5input");
            bytes.extend_from_slice(input.as_msgpack());
            Data::from_msgpack(Bytes::from(bytes)).ok()
        };
        with(&input).or_else(|| with(&Data::null())).unwrap_or_default()
    }
}

impl Decision<'_> {
    /// A worker asks for an attempt, before it runs any of it.
    pub(super) fn claim(&mut self, step: u32, attempt: u32, worker: String, claim: ClaimId) -> Result<(), Rejection> {
        if self.execution.is_held_by(step, attempt, claim) {
            return Err(Refusal::Repeated.into()); // The answer was lost: it has the attempt.
        }
        let stale = |state| Rejection::StaleAttempt { step, offered: attempt, current: attempt, state };
        match self.reported(step, attempt)? {
            StepState::Scheduled => {}
            state => return Err(stale(state)),
        }
        if self.execution.state != super::lifecycle::ExecutionState::Running {
            return Err(Refusal::Withheld(self.execution.state).into());
        }
        let Some(lease) = self.task_of(step).filter(|task| task.claim).map(crate::graph::Task::lease) else {
            return Err(stale(StepState::Scheduled));
        };
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.emit(EventData::StepClaimed { step, attempt, worker, claim, lease_ms })
    }

    /// The state of a step, if the report about its present attempt is by whoever has it.
    pub(super) fn reported_by(&self, step: u32, attempt: u32, claim: ClaimId) -> Result<StepState, Rejection> {
        let state = self.reported(step, attempt)?;
        let holder = self.execution.step(step).and_then(|step| step.claim);
        match holder {
            Some(holder) if holder != claim => {
                Err(Rejection::StaleAttempt { step, offered: attempt, current: attempt, state })
            }
            _ => Ok(state),
        }
    }

    /// The same for a report that the attempt runs or ran: nobody runs it who has not claimed it, where that is asked for.
    pub(super) fn ran_by(&self, step: u32, attempt: u32, claim: ClaimId) -> Result<StepState, Rejection> {
        let state = self.reported_by(step, attempt, claim)?;
        if state == StepState::Scheduled && self.task_of(step).is_some_and(|task| task.claim) {
            return Err(Rejection::NotClaimed { step, attempt });
        }
        Ok(state)
    }

    /// The attempt may have run, and must not run twice.
    pub(super) fn must_not_run_again(&self, ordinal: u32) -> bool {
        self.task_of(ordinal).is_some_and(|task| task.guarantee == Guarantee::AtMostOnce)
            && self.execution.step(ordinal).is_some_and(|step| step.state == StepState::Claimed)
    }

    /// Whoever had the attempt is lost, and nobody knows how far it came.
    pub(super) fn doubt(&mut self, step: u32, cause: DoubtCause) -> Result<(), Rejection> {
        let attempt = self.execution.step(step).map_or(1, |step| step.attempt);
        self.emit(EventData::StepInDoubt { step, attempt, cause })?;
        if self.task_of(step).is_some_and(|task| task.reconcile.is_some()) {
            let id = self.execution.step_id(step, &self.node_name(step));
            let key = id.map(|id| format!("{}/{id}", self.execution.id)).unwrap_or_default();
            let asks = self.next_ordinal();
            self.emit(EventData::ReconciliationScheduled { step: asks, of: step, key })?;
        }
        Ok(())
    }

    /// The worker was stopped while it ran the attempt, and says so.
    pub(super) fn stopped(&mut self, step: u32, attempt: u32, claim: ClaimId, chance: f64) -> Result<(), Rejection> {
        if self.reported_by(step, attempt, claim)? != StepState::Claimed {
            return Err(Rejection::NotClaimed { step, attempt });
        }
        if self.must_not_run_again(step) {
            return self.doubt(step, DoubtCause::Stopped);
        }
        self.attempt_failed(step, given_back("the worker stopped while it ran the attempt"), 0, chance)
    }

    /// The worker that has claimed the attempt has not begun it and never will: another one may, at once. That is also
    /// said of an attempt that is in doubt meanwhile, and resolves it.
    pub(super) fn released(&mut self, step: u32, attempt: u32, claim: ClaimId) -> Result<(), Rejection> {
        let current = self.execution.step(step).ok_or(Rejection::UnknownStep(step))?.attempt;
        if let Some(Wait::Doubt(doubt)) = self.execution.waits.get(&step).map(|run| &run.wait)
            && doubt.claim == claim
            && current == attempt
        {
            return self.resolve_as(step, Resolution::Retry, None, None);
        }
        if self.reported_by(step, attempt, claim)? != StepState::Claimed {
            return Err(Rejection::NotClaimed { step, attempt });
        }
        let error = given_back("the worker gave the attempt back before it began");
        let due = self.at;
        self.emit(EventData::StepRetryScheduled { step, attempt, error, duration_us: 0, due, given_up: false })?;
        self.reschedule(step, attempt + 1)
    }

    /// Puts on record what becomes of a step that was in doubt or a dead letter. Another attempt is made at once; how else
    /// the step ends is said by what the caller emits next.
    fn resolve_as(
        &mut self,
        step: u32,
        resolution: Resolution,
        control: Option<ControlId>,
        reconciliation: Option<u32>,
    ) -> Result<(), Rejection> {
        let attempt = self.execution.step(step).map_or(1, |step| step.attempt);
        let asked = self.execution.reconciliation_of(step).filter(|asked| self.execution.open.contains(asked));
        self.emit(EventData::StepResolved { step, attempt, resolution, control, reconciliation })?;
        if let Some(asked) = asked {
            self.emit(EventData::StepSkipped { step: asked, reason: SkipReason::Resolved, new: None })?;
        }
        match resolution {
            Resolution::Retry if reconciliation.is_none() => self.reschedule(step, attempt + 1),
            _ => Ok(()),
        }
    }

    /// Somebody says what became of a step, or what is to become of it.
    pub(super) fn resolve(&mut self, control: ControlId, name: &str, verdict: Verdict) -> Result<(), Rejection> {
        let step = self.waiting_step(name)?;
        if !matches!(self.execution.waits[&step].wait, Wait::Doubt(_) | Wait::DeadLetter(_)) {
            return Err(self.other_wait(step, "what became of it"));
        }
        let control = Some(control);
        match verdict {
            Verdict::Completed { output } => {
                self.resolve_as(step, Resolution::Completed, control, None)?;
                self.complete_step(step, output, 0)
            }
            Verdict::Failed { error } => {
                self.resolve_as(step, Resolution::Failed, control, None)?;
                self.fail_step(step, error, 0)
            }
            Verdict::Retry => self.resolve_as(step, Resolution::Retry, control, None),
        }
    }

    /// Another attempt at dead letters: at one step, or at all of the execution.
    pub(super) fn redrive(&mut self, control: ControlId, name: Option<&str>) -> Result<(), Rejection> {
        let steps: Vec<u32> = match name {
            Some(name) => {
                let step = self.waiting_step(name)?;
                if !matches!(self.execution.waits[&step].wait, Wait::DeadLetter(_)) {
                    return Err(self.other_wait(step, "a redrive"));
                }
                vec![step]
            }
            None => {
                self.not_over()?;
                self.execution.dead_letters().map(|(step, _)| step).collect()
            }
        };
        if steps.is_empty() {
            return Err(Refusal::NoDeadLetters.into());
        }
        steps.into_iter().try_for_each(|step| self.resolve_as(step, Resolution::Retry, Some(control), None))
    }

    /// The target was asked about a step in doubt, and this came of it.
    pub(super) fn reconciled(
        &mut self,
        ordinal: u32,
        of: u32,
        output: Data,
        duration_us: u64,
    ) -> Result<(), Rejection> {
        let attempt = self.execution.step(ordinal).map_or(1, |step| step.attempt);
        let found = match Found::read(&output) {
            Ok(found) => found,
            Err(problem) => {
                // On record as failed, and somebody has to say.
                let error = ExecutionError::new(ErrorCategory::ValidationError, problem)
                    .with_code(ErrorCode::new("bad_reconciliation"));
                return self.fail_step(ordinal, error, duration_us);
            }
        };
        let (taken, routing_error) = (None, None);
        let step = ordinal;
        self.emit(EventData::StepCompleted { step, attempt, output, duration_us, taken, routing_error })?;
        match found {
            Found::Happened(output) => {
                self.resolve_as(of, Resolution::Completed, None, Some(ordinal))?;
                self.complete_step(of, output, 0)
            }
            Found::DidNotHappen { retry } => {
                let worker = match self.execution.waits.get(&of).map(|run| &run.wait) {
                    Some(Wait::Doubt(doubt)) => Cow::Owned(doubt.worker.clone()),
                    _ => Cow::Borrowed(""),
                };
                let message = format!("worker `{worker}` was lost, and the target says that nothing has happened");
                let error = ExecutionError::new(ErrorCategory::NetworkError, message)
                    .with_code(ErrorCode::new("did_not_happen"));
                let resolution = if retry { Resolution::Retry } else { Resolution::Failed };
                self.resolve_as(of, resolution, None, Some(ordinal))?;
                match retry {
                    // Within the attempts that the task allows, so that it ends.
                    true => self.attempt_failed(of, error, 0, 0.5),
                    false => self.fail_for_good(of, error, 0),
                }
            }
        }
    }

    /// Whether a failure that is not tried again is held for somebody, and why.
    pub(super) fn is_held_as_dead(&self, ordinal: u32, error: &ExecutionError) -> Option<DeadReason> {
        if self.execution.step(ordinal).is_none_or(super::state::Step::is_aside) {
            return None;
        }
        let task = self.task_of(ordinal)?;
        // Where attempts are claimed, the log knows how many workers were lost with them.
        let lost = |code: &str| task.claim && code == HEARTBEAT_TIMEOUT;
        let poison = error.code.as_ref().is_some_and(|code| is_poison(error) || lost(code.as_str()));
        match task.dead_letter {
            DeadLettering::Poison | DeadLettering::Exhausted if poison => Some(DeadReason::Poison),
            DeadLettering::Exhausted => Some(DeadReason::Exhausted),
            DeadLettering::Poison | DeadLettering::Never => None,
        }
    }

    /// An attempt has failed and is not tried again: the step is held as a dead letter, or fails.
    pub(super) fn fail_for_good(
        &mut self,
        step: u32,
        error: ExecutionError,
        duration_us: u64,
    ) -> Result<(), Rejection> {
        match self.is_held_as_dead(step, &error) {
            Some(reason) => {
                let attempt = self.execution.step(step).map_or(1, |step| step.attempt);
                self.emit(EventData::StepDeadLettered { step, attempt, reason, error, duration_us })
            }
            None => self.fail_step(step, error, duration_us),
        }
    }
}

/// The job kills its workers, by what one of them says.
pub(super) fn is_poison(error: &ExecutionError) -> bool {
    error.code.as_ref().is_some_and(|code| code.as_str() == POISON)
}

/// What a reconciliation has found.
enum Found {
    Happened(Data),
    /// `retry`: the target will refuse whatever the lost attempt may still do.
    DidNotHappen {
        retry: bool,
    },
}

impl Found {
    /// `{happened: true, output}` or `{happened: false, retry}`.
    fn read(output: &Data) -> Result<Found, String> {
        let found = output.to_json();
        match found.get("happened") {
            Some(serde_json::Value::Bool(true)) => {
                let output = found.get("output").cloned().unwrap_or_default();
                Data::from_json(&output).map(Found::Happened).map_err(|error| format!("its `output`: {error}"))
            }
            Some(serde_json::Value::Bool(false)) => {
                Ok(Found::DidNotHappen { retry: found.get("retry") == Some(&serde_json::Value::Bool(true)) })
            }
            _ => Err("a reconciliation gives {happened: true, output: …} or {happened: false, retry: …}".to_owned()),
        }
    }
}

fn given_back(message: &str) -> ExecutionError {
    ExecutionError::new(ErrorCategory::NetworkError, message).with_code(ErrorCode::new("released"))
}
