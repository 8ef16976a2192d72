//! What executions owe to each other: children to be started, cancelled and heard of, parents to be told.

use std::mem::Discriminant;
use std::time::Duration;

use stepstream_shared::id::ExecutionId;
use stepstream_shared::time::Timestamp;

use super::Engine;
use crate::errands::{Errand, What};

/// How long an errand has before it is run again: longer than a lease and a takeover.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often those are looked at that owe errands.
const LOOK: Duration = Duration::from_secs(5);

/// An errand that was run for a child.
pub(super) struct Asked {
    kind: Discriminant<What>,
    /// Of messages that are handed on: the first one.
    of: Option<u64>,
    at: Timestamp,
}

fn first_message(what: &What) -> Option<u64> {
    match what {
        What::HandOn(bequest) => bequest.messages.first().map(|(sequence, _)| *sequence),
        _ => None,
    }
}

impl Engine {
    /// Runs the errands that an execution owes now. Only when all that it decided is durable.
    pub(super) fn run_errands(&mut self, id: ExecutionId) {
        let now = self.clock.now();
        let Some(live) = self.live.get_mut(&id).filter(|live| live.in_flight == 0) else { return };
        let execution = &live.execution;
        let tenant = execution.tenant().clone();
        if execution.state().is_terminal() {
            self.run_errands_after_end(id);
            return;
        }
        if execution.children().next().is_none() {
            return;
        }
        let reason = execution.compensation().map(|running| running.ending().reason()).unwrap_or_default();
        let mut owed: Vec<(ExecutionId, What)> = Vec::new();
        for spec in execution.owed_children(&live.graph) {
            owed.push((spec.child, What::Start(Box::new(spec))));
        }
        for child in execution.cancelled_children() {
            owed.push((child, What::Cancel { child, reason: reason.clone() }));
        }
        for child in execution.awaited_children() {
            if !owed.iter().any(|(owed, _)| *owed == child) {
                owed.push((child, What::LookAfter(child)));
            }
        }
        for bequest in execution.owed_messages() {
            owed.push((bequest.child, What::HandOn(bequest)));
        }
        if owed.is_empty() {
            return;
        }
        self.parents.insert(id);
        let mut due = Vec::new();
        for (child, what) in owed {
            let asked = Asked { kind: std::mem::discriminant(&what), of: first_message(&what), at: now };
            let before = live.errands.entry(child).or_default();
            let known = !before.is_empty();
            match before.iter_mut().find(|last| last.kind == asked.kind) {
                // Messages behind those that were handed on are handed on at once.
                Some(last) if last.of == asked.of && last.at.after(AGAIN_AFTER) > now => continue,
                Some(last) => *last = asked,
                None => {
                    before.push(asked);
                    // A child that was just started needs no looking after yet.
                    if known && matches!(what, What::LookAfter(_)) {
                        continue;
                    }
                }
            }
            due.push(what);
        }
        for what in due {
            self.errand(Errand { tenant: tenant.clone(), parent: id, what });
        }
    }

    pub(super) fn errand(&self, errand: Errand) {
        if let Err(error) = self.errands.try_send(errand) {
            tracing::debug!(%error, "an errand has to wait");
        }
    }

    /// Errands that came to nothing are run again.
    pub(super) fn look_after_families(&mut self) {
        let now = self.clock.now();
        if self.parents.is_empty() || now < self.families_due {
            return;
        }
        self.families_due = now.after(LOOK);
        for id in std::mem::take(&mut self.parents) {
            self.run_errands(id);
            // One with appends on their way is looked at again.
            if self.live.get(&id).is_some_and(|live| live.in_flight > 0) {
                self.parents.insert(id);
            }
        }
    }
}
