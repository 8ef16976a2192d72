//! What a schedule is to do next.

use super::definition::Definition;
use super::firing::FiringKind;
use super::policy::{Overlap, Policy};
use super::state::{Pending, ScheduleState};
use crate::id::{ExecutionId, TriggerId};
use crate::time::Timestamp;

/// Missed nominal times that are looked for in the log before they are counted: whoever fired them may have died before
/// it was written down that it did.
pub const MAX_LOOKED_AT: usize = 64;
/// Missed nominal times that are counted one by one; of more, `missed` is what there are at the least.
pub const MAX_COUNTED: u64 = 10_000;

/// The next thing to do. Whoever does it tells the state, and asks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Start the execution of this nominal time, then [`ScheduleState::started`] or [`ScheduleState::failed`].
    Start(Pending),
    /// Ask these executions to end, then [`ScheduleState::cancelled`].
    Cancel(Vec<ExecutionId>),
    /// These nominal times are too late. Look which of them have executions, then [`ScheduleState::settle_missed`].
    Look(Vec<Timestamp>),
    /// Nothing, before this moment.
    Rest {
        at: Option<Timestamp>,
        /// Something hangs on the end of a running execution: look after it.
        watch: bool,
    },
}

impl Policy {
    /// Whether executions are followed until they have ended, because something hangs on it.
    pub fn follows(&self) -> bool {
        self.overlap != Overlap::AllowAll || self.pause_on_failure
    }
}

impl ScheduleState {
    /// What is to be done now. Nominal times that have come are taken up, or left out as the policy says.
    pub fn turn(&mut self, id: TriggerId, definition: &Definition, now: Timestamp) -> Turn {
        let policy = &definition.policy;
        if self.paused.is_some() {
            return Turn::Rest { at: None, watch: false };
        }
        loop {
            let free = self.running.is_empty() || policy.overlap == Overlap::AllowAll;
            if let Some(next) = self.pending.iter().find(|pending| pending.at_once || free) {
                return Turn::Start(next.clone());
            }
            if policy.overlap == Overlap::CancelOther && self.waits(FiringKind::Scheduled) {
                let others: Vec<_> =
                    self.running.iter().filter(|run| !run.cancelled).map(|run| run.execution).collect();
                if !others.is_empty() {
                    return Turn::Cancel(others);
                }
            }
            let Some(nominal) = self.next_nominal(definition) else { return self.rest(definition, None) };
            let due = definition.timing.fires_at(id, nominal);
            if due > now {
                return self.rest(definition, Some(due));
            }
            if due.after(policy.catch_up) < now {
                return Turn::Look(self.missed(id, definition, now));
            }
            self.take_up(policy, nominal);
        }
    }

    fn waits(&self, kind: FiringKind) -> bool {
        self.pending.iter().any(|pending| pending.kind == kind)
    }

    fn take_up(&mut self, policy: &Policy, nominal: Timestamp) {
        self.cursor = nominal;
        let busy = !self.running.is_empty() || !self.pending.is_empty();
        let waiting = self.pending.iter().filter(|pending| pending.kind == FiringKind::Scheduled).count();
        let room = match policy.overlap {
            Overlap::AllowAll => true,
            Overlap::Skip => !busy,
            Overlap::BufferOne => waiting == 0,
            Overlap::BufferAll => waiting < policy.max_buffered as usize,
            Overlap::CancelOther => {
                // The latest is wanted, and no other.
                self.pending.retain(|pending| pending.kind != FiringKind::Scheduled);
                self.counts.skipped = self.counts.skipped.saturating_add(waiting as u64);
                true
            }
        };
        // Backfills may have filled what there is.
        if room && self.pending.len() < super::state::MAX_PENDING {
            let at_once = policy.overlap == Overlap::AllowAll;
            self.pending.push(Pending { time: nominal, kind: FiringKind::Scheduled, at_once });
        } else {
            self.counts.skipped = self.counts.skipped.saturating_add(1);
        }
    }

    fn rest(&self, definition: &Definition, at: Option<Timestamp>) -> Turn {
        let ends_matter = !self.pending.is_empty() || definition.policy.pause_on_failure;
        Turn::Rest { at, watch: ends_matter && !self.running.is_empty() }
    }

    /// The first nominal times that are too late.
    fn missed(&self, id: TriggerId, definition: &Definition, now: Timestamp) -> Vec<Timestamp> {
        let mut missed = Vec::new();
        let mut cursor = self.cursor;
        while missed.len() < MAX_LOOKED_AT
            && let Some(nominal) = definition.timing.next_after(cursor)
            && definition.timing.fires_at(id, nominal).after(definition.policy.catch_up) < now
        {
            missed.push(nominal);
            cursor = nominal;
        }
        missed
    }

    /// Deals with every nominal time that is too late: those for which there is an execution were started by somebody
    /// who could not write it down, the others are missed.
    pub fn settle_missed(
        &mut self,
        id: TriggerId,
        definition: &Definition,
        found: &[(Timestamp, ExecutionId)],
        now: Timestamp,
    ) {
        let mut counted = 0;
        while let Some(nominal) = self.next_nominal(definition) {
            if definition.timing.fires_at(id, nominal).after(definition.policy.catch_up) >= now {
                return;
            }
            if let Some((_, execution)) = found.iter().find(|(time, _)| *time == nominal) {
                let firing = Pending { time: nominal, kind: FiringKind::Scheduled, at_once: false };
                self.started(definition, &firing, *execution, now);
                continue;
            }
            if counted >= MAX_COUNTED {
                // The rest of a long absence: straight to what is not too late yet.
                let late = definition.timing.jitter.saturating_add(definition.policy.catch_up);
                self.cursor = self.cursor.max(now.before(late));
                return;
            }
            self.cursor = nominal;
            self.counts.missed = self.counts.missed.saturating_add(1);
            counted += 1;
        }
    }
}
