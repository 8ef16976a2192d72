//! Background executions: what follows from how they were asked for, and what is owed after they have ended.
//!
//! The end of an execution is final, and its state, output and error never change again. What is owed to others after it
//! is kept beside them: the next attempt at an execution that failed, and the callback. Both are owed by state, so
//! whoever drives the execution next goes on with them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::decide::{Decision, Rejection, timeout};
use super::lifecycle::{ExecutionAction, ExecutionState};
use super::state::Execution;
use super::steering::Refusal;
use crate::artifact::references;
use crate::background::{Applied, Background, BackgroundStatus, Transform};
use crate::data::Data;
use crate::error::{ErrorCategory, ExecutionError};
use crate::event::{Ending, EventData, Undone};
use crate::id::{ControlId, ExecutionId};
use crate::time::Timestamp;

/// The code of the failure of an execution that ran for longer than its background timeout.
pub const TIMEOUT_CODE: &str = "timeout";
/// The waits between two attempts at a callback; after the last one it is given up. The order of the times is that of the
/// Standard Webhooks specification, with shorter ones at the beginning.
pub const CALLBACK_WAITS: [Duration; 9] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(24 * 3600),
];
/// Longest text that is kept of what went wrong with a callback, in bytes.
pub const CALLBACK_ERROR_BYTES: usize = 512;
/// How often somebody may ask for a callback anew.
pub const CALLBACK_RENEWALS: u32 = 100;

/// What an execution in the background is, beside what every execution is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackgroundRun {
    #[serde(rename = "c")]
    pub(super) config: Background,
    /// Since when it waits for a place among those that run; `None` before its moment.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub(super) queued_at: Option<Timestamp>,
    #[serde(rename = "t", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) timed_out: bool,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub(super) bound: Option<Bound>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<NextAttempt>,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) callback: Option<CallbackRun>,
}

impl BackgroundRun {
    pub(super) fn new(config: &Background) -> Self {
        BackgroundRun {
            config: config.clone(),
            queued_at: None,
            timed_out: false,
            bound: None,
            next: None,
            callback: None,
        }
    }

    /// What was asked for.
    pub fn config(&self) -> &Background {
        &self.config
    }

    /// Since when it waits for a place among those that run; `None` before its moment.
    pub fn queued_at(&self) -> Option<Timestamp> {
        self.queued_at
    }

    /// What became of the target binding.
    pub fn bound(&self) -> Option<&Bound> {
        self.bound.as_ref()
    }

    /// What follows a failure.
    pub fn next(&self) -> Option<&NextAttempt> {
        self.next.as_ref()
    }

    /// Once the execution has ended, if somebody is to be called back.
    pub fn callback(&self) -> Option<&CallbackRun> {
        self.callback.as_ref()
    }
}

/// What became of a target binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Null where the output itself was taken, and where nothing was.
    #[serde(rename = "v", default, skip_serializing_if = "Data::is_null")]
    pub value: Data,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(rename = "a")]
    pub applied_at: Timestamp,
}

impl Bound {
    pub fn success(&self) -> bool {
        self.error.is_none()
    }
}

/// The attempt that follows one that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextAttempt {
    #[serde(rename = "x")]
    pub execution: ExecutionId,
    #[serde(rename = "d")]
    pub due: Timestamp,
    /// It exists.
    #[serde(rename = "b", default, skip_serializing_if = "std::ops::Not::not")]
    pub begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackState {
    #[default]
    Owed,
    Delivered,
    GivenUp,
}

/// How the callback of an execution stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackRun {
    #[serde(rename = "s", default)]
    pub(super) state: CallbackState,
    /// Attempts made in all.
    #[serde(rename = "n", default)]
    pub(super) attempts: u32,
    /// Attempts made since it was asked for, or asked for anew.
    #[serde(rename = "r", default)]
    pub(super) round: u32,
    #[serde(rename = "w", default)]
    pub(super) renewals: u32,
    /// When the next attempt is due.
    #[serde(rename = "d")]
    pub(super) due: Timestamp,
    /// What the other side answered last.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// When the last attempt had ended.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<Timestamp>,
}

impl CallbackRun {
    pub(super) fn owed(due: Timestamp) -> Self {
        let state = CallbackState::Owed;
        CallbackRun { state, attempts: 0, round: 0, renewals: 0, due, status: None, error: None, at: None }
    }

    pub fn state(&self) -> CallbackState {
        self.state
    }

