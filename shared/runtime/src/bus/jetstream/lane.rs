//! The messages of one partition, for the coordinator that owns it.
//!
//! One owner takes all of them, so here prefetching is right: a request for many stands at the consumer, messages
//! collect in a bounded buffer, and whoever asks gets what is there. Idle, a message comes with one hop; under load, a
//! batch is whatever came while the previous one was being committed.
//!
//! A consumer that disappears (a wiped store, an operator) is made again. What an earlier owner had taken and not
//! settled is delivered again when the lane starts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Message;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::core::{Core, lock};
use super::jobs::give_back;
use super::pull::{End, Heard, Pull, Puller};
use super::streams::{self, Wanted};
use crate::bus::BusError;

/// Messages of one request, and so the most that a stopped owner keeps others from.
const BATCH: usize = 512;
/// The next request goes out when this few are left in the buffer, so that the buffer stays below the sum.
const REFILL_AT: usize = 256;
const RETRY_PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Lane {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    arrived: Notify,
    drained: Notify,
}

#[derive(Default)]
struct State {
    buffer: VecDeque<Message>,
    closed: bool,
}

impl Shared {
    /// Nobody is served any more; what is buffered goes elsewhere.
    fn shut(&self) -> VecDeque<Message> {
        let mut state = lock(&self.state);
        state.closed = true;
        std::mem::take(&mut state.buffer)
    }
}

impl Lane {
    pub(super) async fn start(core: &Arc<Core>, stream: &'static str, wanted: Wanted) -> Result<Self, BusError> {
        if let Err(error) = streams::adopt_consumer(&core.client, stream, &wanted).await {
            if !(core.manages() && matches!(error, BusError::Unavailable(_))) {
                return Err(error);
            }
            core.restore().await?;
            streams::adopt_consumer(&core.client, stream, &wanted).await?;
        }
        let puller = Puller::new(core, stream, std::slice::from_ref(&wanted.name), |_| Some(0)).await?;
        let shared = Arc::new(Shared { state: Mutex::default(), arrived: Notify::new(), drained: Notify::new() });
        let stop = core.stop.child_token();
        let filling = Filling { core: core.clone(), shared: shared.clone(), puller, stream, wanted, rest_until: None };
        let task = Mutex::new(Some(tokio::spawn(filling.run(stop.clone()))));
        Ok(Lane { shared, stop, task })
    }

    /// At least one message, at most `max`. Cancel-safe: messages leave the buffer when this returns them.
    pub(super) async fn take(&self, max: usize) -> Result<Vec<Message>, BusError> {
        loop {
            let arrived = self.shared.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            {
                let mut state = lock(&self.shared.state);
                if state.closed {
                    return Err(BusError::Unavailable("this partition is no longer taken here".into()));
                }
                if !state.buffer.is_empty() {
                    let count = state.buffer.len().min(max.max(1));
                    let taken = state.buffer.drain(..count).collect();
                    if state.buffer.len() <= REFILL_AT {
                        self.shared.drained.notify_one();
                    }
                    return Ok(taken);
                }
            }
            arrived.await;
        }
    }

    /// Stops pulling and gives back what was not taken, so that the next owner has it at once.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        let task = lock(&self.task).take();
        if let Some(task) = task {
            // It fails only by a panic, which the panic hook has reported.
            let _ = task.await;
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The task behind a lane.
struct Filling {
    core: Arc<Core>,
    shared: Arc<Shared>,
    puller: Puller,
    stream: &'static str,
    wanted: Wanted,
    rest_until: Option<Instant>,
}

impl Filling {
    async fn run(mut self, stop: CancellationToken) {
        // Both give way at an await, where nothing is half done.
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.fill() => {}
        }
        let late = self.puller.close().await;
        let untaken = self.shared.shut();
        self.shared.arrived.notify_waiters();
        give_back(&self.core, untaken.into_iter().chain(late)).await;
    }

    async fn fill(&mut self) {
        loop {
            if self.rest_until.is_some_and(|until| until <= Instant::now()) {
                self.rest_until = None;
            }
            let hungry = lock(&self.shared.state).buffer.len() <= REFILL_AT;
            if hungry && self.rest_until.is_none() && !self.puller.is_open(0) {
                self.puller.open(0, BATCH, Pull::Wait).await;
            }
            let rested = async {
                match self.rest_until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = self.puller.next() => match heard {
                    Heard::Message(_, message) => {
                        lock(&self.shared.state).buffer.push_back(message);
                        self.shared.arrived.notify_waiters();
                    }
                    Heard::Ended(_, End::Missing) => self.make_again().await,
                    Heard::Ended(_, End::Refused(reason)) => {
                        tracing::debug!(consumer = self.wanted.name, reason, "the server ended a pull request");
                        self.rest_until = Some(Instant::now() + RETRY_PAUSE);
                    }
                    Heard::Ended(_, End::Empty | End::Silent) => {}
                    Heard::Reconnected => self.rest_until = None,
                    Heard::Closed => return,
                },
                () = self.shared.drained.notified() => {}
                () = rested => {}
            }
        }
    }

    async fn make_again(&mut self) {
        let made = async {
            if self.core.manages() {
                self.core.restore().await?;
            }
            streams::ensure_consumer(&self.core.client, self.stream, &self.wanted).await
        };
        match made.await {
            Ok(_) => tracing::info!(consumer = self.wanted.name, "the consumer was gone and is there again"),
            Err(error) => {
                tracing::warn!(consumer = self.wanted.name, %error, "the consumer is gone and cannot be made yet");
                self.rest_until = Some(Instant::now() + RETRY_PAUSE);
            }
        }
    }
}
