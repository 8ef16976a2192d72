//! Pull requests to one or more consumers, and what comes back.
//!
//! The client library's pull streams prefetch, ask for rights on the consumer that a worker should not have, and lose
//! what they hold when they are dropped. So the requests are made here: a subscription of our own takes the answers of
//! all lanes, and every request, message and status passes through [`Puller::next`]. Nothing is pulled that nobody
//! asked for, and a future that is dropped loses nothing, because messages live in the subscription until they are
//! handed out.

use std::time::Duration;

use async_nats::{Client, Message, StatusCode, Subscriber};
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::core::Core;
use crate::bus::BusError;

/// How long the server keeps a request that waits.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often it says that the request still stands.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Two heartbeats missed and some grace: the request was lost, perhaps with its leader.
const LOST_AFTER: Duration = Duration::from_secs(12);
/// A request that does not wait is answered in a round trip. The server forgets the answer when others emptied the
/// consumer between our request and its turn; so silence proves nothing, and the request is made again, with twice the
/// patience each time because the server may only be busy.
const SWEEP_PATIENCE: Duration = Duration::from_millis(50);
const SWEEP_TRIES: u32 = 6;
/// How long unsubscribing may take.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Puller {
    client: Client,
    inbox: String,
    answers: Subscriber,
    reconnects: watch::Receiver<u64>,
    lanes: Vec<Lane>,
    lane_of: fn(&str) -> Option<usize>,
    requests: u64,
}

/// One consumer, and the request that is open at it. Only one is: the next follows when it is used up.
struct Lane {
    next: String,
    open: Option<Open>,
}

struct Open {
    request: u64,
    left: usize,
    silent_at: Instant,
    /// Counts the tries, from 1, of a request that does not wait.
    sweep: Option<u32>,
}

/// How a request ends when the consumer has no message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pull {
    /// At once.
    Sweep,
    /// After waiting for one.
    Wait,
}

pub(super) enum Heard {
    Message(usize, Message),
    Ended(usize, End),
    /// Every open request is gone.
    Reconnected,
    /// The subscription is gone: the client was closed.
    Closed,
}

/// Why a request will bring no more messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The consumer has none.
    Empty,
    /// There is no such consumer.
    Missing,
    /// The server does not want it, for the reason given.
    Refused(String),
    /// Nothing was heard for too long.
    Silent,
}

