//! The loop of a worker: pull what there are free slots for, run, report, acknowledge.
//!
//! The order is the protocol: an outcome is on the bus before its job is acknowledged, so a worker that dies in between
//! costs a second run and never a lost result. Nothing is remembered between jobs, and nothing here decides that a step
//! is finished: the log does.

mod claim;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use stepstream_runtime::bus::{BusError, Delivery, QueueId, Settle, WorkerBus};
use stepstream_runtime::random;
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::event::Note;
use stepstream_shared::id::TenantId;
use stepstream_shared::wire::{ClaimId, Job, Outcome, OutcomeResult, PROTOCOL};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifacts::Artifacts;
use crate::attempt::{self, CLEANUP, Departure, SignsOfLife, Verdict};
use crate::context::{Context, Stop};
use crate::failure::Failure;
use crate::pulling::{Backoff, Pulling};
use crate::registry::Registry;
use crate::running::Running;
use crate::slots::{Slot, Slots};
use crate::tenant::TenantShare;
use claim::{Claimed, Heard};

/// How often an acknowledgement is tried: without one the job only comes again, and its second outcome is refused.
const ACK_TRIES: u32 = 3;
/// Deliveries of one job after which it is taken for the death of its workers and fails. Being handed back by a worker
/// that stops counts too, hence not three.
const MOST_DELIVERIES: u64 = 10;
/// Outcomes on their way to the bus that hold no slot. Waiting for the bus is not work, so the next attempt may begin
/// meanwhile; but where the bus takes nothing, this is how far a worker runs ahead.
const UNREPORTED: usize = 256;
/// Beyond its cleanup, what a stopping worker gives its attempts to hand themselves back.
const HAND_BACK: Duration = Duration::from_secs(1);

/// What a worker did, told when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    pub completed: u64,
    pub failed: u64,
    /// Attempts that somebody else will run, because this worker went away.
    pub handed_back: u64,
    /// Attempts that nobody wanted any more.
    pub unwanted: u64,
    /// Attempts that did not stop when they were told to, and ended with the process.
    pub abandoned: u64,
}

/// Why a worker gives up by itself. Anything that can heal (an absent server, a stream that is being made again) is
/// waited for instead.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Bus(BusError),
}

pub(crate) struct Runner {
    pub(crate) bus: Arc<dyn WorkerBus>,
    pub(crate) registry: Registry,
    /// Whose jobs are run, and what each gets of the slots in proportion to the others.
    pub(crate) tenants: Vec<TenantShare>,
    pub(crate) name: Arc<str>,
    /// Of every tenant.
    pub(crate) queues: Vec<QueueId>,
    pub(crate) slots: usize,
    pub(crate) grace: Duration,
    pub(crate) artifacts: Option<Arc<Artifacts>>,
}

struct Shared {
    bus: Arc<dyn WorkerBus>,
    registry: Registry,
    name: Arc<str>,
    artifacts: Option<Arc<Artifacts>>,
    running: Running,
    departure: Departure,
    unreported: Semaphore,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    completed: AtomicU64,
    failed: AtomicU64,
    handed_back: AtomicU64,
    unwanted: AtomicU64,
}

