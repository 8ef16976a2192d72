//! Which background executions are started when: so many run at the same time, the others wait in the queue.
//!
//! The queue is a part of the list of executions and lies in the store, so that it is as long as anybody likes, costs no
//! memory, and survives whoever reads it. Its order is an index; what is first is asked for when there is room. Whoever
//! waits for something outside, or is paused, leaves its place to others and is not stopped when it goes on: the limit
//! is one of admission.
//!
//! Whose execution is next is decided by what each tenant has had: the time for which its executions have held places
//! ([`FairShare`]), divided by its weight; within a tenant by the order of the queue. The time is measured here from the
//! start of this coordinator on and kept nowhere: after a restart all tenants start even, and who then gets too much is
//! short of it soon after.
//!
//! Who runs is known from memory, so nobody is admitted before all that a gained partition has running is loaded.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use stepstream_shared::event::Actor;
use stepstream_shared::execution::{Command, ExecutionState};
use stepstream_shared::fairness::{FairShare, Weight};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

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
/// Rows of one tenant that are asked for at a time, beyond those that are on their way already.
const EACH: usize = 16;
/// Tenants whose time is remembered. Beyond that, those that have nothing here start even again.
const TENANTS: usize = 4096;

/// What a look at the queue has found.
#[derive(Default)]
pub(crate) struct Queued {
    /// Those of each tenant are in the order of the queue.
    rows: Vec<Listed>,
    weights: Vec<(TenantId, Weight)>,
    /// There are as many of each tenant as were asked for, so there may be more.
    each: usize,
}

/// Who runs, and when the queue is looked at again.
pub(super) struct Admission {
    limit: usize,
    places: BTreeMap<ExecutionId, Place>,
    share: FairShare<TenantId>,
    /// Time is measured from here.
    began: Instant,
    /// Queued ones that are in memory: all there are, for an engine that does not look at the store.
    here: BTreeSet<ExecutionId>,
    looking: bool,
    due: Timestamp,
}

/// A place that somebody holds.
struct Place {
    tenant: TenantId,
    /// It was told to start at this moment, and has not been seen to run.
    told: Option<Timestamp>,
}

impl Admission {
    pub(super) fn new(limit: usize) -> Self {
        Admission {
            limit,
            places: BTreeMap::new(),
            share: FairShare::new(),
            began: Instant::now(),
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

    /// Places that nobody has.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.places.len())
    }

    /// Those that were told to start and have not been seen to.
    fn on_their_way(&self) -> usize {
        self.places.values().filter(|place| place.told.is_some()).count()
    }

    fn take(&mut self, id: ExecutionId, tenant: TenantId, told: Option<Timestamp>) {
        match self.places.entry(id) {
            Entry::Occupied(mut taken) => taken.get_mut().told = told,
            Entry::Vacant(free) => {
                self.share.begins(&tenant, self.began.elapsed());
                free.insert(Place { tenant, told });
            }
        }
    }

    /// Answers whether it had one.
    fn leave(&mut self, id: ExecutionId) -> bool {
        let Some(place) = self.places.remove(&id) else { return false };
        self.share.ends(&place.tenant, self.began.elapsed());
        true
    }

    /// Takes note of who has something queued, and of their weights.
    fn see(&mut self, queued: &BTreeMap<TenantId, VecDeque<Listed>>, weights: Vec<(TenantId, Weight)>) {
        let now = self.began.elapsed();
        let known: Vec<TenantId> = self.share.known().cloned().collect();
        let weights: BTreeMap<TenantId, Weight> = weights.into_iter().collect();
        for tenant in known.iter().filter(|tenant| !queued.contains_key(*tenant)) {
            self.share.wants(tenant, false, now);
        }
        for tenant in queued.keys() {
            self.share.wants(tenant, true, now);
        }
        if !queued.is_empty() {
            let holders: Vec<TenantId> = self.share.holders().cloned().collect();
            for tenant in queued.keys().chain(&holders) {
                self.share.weigh(tenant, weights.get(tenant).copied().unwrap_or_default(), now);
            }
        }
        self.share.forget_idle(TENANTS);
    }

    /// Whose turn it is among those that have something left.
    fn next(&mut self, queued: &BTreeMap<TenantId, VecDeque<Listed>>) -> Option<TenantId> {
        let waiting = queued.iter().filter(|(_, rows)| !rows.is_empty()).map(|(tenant, _)| tenant.clone());
        self.share.order(waiting, self.began.elapsed()).into_iter().next()
    }
}

impl Engine {
    /// An execution has changed: does it hold a place, wait for one, or leave one?
    pub(super) fn note_background(&mut self, id: ExecutionId) {
        let now = self.clock.now();
        let Some(live) = self.live.get(&id).filter(|live| live.execution.background().is_some()) else { return };
        let (queued, holds) = (live.execution.queue_rank().is_some(), live.execution.holds_place());
        let tenant = live.execution.tenant().clone();
        let admission = &mut self.admission;
        if queued {
            if admission.here.insert(id) {
                admission.soon(now);
            }
            return;
        }
        admission.here.remove(&id);
        if holds {
            admission.take(id, tenant, None);
        } else if admission.leave(id) {
            admission.soon(now);
        }
    }

