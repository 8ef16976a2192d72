//! What follows a command: events, or a refusal that changes nothing.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::apply::ApplyError;
use super::background::AfterEnd;
use super::doubts::{HEARTBEAT_TIMEOUT, is_poison};
use super::lifecycle::{ExecutionAction, ExecutionState, IllegalTransition, WaitReason};
use super::state::{Deadline, Execution};
use super::steering::{Refusal, Steer};
use super::step::StepState;
use crate::background::Background;
use crate::data::Data;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError, RetryDecision};
use crate::event::child::ChildEnding;
use crate::event::{
    DeadReason, DoubtCause, Ending, Event, EventData, Message, Note, Origin, ParentLink, SkipReason, Spent, Violation,
};
use crate::graph::{CompiledGraph, GraphDigest, Graphs, LimitOverrides, OnLimit, Task};
use crate::id::ExecutionId;
use crate::time::Timestamp;
use crate::wire::ClaimId;

/// Deadlines that one tick handles; the next tick goes on.
const DEADLINES_PER_TICK: usize = 1024;

/// What may be asked of an execution, or reported to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Brings it into being, and starts it unless it is to be planned first.
    Create(Box<StartRequest>),
    Start,
    /// There is a place among the background executions that run.
    Admit,
    /// Something that is owed after the end has been done, or tried.
    AfterEnd(Box<AfterEnd>),
    Pause {
        reason: String,
    },
    Resume,
    Wait {
        reason: WaitReason,
    },
    Input {
        input: Data,
    },
    /// The result of an attempt, with what it puts on record.
    Noted {
        notes: Vec<Note>,
        result: Box<Command>,
    },
    /// A child is there.
    ChildStarted {
        child: ExecutionId,
    },
    /// A child has ended, or cannot be started.
    ChildEnded {
        child: ExecutionId,
        ending: ChildEnding,
        /// By it and its own children.
        used: Spent,
    },
    /// A child that inherits the inbox has these messages, by the sequence of their events.
    InboxForwarded {
        child: ExecutionId,
        messages: Vec<u64>,
    },
    /// Messages that came for the parent, by the sequence of their events there.
    Inherit {
        from: ExecutionId,
        messages: Vec<(u64, Message)>,
    },
    /// The permit that an attempt asked for is there, at once or from a moment on.
    PermitGranted {
        step: u32,
        attempt: u32,
        from: Option<Timestamp>,
    },
    /// The tenant's budget is used up, and the permit of an attempt with it.
    PermitDenied {
        step: u32,
        attempt: u32,
        limit: Violation,
        current: u64,
        max: u64,
        on_limit: OnLimit,
    },
    /// What the execution has used has brought the tenant's budget of a day near its end.
    TenantWarned {
        limit: Violation,
        current: u64,
        max: u64,
        /// Since 1970-01-01, UTC.
        day: i64,
    },
    /// Somebody outside asks for something, and is answered.
    Steer(Box<Steer>),
    Cancel {
        reason: String,
    },
    Fail {
        error: ExecutionError,
    },
    /// A worker says that it runs an attempt.
    Started {
        step: u32,
        attempt: u32,
        worker: String,
        claim: ClaimId,
    },
    /// A worker asks for an attempt before it runs it.
    Claim {
        step: u32,
        attempt: u32,
        worker: String,
        claim: ClaimId,
    },
    /// The worker that has claimed an attempt has not begun it and will not.
    Released {
        step: u32,
        attempt: u32,
        claim: ClaimId,
    },
    /// The worker that has claimed an attempt stopped while it ran, and does not know how far it was.
    Stopped {
        step: u32,
        attempt: u32,
        claim: ClaimId,
        chance: f64,
    },
    /// An attempt failed before any of it had begun.
    NotStarted {
        step: u32,
        attempt: u32,
        worker: String,
        claim: ClaimId,
        error: ExecutionError,
        duration_us: u64,
        chance: f64,
    },
    Completed {
        step: u32,
        attempt: u32,
        worker: String,
        claim: ClaimId,
        output: Data,
        duration_us: u64,
    },
    /// `chance` in 0.0..=1.0 spreads the retry under full jitter.
    Failed {
        step: u32,
        attempt: u32,
        worker: String,
        claim: ClaimId,
        error: ExecutionError,
        duration_us: u64,
        chance: f64,
    },
    /// The worker that runs an attempt has been silent for longer than its node allows.
    HeartbeatMissed {
        step: u32,
        attempt: u32,
        chance: f64,
    },
    /// The store has begun another incarnation since the log was written last.
    Restored {
        incarnation: u64,
    },
    /// Time has passed: whatever is due happens.
    Tick {
        chance: f64,
    },
    /// Puts something on record (the kinds that change nothing else).
    Record(Box<EventData>),
}

