//! A worker's way to the jobs of one queue.
//!
//! A worker takes what it has free slots for and not one job more: jobs that wait inside a busy worker are jobs that an
//! idle one could run, and their wait for an acknowledgement runs down meanwhile. Priorities do not exist on the
//! server; each has a consumer of its own, and the order is made here.
//!
//! To take `max` jobs, the priorities are *swept* in their order with requests that are answered at once, each for as
//! many as are still missing. When that brings nothing, one request for **one** job is left *standing* at each
//! consumer and the first answer wins. A priority with a standing request needs no sweep: it was empty, and if it no
//! longer is, its job is on the way. So a backlog costs one request per batch, and an idle queue delivers in one
//! message.
//!
//! Standing requests outlive the call that made them, so at most one job per priority (plus what a cancelled or
//! repeated request had asked for) may arrive with nobody waiting. It is held for [`HOLD`], handed out first if
//! somebody asks, and given back otherwise: another worker gets it at once. Keeping it alive instead would hide it
//! behind a long job. Standing requests that nobody waits for are withdrawn after the same time: a job that goes from
//! one busy worker to the next is delivered each time, and what is delivered too often is taken for the death of its
//! workers.
//!
//! Who asks [`Asks::Once`] is answered after the sweep, also with nothing, and leaves no request standing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Message;
use stepstream_shared::graph::Priority;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::core::{Core, lock};
use super::pull::{End, Heard, Pull, Puller};
use super::settle::JetStreamSettle;
use super::{names, streams};
use crate::bus::{BusError, QueueId, Settle};

/// Long enough for a worker's loop to come back for more, short against anything a person notices.
const HOLD: Duration = Duration::from_millis(250);
/// How often a queue that nobody has declared is looked for.
const MISSING_PAUSE: Duration = Duration::from_millis(500);
/// After a refusal, which says that the server is busy with itself.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Most jobs that one call gets: a worker has tens of slots, and this bounds what a cancelled call leaves behind.
const MAX_BATCH: usize = 1000;

const PRIORITIES: usize = Priority::ALL.len();

/// The jobs of one queue, for any number of callers.
pub(super) struct JobFeed {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// Somebody began or stopped waiting.
    wanted: Notify,
    /// Somebody may be served.
    served: Notify,
}

#[derive(Default)]
struct State {
    /// Most urgent first.
    held: [VecDeque<Held>; PRIORITIES],
    /// In the order of their coming; only the first is served.
    takes: VecDeque<Take>,
    tickets: u64,
    closed: bool,
}

struct Held {
    message: Message,
    since: Instant,
}

struct Take {
    ticket: u64,
    max: usize,
    asks: Asks,
    /// Everything more urgent than what is held has been asked for.
    ready: bool,
}

/// What becomes of who asks for jobs where there are none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// It is told so.
    Once,
    AndWaits,
}

impl State {
    fn held(&self) -> usize {
        self.held.iter().map(VecDeque::len).sum()
    }
}

impl Shared {
    /// Nobody is served any more; what is held goes elsewhere.
    fn shut(&self) -> Vec<Message> {
        let mut state = lock(&self.state);
        state.closed = true;
        state.held.iter_mut().flat_map(|held| held.drain(..)).map(|held| held.message).collect()
    }
}

fn lane_of(subject: &str) -> Option<usize> {
    let priority = subject.rsplit('.').next()?;
    Priority::ALL.iter().position(|known| known.name() == priority)
}

impl JobFeed {
    pub(super) async fn start(core: &Arc<Core>, queue: &QueueId) -> Result<Self, BusError> {
        let consumers: Vec<String> =
            Priority::ALL.iter().map(|priority| names::job_consumer(queue, *priority)).collect::<Result<_, _>>()?;
        let puller = Puller::new(core, streams::JOBS, &consumers, lane_of).await?;
        let shared = Arc::new(Shared { state: Mutex::default(), wanted: Notify::new(), served: Notify::new() });
        let stop = core.stop.child_token();
        let feeding = Feeding {
            core: core.clone(),
            shared: shared.clone(),
            puller,
            queue: queue.clone(),
            swept: [false; PRIORITIES],
            resting: [None; PRIORITIES],
            serving: 0,
            idle_since: None,
            told_missing: false,
        };
        let task = Mutex::new(Some(tokio::spawn(feeding.run(stop.clone()))));
        Ok(JobFeed { shared, stop, task })
    }