    /// Looks at the queue if it is time and there is room.
    pub(super) fn look_at_queue(&mut self) {
        let now = self.clock.now();
        let live = &self.live;
        let stays = |id: &ExecutionId, place: &Place| match place.told {
            Some(since) => since.after(PATIENCE) > now,
            None => live.get(id).is_some_and(|live| live.execution.holds_place()),
        };
        let places = self.admission.places.iter();
        let gone: Vec<ExecutionId> = places.filter(|(id, place)| !stays(id, place)).map(|(id, _)| *id).collect();
        self.admission.here.retain(|id| live.contains_key(id));
        for id in gone {
            self.admission.leave(id);
            self.admission.soon(now);
        }
        if self.admission.looking || now < self.admission.due {
            return;
        }
        self.admission.due = now.after(LOOK);
        if self.held.values().any(|held| !held.recovered && held.releasing.is_none()) {
            return; // Some that hold places are not in memory yet. It is said when they are.
        }
        let room = self.admission.room();
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
            let found = Queued { rows: rows.take(room).collect(), weights: Vec::new(), each: usize::MAX };
            tokio::spawn(async move { sender.send(Input::Queued(Some(found))).await.is_ok() });
            return;
        }
        let each = (room.min(EACH) + self.admission.on_their_way()).min(PAGE);
        let holders: Vec<TenantId> = self.admission.share.holders().cloned().collect();
        let store = self.reader.store().clone();
        tokio::spawn(async move {
            let found = async {
                let rows = store.queued(&partitions, each as u32, PAGE as u32).await?;
                let mut tenants: Vec<TenantId> = rows.iter().map(|row| row.tenant.clone()).chain(holders).collect();
                tenants.sort();
                tenants.dedup();
                let weights =
                    if rows.is_empty() { Vec::new() } else { store.permits().tenant_weights(&tenants).await? };
                Ok::<_, crate::ports::StoreError>(Queued { rows, weights, each })
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

    /// Starts what is next in the queue, as far as there is room.
    pub(super) async fn admit(&mut self, found: Option<Queued>) {
        let now = self.clock.now();
        self.admission.looking = false;
        let Some(Queued { rows, weights, each }) = found else { return };
        let full = rows.len() >= PAGE;
        let mut queued: BTreeMap<TenantId, VecDeque<Listed>> = BTreeMap::new();
        for row in rows {
            queued.entry(row.tenant.clone()).or_default().push_back(row);
        }
        let may_have_more: Vec<TenantId> =
            queued.iter().filter(|(_, rows)| full || rows.len() >= each).map(|(tenant, _)| tenant.clone()).collect();
        self.admission.see(&queued, weights);
        while let Some(tenant) = self.admission.next(&queued) {
            if self.admission.room() == 0 {
                return; // Whoever leaves a place says so.
            }
            let Some(row) = queued.get_mut(&tenant).and_then(VecDeque::pop_front) else { break };
            let started = |state| state != ExecutionState::Created;
            let known = self.live.get(&row.execution).is_some_and(|live| started(live.execution.state()));
            let held = self.held.get(&row.partition).is_some_and(|held| held.releasing.is_none());
            if known || !held || self.admission.places.contains_key(&row.execution) {
                continue; // On its way already, or somebody else's by now.
            }
            self.admission.take(row.execution, tenant.clone(), Some(now));
            self.admit_one(row).await;
            if queued.get(&tenant).is_some_and(VecDeque::is_empty) && may_have_more.contains(&tenant) {
                // Its next ones were not asked for, and it may be its turn again.
                break;
            }
        }
        if !may_have_more.is_empty() {
            self.admission.soon(now);
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
