//! Which queues a worker asks for jobs, and when.
//!
//! A worker asks for no more jobs than it has free slots: a job that waits inside one worker cannot run on another. While
//! there are slots for all, it waits for jobs of every queue at once and takes them as they come. When slots are short,
//! whose turn it is decides: the tenants are asked in the order of what they have had ([`FairShare`]), each of its queues
//! in turn, and those that have nothing are passed over, so no slot is kept for anybody.
//!
//! A queue that was found empty is not asked at every slot that becomes free. It is left alone for a while that doubles
//! from [`LEFT_ALONE_FIRST`] to [`LEFT_ALONE_LONGEST`], so asking costs little however many tenants are idle, and whoever
//! comes back is found after the time that it was away or less. Nothing is asked for while no slot is free.
//!
//! [`FairShare`]: stepstream_shared::fairness::FairShare

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use stepstream_runtime::bus::{BusError, Delivery, QueueId, WorkerBus};
use stepstream_runtime::random;
use stepstream_shared::id::TenantId;
use stepstream_shared::wire::Job;
use tokio::time::{Instant, sleep_until};

use crate::slots::{Slot, Slots};

/// For how long a queue that was found empty is left alone while slots are short: the first time, and at most.
const LEFT_ALONE_FIRST: Duration = Duration::from_millis(5);
const LEFT_ALONE_LONGEST: Duration = Duration::from_millis(250);
/// First and longest delay between tries when the bus does not give an answer.
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(50);
pub(crate) const RETRY_LONGEST: Duration = Duration::from_secs(5);

type Answer = Result<Vec<Delivery<Job>>, BusError>;

/// All queues of a worker.
pub(crate) struct Pulling {
    bus: Arc<dyn WorkerBus>,
    slots: Arc<Slots>,
    queues: Vec<Asked>,
    /// Calls that wait for the next job of a queue.
    waiting: FuturesUnordered<BoxFuture<'static, (usize, usize, Answer)>>,
    turns: u64,
}

/// A queue, and what is known of it.
struct Asked {
    queue: QueueId,
    /// It gave as many jobs as it was asked for when it was asked last, or was not asked yet.
    has_more: bool,
    /// Somebody waits for its next job.
    is_awaited: bool,
    /// When it last gave jobs, in turns.
    turn: u64,
    left_alone_until: Instant,
    left_alone: Duration,
    /// The bus gave no answer.
    retry_at: Option<Instant>,
    delay: Backoff,
}

impl Pulling {
    pub(crate) fn new(bus: Arc<dyn WorkerBus>, slots: Arc<Slots>, queues: Vec<QueueId>) -> Self {
        let now = Instant::now();
        let asked = |queue| Asked {
            queue,
            has_more: true,
            is_awaited: false,
            turn: 0,
            left_alone_until: now,
            left_alone: LEFT_ALONE_FIRST,
            retry_at: None,
            delay: Backoff::new(),
        };
        let queues: Vec<Asked> = queues.into_iter().map(asked).collect();
        for asked in &queues {
            slots.wants(&asked.queue.tenant, true);
        }
        Pulling { bus, slots, queues, waiting: FuturesUnordered::new(), turns: 0 }
    }

    /// Takes jobs and hands each over with its slot, until the bus says that it never will give any. Dropping it loses no
    /// job.
    pub(crate) async fn run(mut self, mut begin: impl FnMut(&TenantId, Delivery<Job>, Slot)) -> Result<(), BusError> {
        loop {
            let free = self.slots.free();
            if free == 0 {
                self.stop_waiting();
                self.slots.until_free().await;
                continue;
            }
            self.try_again();
            match self.next(free) {
                Next::Ask(at, max) => {
                    let answer = self.bus.jobs_now(&self.queues[at].queue, max).await;
                    self.took(at, max, answer, &mut begin).await?;
                }
                Next::LookAt(empty) => self.look_at(empty, &mut begin).await?,
                Next::Wait => self.wait(free, &mut begin).await?,
            }
        }
    }

    /// What is to be asked next for `free` slots.
    fn next(&self, free: usize) -> Next {
        // With one queue there is nothing to choose, and it may wait with all slots.
        if self.queues.len() == 1 {
            return Next::Wait;
        }
        let now = Instant::now();
        let can_be_asked = |asked: &Asked| {
            let due = asked.has_more || asked.left_alone_until <= now;
            due && !asked.is_awaited && asked.retry_at.is_none()
        };
        let mut candidates: Vec<usize> = (0..self.queues.len()).filter(|at| can_be_asked(&self.queues[*at])).collect();
        candidates.sort_by_key(|at| self.queues[*at].turn);
        let tenant_of = |at: &usize| self.queues[*at].queue.tenant.clone();
        let mut tenants: Vec<TenantId> = candidates.iter().map(tenant_of).collect();
        tenants.sort();
        tenants.dedup();
        let mut empty = Vec::new();
        for tenant in self.slots.order(tenants) {
            for at in candidates.iter().filter(|at| self.queues[**at].queue.tenant == tenant) {
                if !self.queues[*at].has_more {
                    empty.push(*at);
                } else if empty.is_empty() {
                    return Next::Ask(*at, self.part(*at, free));
                } else {
                    return Next::LookAt(empty);
                }
            }
        }
        // Nobody is known to have more: whoever comes first has the slot.
        Next::Wait
    }

