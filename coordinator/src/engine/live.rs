//! An execution in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use stepstream_shared::event::ChainHash;
use stepstream_shared::execution::Execution;
use stepstream_shared::graph::{CompiledGraph, Graphs};
use stepstream_shared::id::{ExecutionId, PartitionId};
use stepstream_shared::time::Timestamp;

use super::families::Asked;
use super::permits::AskedPermit;
use crate::planted::{self, Bug};
use crate::ports::{Agenda, AgendaMove, Summary, dead_letters};
use crate::reading::Loaded;

/// One attempt, for finding it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobKey {
    pub(crate) execution: ExecutionId,
    pub(crate) ordinal: u32,
    pub(crate) attempt: u32,
}

/// An execution that this coordinator drives.
pub(super) struct Live {
    pub(super) execution: Execution,
    pub(super) graph: Arc<CompiledGraph>,
    pub(super) graphs: Graphs,
    pub(super) partition: PartitionId,
    /// Tells this copy from an earlier one of the same execution that was thrown away.
    pub(super) generation: u64,
    /// Chain hash of the last append, on its way or durable.
    pub(super) head: ChainHash,
    pub(super) last_first_seq: u64,
    /// Sequence of the last snapshot that there is, or was asked for; 0 when there is none.
    pub(super) snapshot: u64,
    /// Appends on their way.
    pub(super) in_flight: u32,
    /// Of the last append that was sent on its way.
    pub(super) last_ticket: u64,
    /// The state that the list shows, once the appends on their way are durable.
    pub(super) listed: Option<Shown>,
    /// Its place on the agenda, once the appends on their way are durable; `None` when nobody knows.
    pub(super) agenda: Option<Agenda>,
    /// When something was last asked of it.
    pub(super) touched: Timestamp,
    /// The deadline it is registered under.
    pub(super) deadline: Option<Timestamp>,
    pub(super) dispatched: BTreeMap<u32, Dispatched>,
    /// Steps whose present attempt was taken off the bus.
    pub(super) withdrawn: BTreeSet<u32>,
    /// Steps that waited for a worker when it was loaded and was held: whether their jobs are on the bus, or were taken off
    /// it, whoever drove it before knew.
    pub(super) doubtful: BTreeSet<u32>,
    /// What was last run for its children, and when.
    pub(super) errands: BTreeMap<ExecutionId, Vec<Asked>>,
    /// Steps for whose present attempt a permit was asked.
    pub(super) asked: BTreeMap<u32, AskedPermit>,
    /// When what it owes other executions after its end was last asked for.
    pub(super) told: Option<Timestamp>,
    /// When its callback was last asked for, and after which event.
    pub(super) after_end: Option<(u64, Timestamp)>,
}

/// An attempt that was handed to the bus.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dispatched {
    pub(super) attempt: u32,
    pub(super) dispatch: u64,
    /// Its place in the jobs stream, once the bus has said so.
    pub(super) sequence: Option<u64>,
    /// When it was dispatched or its worker was last heard of.
    pub(super) sign_of_life: Timestamp,
    /// When the bus was last asked whether it still has the job.
    pub(super) looked_at: Timestamp,
    pub(super) heartbeat: Option<Duration>,
}

impl Live {
    pub(super) fn from_log(
        loaded: Loaded,
        agenda: Option<Agenda>,
        partition: PartitionId,
        generation: u64,
        now: Timestamp,
    ) -> Self {
        Live {
            agenda,
            touched: now,
            listed: Some(Shown::of(&loaded.execution)),
            execution: loaded.execution,
            graph: loaded.graph,
            graphs: loaded.graphs,
            partition,
            generation,
            head: loaded.head,
            last_first_seq: loaded.last_first_seq,
            snapshot: loaded.snapshot,
            in_flight: 0,
            last_ticket: 0,
            deadline: None,
            dispatched: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            errands: BTreeMap::new(),
            asked: BTreeMap::new(),
            told: None,
            after_end: None,
        }
    }

    /// An attempt is reported over. A late report about an earlier one says nothing about the present one.
    pub(super) fn forget(&mut self, ordinal: u32, attempt: u32) {
        if self.dispatched.get(&ordinal).is_some_and(|entry| entry.attempt == attempt) {
            self.dispatched.remove(&ordinal);
        }
    }

    /// The row of the list, if the last decision changed it.
    pub(super) fn summary(&mut self) -> Option<Summary> {
        let shown = Shown::of(&self.execution);
        if self.listed == Some(shown) {
            return None;
        }
        self.listed = Some(shown);
        Some(Summary::of(&self.execution))
    }

    /// The place on the agenda, if the last decision changed it.
    pub(super) fn agenda(&mut self) -> Option<AgendaMove> {
        let to = Agenda::from(self.execution.rest());
        if planted::has(Bug::LosesAgenda) && to == Agenda::Now {
            return None;
        }
        let from = self.agenda.replace(to);
        (from != Some(to)).then_some(AgendaMove { from, to })
    }
}

/// What changes in the row of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    state: &'static str,
    /// Of one that runs in the background.
    rank: Option<Timestamp>,
    dead_letters: u32,
}

impl Shown {
    fn of(execution: &Execution) -> Self {
        Shown { state: execution.state().name(), rank: execution.queue_rank(), dead_letters: dead_letters(execution) }
    }
}
