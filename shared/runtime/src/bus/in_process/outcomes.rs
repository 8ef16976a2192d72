//! The outcomes of one partition. A report waits while the queue is full: that is how a slow log slows the workers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stepstream_shared::id::TenantId;
use stepstream_shared::wire::{ClaimId, Outcome};
use tokio::sync::{Notify, Semaphore};

use super::lock;
use crate::bus::{BusError, Delivery, Published, Settle};

pub(super) struct OutcomeQueue {
    state: Mutex<State>,
    ready: Notify,
    /// One permit for each free place.
    room: Semaphore,
}

#[derive(Default)]
struct State {
    last_sequence: u64,
    waiting: VecDeque<Entry>,
    places: HashMap<Identity, u64>,
}

struct Entry {
    sequence: u64,
    deliveries: u64,
    tenant: TenantId,
    outcome: Outcome,
}

/// The parts of [`Outcome::message_id`], without making a text of them.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
struct Identity(u64, ClaimId, u32, u32);

impl Identity {
    fn of(outcome: &Outcome) -> Self {
        Identity(outcome.token.incarnation, outcome.claim, outcome.token.attempt, outcome.report)
    }
}

impl OutcomeQueue {
    pub(super) fn new(capacity: usize) -> Self {
        OutcomeQueue { state: Mutex::default(), ready: Notify::new(), room: Semaphore::new(capacity) }
    }

    pub(super) async fn push(&self, tenant: &TenantId, outcome: &Outcome) -> Result<Published, BusError> {
        let place = self.room.acquire().await.map_err(|_| BusError::Unavailable("the bus was closed".into()))?;
        let mut state = lock(&self.state);
        let identity = Identity::of(outcome);
        if let Some(&sequence) = state.places.get(&identity) {
            return Ok(Published { sequence, duplicate: true });
        }
        // Given back when the outcome is taken.
        place.forget();
        state.last_sequence += 1;
        let sequence = state.last_sequence;
        state.places.insert(identity, sequence);
        state.waiting.push_back(Entry { sequence, deliveries: 0, tenant: tenant.clone(), outcome: outcome.clone() });
        drop(state);
        self.ready.notify_one();
        Ok(Published { sequence, duplicate: false })
    }

    pub(super) async fn take(self: &Arc<Self>, max: usize) -> Vec<(TenantId, Delivery<Outcome>)> {
        loop {
            let taken = self.take_now(max.max(1));
            if !taken.is_empty() {
                return taken;
            }
            self.ready.notified().await;
        }
    }

    fn take_now(self: &Arc<Self>, max: usize) -> Vec<(TenantId, Delivery<Outcome>)> {
        let mut state = lock(&self.state);
        let count = state.waiting.len().min(max);
        let mut freed = 0;
        let mut taken = Vec::with_capacity(count);
        for mut entry in state.waiting.drain(..count) {
            // What was put back gave its place away when it was first taken.
            freed += usize::from(entry.deliveries == 0);
            entry.deliveries += 1;
            let (tenant, message, deliveries) = (entry.tenant.clone(), entry.outcome.clone(), entry.deliveries);
            let settle = Box::new(OutcomeSettle { queue: self.clone(), entry: Mutex::new(Some(entry)) });
            taken.push((tenant, Delivery { message, deliveries, settle }));
        }
        let more = !state.waiting.is_empty();
        drop(state);
        self.room.add_permits(freed);
        if more {
            self.ready.notify_one();
        }
        taken
    }

    fn put_back(&self, entry: Entry) {
        let mut state = lock(&self.state);
        let place = state.waiting.partition_point(|other| other.sequence < entry.sequence);
        state.waiting.insert(place, entry);
        drop(state);
        self.ready.notify_one();
    }
}

struct OutcomeSettle {
    queue: Arc<OutcomeQueue>,
    entry: Mutex<Option<Entry>>,
}

#[async_trait]
impl Settle for OutcomeSettle {
    async fn ack(&self) -> Result<(), BusError> {
        if let Some(entry) = lock(&self.entry).take() {
            lock(&self.queue.state).places.remove(&Identity::of(&entry.outcome));
        }
        Ok(())
    }

    async fn progress(&self) -> Result<(), BusError> {
        Ok(())
    }

    async fn nak(&self, delay: Option<Duration>) -> Result<(), BusError> {
        let Some(entry) = lock(&self.entry).take() else { return Ok(()) };
        match delay {
            None => self.queue.put_back(entry),
            Some(delay) => {
                let queue = self.queue.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    queue.put_back(entry);
                });
            }
        }
        Ok(())
    }
}

impl Drop for OutcomeSettle {
    fn drop(&mut self) {
        if let Some(entry) = lock(&self.entry).take() {
            self.queue.put_back(entry);
        }
    }
}
