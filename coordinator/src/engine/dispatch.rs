//! Jobs out, settlements out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use stepstream_runtime::bus::{BusError, CoordinatorBus, Published, QueueId, Settle};
use stepstream_shared::error::{ErrorCategory, ErrorCode, ExecutionError};
use stepstream_shared::execution::{Command, ExecutionState, JobSpec};
use stepstream_shared::id::ExecutionId;
use stepstream_shared::wire::{ClaimId, Job, PROTOCOL};
use tokio::sync::mpsc;

use super::commit::Occasion;
use super::live::{Dispatched, JobKey, Live};
use super::{Engine, Input};

/// Batches of jobs on their way to the bus; beyond, jobs wait in the state that owes them.
const PUBLISHER_BATCHES: usize = 1024;
/// Jobs published at a time.
const PUBLISH_AT_A_TIME: usize = 512;
/// How soon jobs that the bus did not take are offered again.
const OFFER_AGAIN: Duration = Duration::from_millis(100);

/// What becomes of a delivery.
pub(crate) enum Settlement {
    Ack(Box<dyn Settle>),
    Nak(Box<dyn Settle>, Duration),
}

/// Settles deliveries in the background: an acknowledgement that is lost costs a refused redelivery, never time of the
/// loop. Bounded by what the bus delivers unsettled.
pub(super) fn spawn_settler() -> mpsc::UnboundedSender<Settlement> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(settlement) = receiver.recv().await {
            let settled = match &settlement {
                Settlement::Ack(settle) => settle.ack().await,
                Settlement::Nak(settle, delay) => settle.nak(Some(*delay)).await,
            };
            if let Err(error) = settled {
                tracing::debug!(%error, "a delivery was not settled; it will come again and be refused");
            }
        }
    });
    sender
}

/// Publishes jobs in batches, whatever has gathered while the last batch was on its way.
pub(super) fn spawn_publisher(bus: Arc<dyn CoordinatorBus>, engine: mpsc::WeakSender<Input>) -> mpsc::Sender<Vec<Job>> {
    let (sender, mut receiver) = mpsc::channel::<Vec<Job>>(PUBLISHER_BATCHES);
    tokio::spawn(async move {
        let mut declared = HashSet::new();
        let mut batches = Vec::new();
        while receiver.recv_many(&mut batches, PUBLISH_AT_A_TIME).await > 0 {
            let jobs: Vec<Job> = batches.drain(..).flatten().collect();
            for job in &jobs {
                let queue = QueueId { tenant: job.tenant.clone(), name: job.queue.clone() };
                if !declared.contains(&queue) {
                    match bus.declare_queue(&queue).await {
                        Ok(()) => {
                            declared.insert(queue);
                        }
                        Err(error) => tracing::warn!(%error, queue = queue.name, "the queue is not declared"),
                    }
                }
            }
            let results = bus.publish_jobs(&jobs).await;
            if results.iter().any(Result::is_err) {
                declared.clear(); // The bus may have lost its consumers with the rest.
            }
            let results = jobs.iter().map(key_of).zip(results).collect();
            let Some(engine) = engine.upgrade() else { return };
            if engine.send(Input::Published(results)).await.is_err() {
                return;
            }
        }
    });
    sender
}

fn key_of(job: &Job) -> JobKey {
    JobKey { execution: job.token.execution, ordinal: job.token.ordinal, attempt: job.token.attempt }
}

impl Engine {
    pub(super) fn settle(&self, settlement: Settlement) {
        // The settler ends with the engine: what it did not settle is delivered again.
        let _ = self.settler.send(settlement);
    }

    /// Hands attempts to the bus for the first time.
    pub(super) fn dispatch(&mut self, id: ExecutionId, jobs: Vec<JobSpec>) {
        self.hand_over(id, jobs, 0);
    }

    /// Hands attempts to the bus again, under a number of their own, so that they are not taken for copies.
    pub(super) fn redispatch(&mut self, id: ExecutionId, jobs: Vec<JobSpec>) {
        let epoch = self.live.get(&id).and_then(|live| self.held.get(&live.partition)).map_or(0, |held| held.epoch);
        self.next_dispatch += 1;
        // Unique over all owners the partition ever has: the epoch only grows.
        let dispatch = (epoch << 32) | (self.next_dispatch & 0xffff_ffff);
        self.hand_over(id, jobs, dispatch);
    }

