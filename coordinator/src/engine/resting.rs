//! Executions at rest: out of memory when nothing is to be done for them, and back in time.
//!
//! What rests owes nothing, to nobody, before its moment or before a command. All that is needed to find it again is in the
//! store: its place on the agenda, which was written with the append that brought it to rest. Whatever arrives for it
//! loads it as it loads anything else that is not in memory.

use std::cmp::Reverse;
use std::time::Duration;

use stepstream_shared::execution::Rest;
use stepstream_shared::id::{ExecutionId, PartitionId};
use stepstream_shared::time::Timestamp;

use super::Engine;
use super::live::Live;
use super::loading::Waiting;
use crate::ports::{Agenda, AgendaRow};
use crate::recovery::Permit;

/// When executions at rest leave memory, and when they come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtRest {
    /// Who waits for a moment nearer than this is in memory. Longer than `look` by enough to load what comes due
    /// although the store is slow.
    pub horizon: Duration,
    /// How often the timers are read. Each time costs one statement, whatever waits behind the horizon.
    pub look: Duration,
    /// How long something that rests stays after it was last asked for something: what a person has begun is often
    /// followed by the next command soon, and loading costs a read of its log.
    pub quiet: Duration,
    /// How many that rest may stay for that reason; those that were asked last are kept.
    pub most: usize,
}

impl Default for AtRest {
    fn default() -> Self {
        AtRest {
            horizon: Duration::from_secs(60),
            look: Duration::from_secs(20),
            quiet: Duration::from_secs(30),
            most: 4096,
        }
    }
}

/// How often memory is looked through for what may leave it, at the least. It costs nanoseconds for each execution.
const SWEEP: Duration = Duration::from_secs(1);
/// Entries that are not worth sweeping out of a queue.
const FEW: usize = 1024;

impl Live {
    /// Nothing depends on its being in memory: no append is on its way (so no refusal waits for one, and the feed has
    /// all of it), no worker is to be heard of, nothing happens before `horizon`, and the store knows when it does. What
    /// waits for a worker while the execution is held is withheld, and handed out anew when it goes on.
    ///
    /// One whose place on the agenda is not what it should be, because rows of the store were lost, stays: memory is then
    /// the only place that knows its moment.
    fn may_leave(&self, horizon: Timestamp) -> bool {
        let rest = self.execution.rest();
        let rests = match rest {
            // What it has asked for is brought to it, as any request is.
            Rest::Owes => self.execution.only_asks_for_permits() && self.has_asked_for_all(),
            Rest::Over => false,
            Rest::Until(due) => due > horizon,
            Rest::Command => true,
        };
        rests && self.in_flight == 0 && self.execution.at_work() == 0 && self.agenda == Some(Agenda::from(rest))
    }
}

impl Live {
    /// The store knows all that it waits for: it is brought then, wherever the execution is.
    fn has_asked_for_all(&self) -> bool {
        let asked =
            |(step, attempt)| self.asked.get(&step).is_some_and(|asked| asked.attempt == attempt && asked.kept.is_so());
        self.execution.asking().all(asked)
    }
}

impl Engine {
    /// Somebody found an execution on the agenda that may have to be driven.
    pub(super) fn wake(&mut self, row: AgendaRow, permit: Permit) {
        let held = self.held.get(&row.partition).is_some_and(|held| held.releasing.is_none());
        if held && !self.live.contains_key(&row.execution) {
            self.load(&row.tenant, row.execution, Some(row.agenda), Waiting::Nobody(row.tenant.clone(), Some(permit)));
        }
    }

    /// Reads the timers, now and then, for what comes due in the partitions held.
    pub(super) fn look_at_timers(&mut self) {
        let now = self.clock.now();
        if !self.settings.recover_all || now < self.timers_due {
            return;
        }
        self.timers_due = now.after(self.settings.at_rest.look);
        if self.looking.as_ref().is_some_and(|looking| !looking.is_finished()) {
            return; // So much is due that the last look still goes on.
        }
        let held = self.held.iter().filter(|(_, held)| held.releasing.is_none());
        let partitions: Vec<PartitionId> = held.map(|(partition, _)| *partition).collect();
        if partitions.is_empty() {
            return;
        }
        let (recovery, horizon) = (self.recovery.clone(), now.after(self.settings.at_rest.horizon));
        self.looking = Some(tokio::spawn(async move {
            let _ = recovery.due(&partitions, horizon).await; // The engine may have stopped.
        }));
    }

    /// Lets go of what has been at rest for long enough. An engine that drives only what it was asked for keeps it all,
    /// because it does not look at the timers either.
    pub(super) fn let_go(&mut self) {
        let now = self.clock.now();
        if now < self.sweep_due {
            return;
        }
        let AtRest { horizon, quiet, most, .. } = self.settings.at_rest;
        self.sweep_due = now.after(SWEEP.min(quiet / 4));
        if self.settings.recover_all {
            let (horizon, long_ago) = (now.after(horizon), now.before(quiet));
            let resting = self.live.iter().filter(|(_, live)| live.may_leave(horizon));
            let mut resting: Vec<(Timestamp, ExecutionId)> = resting.map(|(id, live)| (live.touched, *id)).collect();
            resting.sort_unstable();
            let surplus = resting.len().saturating_sub(most);
            for (place, (touched, id)) in resting.into_iter().enumerate() {
                if place < surplus || touched <= long_ago {
                    self.live.remove(&id);
                }
            }
        }
        // A deadline far away must not outlive its execution in here: it may be days until it is due.
        if self.deadlines.len() > 2 * self.live.len() + FEW {
            let live = &self.live;
            self.deadlines.retain(|Reverse((due, id))| live.get(id).is_some_and(|live| live.deadline == Some(*due)));
        }
    }
}

#[cfg(test)]
mod tests;
