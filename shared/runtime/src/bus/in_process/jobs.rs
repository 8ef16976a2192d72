//! One queue of one tenant: three priorities, first in first out within each.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::{ExecutionId, StepId};
use stepstream_shared::wire::Job;
use tokio::sync::Notify;

use super::lock;
use crate::bus::{BusError, Delivery, Published, QueueId, Settle};

pub(super) struct JobQueue {
    name: QueueId,
    capacity: usize,
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Default)]
struct State {
    /// Most urgent first.
    waiting: [VecDeque<Entry>; 3],
    /// Of everything queued or being worked on: the sequence by identity, and the sequences.
    places: HashMap<Identity, u64>,
    live: HashSet<u64>,
}

struct Entry {
    sequence: u64,
    deliveries: u64,
    job: Job,
}

/// The parts of [`Job::message_id`], without making a text of them.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
struct Identity(u64, ExecutionId, StepId, u32, u64);

impl Identity {
    fn of(job: &Job) -> Self {
        let token = &job.token;
        Identity(token.incarnation, token.execution, token.step, token.attempt, job.dispatch)
    }
}

fn rank(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

impl JobQueue {
    pub(super) fn new(capacity: usize, name: QueueId) -> Self {
        JobQueue { name, capacity, state: Mutex::default(), ready: Notify::new() }
    }

    pub(super) fn push(&self, job: &Job, sequences: &AtomicU64) -> Result<Published, BusError> {
        let mut state = lock(&self.state);
        let identity = Identity::of(job);
        if let Some(&sequence) = state.places.get(&identity) {
            return Ok(Published { sequence, duplicate: true });
        }
        if state.waiting.iter().map(VecDeque::len).sum::<usize>() >= self.capacity {
            return Err(BusError::Full(format!(
                "the queue `{}` of {} holds {} jobs, its limit",
                self.name.name, self.name.tenant, self.capacity
            )));
        }
        let sequence = sequences.fetch_add(1, Ordering::Relaxed) + 1;
        state.places.insert(identity, sequence);
        state.live.insert(sequence);
        state.waiting[rank(job.priority)].push_back(Entry { sequence, deliveries: 0, job: job.clone() });
        drop(state);
        self.ready.notify_one();
        Ok(Published { sequence, duplicate: false })
    }

    pub(super) async fn take(self: &Arc<Self>, max: usize) -> Vec<Delivery<Job>> {
        loop {
            let taken = self.take_now(max.max(1));
            if !taken.is_empty() {
                return taken;
            }
            self.ready.notified().await;
        }
    }

    pub(super) fn take_now(self: &Arc<Self>, max: usize) -> Vec<Delivery<Job>> {
        let mut taken = Vec::new();
        let mut state = lock(&self.state);
        for waiting in &mut state.waiting {
            while taken.len() < max
                && let Some(mut entry) = waiting.pop_front()
            {
                entry.deliveries += 1;
                let (message, deliveries) = (entry.job.clone(), entry.deliveries);
                let settle = Box::new(JobSettle { queue: self.clone(), entry: Mutex::new(Some(entry)) });
                taken.push(Delivery { message, deliveries, settle });
            }
        }
        let more = state.waiting.iter().any(|waiting| !waiting.is_empty());
        drop(state);
        if more {
            // One permit stands for any number of jobs: whoever leaves some wakes the next.
            self.ready.notify_one();
        }
        taken
    }

    fn put_back(&self, entry: Entry) {
        let mut state = lock(&self.state);
        let waiting = &mut state.waiting[rank(entry.job.priority)];
        // In front of whatever came later, in whichever order several of them come back.
        let place = waiting.partition_point(|other| other.sequence < entry.sequence);
        waiting.insert(place, entry);
        drop(state);
        self.ready.notify_one();
    }

    fn forget(&self, entry: &Entry) {
        let mut state = lock(&self.state);
        state.places.remove(&Identity::of(&entry.job));
        state.live.remove(&entry.sequence);
    }

    /// Takes a job out that nobody has.
    pub(super) fn withdraw(&self, sequence: u64) -> bool {
        let mut state = lock(&self.state);
        let State { waiting, places, live } = &mut *state;
        for queue in waiting {
            if let Ok(at) = queue.binary_search_by_key(&sequence, |entry| entry.sequence)
                && let Some(entry) = queue.remove(at)
            {
                places.remove(&Identity::of(&entry.job));
                live.remove(&sequence);
                return true;
            }
        }
        false
    }

    pub(super) fn live(&self) -> usize {
        lock(&self.state).live.len()
    }

    pub(super) fn holds(&self, sequence: u64) -> bool {
        lock(&self.state).live.contains(&sequence)
    }
}

struct JobSettle {
    queue: Arc<JobQueue>,
    /// Empty once settled.
    entry: Mutex<Option<Entry>>,
}

#[async_trait]
impl Settle for JobSettle {
    async fn ack(&self) -> Result<(), BusError> {
        if let Some(entry) = lock(&self.entry).take() {
            self.queue.forget(&entry);
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

impl Drop for JobSettle {
    fn drop(&mut self) {
        if let Some(entry) = lock(&self.entry).take() {
            self.queue.put_back(entry);
        }
    }
}