/// What a new execution is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRequest {
    pub graph: GraphDigest,
    pub inputs: Data,
    pub planning: bool,
    pub parent: Option<ParentLink>,
    pub origin: Option<Origin>,
    pub request_hash: Option<Vec<u8>>,
    pub metadata: Option<Data>,
    /// Nodes before which it is to be paused.
    pub breakpoints: Vec<String>,
    /// In the place of what the graph says.
    pub limits: LimitOverrides,
    /// It runs in the background: it is queued, and started when there is a place for it.
    pub background: Option<Box<Background>>,
    /// Its tenant has limits.
    pub governed: bool,
}

/// Why a command was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error("the execution exists already")]
    Exists,
    #[error("the execution does not exist")]
    Missing,
    #[error("the graph {0} is not loaded")]
    UnknownGraph(GraphDigest),
    #[error("the inputs do not fit the graph: {}", .0.join("; "))]
    InvalidInputs(Vec<String>),
    #[error("there is no step {0} that a worker runs")]
    UnknownStep(u32),
    /// The usual fate of a late or doubled message.
    #[error("attempt {offered} of step {step} is over: the step is at attempt {current} and {state:?}")]
    StaleAttempt { step: u32, offered: u32, current: u32, state: StepState },
    #[error("attempt {attempt} of step {step} is nobody's: a worker claims it before it runs it")]
    NotClaimed { step: u32, attempt: u32 },
    #[error("attempt {attempt} of step {step} is on record as started")]
    AlreadyStarted { step: u32, attempt: u32 },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("nothing is due")]
    NotDue,
    #[error("the execution undoes what it has done and ends as {ending} then; that can be paused, but not cut short")]
    Compensating { ending: &'static str },
    #[error("events of the kind `{0}` are not recorded by request")]
    NotRecordable(&'static str),
    /// A decision that the fold refuses is a defect of ours; the execution is set aside, its log is unharmed.
    #[error("the decision is not legal: {0}")]
    Internal(#[from] ApplyError),
}

/// The events that follow a command, all stamped with one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    pub at: Timestamp,
    pub events: Vec<EventData>,
    /// The request was denied, and that is what the events say: whoever asked is told so once they are stored.
    pub denied: Option<Rejection>,
}

impl Execution {
    /// What follows a command, without changing anything. Costs a copy of the state; a program that drives an
    /// execution uses [`Execution::decide_in_place`].
    pub fn decide(&self, graphs: &Graphs, command: Command, now: Timestamp) -> Result<Decided, Rejection> {
        self.clone().decide_in_place(graphs, command, now)
    }

    /// What follows a command, with the state moved on as if the events were stored.
    ///
    /// The caller stores the events before it lets anybody see or feel the new state, and if storing fails it throws
    /// this value away and folds the log anew. A refusal leaves the state as it was, except for
    /// [`Rejection::Internal`], after which the value is unfit for use.
    pub fn decide_in_place(&mut self, graphs: &Graphs, command: Command, now: Timestamp) -> Result<Decided, Rejection> {
        let digest = match &command {
            Command::Create(request) => request.graph,
            _ if self.sequence == 0 => return Err(Rejection::Missing),
            _ => self.graph,
        };
        let graph = graphs.get(&digest).ok_or(Rejection::UnknownGraph(digest))?.clone();
        let at = now.max(self.last_at);
        let mut decision = Decision {
            execution: self,
            graphs,
            graph: &graph,
            at,
            events: Vec::new(),
            bytes: 0,
            work: Cell::new(0),
            denied: None,
            gives_up: None,
        };
        decision.take(command)?;
        let Decision { events, denied, .. } = decision;
        Ok(Decided { at, events, denied })
    }
}

/// A decision in the making: each event is applied as it is emitted, so that what follows sees it.
pub(super) struct Decision<'a> {
    pub(super) execution: &'a mut Execution,
    pub(super) graphs: &'a Graphs,
    pub(super) graph: &'a CompiledGraph,
    pub(super) at: Timestamp,
    pub(super) events: Vec<EventData>,
    /// Of the values in these events.
    pub(super) bytes: usize,
    /// Steps that expressions have taken.
    pub(super) work: Cell<u64>,
    pub(super) denied: Option<Rejection>,
    /// The step whose attempt is given up without anybody having reported for it.
    pub(super) gives_up: Option<u32>,
}

