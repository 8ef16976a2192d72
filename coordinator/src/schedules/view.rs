//! A schedule as it is shown.

use serde::Serialize;
use serde_json::Value;
use stepstream_shared::id::{ExecutionId, TriggerId};
use stepstream_shared::schedule::{Counts, Definition, FiringKind, ScheduleState, Status};
use stepstream_shared::time::Timestamp;
use utoipa::ToSchema;

/// A schedule.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ScheduleView {
    #[schema(value_type = String, example = "trigger_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    pub schedule_id: TriggerId,
    pub name: String,
    /// active, paused or finished: nothing comes any more.
    pub status: &'static str,
    /// Who holds it, since when, and why.
    #[schema(required)]
    pub paused: Option<PausedView>,
    /// Grows with every change of the definition and with every pause and resumption.
    pub revision: u64,
    /// The document.
    pub definition: Value,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the revision began.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it is carried out next, jitter included; null while it is paused, and when it has finished.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub next_at: Option<Timestamp>,
    /// When it was carried out last.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_at: Option<Timestamp>,
    pub counts: CountsView,
    /// Nominal times that wait, those of backfills included.
    pub waiting: usize,
}

/// Why a schedule is held.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PausedView {
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Who paused it; `schedule` when it did so itself, because an execution failed.
    pub by: String,
    pub note: String,
}

/// What has become of nominal times so far.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CountsView {
    /// Executions started for nominal times when these came.
    pub started: u64,
    /// Executions started by backfills.
    pub backfilled: u64,
    /// Executions started because somebody asked for one.
    pub triggered: u64,
    /// Left out because another execution had not ended.
    pub skipped: u64,
    /// Left out because nobody was there in time; at least so many.
    pub missed: u64,
    /// No execution could be started.
    pub failed: u64,
}

/// A schedule, when it will fire, and what it has started last.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ScheduleDetail {
    #[serde(flatten)]
    pub schedule: ScheduleView,
    /// The next nominal times, unless it is paused.
    pub next: Vec<NextFiring>,
    /// The last firings, the latest first.
    pub runs: Vec<RunView>,
}

/// A nominal time that will come.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NextFiring {
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// With jitter.
    #[schema(value_type = String, format = DateTime)]
    pub fires_at: Timestamp,
}

/// A firing.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RunView {
    /// The nominal time.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// scheduled, backfill or trigger.
    pub kind: &'static str,
    /// When it was carried out.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it started.
    #[schema(value_type = Option<String>, required)]
    pub execution_id: Option<ExecutionId>,
    /// The state of the execution.
    #[schema(required)]
    pub state: Option<String>,
    /// Why it started nothing.
    #[schema(required)]
    pub problem: Option<String>,
}

impl ScheduleView {
    pub(crate) fn of(id: TriggerId, definition: &Definition, state: &ScheduleState) -> Self {
        let status = state.status(definition);
        let Counts { started, backfilled, triggered, skipped, missed, failed } = state.counts.clone();
        ScheduleView {
            schedule_id: id,
            name: definition.name.clone(),
            status: status.name(),
            paused: state.paused.clone().map(|paused| PausedView {
                since: paused.since,
                by: paused.by,
                note: paused.note,
            }),
            revision: state.revision,
            definition: definition.to_json(),
            created_at: state.created_at,
            updated_at: state.updated_at,
            next_at: next(id, definition, state, 1).first().map(|next| next.fires_at),
            last_at: state.recent.iter().map(|recent| recent.at).max(),
            counts: CountsView { started, backfilled, triggered, skipped, missed, failed },
            waiting: state.pending.len(),
        }
    }
}

/// The next nominal times, at most so many, unless it is paused.
pub(crate) fn next(id: TriggerId, definition: &Definition, state: &ScheduleState, most: usize) -> Vec<NextFiring> {
    if state.status(definition) == Status::Paused {
        return Vec::new();
    }
    let first = state.next_nominal(definition);
    let scheduled = state.pending.iter().filter(|pending| pending.kind == FiringKind::Scheduled).count() as u64;
    let left =
        definition.timing.max_fires.map_or(u64::MAX, |most| most.saturating_sub(state.counts.started + scheduled));
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(most);
    std::iter::successors(first, |time| definition.timing.next_after(*time))
        .take(most)
        .map(|time| NextFiring { time, fires_at: definition.timing.fires_at(id, time) })
        .collect()
}
