//! Looks after one schedule: does what its turns say, and writes down how far it has come.
//!
//! An execution is started first and written down afterwards, so a crash in between leaves a row that says too little.
//! Whoever reads it next starts the execution again, which finds it there. What was taken up and is still to be done, the
//! ends that are waited for, and who was asked to end stand in the row: nothing is remembered here.

use std::time::Duration;

use async_trait::async_trait;
use stepstream_runtime::clock::Clock;
use stepstream_shared::graph::Source;
use stepstream_shared::id::{ExecutionId, TenantId, TriggerId};
use stepstream_shared::schedule::{Definition, Firing, FiringKind, Pending, ScheduleState, Turn, firing_id};
use stepstream_shared::time::Timestamp;

use crate::error::ServiceError;
use crate::ports::{ScheduleStore, ScheduleWritten, StoreError, StoredSchedule};

/// Executions started in one go. There is more to do then, and it is done in the next one.
const STARTS_AT_A_TIME: usize = 64;
/// Executions of a backfill that are started between two writes of the row, which has all that wait.
const BACKFILLS_AT_A_TIME: usize = 16;
/// Turns in one go, whatever they are: a state that never rests is a defect, and must not keep a task for ever.
const TURNS_AT_A_TIME: usize = 1024;
/// How long until an end that something hangs on is looked for again.
const WATCH: Duration = Duration::from_secs(3);
/// How often a row is written that somebody else changes meanwhile.
const TRIES: usize = 8;

