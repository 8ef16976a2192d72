//! What an execution owes after its end: its parent is to be told, children that it left behind are to be cancelled, the next
//! attempt at one that failed is to begin, and whoever asked for it is to be called back.

use std::time::Duration;

use stepstream_shared::execution::Execution;
use stepstream_shared::id::ExecutionId;
use stepstream_shared::time::Timestamp;

use super::Engine;
use super::families::AGAIN_AFTER;
use super::live::Live;
use crate::errands::{Errand, What, ending_of};

/// How long an attempt at a callback has before it is made again: longer than the exchange itself may take.
pub(crate) const CALL_AGAIN_AFTER: Duration = Duration::from_secs(30);

impl Live {
    /// When something is to be done for it next. What follows its end is done when that is durable, not at a moment.
    pub(super) fn next_moment(&self) -> Option<Timestamp> {
        if !self.execution.state().is_terminal() {
            return self.execution.next_deadline();
        }
        if self.in_flight > 0 {
            return None; // A moment that has passed would be registered again and again until the append is there.
        }
        [self.moment_to_tell(), self.moment_to_call()].into_iter().flatten().min()
    }

    /// When other executions are to hear of its end next, while they have to.
    fn moment_to_tell(&self) -> Option<Timestamp> {
        let execution = &self.execution;
        let owes = execution.owes_its_parent() || execution.cancels_children() || execution.owed_attempt().is_some();
        owes.then(|| self.told.map_or(execution.last_at(), |at| at.after(AGAIN_AFTER)))
    }

    /// When its callback is to be made next, while it is owed. A further attempt comes before it.
    fn moment_to_call(&self) -> Option<Timestamp> {
        let due = self.execution.owed_callback().filter(|_| self.execution.owed_attempt().is_none())?.due()?;
        match self.after_end {
            Some((sequence, at)) if sequence == self.execution.sequence() => Some(due.max(at.after(CALL_AGAIN_AFTER))),
            _ => Some(due),
        }
    }
}

impl Engine {
    /// Runs the errands that an execution owes after its end, unless they are on their way.
    pub(super) fn run_errands_after_end(&mut self, id: ExecutionId) {
        let now = self.clock.now();
        let Some(live) = self.live.get_mut(&id) else { return };
        if live.in_flight > 0 {
            return;
        }
        let is_due = |moment: Option<Timestamp>| moment.is_some_and(|moment| moment <= now);
        let (tells, calls) = (is_due(live.moment_to_tell()), is_due(live.moment_to_call()));
        let tenant = live.execution.tenant().clone();
        if tells {
            live.told = Some(now);
            for what in owed_to_others(&live.execution) {
                self.errand(Errand { tenant: tenant.clone(), parent: id, what });
            }
        }
        let Some(live) = self.live.get_mut(&id).filter(|_| calls) else { return };
        live.after_end = Some((live.execution.sequence(), now));
        if let Some(callback) = live.execution.owed_callback() {
            let what = What::CallBack { attempt: callback.attempts() + 1, asked: tokio::time::Instant::now() };
            if let Err(error) = self.callbacks.try_send(Errand { tenant, parent: id, what }) {
                tracing::debug!(%error, "a callback has to wait");
            }
        }
    }
}

/// What an execution that has ended owes to others.
fn owed_to_others(execution: &Execution) -> Vec<What> {
    // An `end` completes whatever else is open.
    let reason = "its parent has ended";
    let cancelled = execution.cancelled_children().into_iter();
    let mut owed: Vec<What> = cancelled.map(|child| What::Cancel { child, reason: reason.to_owned() }).collect();
    let parent = execution.parent().and_then(|link| link.execution).filter(|_| execution.owes_its_parent());
    if let (Some(parent), Some(ended)) = (parent, ending_of(execution)) {
        owed.push(What::Tell { parent, ended: Box::new(ended) });
    }
    if execution.owed_attempt().is_some() {
        owed.push(What::TryAgain);
    }
    owed
}
