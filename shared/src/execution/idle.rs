//! An execution in which nothing happens: since when it is idle, and what becomes of it.
//!
//! What counts is the execution's own clock while it runs: it is not idle while it waits or is paused, because then it is
//! somebody else who is awaited. Whatever happens to a step, a child or the state is progress; requests that change none
//! of these are not.

use super::decide::{Decision, Rejection};
use super::lifecycle::ExecutionState;
use super::state::{Deadline, Execution};
use crate::event::{EventData, Violation};
use crate::graph::CompiledGraph;
use crate::time::Timestamp;

/// Whether an event shows that the execution goes on.
const fn is_progress(event: &EventData) -> bool {
    !matches!(
        event,
        EventData::ControlRecorded { .. }
            | EventData::BreakpointSet { .. }
            | EventData::InboxReceived { .. }
            | EventData::InboxForwarded { .. }
            | EventData::StoreRestored { .. }
            | EventData::LimitWarned { .. }
            | EventData::LimitReached { .. }
    )
}

impl Execution {
    /// Sets the moment anew at which nothing will have happened for too long.
    pub(super) fn watch_idleness(&mut self, graph: &CompiledGraph, event: &EventData, at: Timestamp) {
        let Some(limit) = self.limits(graph).idle_timeout else { return };
        let reached = matches!(event, EventData::LimitReached { limit: Violation::IdleTimeout, .. });
        // A pause stops the clock that this is kept by; it need not be set anew.
        // Undoing takes the time that it takes.
        let runs =
            matches!(self.state, ExecutionState::Running | ExecutionState::Paused) && self.compensation.is_none();
        if runs && !reached && !is_progress(event) {
            return;
        }
        if let Some(due) = self.idle_due.take() {
            self.deadlines.remove(&(due, Deadline::Idle));
        }
        if runs && !reached {
            let due = self.own_time(at).after(limit);
            self.deadlines.insert((due, Deadline::Idle));
            self.idle_due = Some(due);
        }
    }
}

impl Decision<'_> {
    /// Nothing has happened for as long as the graph allows.
    pub(super) fn idle_for_too_long(&mut self) -> Result<(), Rejection> {
        let Some(limit) = self.execution.limits(self.graph).idle_timeout else { return Ok(()) };
        // What was due before it in the same tick is progress, or has ended the execution.
        let now = self.execution.own_time(self.at);
        if self.execution.idle_due.is_none_or(|due| due > now) || self.execution.state != ExecutionState::Running {
            return Ok(());
        }
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let since = self.execution.idle_due.unwrap_or_default().before(limit);
        let idle = now.since(since);
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        // There is no step that is about to run, so none can fail with it.
        self.breach(Violation::IdleTimeout, idle_ms, limit_ms).map(drop)
    }
}
