//! Group commit: one transaction for whatever is waiting.
//!
//! A few lanes, each one task, take appends from a bounded queue and give them to the store in batches. Nothing waits
//! for a batch to fill: a lane commits what is there, and while it does the next batch gathers by itself. So one append
//! in flight costs one commit, and five hundred cost one commit too.
//!
//! - Order: a partition always has the same lane, and a batch holds one append of an execution; a second one waits for
//!   the next batch, and nothing of its execution overtakes it.
//! - Unknown outcomes are resolved here: the lane gives the same batch again, on a new connection, until the store says
//!   what became of it. What an earlier try had written comes back as `AlreadyThere`.
//! - A batch that the store refuses because of one append is given again one by one, so that the others go through.
//!
//! An engine loop uses [`GroupCommit::port`]: it hands in appends with tickets, without waiting, and receives
//! completions by the batch. Anybody else awaits [`GroupCommit::append`].

mod lane;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::lane::{Lane, Reply, Request};
use crate::ports::{Append, Appended, EventStore, StoreError};

/// Appends that may wait in a lane: eight full batches, which a slow disk works off in a fraction of a second. Whoever
/// comes later is better told so than kept.
const LANE_CAPACITY: usize = 4096;

/// What became of an append that was submitted with this ticket.
pub type Completion = (u64, Result<Appended, StoreError>);

/// A cheap way to reach the lanes.
#[derive(Clone)]
pub struct GroupCommit {
    lanes: Arc<[mpsc::Sender<Request>]>,
    tasks: TaskTracker,
}

impl GroupCommit {
    /// Starts the lanes. When `shutdown` is cancelled they take no more, commit what they have, and end; they also end
    /// when every handle is gone.
    pub fn new(store: Arc<dyn EventStore>, lanes: usize, shutdown: CancellationToken) -> Self {
        let tasks = TaskTracker::new();
        let lanes = (0..lanes.max(1))
            .map(|_| {
                let (sender, receiver) = mpsc::channel(LANE_CAPACITY);
                tasks.spawn(Lane::new(Arc::clone(&store), receiver, shutdown.clone()).run());
                sender
            })
            .collect();
        tasks.close();
        GroupCommit { lanes, tasks }
    }

    /// Commits one append and waits for it. Dropping the future does not take it back.
    ///
    /// # Errors
    /// The store's, once trying again has not helped; [`StoreError::Unavailable`] when the lanes have ended.
    pub async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        let ended =
            || StoreError::Unavailable(anyhow::anyhow!("the coordinator is stopping and takes no more appends"));
        let (reply, answer) = oneshot::channel();
        let lane = self.lane(&append);
        lane.send(Request { append, reply: Reply::Once(reply) }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// A pair for one loop that submits and receives: at most `capacity` appends are between the two.
    pub fn port(&self, capacity: usize) -> (Submitter, Completions) {
        // Unbounded, because a lane must never wait for a loop that is itself waiting; bounded all the same, because
        // what is between submission and reception is counted.
        let (done, receiver) = mpsc::unbounded_channel();
        let in_flight = Arc::new(AtomicUsize::new(0));
        let submitter = Submitter { handle: self.clone(), done, in_flight: Arc::clone(&in_flight), capacity };
        (submitter, Completions { receiver, in_flight })
    }

    /// Waits until the lanes have ended.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }

    fn lane(&self, append: &Append) -> &mpsc::Sender<Request> {
        &self.lanes[usize::from(append.partition.0) % self.lanes.len()]
    }
}

/// Why an append was not taken; it is given back.
#[derive(Debug)]
pub enum SubmitError {
    /// As much is in flight as may be: receive completions, then try again.
    Full(Box<Append>),
    /// The lanes have ended.
    Closed(Box<Append>),
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubmitError::Full(_) => f.write_str("too many appends are in flight"),
            SubmitError::Closed(_) => f.write_str("the coordinator is stopping and takes no more appends"),
        }
    }
}

impl std::error::Error for SubmitError {}

/// Hands in appends without waiting.
pub struct Submitter {
    handle: GroupCommit,
    done: mpsc::UnboundedSender<Vec<Completion>>,
    in_flight: Arc<AtomicUsize>,
    capacity: usize,
}

impl Submitter {
    /// # Errors
    /// With the append, when there is no room or the lanes have ended.
    pub fn submit(&mut self, append: Append, ticket: u64) -> Result<(), SubmitError> {
        if self.free() == 0 {
            return Err(SubmitError::Full(Box::new(append)));
        }
        let request = Request { append, reply: Reply::Ticket(ticket, self.done.clone()) };
        // Counted before it is sent: its completion may be received before this returns.
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.handle.lane(&request.append).try_send(request).map_err(|refused| {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(request) => SubmitError::Full(Box::new(request.append)),
                mpsc::error::TrySendError::Closed(request) => SubmitError::Closed(Box::new(request.append)),
            }
        })
    }

    /// How many more may be submitted before a completion is received.
    pub fn free(&self) -> usize {
        self.capacity.saturating_sub(self.in_flight.load(Ordering::Relaxed))
    }
}

/// Receives what became of submitted appends, by the batch.
pub struct Completions {
    receiver: mpsc::UnboundedReceiver<Vec<Completion>>,
    in_flight: Arc<AtomicUsize>,
}

impl Completions {
    /// The next completions, in the order of the batch; those of one execution come in the order of submission. `None`
    /// when the submitter is gone and nothing is in flight. Cancel safe.
    pub async fn next(&mut self) -> Option<Vec<Completion>> {
        let done = self.receiver.recv().await?;
        self.in_flight.fetch_sub(done.len(), Ordering::Relaxed);
        Some(done)
    }
}

#[cfg(test)]
mod tests;