impl Runner {
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<Summary, RunError> {
        let Runner { bus, registry, tenants, name, queues, slots, grace, artifacts } = self;
        let hand_back = CancellationToken::new();
        let now = CancellationToken::new();
        let shared = Arc::new(Shared {
            bus,
            registry,
            name,
            artifacts,
            running: Running::default(),
            departure: Departure { hand_back: hand_back.clone(), now: now.clone() },
            unreported: Semaphore::new(UNREPORTED),
            counts: Counts::default(),
        });
        let attempts = TaskTracker::new();
        let slots = Slots::new(slots, &tenants);
        let served = tenants.iter().map(TenantShare::to_string).collect::<Vec<_>>().join(",");
        tracing::info!(worker = %shared.name, tenants = served, ?queues, "taking jobs");

        let mut hints = JoinSet::new();
        for TenantShare { tenant, .. } in tenants {
            hints.spawn(listen(Arc::clone(&shared), tenant));
        }
        let pulling = Pulling::new(Arc::clone(&shared.bus), slots, queues);
        let begin = |tenant: &TenantId, delivery, slot| {
            drop(attempts.spawn(serve(Arc::clone(&shared), tenant.clone(), delivery, slot)));
        };
        let stopped_by = tokio::select! {
            biased;
            () = shutdown.requested() => Ok(()),
            ended = pulling.run(begin) => {
                // A bus that cannot be served ends the worker, but what runs is finished first.
                shutdown.request();
                ended.map_err(RunError::Bus)
            }
        };

        attempts.close();
        if !attempts.is_empty() {
            tracing::info!(running = attempts.len(), grace = ?grace, "finishing what is in flight");
        }
        tokio::select! {
            biased;
            () = attempts.wait() => {}
            () = tokio::time::sleep(grace) => {}
            () = shutdown.requested_now() => {}
        }
        hand_back.cancel();
        tokio::select! {
            biased;
            () = attempts.wait() => {}
            () = tokio::time::sleep(CLEANUP) => {}
            () = shutdown.requested_now() => {}
        }
        now.cancel();
        let _ = tokio::time::timeout(HAND_BACK, attempts.wait()).await;
        hints.abort_all();

        let summary = shared.counts.summary(attempts.len());
        tracing::info!(?summary, "stopped");
        stopped_by.map(|()| summary)
    }
}

impl Counts {
    fn summary(&self, abandoned: usize) -> Summary {
        Summary {
            completed: self.completed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            handed_back: self.handed_back.load(Ordering::Relaxed),
            unwanted: self.unwanted.load(Ordering::Relaxed),
            abandoned: abandoned as u64,
        }
    }
}

/// Listens for the hints of one tenant. Missing some costs time only: their attempts end late and are refused.
async fn listen(shared: Arc<Shared>, tenant: TenantId) {
    let mut delay = Backoff::new();
    loop {
        match shared.bus.controls(&tenant).await {
            Ok(mut hints) => {
                while let Some(hint) = hints.next().await {
                    delay = Backoff::new();
                    shared.running.hint(&tenant, &hint);
                }
            }
            Err(error) => tracing::debug!(%error, "no hints from the bus"),
        }
        tokio::time::sleep(delay.next()).await;
    }
}

/// Runs one delivery to its end: reported and acknowledged, or handed back. It came over a queue of `tenant`, whatever it
/// says itself.
async fn serve(shared: Arc<Shared>, tenant: TenantId, delivery: Delivery<Job>, slot: Slot) {
    let Delivery { message: job, deliveries, settle } = delivery;
    // Fresh for each delivery: a job that comes twice has two claims, and its log can tell them apart.
    let claim = random::claim_id();
    let context = Context::new(job, tenant, Arc::clone(&shared.name), shared.artifacts.clone());
    if deliveries > 1 {
        tracing::info!(parent: context.span(), deliveries, "the job was delivered before");
    }
    let began = Instant::now();
    let held = Held { shared: &shared, context: &context, settle: &*settle, claim, reports: AtomicU32::new(0) };
    // What is claimed is on record: the log counts the workers that were lost with it, whatever the bus has delivered.
    if context.job().claim {
        serve_claimed(&shared, &held, slot).await;
        return;
    }
    let verdict = {
        let _entry = shared.running.enter(claim, &context);
        if deliveries > MOST_DELIVERIES {
            Verdict::Failed(Failure::poison(MOST_DELIVERIES))
        } else {
            attempt::run(&shared.registry, &context, &held, shared.bus.ack_wait(), &shared.departure).await
        }
    };
    let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let counts = &shared.counts;
    let (outcome, count) = match verdict {
        Verdict::Completed(output) => (OutcomeResult::Completed { output, duration_us }, &counts.completed),
        Verdict::Failed(failure) => {
            tracing::debug!(parent: context.span(), error = %failure, "failed");
            (OutcomeResult::Failed { error: failure.into_error(), duration_us }, &counts.failed)
        }
        // Whoever gave the hint knows already. If the hint was wrong, this lets somebody else run it.
        Verdict::Stopped(Stop::Unwanted) => (OutcomeResult::Released, &counts.unwanted),
        Verdict::Stopped(Stop::HandBack | Stop::TimedOut) => {
            held.hand_back().await;
            return;
        }
    };
    let ahead = shared.unreported.try_acquire();
    let slot = Some(slot).filter(|_| ahead.is_err());
    if held.deliver(outcome).await {
        count.fetch_add(1, Ordering::Relaxed);
        held.acknowledge().await;
    } else {
        held.hand_back().await;
    }
    drop(slot);
}