    /// How many of the free slots one queue is asked for: its tenant's share, divided among the tenant's queues.
    fn part(&self, at: usize, free: usize) -> usize {
        let tenant = &self.queues[at].queue.tenant;
        let with_more = |asked: &&Asked| asked.has_more && asked.retry_at.is_none();
        let mut tenants: Vec<TenantId> =
            self.queues.iter().filter(with_more).map(|asked| asked.queue.tenant.clone()).collect();
        tenants.sort();
        tenants.dedup();
        let queues = self.queues.iter().filter(with_more).filter(|asked| asked.queue.tenant == *tenant).count();
        self.slots.share(tenant, &tenants, free).div_ceil(queues.max(1))
    }

    /// Looks whether queues that were empty have a job now, all at the same time: whoever has one is next.
    async fn look_at(
        &mut self,
        empty: Vec<usize>,
        begin: &mut impl FnMut(&TenantId, Delivery<Job>, Slot),
    ) -> Result<(), BusError> {
        let bus = Arc::clone(&self.bus);
        let look = |at: usize| {
            let (bus, queue) = (Arc::clone(&bus), self.queues[at].queue.clone());
            async move { (at, bus.jobs_now(&queue, 1).await) }
        };
        let mut looks: FuturesUnordered<_> = empty.into_iter().map(look).collect();
        // Those that are given up when the slots are used are looked at first the next time.
        while self.slots.free() > 0
            && let Some((at, answer)) = looks.next().await
        {
            self.took(at, 1, answer, begin).await?;
        }
        Ok(())
    }

    /// Waits for the next job of whichever queue.
    async fn wait(
        &mut self,
        free: usize,
        begin: &mut impl FnMut(&TenantId, Delivery<Job>, Slot),
    ) -> Result<(), BusError> {
        let max = if self.queues.len() == 1 { free } else { 1 };
        for (at, asked) in self.queues.iter_mut().enumerate() {
            if asked.is_awaited || asked.retry_at.is_some() {
                continue;
            }
            asked.is_awaited = true;
            let (bus, queue) = (Arc::clone(&self.bus), asked.queue.clone());
            self.waiting.push(Box::pin(async move { (at, max, bus.jobs(&queue, max).await) }));
        }
        let retry_at = self.queues.iter().filter_map(|asked| asked.retry_at).min();
        tokio::select! {
            biased;
            Some((at, max, answer)) = self.waiting.next() => {
                self.queues[at].is_awaited = false;
                self.took(at, max, answer, begin).await
            }
            () = until(retry_at) => Ok(()),
        }
    }

    /// No slot is free. What arrives nevertheless is handed to other workers by the bus.
    fn stop_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.waiting.clear();
        let now = Instant::now();
        for asked in self.queues.iter_mut().filter(|asked| asked.is_awaited) {
            asked.is_awaited = false;
            // It was empty a moment ago.
            asked.left_alone_until = now + asked.left_alone;
        }
    }

    fn try_again(&mut self) {
        let now = Instant::now();
        for asked in &mut self.queues {
            asked.retry_at = asked.retry_at.filter(|at| *at > now);
        }
    }

    /// What a queue gave, of `max` that it was asked for.
    async fn took(
        &mut self,
        at: usize,
        max: usize,
        answer: Answer,
        begin: &mut impl FnMut(&TenantId, Delivery<Job>, Slot),
    ) -> Result<(), BusError> {
        let asked = &mut self.queues[at];
        let tenant = asked.queue.tenant.clone();
        let jobs = match answer {
            Ok(jobs) => jobs,
            Err(error @ BusError::TooOld { .. }) => return Err(error),
            Err(error) => {
                let pause = asked.delay.next();
                tracing::warn!(queue = %asked.queue.name, %tenant, %error, retry_in = ?pause, "no jobs from the bus");
                asked.retry_at = Some(Instant::now() + pause);
                return Ok(());
            }
        };
        asked.delay = Backoff::new();
        asked.has_more = jobs.len() >= max;
        if jobs.is_empty() {
            asked.left_alone_until = Instant::now() + asked.left_alone;
            asked.left_alone = (asked.left_alone * 2).min(LEFT_ALONE_LONGEST);
        } else {
            self.turns += 1;
            asked.turn = self.turns;
            asked.left_alone = LEFT_ALONE_FIRST;
            asked.left_alone_until = Instant::now() + LEFT_ALONE_FIRST;
        }
        let wants = self.queues.iter().any(|asked| asked.has_more && asked.queue.tenant == tenant);
        self.slots.wants(&tenant, wants);
        for delivery in jobs {
            let slot = loop {
                match self.slots.take(&tenant) {
                    Some(slot) => break slot,
                    // A bus that delivers more than it was asked for makes everybody wait, not run more at once.
                    None => self.slots.until_free().await,
                }
            };
            begin(&tenant, delivery, slot);
        }
        Ok(())
    }
}

enum Next {
    /// This queue, for so many.
    Ask(usize, usize),
    /// These were empty, and are before those that have more.
    LookAt(Vec<usize>),
    Wait,
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Doubling delays with chance in them, so that a fleet does not come back in step.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Backoff(RETRY_FIRST)
    }

    pub(crate) fn next(&mut self) -> Duration {
        let delay = self.0;
        self.0 = (self.0 * 2).min(RETRY_LONGEST);
        delay.mul_f64(0.5 + random::chance() / 2.0)
    }
}