/// What a schedule does to executions. The tests have another one.
#[async_trait]
pub(crate) trait Runs: Send + Sync {
    /// Starts the execution with this id, unless it is there; durable when this returns.
    async fn begin(&self, tenant: &TenantId, execution: ExecutionId, firing: Firing<'_>) -> Result<Begun, NotBegun>;

    /// Asks the store, not memory: an end may have been told to nobody.
    async fn look(&self, tenant: &TenantId, execution: ExecutionId) -> Result<RunState, ServiceError>;

    async fn end(&self, tenant: &TenantId, schedule: TriggerId, execution: ExecutionId) -> Result<(), ServiceError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    Now,
    /// It was there already.
    Before,
}

#[derive(Debug)]
pub(crate) enum NotBegun {
    /// It never will be: the graph is gone, or does not take the inputs.
    Never(String),
    /// Trying again can help.
    Yet(ServiceError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunState {
    /// There is no such execution.
    Absent,
    Open,
    Ended {
        failed: bool,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AttendError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("its row cannot be read: {0}")]
    Unreadable(String),
    #[error("others changed it {TRIES} times meanwhile")]
    Contended,
}

impl AttendError {
    pub(super) fn is_passing(&self) -> bool {
        match self {
            AttendError::Store(error) => error.is_passing() || matches!(error, StoreError::Exhausted { .. }),
            AttendError::Service(_) | AttendError::Contended => true,
            AttendError::Unreadable(_) => false,
        }
    }
}

pub(crate) fn definition_of(row: &StoredSchedule) -> Result<Definition, String> {
    Definition::read(&Source { name: "schedule.json", text: &row.definition }, None)
        .map_err(|problems| problems.to_string())
}

pub(crate) fn state_of(row: &StoredSchedule) -> Result<ScheduleState, String> {
    serde_json::from_str(&row.state).map_err(|error| error.to_string())
}

/// A row, and what it says.
struct Attended {
    row: StoredSchedule,
    definition: Definition,
    state: ScheduleState,
    /// What the row says.
    written: ScheduleState,
    /// Begun, and not written down.
    begun: Vec<(Pending, ExecutionId)>,
}

impl Attended {
    async fn read(store: &dyn ScheduleStore, tenant: &TenantId, id: TriggerId) -> Result<Option<Self>, AttendError> {
        let Some(row) = store.schedule(tenant, id).await? else { return Ok(None) };
        let definition = definition_of(&row).map_err(AttendError::Unreadable)?;
        let state = state_of(&row).map_err(AttendError::Unreadable)?;
        Ok(Some(Attended { row, definition, written: state.clone(), state, begun: Vec::new() }))
    }

    /// Writes down what has changed; false when the schedule is gone. When somebody else has changed the row, what was
    /// begun is added to what they wrote, and everything else is left to the next look.
    async fn write(
        &mut self,
        store: &dyn ScheduleStore,
        next_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Wrote, AttendError> {
        if self.state == self.written && self.row.next_at == next_at {
            return Ok(Wrote::Done);
        }
        let mut next_at = next_at;
        let mut wrote = Wrote::Done;
        for _ in 0..TRIES {
            let state =
                serde_json::to_string(&self.state).map_err(|error| AttendError::Unreadable(error.to_string()))?;
            let row =
                StoredSchedule { version: self.row.version.saturating_add(1), next_at, state, ..self.row.clone() };
            if store.write_schedule(&row).await? == ScheduleWritten::Done {
                self.row = row;
                self.written = self.state.clone();
                self.begun.clear();
                return Ok(wrote);
            }
            let Some(theirs) = Attended::read(store, &self.row.tenant, self.row.id).await? else {
                return Ok(Wrote::Gone);
            };
            let begun = std::mem::take(&mut self.begun);
            if begun.is_empty() {
                return Ok(Wrote::Changed);
            }
            *self = Attended { begun, ..theirs };
            for (firing, execution) in &self.begun {
                self.state.started(&self.definition, firing, *execution, now);
            }
            // They said when it is to be looked at, or it is looked at now.
            next_at = Some(self.row.next_at.map_or(now, |theirs| theirs.min(now)));
            wrote = Wrote::Changed;
        }
        Err(AttendError::Contended)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrote {
    Done,
    /// Somebody else has changed it: what was seen of it is old.
    Changed,
    Gone,
}

/// Looks after a schedule until it rests.
pub(super) async fn attend(
    store: &dyn ScheduleStore,
    runs: &dyn Runs,
    clock: &dyn Clock,
    tenant: &TenantId,
    id: TriggerId,
) -> Result<(), AttendError> {
    let Some(mut it) = Attended::read(store, tenant, id).await? else { return Ok(()) };
    for run in it.state.running.clone() {
        match runs.look(tenant, run.execution).await? {
            RunState::Open => {}
            RunState::Ended { failed } => it.state.ended(&it.definition, run.execution, failed, clock.now()),
            RunState::Absent => it.state.ended(&it.definition, run.execution, false, clock.now()),
        }
    }
    let mut starts = 0;
    for _ in 0..TURNS_AT_A_TIME {
        let now = clock.now();
        match it.state.turn(id, &it.definition, now) {
            Turn::Start(firing) => {
                if it.begun.len() >= unwritten(&firing) && it.write(store, Some(now), now).await? != Wrote::Done {
                    return Ok(());
                }
                if starts == STARTS_AT_A_TIME {
                    break;
                }
                starts += 1;
                begin(&mut it, runs, clock, firing).await?;
            }
            Turn::Cancel(executions) => {
                for execution in &executions {
                    runs.end(tenant, id, *execution).await?;
                }
                it.state.cancelled(&executions);
            }
            Turn::Look(times) => {
                let mut found = Vec::new();
                for time in times {
                    let execution = firing_id(tenant, id, time);
                    if runs.look(tenant, execution).await? != RunState::Absent {
                        found.push((time, execution));
                    }
                }
                it.state.settle_missed(id, &it.definition, &found, now);
            }
            Turn::Rest { at, watch } => {
                let next_at = if watch { Some(watch_at(it.row.next_at, at, now)) } else { at };
                it.write(store, next_at, now).await?;
                return Ok(());
            }
        }
    }
    let now = clock.now();
    it.write(store, Some(now), now).await?;
    Ok(())
}

/// When an end is looked for next. It is written down, so that whoever only watches stands behind those that are due
/// before, and not in front of everybody for as long as something runs.
fn watch_at(written: Option<Timestamp>, next: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let soon = now.after(WATCH);
    // Whoever looks before that changes nothing.
    let soon = written.filter(|written| now < *written && *written <= soon).unwrap_or(soon);
    next.map_or(soon, |next| next.min(soon))
}

/// How many may be begun before it is written down that they were. Of nominal times that come, one: so little has to be
/// looked for after a crash. What waits in a backfill stands in the row, and is found there by whoever does it again.
fn unwritten(next: &Pending) -> usize {
    match next.kind {
        FiringKind::Backfill => BACKFILLS_AT_A_TIME,
        FiringKind::Scheduled | FiringKind::Trigger => 1,
    }
}

async fn begin(it: &mut Attended, runs: &dyn Runs, clock: &dyn Clock, pending: Pending) -> Result<(), AttendError> {
    let (tenant, id) = (it.row.tenant.clone(), it.row.id);
    let execution = firing_id(&tenant, id, pending.time);
    let firing = Firing { id, definition: &it.definition, time: pending.time, kind: pending.kind };
    let begun = runs.begin(&tenant, execution, firing).await;
    let now = clock.now();
    match begun {
        Ok(Begun::Before) if pending.kind == FiringKind::Backfill => {
            it.state.was_there(&it.definition, &pending, execution);
        }
        Ok(Begun::Now | Begun::Before) => {
            it.state.started(&it.definition, &pending, execution, now);
            it.begun.push((pending, execution));
        }
        Err(NotBegun::Never(problem)) => {
            tracing::warn!(%tenant, schedule = %id, time = %pending.time, problem, "a firing started nothing");
            it.state.failed(&it.definition, &pending, &problem, now);
        }
        Err(NotBegun::Yet(error)) => return Err(error.into()),
    }
    Ok(())
}
