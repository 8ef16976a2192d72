//! The bus inside one process: bounded queues of values, nothing encoded, nothing stored.
//!
//! It keeps the promises of the port with less machinery than a server needs. A delivery that is dropped unsettled is
//! put back at once, at the front, because the drop itself is the evidence that nobody works on it; so there is no
//! clock here and `progress` has nothing to renew. What the process held is gone when it ends, and the log owes it
//! again.
//!
//! A message id is remembered while its message is queued or being worked on, not for a time window as a server does:
//! a copy published later is delivered and the log refuses its outcome.

mod asking;
mod commands;
mod jobs;
mod outcomes;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::wire::{Control, Job, Judgement, Outcome};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::{
    Asked, BusError, CommandRequest, CoordinatorBus, Delivery, JobsStreamState, Published, QueueId, WorkerBus,
};
use asking::AskQueue;
use commands::CommandQueue;
use jobs::JobQueue;
use outcomes::OutcomeQueue;

/// Hints that a slow subscriber may fall behind before it misses some; whoever misses one asks the log.
const CONTROL_CAPACITY: usize = 1024;

/// How large the queues may grow.
#[derive(Debug, Clone)]
pub struct InProcessOptions {
    /// Jobs that wait in one queue, all priorities together. Beyond it a publication is refused, and the coordinator
    /// still owes the job.
    pub jobs_per_queue: usize,
    /// Outcomes that wait in one partition. Beyond it a report waits, and with it the worker's slot.
    pub outcomes_per_partition: usize,
    /// Commands that wait in one partition. Beyond it a request is refused.
    pub commands_per_partition: usize,
    /// Largest job, outcome or command body in bytes; the same limit that a server would have, so that a graph which
    /// runs embedded also runs on a fleet. `None` spares the measuring.
    pub max_payload: Option<usize>,
}

impl Default for InProcessOptions {
    fn default() -> Self {
        InProcessOptions {
            jobs_per_queue: 10_000,
            outcomes_per_partition: 10_000,
            commands_per_partition: 1_000,
            max_payload: None,
        }
    }
}

/// Both sides of the bus in one object. Clones share the queues.
#[derive(Clone)]
pub struct InProcessBus(Arc<Inner>);

struct Inner {
    options: InProcessOptions,
    created_nanos: i128,
    /// Of the last job accepted, in any queue.
    sequence: AtomicU64,
    queues: Mutex<HashMap<QueueId, Arc<JobQueue>>>,
    outcomes: Mutex<HashMap<PartitionId, Arc<OutcomeQueue>>>,
    commands: Mutex<HashMap<PartitionId, Arc<CommandQueue>>>,
    asks: Mutex<HashMap<PartitionId, Arc<AskQueue>>>,
    controls: Mutex<HashMap<TenantId, broadcast::Sender<Control>>>,
}

/// The queues stay usable when a thread panicked while it held one: every change to them is a single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InProcessBus {
    pub fn new(options: InProcessOptions) -> Self {
        let created_nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos() as i128);
        InProcessBus(Arc::new(Inner {
            options,
            created_nanos,
            sequence: AtomicU64::new(0),
            queues: Mutex::default(),
            outcomes: Mutex::default(),
            commands: Mutex::default(),
            asks: Mutex::default(),
            controls: Mutex::default(),
        }))
    }

    fn queue(&self, queue: &QueueId) -> Arc<JobQueue> {
        let mut queues = lock(&self.0.queues);
        match queues.get(queue) {
            Some(found) => found.clone(),
            None => {
                let made = Arc::new(JobQueue::new(self.0.options.jobs_per_queue, queue.clone()));
                queues.insert(queue.clone(), made.clone());
                made
            }
        }
    }

    fn outcomes_of(&self, partition: PartitionId) -> Arc<OutcomeQueue> {
        let capacity = self.0.options.outcomes_per_partition;
        lock(&self.0.outcomes).entry(partition).or_insert_with(|| Arc::new(OutcomeQueue::new(capacity))).clone()
    }

    fn commands_of(&self, partition: PartitionId) -> Arc<CommandQueue> {
        let capacity = self.0.options.commands_per_partition;
        lock(&self.0.commands).entry(partition).or_insert_with(|| Arc::new(CommandQueue::new(capacity))).clone()
    }

    fn asks_of(&self, partition: PartitionId) -> Arc<AskQueue> {
        let capacity = self.0.options.outcomes_per_partition;
        lock(&self.0.asks).entry(partition).or_insert_with(|| Arc::new(AskQueue::new(capacity))).clone()
    }

    fn control_of(&self, tenant: &TenantId) -> broadcast::Sender<Control> {
        lock(&self.0.controls).entry(tenant.clone()).or_insert_with(|| broadcast::channel(CONTROL_CAPACITY).0).clone()
    }

    fn fits(&self, size: impl FnOnce() -> usize) -> Result<(), BusError> {
        let Some(limit) = self.0.options.max_payload else { return Ok(()) };
        let found = size();
        if found > limit { Err(BusError::TooLarge { found, limit }) } else { Ok(()) }
    }

    fn publish(&self, job: &Job) -> Result<Published, BusError> {
        self.fits(|| job.encode().map_or(usize::MAX, |bytes| bytes.len()))?;
        let queue = self.queue(&QueueId { tenant: job.tenant.clone(), name: job.queue.clone() });
        queue.push(job, &self.0.sequence)
    }
}

