//! Which background executions are started when: so many run at the same time, the others wait in the queue.
//!
//! The queue is a part of the list of executions and lies in the store, so that it is as long as anybody likes, costs no
//! memory, and survives whoever reads it. Its order is an index; what is first is asked for when there is room. Whoever
//! waits for something outside, or is paused, leaves its place to others and is not stopped when it goes on: the limit
//! is one of admission.
//!
//! A tenant does not keep the others from running: while any other tenant's executions are queued, one that has half of
//! the places gets none of those that are left.
//!
//! Who runs is known from memory, so nobody is admitted before all that a gained partition has running is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stepstream_shared::event::Actor;
use stepstream_shared::execution::{Command, ExecutionState};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;
use tokio::sync::oneshot;

use super::request::{Request, RequestBody};
use super::{Engine, Input};
use crate::ports::Listed;

/// How often the queue is looked at although nothing has happened here: another coordinator may have put something in.
const LOOK: Duration = Duration::from_secs(2);
/// Rest between two looks at a queue that moves.
const LOOK_SOON: Duration = Duration::from_millis(5);
/// How long one that is to be started may take to be loaded before its place is given to others.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most rows that are asked for at a time.
const PAGE: usize = 256;
/// Rows asked for beyond what there is room for: some are on their way already.
const MORE: usize = 16;

/// What a look at the queue has found, each list in the order of the queue.
#[derive(Default)]
pub(crate) struct Queued {
    /// Of tenants that had less than half of the places when it was looked at.
    rows: Vec<Listed>,
    /// Of those that had their half, where nobody else waits.
    rest: Vec<Listed>,
}

/// Who runs, and when the queue is looked at again.
pub(super) struct Admission {
    limit: usize,
    /// Those that hold a place, as far as they are in memory.
    running: BTreeSet<ExecutionId>,
    /// Those that were told to start, and since when.
    admitting: BTreeMap<ExecutionId, (TenantId, Timestamp)>,
    /// Queued ones that are in memory: all there are, for an engine that does not look at the store.
    here: BTreeSet<ExecutionId>,
    looking: bool,
    due: Timestamp,
}

impl Admission {
    pub(super) fn new(limit: usize) -> Self {
        Admission {
            limit,
            running: BTreeSet::new(),
            admitting: BTreeMap::new(),
            here: BTreeSet::new(),
            looking: false,
            due: Timestamp::default(),
        }
    }

    /// When the queue is to be looked at again, if anybody looks.
    pub(super) fn looks_at(&self) -> Option<Timestamp> {
        (!self.looking).then_some(self.due)
    }

    pub(super) fn soon(&mut self, now: Timestamp) {
        self.due = self.due.min(now.after(LOOK_SOON));
    }
}

impl Engine {
    /// An execution has changed: does it hold a place, wait for one, or leave one?
    pub(super) fn note_background(&mut self, id: ExecutionId) {
        let now = self.clock.now();
        let Some(live) = self.live.get(&id).filter(|live| live.execution.background().is_some()) else { return };
        let (queued, holds) = (live.execution.queue_rank().is_some(), live.execution.holds_place());
        let admission = &mut self.admission;
        if queued {
            if admission.here.insert(id) {
                admission.soon(now);
            }
        } else {
            admission.here.remove(&id);
            admission.admitting.remove(&id);
        }
        if holds {
            admission.running.insert(id);
        } else if admission.running.remove(&id) {
            admission.soon(now);
        }
    }