    /// Cancel-safe: messages stay with the feed until this returns them.
    pub(super) async fn take(&self, max: usize, asks: Asks) -> Result<Vec<Message>, BusError> {
        let ticket = Ticket::new(&self.shared, max.clamp(1, MAX_BATCH), asks);
        loop {
            let served = self.shared.served.notified();
            tokio::pin!(served);
            served.as_mut().enable();
            if let Some(taken) = ticket.collect()? {
                return Ok(taken);
            }
            served.await;
        }
    }

    /// Gives back what is held and withdraws the standing requests.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        let task = lock(&self.task).take();
        if let Some(task) = task {
            // It fails only by a panic, which the panic hook has reported.
            let _ = task.await;
        }
    }
}

impl Drop for JobFeed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A place among those who wait; given up when dropped.
struct Ticket<'a> {
    shared: &'a Shared,
    number: u64,
}

impl<'a> Ticket<'a> {
    fn new(shared: &'a Shared, max: usize, asks: Asks) -> Self {
        let mut state = lock(&shared.state);
        state.tickets += 1;
        let number = state.tickets;
        let take = Take { ticket: number, max, asks, ready: false };
        match asks {
            // Behind one that waits it would wait itself.
            Asks::Once => state.takes.push_front(take),
            Asks::AndWaits => state.takes.push_back(take),
        }
        drop(state);
        shared.wanted.notify_one();
        Ticket { shared, number }
    }

    fn collect(&self) -> Result<Option<Vec<Message>>, BusError> {
        let mut state = lock(&self.shared.state);
        if state.closed {
            return Err(BusError::Unavailable("the bus was closed".into()));
        }
        let Some(take) = state.takes.front().filter(|take| take.ticket == self.number && take.ready) else {
            return Ok(None);
        };
        let (max, asks) = (take.max, take.asks);
        let mut taken = Vec::with_capacity(max.min(state.held()));
        for held in &mut state.held {
            let count = held.len().min(max - taken.len());
            taken.extend(held.drain(..count).map(|held| held.message));
        }
        Ok(Some(taken).filter(|taken| !taken.is_empty() || asks == Asks::Once))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.shared.state).takes.retain(|take| take.ticket != self.number);
        self.shared.wanted.notify_one();
    }
}

/// The task behind a feed.
struct Feeding {
    core: Arc<Core>,
    shared: Arc<Shared>,
    puller: Puller,
    queue: QueueId,
    /// Which priorities the caller that is being served need not ask for any more.
    swept: [bool; PRIORITIES],
    /// Until when a priority is left alone.
    resting: [Option<Instant>; PRIORITIES],
    serving: u64,
    /// Since when nobody asks.
    idle_since: Option<Instant>,
    told_missing: bool,
}

enum Step {
    Open(usize, usize, Pull),
    /// Until something is heard, somebody asks, or this time has come.
    Await(Option<Instant>),
}