    /// Attempts made.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When the next attempt is due, if there is to be one.
    pub fn due(&self) -> Option<Timestamp> {
        (self.state == CallbackState::Owed).then_some(self.due)
    }

    /// What the other side answered last.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// When the last attempt had ended.
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }
}

/// What became of an attempt at a callback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct CallbackReport {
    /// From 1.
    pub attempt: u32,
    pub result: CallbackResult,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// In words for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackResult {
    Delivered,
    /// Another attempt can help.
    Failed,
    /// The other side does not want it, or will never be reached.
    Refused,
}

/// Something that follows the end of an execution has been done, or tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterEnd {
    /// The next attempt exists.
    AttemptBegun,
    /// The parent knows how it has ended, or is not there to know.
    ParentTold,
    Callback(CallbackReport),
}

impl Execution {
    /// Of an execution that runs in the background.
    pub fn background(&self) -> Option<&BackgroundRun> {
        self.background.as_deref()
    }

    /// Where it stands, by the names of background executions.
    pub fn background_status(&self) -> Option<BackgroundStatus> {
        let run = self.background.as_deref()?;
        Some(match self.state {
            ExecutionState::Created | ExecutionState::Planning => BackgroundStatus::Queued,
            ExecutionState::Running | ExecutionState::Paused | ExecutionState::Waiting(_) => BackgroundStatus::Running,
            ExecutionState::Completed => BackgroundStatus::Completed,
            ExecutionState::Failed if run.timed_out => BackgroundStatus::Timeout,
            ExecutionState::Failed => BackgroundStatus::Failed,
            ExecutionState::Cancelled => BackgroundStatus::Cancelled,
        })
    }

    /// Its place in the queue, while it is there: the lowest goes first.
    pub fn queue_rank(&self) -> Option<Timestamp> {
        if self.state != ExecutionState::Created {
            return None;
        }
        let run = self.background.as_deref()?;
        run.queued_at.map(|at| run.config.rank(at))
    }

    /// It holds a place among those that run at the same time. One that waits or is paused holds none.
    pub fn holds_place(&self) -> bool {
        self.background.is_some() && self.state == ExecutionState::Running
    }

    /// Its moment, while it has not come.
    pub(super) fn deferred_until(&self) -> Option<Timestamp> {
        let run = self.background.as_deref()?;
        let waits = self.state == ExecutionState::Created && run.queued_at.is_none();
        run.config.run_at.filter(|_| waits)
    }

    /// The next attempt, while somebody has to begin it.
    pub fn owed_attempt(&self) -> Option<&NextAttempt> {
        let run = self.background.as_deref()?;
        run.next.as_ref().filter(|next| !next.begun && self.state.is_terminal())
    }

    /// The callback, while it is owed.
    pub fn owed_callback(&self) -> Option<&CallbackRun> {
        let callback = self.background.as_deref()?.callback.as_ref()?;
        (callback.state == CallbackState::Owed).then_some(callback)
    }

    /// What its target binding made of the output.
    pub fn bound_value(&self) -> Option<&Data> {
        let bound = self.background.as_deref()?.bound.as_ref()?;
        match (bound.success(), bound.value.is_null()) {
            (false, _) => None,
            (true, true) => Some(&self.output),
            (true, false) => Some(&bound.value),
        }
    }
}