impl Puller {
    /// `lane_of` tells from a message's subject which of `consumers` sent it.
    pub(super) async fn new(
        core: &Core,
        stream: &str,
        consumers: &[String],
        lane_of: fn(&str) -> Option<usize>,
    ) -> Result<Self, BusError> {
        let inbox = core.client.new_inbox();
        let answers = core
            .client
            .subscribe(format!("{inbox}.*.*"))
            .await
            .map_err(|error| BusError::Unavailable(format!("subscribing: {error}")))?;
        let lane = |consumer| Lane { next: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), open: None };
        let mut reconnects = core.reconnects.clone();
        reconnects.mark_unchanged();
        Ok(Puller {
            client: core.client.clone(),
            inbox,
            answers,
            reconnects,
            lanes: consumers.iter().map(lane).collect(),
            lane_of,
            requests: 0,
        })
    }

    pub(super) fn is_open(&self, lane: usize) -> bool {
        self.lanes[lane].open.is_some()
    }

    pub(super) fn has_open(&self) -> bool {
        self.lanes.iter().any(|lane| lane.open.is_some())
    }

    /// Whether the lane's request is one that is answered at once.
    pub(super) fn is_sweeping(&self, lane: usize) -> bool {
        self.lanes[lane].open.as_ref().is_some_and(|open| open.sweep.is_some())
    }

    pub(super) async fn open(&mut self, lane: usize, batch: usize, pull: Pull) {
        match pull {
            Pull::Sweep => self.sweep(lane, batch, 1).await,
            Pull::Wait => {
                let body = json!({
                    "batch": batch,
                    "expires": EXPIRES.as_nanos() as u64,
                    "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
                });
                self.ask(lane, batch, &body, LOST_AFTER, None).await;
            }
        }
    }

    async fn sweep(&mut self, lane: usize, batch: usize, attempt: u32) {
        let body = json!({ "batch": batch, "no_wait": true });
        let patience = SWEEP_PATIENCE.saturating_mul(1 << (attempt - 1).min(SWEEP_TRIES));
        self.ask(lane, batch, &body, patience, Some(attempt)).await;
    }

    async fn ask(&mut self, lane: usize, batch: usize, body: &Value, patience: Duration, sweep: Option<u32>) {
        self.requests += 1;
        let reply = format!("{}.{lane}.{}", self.inbox, self.requests);
        let to = &mut self.lanes[lane];
        if let Err(error) = self.client.publish_with_reply(to.next.clone(), reply, body.to_string().into()).await {
            // Treated as a request that was lost on the way.
            tracing::debug!(%error, "a pull request was not sent");
        }
        to.open = Some(Open { request: self.requests, left: batch, silent_at: Instant::now() + patience, sweep });
    }

    /// The next thing that happens. Cancel-safe.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            // Under load an answer is there already, and no timer needs to be set up for it.
            let answer = match self.answers.next().now_or_never() {
                Some(answer) => answer,
                None => {
                    let silent_at = self.lanes.iter().filter_map(|lane| lane.open.as_ref()).map(|o| o.silent_at).min();
                    let silence = async {
                        match silent_at {
                            Some(at) => sleep_until(at).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        answer = self.answers.next() => answer,
                        Ok(()) = self.reconnects.changed() => {
                            self.lanes.iter_mut().for_each(|lane| lane.open = None);
                            return Heard::Reconnected;
                        }
                        () = silence => match self.silent().await {
                            Some(heard) => return heard,
                            None => continue,
                        },
                    }
                }
            };
            let Some(answer) = answer else { return Heard::Closed };
            match answer.status {
                Some(status) => {
                    if let Some(heard) = self.status(status, &answer) {
                        return heard;
                    }
                }
                None => match (self.lane_of)(&answer.subject) {
                    Some(lane) => {
                        self.count(lane);
                        return Heard::Message(lane, answer);
                    }
                    None => tracing::warn!(subject = %answer.subject, "a message came that no request asked for"),
                },
            }
        }
    }

    fn count(&mut self, lane: usize) {
        let open = &mut self.lanes[lane].open;
        if let Some(request) = open {
            request.left = request.left.saturating_sub(1);
            request.silent_at = request.silent_at.max(Instant::now() + SWEEP_PATIENCE);
            if request.left == 0 {
                *open = None;
            }
        }
    }

    fn status(&mut self, status: StatusCode, answer: &Message) -> Option<Heard> {
        let mut tokens = answer.subject.rsplit('.');
        let request: u64 = tokens.next()?.parse().ok()?;
        let lane: usize = tokens.next()?.parse().ok()?;
        let open = &mut self.lanes.get_mut(lane)?.open;
        // The end of an earlier request that was given up already.
        let current = open.as_mut().filter(|open| open.request == request)?;
        if status == StatusCode::IDLE_HEARTBEAT {
            current.silent_at = Instant::now() + LOST_AFTER;
            return None;
        }
        *open = None;
        Some(Heard::Ended(lane, End::of(status, answer.description.as_deref().unwrap_or_default())))
    }

    /// A request was silent for too long.
    async fn silent(&mut self) -> Option<Heard> {
        let now = Instant::now();
        let lane = self.lanes.iter().position(|lane| lane.open.as_ref().is_some_and(|open| open.silent_at <= now))?;
        let open = self.lanes[lane].open.as_ref()?;
        if let Some(tries) = open.sweep.filter(|tries| *tries < SWEEP_TRIES) {
            let left = open.left;
            self.sweep(lane, left, tries + 1).await;
            return None;
        }
        self.lanes[lane].open = None;
        Some(Heard::Ended(lane, End::Silent))
    }

    /// Withdraws every request, and gives what has arrived. The client forgets a subscription as soon as it has told the
    /// server, so a message that is in flight at that moment is delivered again only after its wait.
    pub(super) async fn close(self) -> Vec<Message> {
        drained(self.answers).await
    }

    /// Like [`Self::close`], but goes on: the server drops a request when nobody listens for its answer.
    pub(super) async fn withdraw(&mut self) -> Vec<Message> {
        self.lanes.iter_mut().for_each(|lane| lane.open = None);
        let inbox = self.client.new_inbox();
        let answers = match self.client.subscribe(format!("{inbox}.*.*")).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(%error, "pull requests that nobody waits for stand until they expire");
                return Vec::new();
            }
        };
        self.inbox = inbox;
        drained(std::mem::replace(&mut self.answers, answers)).await
    }
}

/// Ends a subscription, and gives the messages that have arrived.
async fn drained(mut answers: Subscriber) -> Vec<Message> {
    let mut late = Vec::new();
    let drained = async {
        if answers.drain().await.is_ok() {
            while let Some(answer) = answers.next().await {
                if answer.status.is_none() {
                    late.push(answer);
                }
            }
        }
    };
    // The connection may be down, and then there is nothing to wait for.
    let _ = tokio::time::timeout(DRAIN_PATIENCE, drained).await;
    late
}

impl End {
    fn of(status: StatusCode, description: &str) -> Self {
        match status {
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => End::Empty,
            StatusCode::NO_RESPONDERS => End::Missing,
            StatusCode::REQUEST_TERMINATED if description.eq_ignore_ascii_case("consumer deleted") => End::Missing,
            _ => End::Refused(format!("{} {description}", status.as_u16())),
        }
    }
}