impl Feeding {
    async fn run(mut self, stop: CancellationToken) {
        // Both give way at an await, where nothing is half done.
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.feed() => {}
        }
        let late = self.puller.close().await;
        let held = self.shared.shut();
        self.shared.served.notify_waiters();
        give_back(&self.core, held.into_iter().chain(late)).await;
    }

    async fn feed(&mut self) {
        loop {
            let wake_at = match self.plan() {
                Step::Open(lane, batch, pull) => {
                    self.puller.open(lane, batch, pull).await;
                    continue;
                }
                Step::Await(wake_at) => wake_at,
            };
            let wake = async {
                match wake_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = self.puller.next() => match heard {
                    Heard::Message(lane, message) => self.hold(lane, message),
                    Heard::Ended(lane, end) => self.ended(lane, end),
                    Heard::Reconnected => {
                        self.swept = [false; PRIORITIES];
                        self.resting = [None; PRIORITIES];
                    }
                    Heard::Closed => return,
                },
                () = self.shared.wanted.notified() => {}
                () = wake => self.release().await,
            }
        }
    }

    fn plan(&mut self) -> Step {
        let now = Instant::now();
        let mut state = lock(&self.shared.state);
        let held = state.held();
        let Some(take) = state.takes.front_mut() else {
            let idle_since = *self.idle_since.get_or_insert(now);
            let oldest = state.held.iter().flatten().map(|held| held.since).min();
            let standing = self.puller.has_open().then_some(idle_since);
            return Step::Await([oldest, standing].into_iter().flatten().min().map(|since| since + HOLD));
        };
        self.idle_since = None;
        if take.ticket != self.serving {
            self.serving = take.ticket;
            self.swept = [false; PRIORITIES];
        }
        take.ready &= held > 0 || take.asks == Asks::Once;
        if take.ready {
            return Step::Await(None);
        }
        let max = take.max;
        if held < max {
            for lane in 0..PRIORITIES {
                if self.swept[lane] {
                    continue;
                }
                if self.puller.is_sweeping(lane) {
                    return Step::Await(None);
                }
                let resting = self.resting[lane].is_some_and(|until| until > now);
                self.swept[lane] = true;
                if !resting && !self.puller.is_open(lane) {
                    self.swept[lane] = false;
                    return Step::Open(lane, max - held, Pull::Sweep);
                }
            }
        }
        if held > 0 || take.asks == Asks::Once {
            take.ready = true;
            drop(state);
            self.shared.served.notify_waiters();
            return Step::Await(None);
        }
        drop(state);
        for lane in 0..PRIORITIES {
            if !self.puller.is_open(lane) && self.resting[lane].is_none_or(|until| until <= now) {
                return Step::Open(lane, 1, Pull::Wait);
            }
        }
        Step::Await(self.resting.iter().flatten().filter(|until| **until > now).min().copied())
    }

    fn hold(&mut self, lane: usize, message: Message) {
        self.told_missing = false;
        lock(&self.shared.state).held[lane].push_back(Held { message, since: Instant::now() });
    }

    fn ended(&mut self, lane: usize, end: End) {
        self.swept[lane] = true;
        let pause = match end {
            End::Empty => return,
            End::Missing => {
                if !self.told_missing {
                    self.told_missing = true;
                    tracing::info!(queue = self.queue.name, tenant = %self.queue.tenant, "nobody has declared this queue yet");
                }
                MISSING_PAUSE
            }
            End::Refused(reason) => {
                tracing::debug!(queue = self.queue.name, reason, "the server ended a pull request");
                REFUSED_PAUSE
            }
            End::Silent => Duration::ZERO,
        };
        self.resting[lane] = Some(Instant::now() + pause);
    }

    /// Gives back what nobody came for, and withdraws what nobody waits for.
    async fn release(&mut self) {
        let mut unwanted = Vec::new();
        {
            let mut state = lock(&self.shared.state);
            if !state.takes.is_empty() {
                return;
            }
            let now = Instant::now();
            for held in &mut state.held {
                while held.front().is_some_and(|held| held.since + HOLD <= now) {
                    unwanted.extend(held.pop_front().map(|held| held.message));
                }
            }
        }
        if self.idle_since.is_some_and(|since| since + HOLD <= Instant::now()) && self.puller.has_open() {
            unwanted.extend(self.puller.withdraw().await);
        }
        give_back(&self.core, unwanted).await;
    }
}

pub(super) async fn give_back(core: &Core, messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        if let Err(error) = JetStreamSettle::new(core.client.clone(), &message).nak(None).await {
            tracing::debug!(%error, "a message is delivered again only after its wait");
        }
    }
}