impl Decision<'_> {
    /// There is a place for it among those that run.
    pub(super) fn admit(&mut self) -> Result<(), Rejection> {
        self.legal(ExecutionAction::Start)?;
        if self.execution.queue_rank().is_none() {
            return Err(Rejection::NotDue);
        }
        self.emit(EventData::ExecutionStarted {})
    }

    /// The execution has run for as long as it may.
    pub(super) fn background_timeout(&mut self) -> Result<(), Rejection> {
        let most = self.execution.background.as_deref().map_or(0, |run| run.config.timeout_ms);
        let error = timeout(TIMEOUT_CODE, &format!("the execution ran longer than its timeout of {most} ms"));
        self.fail_execution(error, None)
    }

    /// Records the end of an execution that did not complete, and what follows from it.
    pub(super) fn end_badly(&mut self, ending: Ending, undone: Option<Undone>) -> Result<(), Rejection> {
        match ending {
            Ending::Failed { error, step } => {
                self.try_again(&error)?;
                self.emit(EventData::ExecutionFailed { error, step, undone })
            }
            Ending::Cancelled { reason } => self.emit(EventData::ExecutionCancelled { reason, undone }),
        }
    }

    /// A failure that another attempt can mend is followed by one, if that was asked for.
    fn try_again(&mut self, error: &ExecutionError) -> Result<(), Rejection> {
        let Some(run) = self.execution.background.as_deref() else { return Ok(()) };
        let Some(retry) = run.config.retry else { return Ok(()) };
        if run.config.attempt >= retry.max_attempts || !error.is_retryable() {
            return Ok(());
        }
        let next = run.config.next_attempt_id(&self.execution.tenant, self.execution.id);
        let due = self.at.after(retry.backoff(run.config.attempt));
        self.emit(EventData::BackgroundRetryScheduled { next, due })
    }

    /// Applies the target binding to what the execution gives. A failure of it is recorded and fails nothing.
    pub(super) fn bind(&mut self, output: &Data) -> Result<(), Rejection> {
        let Some(binding) = self.execution.background.as_deref().and_then(|run| run.config.target_binding.as_ref())
        else {
            return Ok(());
        };
        let given = output.to_json();
        // What lies outside the log is not fetched for a decision.
        let away = binding.transform != Transform::None && !references(&given).is_empty();
        let applied = if away {
            Err("the output, or a part of it, lies in the artifact store".to_owned())
        } else {
            binding.apply(&given)
        };
        let applied = applied.and_then(|applied| match applied {
            Applied::Output => Ok(Data::null()),
            Applied::Text(text) => Data::from_json(&json!(text)).map_err(|error| error.to_string()),
        });
        let (target, path) = (binding.target, binding.path.clone());
        let (value, error) = match applied {
            Ok(value) => (value, None),
            Err(error) => (Data::null(), Some(cut(error))),
        };
        self.emit(EventData::TargetBindingApplied { target, path, value, error })
    }

    /// What is owed after the end was done, or tried.
    pub(super) fn after_end(&mut self, what: AfterEnd) -> Result<(), Rejection> {
        match what {
            AfterEnd::AttemptBegun => {
                if self.execution.owed_attempt().is_none() {
                    return Err(Refusal::Repeated.into());
                }
                self.emit(EventData::BackgroundRetryStarted {})
            }
            AfterEnd::ParentTold => {
                if !self.execution.owes_its_parent() {
                    return Err(Refusal::Repeated.into());
                }
                self.emit(EventData::ParentTold {})
            }
            AfterEnd::Callback(report) => self.called_back(report),
        }
    }

    fn called_back(&mut self, report: CallbackReport) -> Result<(), Rejection> {
        let owed = self.execution.owed_callback().filter(|callback| callback.attempts + 1 == report.attempt);
        let Some(callback) = owed else { return Err(Refusal::Repeated.into()) };
        let CallbackReport { attempt, result, status, error } = report;
        let error = error.map(cut);
        let wait = CALLBACK_WAITS.get(callback.round as usize).copied();
        match (result, wait) {
            (CallbackResult::Delivered, _) => self.emit(EventData::CallbackDelivered { attempt, status }),
            (CallbackResult::Failed, Some(wait)) => {
                let due = self.at.after(wait);
                self.emit(EventData::CallbackAttempted { attempt, status, error, due })
            }
            (CallbackResult::Failed | CallbackResult::Refused, _) => {
                self.emit(EventData::CallbackGivenUp { attempt, status, error })
            }
        }
    }

    /// Somebody wants the callback to be tried again, or to be made once more.
    pub(super) fn renew_callback(&mut self, control: ControlId) -> Result<(), Rejection> {
        let callback = self.execution.background.as_deref().and_then(|run| run.callback.as_ref());
        let Some(callback) = callback else { return Err(Refusal::NoCallback.into()) };
        if callback.renewals >= CALLBACK_RENEWALS {
            return Err(
                Refusal::Full { what: "what may be asked of a callback", limit: CALLBACK_RENEWALS as usize }.into()
            );
        }
        self.emit(EventData::CallbackRenewed { control })
    }
}

/// With an end where a text is too long, at a character's border.
fn cut(mut text: String) -> String {
    if text.len() > CALLBACK_ERROR_BYTES {
        let at = (0..=CALLBACK_ERROR_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(at);
    }
    text
}

/// The failure of an execution that ran for longer than its background timeout.
pub(super) fn is_timeout(error: &ExecutionError, step: Option<u32>) -> bool {
    step.is_none()
        && error.category == ErrorCategory::Timeout
        && error.code.as_ref().is_some_and(|code| code.as_str() == TIMEOUT_CODE)
}