    /// Looks at the queue if it is time and there is room.
    pub(super) fn look_at_queue(&mut self) {
        let now = self.clock.now();
        let before = self.admission.running.len();
        let live = &self.live;
        self.admission.running.retain(|id| live.get(id).is_some_and(|live| live.execution.holds_place()));
        self.admission.here.retain(|id| live.contains_key(id));
        self.admission.admitting.retain(|_, (_, since)| since.after(PATIENCE) > now);
        if self.admission.running.len() < before {
            self.admission.soon(now);
        }
        if self.admission.looking || now < self.admission.due {
            return;
        }
        self.admission.due = now.after(LOOK);
        if self.held.values().any(|held| !held.recovered && held.releasing.is_none()) {
            return; // Some that hold places are not in memory yet. It is said when they are.
        }
        let room = self.room();
        let held = self.held.iter().filter(|(_, held)| held.releasing.is_none());
        let partitions: Vec<PartitionId> = held.map(|(partition, _)| *partition).collect();
        let Some(sender) = self.sender.upgrade().filter(|_| room > 0 && !partitions.is_empty()) else { return };
        self.admission.looking = true;
        if !self.settings.recover_all {
            // Only what it was asked to drive.
            let mut rows: Vec<(Timestamp, ExecutionId)> = self
                .admission
                .here
                .iter()
                .filter_map(|id| Some((self.live.get(id)?.execution.queue_rank()?, *id)))
                .collect();
            rows.sort_unstable();
            let rows = rows.into_iter().filter_map(|(_, id)| {
                let live = self.live.get(&id).filter(|live| live.in_flight == 0)?;
                let (tenant, summary) = (live.execution.tenant().clone(), crate::ports::Summary::of(&live.execution));
                Some(Listed { tenant, execution: id, partition: live.partition, summary })
            });
            // The places are for whoever asked for this process; nobody is kept out.
            let found = Queued { rest: rows.take(room).collect(), ..Queued::default() };
            tokio::spawn(async move { sender.send(Input::Queued(Some(found))).await.is_ok() });
            return;
        }
        let (store, full, limit) = (self.reader.store().clone(), self.full_tenants(), (room + MORE).min(PAGE) as u32);
        tokio::spawn(async move {
            let found = async {
                let rows = store.queued(&partitions, &full, limit).await?;
                let mut rest = Vec::new();
                if !full.is_empty() && rows.len() < room.min(limit as usize) {
                    // Nobody else waits for what is left.
                    rest = store.queued(&partitions, &[], limit).await?;
                    rest.retain(|row| full.contains(&row.tenant));
                }
                Ok::<_, crate::ports::StoreError>(Queued { rows, rest })
            };
            let found = match found.await {
                Ok(found) => Some(found),
                Err(error) => {
                    tracing::warn!(%error, "the queue of background executions was not read; trying again");
                    None
                }
            };
            let _ = sender.send(Input::Queued(found)).await; // The engine may have stopped.
        });
    }

    /// Places that nobody has.
    fn room(&self) -> usize {
        self.admission.limit.saturating_sub(self.admission.running.len() + self.admission.admitting.len())
    }

    /// How many places each tenant has.
    fn places(&self) -> BTreeMap<TenantId, usize> {
        let mut counts: BTreeMap<TenantId, usize> = BTreeMap::new();
        let running = self.admission.running.iter().filter_map(|id| Some(self.live.get(id)?.execution.tenant()));
        let admitting = self.admission.admitting.values().map(|(tenant, _)| tenant);
        for tenant in running.chain(admitting) {
            match counts.get_mut(tenant) {
                Some(count) => *count += 1,
                None => drop(counts.insert(tenant.clone(), 1)),
            }
        }
        counts
    }

    /// So many places are a tenant's half.
    fn half(&self) -> usize {
        self.admission.limit.div_ceil(2)
    }

    /// Tenants that have half of the places or more.
    fn full_tenants(&self) -> Vec<TenantId> {
        let half = self.half();
        self.places().into_iter().filter(|(_, count)| *count >= half).map(|(tenant, _)| tenant).collect()
    }

    /// Starts what is first in the queue, as far as there is room.
    pub(super) async fn admit(&mut self, found: Option<Queued>) {
        let now = self.clock.now();
        self.admission.looking = false;
        let Queued { rows, rest } = found.unwrap_or_default();
        let (mut places, half) = (self.places(), self.half());
        let rows = rows.into_iter().map(|row| (row, true)).chain(rest.into_iter().map(|row| (row, false)));
        for (row, shares) in rows {
            if self.room() == 0 {
                self.admission.soon(now); // As soon as there is room.
                break;
            }
            let started = |state| state != ExecutionState::Created;
            let known = self.live.get(&row.execution).is_some_and(|live| started(live.execution.state()));
            let held = self.held.get(&row.partition).is_some_and(|held| held.releasing.is_none());
            if known || !held || self.admission.admitting.contains_key(&row.execution) {
                continue; // On its way already, or somebody else's by now.
            }
            let has = places.entry(row.tenant.clone()).or_default();
            if shares && *has >= half {
                // It came to its half by what was found together. Others may wait behind that: they are looked for.
                self.admission.soon(now);
                continue;
            }
            *has += 1;
            self.admission.admitting.insert(row.execution, (row.tenant.clone(), now));
            self.admit_one(row).await;
        }
    }

    async fn admit_one(&mut self, row: Listed) {
        let request = Request {
            tenant: row.tenant,
            execution: row.execution,
            actor: Actor::System,
            key: None,
            trace: None,
            body: RequestBody::Command { name: "admit", command: Command::Admit },
            reply: oneshot::channel().0, // Nobody waits for it; the log has it.
        };
        Box::pin(self.request(request)).await;
    }
}
