//! One lane: gathers, commits, resolves what is unknown, answers.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use stepstream_shared::id::ExecutionId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Completion;
use crate::planted::{self, Bug};
use crate::ports::{Append, Appended, EventStore, StoreError};

/// Most appends of a batch: beyond this a transaction gets longer, not cheaper.
const BATCH_APPENDS: usize = 512;

/// Most bytes of bodies in a batch, unless a single one is larger: what one round trip should carry.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Appends that a lane looks at when it gathers, so that one busy execution does not make batches of one.
const GATHERED: usize = 4 * BATCH_APPENDS;

/// How long a lane tries to find out what became of a batch, or waits for a store that is away: longer than a restart
/// of the database takes, short enough that callers hear of an outage.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries. The first is short because most outages are one broken connection.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Tries that a batch gets even after its time is up, when the store itself was slow to fail.
const LEAST_TRIES: u32 = 2;

pub(super) struct Request {
    pub(super) append: Append,
    pub(super) reply: Reply,
}

pub(super) enum Reply {
    /// A loop that receives completions by the batch.
    Ticket(u64, mpsc::UnboundedSender<Vec<Completion>>),
    Once(oneshot::Sender<Result<Appended, StoreError>>),
}

pub(super) struct Lane {
    store: Arc<dyn EventStore>,
    requests: mpsc::Receiver<Request>,
    shutdown: CancellationToken,
    /// Taken from the queue but not in a batch yet, in order.
    waiting: VecDeque<Request>,
    /// Executions that the batch being gathered has, or has passed over.
    seen: HashSet<ExecutionId>,
}

impl Lane {
    pub(super) fn new(
        store: Arc<dyn EventStore>,
        requests: mpsc::Receiver<Request>,
        shutdown: CancellationToken,
    ) -> Self {
        Lane { store, requests, shutdown, waiting: VecDeque::new(), seen: HashSet::new() }
    }

    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_APPENDS);
        let mut replies = Vec::with_capacity(BATCH_APPENDS);
        while self.gather(&mut batch, &mut replies).await {
            let results = self.commit(&batch).await;
            batch.clear();
            answer(replies.drain(..), results);
        }
    }

    /// Takes the next batch from what is there, waiting only when nothing is. `false` when nothing will come any more.
    async fn gather(&mut self, batch: &mut Vec<Append>, replies: &mut Vec<Reply>) -> bool {
        if self.waiting.is_empty() {
            let first = tokio::select! {
                biased;
                first = self.requests.recv() => first,
                () = self.shutdown.cancelled() => {
                    self.requests.close();
                    self.requests.recv().await
                }
            };
            let Some(first) = first else { return false };
            self.waiting.push_back(first);
        }
        if self.shutdown.is_cancelled() {
            self.requests.close();
        }
        while self.waiting.len() < GATHERED {
            let Ok(next) = self.requests.try_recv() else { break };
            self.waiting.push_back(next);
        }

        self.seen.clear();
        let mut bytes = 0;
        let mut looked_at = 0;
        while looked_at < self.waiting.len() && batch.len() < BATCH_APPENDS {
            let append = &self.waiting[looked_at].append;
            bytes += append.body.len();
            if bytes > BATCH_BYTES && !batch.is_empty() {
                break;
            }
            if self.seen.insert(append.execution) {
                // From the front this is a pop; further back it moves what was passed over, which is little.
                let request = self.waiting.remove(looked_at).expect("the index is below the length");
                batch.push(request.append);
                replies.push(request.reply);
            } else {
                bytes -= append.body.len();
                looked_at += 1;
            }
        }
        true
    }

    async fn commit(&self, batch: &[Append]) -> Vec<Result<Appended, StoreError>> {
        match self.resolve(batch).await {
            Ok(appended) => appended.into_iter().map(Ok).collect(),
            // One of them may be what the store cannot stomach.
            Err(StoreError::Refused { .. }) if batch.len() > 1 => {
                let mut results = Vec::with_capacity(batch.len());
                for append in batch {
                    let result = self.resolve(std::slice::from_ref(append)).await;
                    results.push(result.and_then(only));
                }
                results
            }
            Err(error) => {
                let mut results: Vec<_> = batch.iter().skip(1).map(|_| Err(same(&error))).collect();
                results.push(Err(error));
                results
            }
        }
    }

    /// Gives the batch to the store until its fate is known.
    async fn resolve(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        let mut unknown = false;
        let mut tries = 0_u32;
        loop {
            let error = match self.store.append(batch).await {
                Ok(appended) if appended.len() == batch.len() => return Ok(appended),
                Ok(appended) => {
                    let reason = format!("{} answers to {} appends", appended.len(), batch.len());
                    return Err(StoreError::Corrupt { reason });
                }
                Err(StoreError::Unknown(_)) if planted::has(Bug::HopesForUnknown) => {
                    return Ok(vec![Appended::Committed; batch.len()]);
                }
                Err(error) => error,
            };
            tries += 1;
            unknown |= matches!(error, StoreError::Unknown(_));
            let again = unknown || matches!(error, StoreError::Unavailable(_));
            let late = Instant::now() >= deadline && tries >= LEAST_TRIES;
            if !again || late || (self.shutdown.is_cancelled() && tries >= LEAST_TRIES) {
                // Whatever the last try said, an earlier one may have gone through.
                return Err(if unknown { StoreError::Unknown(anyhow::anyhow!(error)) } else { error });
            }
            tracing::debug!(appends = batch.len(), tries, unknown, %error, "giving a batch to the store again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn only(mut appended: Vec<Appended>) -> Result<Appended, StoreError> {
    appended.pop().ok_or_else(|| StoreError::Corrupt { reason: "no answer to an append".to_owned() })
}

/// The same error for another caller: its causes go along as text.
fn same(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(cause) => StoreError::Unavailable(anyhow::anyhow!("{cause:#}")),
        StoreError::Unknown(cause) => StoreError::Unknown(anyhow::anyhow!("{cause:#}")),
        StoreError::BadUrl { reason } => StoreError::BadUrl { reason: reason.clone() },
        StoreError::Absent { reason } => StoreError::Absent { reason: reason.clone() },
        StoreError::Exhausted { reason } => StoreError::Exhausted { reason: reason.clone() },
        StoreError::NewerSchema { found, known } => StoreError::NewerSchema { found: *found, known: *known },
        StoreError::Corrupt { reason } => StoreError::Corrupt { reason: reason.clone() },
        StoreError::Refused { reason } => StoreError::Refused { reason: reason.clone() },
    }
}

/// Tells everybody. Completions of one loop go together: usually there is one loop, and the whole batch is one message.
fn answer(replies: impl ExactSizeIterator<Item = Reply>, results: Vec<Result<Appended, StoreError>>) {
    let mut open: Option<(mpsc::UnboundedSender<Vec<Completion>>, Vec<Completion>)> = None;
    let capacity = replies.len();
    for (reply, result) in replies.zip(results) {
        match reply {
            // A caller that has gone does not want to know.
            Reply::Once(caller) => drop(caller.send(result)),
            Reply::Ticket(ticket, done) => match &mut open {
                Some((same, completions)) if same.same_channel(&done) => completions.push((ticket, result)),
                _ => {
                    let mut completions = Vec::with_capacity(capacity);
                    completions.push((ticket, result));
                    if let Some((done, completions)) = open.replace((done, completions)) {
                        drop(done.send(completions));
                    }
                }
            },
        }
    }
    if let Some((done, completions)) = open {
        drop(done.send(completions));
    }
}
