//! What an execution owes after its end: the next attempt at one that failed, the callback of whoever asked for it.

use std::time::Duration;

use stepstream_shared::id::ExecutionId;
use stepstream_shared::time::Timestamp;

use super::Engine;
use super::families::AGAIN_AFTER;
use super::live::Live;
use crate::errands::{Errand, What};

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
        let asked = |again: Duration| self.after_end.map(|(_, at)| at.after(again));
        if self.execution.owed_attempt().is_some() {
            return asked(AGAIN_AFTER).or_else(|| Some(self.execution.last_at()));
        }
        let callback = self.execution.owed_callback()?;
        let due = callback.due()?;
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
        if live.next_moment().is_none_or(|moment| moment > now) {
            return;
        }
        live.after_end = Some((live.execution.sequence(), now));
        let tenant = live.execution.tenant().clone();
        if live.execution.owed_attempt().is_some() {
            self.errand(Errand { tenant, parent: id, what: What::TryAgain });
        } else if let Some(callback) = live.execution.owed_callback() {
            let what = What::CallBack { attempt: callback.attempts() + 1, asked: tokio::time::Instant::now() };
            if let Err(error) = self.callbacks.try_send(Errand { tenant, parent: id, what }) {
                tracing::debug!(%error, "a callback has to wait");
            }
        }
    }
}