    fn hand_over(&mut self, id: ExecutionId, specs: Vec<JobSpec>, dispatch: u64) {
        if specs.is_empty() {
            return;
        }
        let now = self.clock.now();
        let Some(live) = self.live.get_mut(&id) else { return };
        let mut jobs = Vec::with_capacity(specs.len());
        for spec in specs {
            let entry = Dispatched {
                attempt: spec.attempt,
                dispatch,
                sequence: None,
                sign_of_life: now,
                looked_at: now,
                heartbeat: spec.heartbeat,
            };
            live.dispatched.insert(spec.ordinal, entry);
            jobs.push(job_of(live, spec, dispatch, self.meta.incarnation, &self.key));
        }
        let keys: Vec<JobKey> = jobs.iter().map(key_of).collect();
        if self.publisher.try_send(jobs).is_err() {
            self.offer_later(keys);
        }
    }

    fn offer_later(&mut self, keys: impl IntoIterator<Item = JobKey>) {
        if self.unsent.is_empty() {
            self.unsent_due = self.clock.now().after(OFFER_AGAIN);
        }
        self.unsent.extend(keys);
    }

    /// Offers again what the bus did not take.
    pub(super) fn offer_unsent(&mut self) {
        let now = self.clock.now();
        if self.unsent.is_empty() || now < self.unsent_due {
            return;
        }
        self.unsent_due = now.after(OFFER_AGAIN);
        let free = self.publisher.capacity().min(self.unsent.len());
        for key in self.unsent.drain(..free).collect::<Vec<_>>() {
            let Some(live) = self.live.get(&key.execution) else { continue };
            let dispatch = live.dispatched.get(&key.ordinal).map_or(0, |entry| entry.dispatch);
            if let Some(spec) = owed(live, key) {
                self.hand_over(key.execution, vec![spec], dispatch);
            }
        }
    }

    /// The bus has taken jobs, or has not.
    pub(super) async fn published(&mut self, results: Vec<(JobKey, Result<Published, BusError>)>) {
        let mut doubtful = Vec::new();
        for (key, result) in results {
            match result {
                Ok(published) => {
                    self.pressure.taken();
                    if let Some(live) = self.live.get_mut(&key.execution)
                        && let Some(entry) = live.dispatched.get_mut(&key.ordinal)
                        && entry.attempt == key.attempt
                    {
                        entry.sequence = Some(published.sequence);
                        // A bus remembers for a while what it has seen, also what was taken off it.
                        if live.doubtful.remove(&key.ordinal) && published.duplicate {
                            doubtful.push((key, Some(published.sequence)));
                        }
                    }
                    self.withdraw_late(key.execution, key.ordinal);
                }
                Err(BusError::TooLarge { found, limit }) => {
                    let error = ExecutionError::new(
                        ErrorCategory::QuotaExceeded,
                        format!("the job is {found} bytes, the bus carries {limit} (max_payload): pass large values by reference"),
                    )
                    .with_code(ErrorCode::new("payload_limit"));
                    let command = Command::Failed {
                        step: key.ordinal,
                        attempt: key.attempt,
                        worker: "coordinator".to_owned(),
                        claim: ClaimId::default(),
                        error,
                        duration_us: 0,
                        chance: 0.0,
                    };
                    self.act(key.execution, command, Occasion::deadline()).await;
                }
                Err(error) => {
                    tracing::debug!(execution = %key.execution, %error, "a job was not published; it is offered again");
                    self.pressure.refused(self.clock.now());
                    self.offer_later([key]);
                }
            }
        }
        self.look_for(doubtful);
    }
}

/// The job, if it is still owed and no worker has it. Nothing is while the execution is held.
pub(super) fn owed(live: &Live, key: JobKey) -> Option<JobSpec> {
    if live.execution.state() != ExecutionState::Running {
        return None;
    }
    live.execution.job(&live.graph, key.ordinal).filter(|spec| spec.attempt == key.attempt && !spec.running)
}

fn job_of(live: &Live, spec: JobSpec, dispatch: u64, incarnation: u64, key: &stepstream_shared::wire::MacKey) -> Job {
    let tenant = live.execution.tenant().clone();
    let token = key.token(&tenant, incarnation, live.execution.id(), spec.step, spec.ordinal, spec.attempt);
    Job {
        protocol: PROTOCOL,
        token,
        dispatch,
        tenant,
        partition: live.partition,
        position: spec.position,
        graph: live.graph.name.clone(),
        node: spec.node,
        callable: spec.callable,
        queue: spec.queue,
        priority: spec.priority,
        input: spec.input,
        inbox: spec.inbox,
        scheduled_at: spec.scheduled_at.as_micros(),
        start_to_close_ms: spec.start_to_close.map(millis),
        heartbeat_ms: spec.heartbeat.map(millis),
        inline: spec.inline,
        max_memory_mb: spec.max_memory_mb,
        claim: spec.claim,
        trace: None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