impl Default for InProcessBus {
    fn default() -> Self {
        InProcessBus::new(InProcessOptions::default())
    }
}

#[async_trait]
impl CoordinatorBus for InProcessBus {
    async fn declare_queue(&self, queue: &QueueId) -> Result<(), BusError> {
        self.queue(queue);
        Ok(())
    }

    async fn publish_jobs(&self, jobs: &[Job]) -> Vec<Result<Published, BusError>> {
        jobs.iter().map(|job| self.publish(job)).collect()
    }

    async fn outcomes(
        &self,
        partition: PartitionId,
        max: usize,
    ) -> Result<Vec<(TenantId, Delivery<Outcome>)>, BusError> {
        Ok(self.outcomes_of(partition).take(max).await)
    }

    async fn commands(&self, partition: PartitionId) -> Result<CommandRequest, BusError> {
        Ok(self.commands_of(partition).take(partition).await)
    }

    async fn asked(&self, partition: PartitionId, max: usize) -> Result<Vec<Asked>, BusError> {
        Ok(self.asks_of(partition).take(max).await)
    }

    async fn request(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        self.fits(|| body.len())?;
        let answer = self.commands_of(partition).push(tenant.clone(), body)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_)) => Err(BusError::Unavailable("the bus was dropped".into())),
            Err(_) => Err(BusError::Unavailable(format!("nobody answered for partition {partition} in {timeout:?}"))),
        }
    }

    async fn control(&self, tenant: &TenantId, control: &Control) -> Result<(), BusError> {
        // An error means that nobody listens, which is as good as told.
        let _ = self.control_of(tenant).send(control.clone());
        Ok(())
    }

    /// Nobody outside the process can listen, and inside it the log is as near as a feed would be.
    async fn feed(&self, _: &TenantId, _: ExecutionId, _: Vec<(String, String, Bytes)>) {}

    async fn dead_letters(&self, _: &TenantId, _: Vec<(String, String, Bytes)>) {}

    async fn jobs_state(&self) -> Result<JobsStreamState, BusError> {
        let messages = lock(&self.0.queues).values().map(|queue| queue.live() as u64).sum();
        Ok(JobsStreamState {
            created_nanos: self.0.created_nanos,
            last_sequence: self.0.sequence.load(Ordering::Relaxed),
            messages,
        })
    }

    async fn job_exists(&self, sequence: u64) -> Result<bool, BusError> {
        Ok(lock(&self.0.queues).values().any(|queue| queue.holds(sequence)))
    }

    async fn withdraw_job(&self, sequence: u64) -> Result<bool, BusError> {
        Ok(lock(&self.0.queues).values().any(|queue| queue.withdraw(sequence)))
    }

    /// Nothing was prefetched: what is not yet taken waits for the next owner.
    fn connected(&self) -> bool {
        true
    }

    /// Messages are never bytes here.
    fn undecodable(&self) -> u64 {
        0
    }

    async fn leave(&self, _: PartitionId) {}
}

#[async_trait]
impl WorkerBus for InProcessBus {
    async fn jobs(&self, queue: &QueueId, max: usize) -> Result<Vec<Delivery<Job>>, BusError> {
        Ok(self.queue(queue).take(max).await)
    }

    async fn jobs_now(&self, queue: &QueueId, max: usize) -> Result<Vec<Delivery<Job>>, BusError> {
        Ok(self.queue(queue).take_now(max.max(1)))
    }

    async fn report(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        outcome: &Outcome,
    ) -> Result<Published, BusError> {
        self.fits(|| outcome.encode().map_or(usize::MAX, |bytes| bytes.len()))?;
        self.outcomes_of(partition).push(tenant, outcome).await
    }

    async fn ask(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        outcome: &Outcome,
        timeout: Duration,
    ) -> Result<Judgement, BusError> {
        self.fits(|| outcome.encode().map_or(usize::MAX, |bytes| bytes.len()))?;
        let answer = self.asks_of(partition).push(tenant, outcome)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(judgement)) => Ok(judgement),
            Ok(Err(_)) => Err(BusError::Unavailable("whoever was asked does not answer".into())),
            Err(_) => Err(BusError::Unavailable(format!("nobody answered for partition {partition} in {timeout:?}"))),
        }
    }

    async fn controls(&self, tenant: &TenantId) -> Result<BoxStream<'static, Control>, BusError> {
        let hints = BroadcastStream::new(self.control_of(tenant).subscribe());
        Ok(hints.filter_map(|hint| async { hint.ok() }).boxed())
    }

    fn ack_wait(&self) -> Duration {
        /// No delivery expires here; the figure only paces a worker's signs of life.
        const UNUSED: Duration = Duration::from_secs(30);
        UNUSED
    }
}