impl Decision<'_> {
    pub(super) fn emit(&mut self, data: EventData) -> Result<(), Rejection> {
        let mut event = Event { sequence: self.execution.sequence + 1, at: self.at, data };
        self.execution.apply(self.graphs, &event)?;
        event.data.payloads(|value| self.bytes += value.len());
        self.events.push(event.data);
        Ok(())
    }

    pub(super) fn legal(&self, action: ExecutionAction) -> Result<(), Rejection> {
        self.execution.state.after(action)?;
        Ok(())
    }

    pub(super) fn take(&mut self, command: Command) -> Result<(), Rejection> {
        match command {
            Command::Create(request) => return self.create(*request),
            Command::Start => {
                self.legal(ExecutionAction::Start)?;
                self.emit(EventData::ExecutionStarted {})?;
            }
            Command::Admit => self.admit()?,
            Command::AfterEnd(what) => return self.after_end(*what),
            Command::Pause { reason } => {
                self.legal(ExecutionAction::Pause)?;
                self.emit(EventData::ExecutionPaused { reason, breakpoint: None })?;
            }
            Command::Resume => {
                self.not_waiting_for_a_step()?;
                self.legal(ExecutionAction::Resume)?;
                self.emit(EventData::ExecutionResumed {})?;
            }
            Command::Wait { reason } => {
                self.legal(ExecutionAction::Wait(reason))?;
                self.not_while_compensating()?;
                self.emit(EventData::ExecutionWaiting { reason, step: None, control: None })?;
            }
            Command::Input { input } => {
                self.not_waiting_for_a_step()?;
                self.legal(ExecutionAction::InputReceived)?;
                self.emit(EventData::InputReceived { input, step: None, control: None })?;
            }
            Command::Noted { notes, result } if notes.is_empty() => return self.take(*result),
            Command::Noted { notes, result } => self.noted(notes, *result)?,
            Command::ChildStarted { child } => self.child_started(child)?,
            Command::ChildEnded { child, ending, used } => self.child_ended(child, ending, used)?,
            Command::InboxForwarded { child, messages } => self.inbox_forwarded(child, &messages)?,
            Command::Inherit { from, messages } => self.inherit(from, messages)?,
            Command::PermitGranted { step, attempt, from } => self.permit_granted(step, attempt, from)?,
            Command::PermitDenied { step, attempt, limit, current, max, on_limit } => {
                self.permit_denied(step, attempt, (limit, current, max), on_limit)?;
            }
            // Nothing follows from it, and the execution may be over.
            Command::TenantWarned { limit, current, max, day } => return self.tenant_warned(limit, current, max, day),
            Command::Steer(steer) => {
                if !self.steer(*steer)? {
                    return Ok(());
                }
            }
            Command::Cancel { reason } => {
                self.legal(ExecutionAction::Cancel)?;
                self.not_while_compensating()?;
                self.close_open_steps(SkipReason::ExecutionCancelled)?;
                return self.end_as(Ending::Cancelled { reason });
            }
            Command::Fail { error } => {
                self.legal(ExecutionAction::Fail)?;
                self.not_while_compensating()?;
                return self.fail_execution(error, None);
            }
            Command::Started { step, attempt, worker, claim } => {
                if matches!(self.ran_by(step, attempt, claim)?, StepState::Running | StepState::Claimed) {
                    return Err(Rejection::AlreadyStarted { step, attempt });
                }
                return self.emit(EventData::StepStarted { step, attempt, worker, claim });
            }
            Command::Completed { step, attempt, worker, claim, output, duration_us } => {
                self.legal(ExecutionAction::StepCompleted)?;
                if self.ran_by(step, attempt, claim)? == StepState::Scheduled {
                    self.emit(EventData::StepStarted { step, attempt, worker, claim })?;
                }
                self.complete_step(step, output, duration_us)?;
            }
            Command::Failed { step, attempt, worker, claim, error, duration_us, chance } => {
                self.legal(ExecutionAction::StepFailed)?;
                let ran = self.must_not_run_again(step);
                match self.reported_by(step, attempt, claim)? {
                    // Nobody has claimed it, so none of it has begun.
                    StepState::Scheduled if self.task_of(step).is_some_and(|task| task.claim) => {}
                    StepState::Scheduled => self.emit(EventData::StepStarted { step, attempt, worker, claim })?,
                    _ => {}
                }
                match ran {
                    true => self.fail_for_good(step, error, duration_us)?,
                    false => self.attempt_failed(step, error, duration_us, chance)?,
                }
            }
            Command::Claim { step, attempt, worker, claim } => return self.claim(step, attempt, worker, claim),
            Command::Released { step, attempt, claim } => {
                self.legal(ExecutionAction::StepFailed)?;
                self.released(step, attempt, claim)?;
            }
            Command::Stopped { step, attempt, claim, chance } => {
                self.legal(ExecutionAction::StepFailed)?;
                self.stopped(step, attempt, claim, chance)?;
            }
            Command::NotStarted { step, attempt, worker, claim, error, duration_us, chance } => {
                self.legal(ExecutionAction::StepFailed)?;
                if self.reported_by(step, attempt, claim)? == StepState::Scheduled
                    && self.task_of(step).is_some_and(|task| !task.claim)
                {
                    self.emit(EventData::StepStarted { step, attempt, worker, claim })?;
                }
                self.attempt_failed(step, error, duration_us, chance)?;
            }
            Command::HeartbeatMissed { step, attempt, chance } => {
                self.legal(ExecutionAction::StepFailed)?;
                if !matches!(self.reported(step, attempt)?, StepState::Running | StepState::Claimed) {
                    return Err(Rejection::NotDue);
                }
                if self.must_not_run_again(step) {
                    self.doubt(step, DoubtCause::Silence)?;
                    return self.advance();
                }
                let error =
                    timeout(HEARTBEAT_TIMEOUT, "the worker has been silent for longer than the heartbeat timeout");
                self.gives_up = Some(step);
                self.attempt_failed(step, error, 0, chance)?;
            }
            Command::Restored { incarnation } => {
                self.legal(ExecutionAction::StepStarted)?;
                self.emit(EventData::StoreRestored { incarnation })?;
            }
            Command::Tick { chance } => self.tick(chance)?,
            Command::Record(event) => return self.record(*event),
        }
        self.advance()
    }

    fn create(&mut self, request: StartRequest) -> Result<(), Rejection> {
        if self.execution.sequence != 0 {
            return Err(Rejection::Exists);
        }
        if self.graph.inputs.is_some() {
            let problems = self.graph.input_problems(&request.inputs.to_json());
            if !problems.is_empty() {
                return Err(Rejection::InvalidInputs(problems));
            }
        }
        let mut breakpoints = BTreeSet::new();
        for node in &request.breakpoints {
            let Some(ix) = self.graph.by_name.get(node) else {
                return Err(Refusal::UnknownNode(node.clone()).into());
            };
            breakpoints.insert(ix.0); // Named twice, it is one.
        }
        let waits = request.planning || request.background.is_some();
        self.emit(EventData::ExecutionCreated {
            graph: request.graph,
            graph_name: self.graph.name.clone(),
            inputs: request.inputs,
            planning: request.planning,
            parent: request.parent.map(Box::new),
            origin: request.origin,
            request_hash: request.request_hash,
            metadata: request.metadata,
            limits: Box::new(request.limits),
            background: request.background,
            governed: request.governed,
        })?;
        for node in breakpoints {
            self.emit(EventData::BreakpointSet { node, on: true, control: None })?;
        }
        if waits {
            return Ok(());
        }
        self.emit(EventData::ExecutionStarted {})?;
        self.inputs_put_away()?;
        self.advance()
    }

    /// The state of a step that a worker reports about, if the report is about its present attempt.
    pub(super) fn reported(&self, ordinal: u32, offered: u32) -> Result<StepState, Rejection> {
        self.legal(ExecutionAction::StepStarted)?;
        let step = self.execution.step(ordinal).ok_or(Rejection::UnknownStep(ordinal))?;
        if self.task_of(ordinal).is_none() {
            return Err(Rejection::UnknownStep(ordinal));
        }
        match step.state {
            // Over already, only not recorded yet.
            _ if self.execution.losing.contains(&ordinal) => Err(Rejection::StaleAttempt {
                step: ordinal,
                offered,
                current: step.attempt,
                state: StepState::Skipped,
            }),
            StepState::Scheduled | StepState::Claimed | StepState::Running if step.attempt == offered => Ok(step.state),
            state => Err(Rejection::StaleAttempt { step: ordinal, offered, current: step.attempt, state }),
        }
    }

    pub(super) fn task_of(&self, ordinal: u32) -> Option<&Task> {
        self.execution.task_of(self.graph, ordinal)
    }

    fn tick(&mut self, chance: f64) -> Result<(), Rejection> {
        if self.execution.is_getting_quiet(self.at) {
            return self.emit(EventData::ExecutionQuiescent {});
        }
        if self.execution.deferred_until().is_some_and(|moment| moment <= self.at) {
            return self.emit(EventData::BackgroundQueued {});
        }
        if !matches!(self.execution.state, ExecutionState::Running | ExecutionState::Waiting(_)) {
            return Err(Rejection::NotDue);
        }
        let at = self.execution.own_time(self.at);
        let due: Vec<Deadline> = self
            .execution
            .deadlines
            .iter()
            .take_while(|(due, _)| *due <= at)
            .take(DEADLINES_PER_TICK)
            .map(|(_, deadline)| *deadline)
            .collect();
        if due.is_empty() && !(self.execution.has_more() && self.execution.state == ExecutionState::Running) {
            return Err(Rejection::NotDue);
        }
        for deadline in due {
            if self.execution.state.is_terminal() {
                break; // An earlier deadline ended it.
            }
            match deadline {
                // An earlier deadline may have ended it; undoing takes the time that it takes.
                Deadline::WallTime | Deadline::Timeout if self.execution.compensation.is_some() => {}
                Deadline::Timeout => self.background_timeout()?,
                Deadline::WallTime => self.out_of_time()?,
                Deadline::Idle => self.idle_for_too_long()?,
                // A step may have been closed by a deadline before this one.
                Deadline::Retry(ordinal) if self.is_in(ordinal, &[StepState::Waiting]) => {
                    let attempt = self.execution.step(ordinal).map_or(1, |step| step.attempt + 1);
                    self.reschedule(ordinal, attempt)?;
                }
                Deadline::ScheduleToStart(ordinal) if self.is_in(ordinal, &[StepState::Scheduled]) => {
                    // Queueing again behind everybody else would only wait longer.
                    let error = timeout("schedule_to_start_timeout", "no worker took the attempt in time");
                    self.gives_up = Some(ordinal);
                    self.fail_for_good(ordinal, error, 0)?;
                }
                Deadline::StartToClose(ordinal)
                    if self.is_in(ordinal, &[StepState::Claimed]) && self.must_not_run_again(ordinal) =>
                {
                    self.doubt(ordinal, DoubtCause::TimedOut)?;
                }
                Deadline::StartToClose(ordinal) if self.is_in(ordinal, &[StepState::Running, StepState::Claimed]) => {
                    let error =
                        timeout("start_to_close_timeout", "the attempt ran longer than its start_to_close timeout");
                    self.gives_up = Some(ordinal);
                    self.attempt_failed(ordinal, error, 0, chance)?;
                }
                Deadline::Wait(ordinal) | Deadline::Moment(ordinal) => self.wait_is_over(ordinal)?,
                Deadline::Retry(_) | Deadline::ScheduleToStart(_) | Deadline::StartToClose(_) => {}
            }
        }
        Ok(())
    }

    fn is_in(&self, ordinal: u32, states: &[StepState]) -> bool {
        // An earlier deadline may have decided the race that it ran for.
        !self.execution.losing.contains(&ordinal)
            && self.execution.step(ordinal).is_some_and(|step| states.contains(&step.state))
    }

    fn record(&mut self, event: EventData) -> Result<(), Rejection> {
        match event {
            EventData::ArtifactStored { .. }
            | EventData::StepDiscovered { map: None, .. }
            | EventData::ToolCallStarted { .. }
            | EventData::ToolCallCompleted { .. }
            | EventData::DecisionRecorded { .. }
            | EventData::CheckpointSaved { .. }
            | EventData::GoalEvaluated { .. }
            | EventData::Custom { .. } => {}
            other => return Err(Rejection::NotRecordable(other.name())),
        }
        self.legal(ExecutionAction::StepStarted)?;
        if let Some(step) = event.step()
            && self.execution.step(step).is_none()
        {
            return Err(Rejection::UnknownStep(step));
        }
        self.emit(event)
    }

    /// An attempt failed: another one, or the end of the step.
    pub(super) fn attempt_failed(
        &mut self,
        ordinal: u32,
        error: ExecutionError,
        duration_us: u64,
        chance: f64,
    ) -> Result<(), Rejection> {
        let attempt = self.execution.step(ordinal).map_or(1, |step| step.attempt);
        if is_poison(&error) && self.is_held_as_dead(ordinal, &error) == Some(DeadReason::Poison) {
            // Whatever is tried again kills the next workers.
            self.fail_for_good(ordinal, error, duration_us)?;
            return self.pause_after_failures();
        }
        let policy = self.task_of(ordinal).and_then(|task| task.retry).unwrap_or_else(|| error.category.retry_policy());
        match policy.decide(&error, attempt, chance) {
            RetryDecision::Retry { delay } => {
                // What has used the budget up does not get another try for nothing; what undoes needs none.
                if !self.execution.is_ending() {
                    match self.overspent()? {
                        Some(error) => return self.fail_step(ordinal, error, duration_us),
                        None if self.execution.state.is_terminal() || self.execution.is_ending() => return Ok(()),
                        None => {}
                    }
                }
                let (due, given_up) = (self.at.after(delay), self.gives_up == Some(ordinal));
                let step = ordinal;
                self.emit(EventData::StepRetryScheduled { step, attempt, error, duration_us, due, given_up })?;
                self.pause_after_failures()?;
                if delay.is_zero() {
                    self.reschedule(ordinal, attempt + 1)?;
                }
                Ok(())
            }
            RetryDecision::GiveUp => {
                self.fail_for_good(ordinal, error, duration_us)?;
                self.pause_after_failures()
            }
        }
    }

    /// The graph asks to be looked at when so many attempts in a row have failed.
    fn pause_after_failures(&mut self) -> Result<(), Rejection> {
        let Some(limit) = self.execution.limits(self.graph).pause_after_failures else { return Ok(()) };
        if self.execution.failures_in_a_row < limit
            || self.execution.state != ExecutionState::Running
            || self.execution.is_ending()
        {
            return Ok(());
        }
        self.pause(format!("{limit} attempts in a row have failed (limits.pause_after_failures)"))
    }
}

pub(super) fn timeout(code: &str, message: &str) -> ExecutionError {
    ExecutionError::new(ErrorCategory::Timeout, message).with_code(ErrorCode::new(code))
}