/// The same for an attempt that is asked for first: nothing of it runs before that is on record, and its end is repeated
/// until somebody says how it was taken.
async fn serve_claimed(shared: &Arc<Shared>, held: &Held<'_>, slot: Slot) {
    let context = held.context;
    let counts = &shared.counts;
    let began = Instant::now();
    let (verdict, position) = {
        let _entry = shared.running.enter(held.claim, context);
        let position = match held.claim().await {
            // Not begun, so another worker may; or nobody wants it any more.
            Claimed::Granted { .. } if context.stopped().is_some() => {
                held.release().await;
                held.acknowledge().await;
                return;
            }
            Claimed::Granted { position } => position,
            Claimed::Refused => {
                counts.unwanted.fetch_add(1, Ordering::Relaxed);
                held.acknowledge().await;
                return;
            }
            Claimed::TooLate => {
                held.release().await;
                held.hand_back().await;
                return;
            }
        };
        let bus = &shared.bus;
        (attempt::run(&shared.registry, context, held, bus.ack_wait(), &shared.departure).await, position)
    };
    let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (outcome, count) = match verdict {
        // The worker stopped it itself, and knows as little of how far it was.
        Verdict::Failed(_) if context.stopped() == Some(Stop::TimedOut) => (OutcomeResult::Stopped, &counts.failed),
        Verdict::Failed(failure) if failure.has_not_started() => {
            (OutcomeResult::NotStarted { error: failure.into_error(), duration_us }, &counts.failed)
        }
        Verdict::Completed(output) => (OutcomeResult::Completed { output, duration_us }, &counts.completed),
        Verdict::Failed(failure) => {
            tracing::debug!(parent: context.span(), error = %failure, "failed");
            (OutcomeResult::Failed { error: failure.into_error(), duration_us }, &counts.failed)
        }
        Verdict::Stopped(Stop::Unwanted) => (OutcomeResult::Stopped, &counts.unwanted),
        Verdict::Stopped(Stop::HandBack | Stop::TimedOut) => (OutcomeResult::Stopped, &counts.handed_back),
    };
    let ahead = shared.unreported.try_acquire();
    let slot = Some(slot).filter(|_| ahead.is_err());
    match held.report_claimed(outcome, position).await {
        Heard::Judged { taken } => {
            if !taken {
                tracing::info!(parent: context.span(), "the attempt is not this worker's any more; what it did is not counted");
            }
            if taken { count } else { &counts.unwanted }.fetch_add(1, Ordering::Relaxed);
            held.acknowledge().await;
        }
        Heard::Departed => held.hand_back().await,
    }
    drop(slot);
}

/// A delivery in this worker's hands.
struct Held<'a> {
    shared: &'a Shared,
    context: &'a Context,
    settle: &'a dyn Settle,
    claim: ClaimId,
    reports: AtomicU32,
}

impl Held<'_> {
    fn outcome(&self, result: OutcomeResult) -> Outcome {
        Outcome {
            protocol: PROTOCOL,
            token: self.context.job().token.clone(),
            claim: self.claim,
            worker: self.shared.name.to_string(),
            report: self.reports.fetch_add(1, Ordering::Relaxed),
            result,
            notes: Vec::new(),
        }
    }

    async fn send(&self, outcome: &Outcome) -> Result<(), BusError> {
        self.shared.bus.report(self.context.tenant(), self.context.job().partition, outcome).await.map(|_| ())
    }

    /// Repeats the outcome until the bus holds it. A copy of one that did arrive has the same deduplication id.
    /// Answers false when the worker must go before the bus took it.
    async fn deliver(&self, result: OutcomeResult) -> bool {
        let mut outcome = Outcome { notes: self.context.take_notes(), ..self.outcome(result) };
        let mut delay = Backoff::new();
        let mut shrunk = false;
        let departing = &self.shared.departure.hand_back;
        loop {
            if departing.is_cancelled() {
                // One more try, then somebody else runs it: better twice than never.
                return tokio::time::timeout(HAND_BACK, self.send(&outcome)).await.is_ok_and(|sent| sent.is_ok());
            }
            // A bus that is full may let its callers wait.
            let sent = tokio::select! {
                biased;
                sent = self.send(&outcome) => sent,
                () = departing.cancelled() => continue,
            };
            let error = match sent {
                Ok(()) => return true,
                Err(BusError::TooLarge { found, limit }) if !shrunk => {
                    shrunk = true;
                    outcome = self.shrunk(outcome, found, limit);
                    continue;
                }
                Err(error) => error,
            };
            let pause = delay.next();
            tracing::warn!(parent: self.context.span(), %error, retry_in = ?pause, "the outcome was not taken");
            tokio::select! {
                biased;
                () = departing.cancelled() => continue,
                () = tokio::time::sleep(pause) => {}
            }
            // Somebody else should not begin what has its outcome already.
            let _ = self.settle.progress().await;
        }
    }

    /// What is reported in the place of an outcome that the bus does not carry. What was spent is spent; the rest may be
    /// what makes it too large.
    fn shrunk(&self, outcome: Outcome, found: usize, limit: usize) -> Outcome {
        let notes = outcome.notes.into_iter().filter(|note| matches!(note, Note::Usage { .. })).collect();
        Outcome { notes, ..self.outcome(too_large(&outcome.result, found, limit)) }
    }

    async fn acknowledge(&self) {
        let mut delay = Backoff::new();
        for tried in 1..=ACK_TRIES {
            match self.settle.ack().await {
                Ok(()) => return,
                Err(error) if tried == ACK_TRIES => {
                    tracing::warn!(parent: self.context.span(), %error, "not acknowledged; the job will come again");
                }
                Err(_) => tokio::time::sleep(delay.next()).await,
            }
        }
    }

    async fn hand_back(&self) {
        self.shared.counts.handed_back.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.settle.nak(None).await {
            tracing::warn!(parent: self.context.span(), %error, "not handed back; the job comes again after its wait");
        }
    }
}

impl SignsOfLife for Held<'_> {
    fn report<'a>(&'a self, result: OutcomeResult) -> BoxFuture<'a, bool> {
        async move {
            let sent = self.send(&self.outcome(result)).await;
            if let Err(error) = &sent {
                tracing::debug!(parent: self.context.span(), %error, "a sign of life was not taken");
            }
            sent.is_ok()
        }
        .boxed()
    }

    fn hold<'a>(&'a self) -> BoxFuture<'a, bool> {
        async move { self.settle.progress().await.is_ok() }.boxed()
    }
}

/// What is reported in place of an outcome that the bus does not carry.
fn too_large(refused: &OutcomeResult, found: usize, limit: usize) -> OutcomeResult {
    let duration_us = match refused {
        OutcomeResult::Completed { duration_us, .. }
        | OutcomeResult::Failed { duration_us, .. }
        | OutcomeResult::NotStarted { duration_us, .. } => *duration_us,
        OutcomeResult::Started
        | OutcomeResult::Progress { .. }
        | OutcomeResult::Released
        | OutcomeResult::Claim
        | OutcomeResult::Stopped => 0,
    };
    let what = format!("the outcome is {found} bytes, the bus carries {limit} (max_payload of the server)");
    let failure = match refused {
        // The failure itself outweighs what it carries.
        OutcomeResult::Failed { error, .. } => {
            let mut error = error.clone();
            error.details = None;
            Failure::from(error)
        }
        _ => Failure::invalid_output(what),
    };
    OutcomeResult::Failed { error: failure.into_error(), duration_us }
}

#[cfg(test)]
mod tests;
