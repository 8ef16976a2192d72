//! The bus on NATS JetStream.
//!
//! Everything here can be lost and is rebuilt from the log, so the streams need no sync of their own. What matters is
//! that nothing is lost *quietly*: every publication is acknowledged, every setting is read back, every delivery is
//! settled or comes again.
//!
//! | stream | keeps | subject | taken by |
//! |---|---|---|---|
//! | `JOBS` | until acknowledged | `jobs.<tenant>.<queue>.<priority>` | consumer `jobs~<tenant>~<queue>~<priority>`, shared by the workers |
//! | `OUTCOMES` | until acknowledged | `outcomes.<tenant>.<partition>` | consumer `outcomes_<partition>` of the partition's owner |
//! | `COMMANDS` | until acknowledged | `commands.<tenant>.<partition>` | consumer `commands_<partition>` of the partition's owner |
//! | `EVENTS` | one hour | `events.<tenant>.<execution>.<type>` | whoever watches |
//! | `DEAD` | by size | `dead.<tenant>.<queue>` | whoever watches |
//!
//! Hints to workers are plain messages on `control.<tenant>`; what workers wait to be answered are plain requests on
//! `asks.<tenant>.<partition>`. A worker needs these rights and no more: publish to
//! `$JS.API.CONSUMER.MSG.NEXT.JOBS.<its consumers>`, `$JS.ACK.JOBS.>`, `outcomes.<its tenant>.>` and `asks.<its tenant>.>`; subscribe to its
//! inbox and `control.<its tenant>`. It also publishes to its own inbox, to learn that the server has heard it.
//!
//! What JetStream does that one would not expect, and what is done about each, is a table in ARCHITECTURE.md.

mod api;
mod asking;
mod commands;
mod connect;
mod core;
mod feed;
mod jobs;
mod lane;
mod names;
mod options;
mod pull;
mod settle;
mod streams;
mod version;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Message};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::json;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::wire::{Control, Job, Judgement, Outcome, WireError};
use tokio::sync::OnceCell;
use tokio_util::sync::DropGuard;

use self::core::{Core, PUBLISH_WINDOW, lock};
use asking::AskLane;
use commands::Answers;
use feed::{Event, Feed};
use jobs::{Asks, JobFeed};
use lane::Lane;
pub use options::JetStreamOptions;
use settle::{JetStreamSettle, Stamp};

use super::{
    Asked, BusError, CommandRequest, CoordinatorBus, Delivery, JobsStreamState, Published, QueueId, WorkerBus,
};

const PROTOCOL_HEADER: &str = "Stepstream-Protocol";
const MESSAGE_PACK: &str = "application/msgpack";

/// Both sides of the bus over one connection. Clones share it; with the last one its tasks end.
#[derive(Clone)]
pub struct JetStreamBus(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    queues: Parts<QueueId, JobFeed>,
    outcomes: Parts<PartitionId, Lane>,
    commands: Parts<PartitionId, Lane>,
    asks: Parts<PartitionId, AskLane>,
    answers: OnceCell<Answers>,
    feed: OnceCell<Feed>,
    _stop: DropGuard,
}

/// Parts that are started when they are first needed, once each. Starting one waits for the server, so they do not
/// wait for one another.
type Parts<K, V> = Mutex<HashMap<K, Arc<OnceCell<Arc<V>>>>>;

/// The part for `key`, started unless it is there.
async fn part<K: Eq + Hash + Clone, V>(
    parts: &Parts<K, V>,
    key: &K,
    start: impl Future<Output = Result<V, BusError>>,
) -> Result<Arc<V>, BusError> {
    let place = {
        let mut parts = lock(parts);
        match parts.get(key) {
            Some(place) => place.clone(),
            None => parts.entry(key.clone()).or_default().clone(),
        }
    };
    place.get_or_try_init(|| async { start.await.map(Arc::new) }).await.cloned()
}

/// Takes a part out of use. One that is only starting stops when whoever starts it lets go of it.
fn retire<K: Eq + Hash, V>(parts: &Parts<K, V>, key: &K) -> Option<Arc<V>> {
    lock(parts).remove(key)?.get().cloned()
}

fn retire_all<K: Eq + Hash, V>(parts: &Parts<K, V>) -> Vec<Arc<V>> {
    lock(parts).drain().filter_map(|(_, place)| place.get().cloned()).collect()
}

impl JetStreamBus {
    /// Connects, or says within `connect_timeout` why not. `url` may name several servers, separated by commas.
    pub async fn connect(url: &str, options: JetStreamOptions) -> Result<Self, BusError> {
        let (client, reconnects) = connect::connect(url, &options).await?;
        let core = Arc::new(Core::new(client, reconnects, options));
        let stop = core.stop.clone().drop_guard();
        Ok(JetStreamBus(Arc::new(Inner {
            core,
            queues: Mutex::default(),
            outcomes: Mutex::default(),
            commands: Mutex::default(),
            asks: Mutex::default(),
            answers: OnceCell::new(),
            feed: OnceCell::new(),
            _stop: stop,
        })))
    }

    /// The coordinator's side, once: makes the streams that are missing and checks the settings of all. From then on
    /// this object makes streams and consumers again when a server comes back without them.
    pub async fn setup(&self) -> Result<(), BusError> {
        let first = !self.core().manages();
        self.core().set_up().await?;
        if first {
            tokio::spawn(keep(self.core().clone()));
        }
        Ok(())
    }

    /// Waits until the server has everything that was published and settled before.
    pub async fn flush(&self) -> Result<(), BusError> {
        self.core().round_trip().await
    }

    /// For a clean end: gives back what nobody has taken, then flushes. Whoever waits gets an error.
    pub async fn close(&self) -> Result<(), BusError> {
        let queues = retire_all(&self.0.queues);
        let lanes = [retire_all(&self.0.outcomes), retire_all(&self.0.commands)].concat();
        futures::join!(
            futures::future::join_all(queues.iter().map(|feed| feed.close())),
            futures::future::join_all(lanes.iter().map(|lane| lane.close())),
        );
        self.flush().await
    }

    /// Deletes all jobs, reports and requests that lie on the bus, and answers how many there were. Streams and consumers
    /// stay. Where there are no streams, there is nothing to delete.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses; some may be deleted then.
    pub async fn clear(&self) -> Result<u64, BusError> {
        streams::clear(&self.core().client).await
    }

    /// The version of the server, as it says.
    pub fn server_version(&self) -> String {
        self.core().client.server_info().version
    }

    /// Events that did not reach the live feed, because it was slower than they came or could not be reached.
    pub fn feed_dropped(&self) -> u64 {
        self.0.feed.get().map_or(0, Feed::dropped)
    }

    fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    async fn outcome_lane(&self, partition: PartitionId) -> Result<Arc<Lane>, BusError> {
        let wanted = streams::outcome_consumer(partition, &self.core().options);
        part(&self.0.outcomes, &partition, Lane::start(self.core(), streams::OUTCOMES, wanted)).await
    }

    async fn command_lane(&self, partition: PartitionId) -> Result<Arc<Lane>, BusError> {
        let wanted = streams::command_consumer(partition, &self.core().options);
        part(&self.0.commands, &partition, Lane::start(self.core(), streams::COMMANDS, wanted)).await
    }

    async fn take_jobs(&self, queue: &QueueId, max: usize, asks: Asks) -> Result<Vec<Delivery<Job>>, BusError> {
        let feed = part(&self.0.queues, queue, JobFeed::start(self.core(), queue)).await?;
        loop {
            let messages = feed.take(max, asks).await?;
            let none = messages.is_empty();
            let mut jobs = Vec::with_capacity(messages.len());
            for message in messages {
                jobs.extend(self.delivery(&message, Job::decode).await);
            }
            // What nobody can read is no answer.
            if none || !jobs.is_empty() {
                return Ok(jobs);
            }
        }
    }

    /// A delivery of `message`, if it can be read.
    async fn delivery<T>(
        &self,
        message: &Message,
        decode: impl FnOnce(&[u8]) -> Result<T, WireError>,
    ) -> Option<Delivery<T>> {
        match decode(&message.payload) {
            Ok(read) => Some(Delivery {
                message: read,
                deliveries: Stamp::of(message).map_or(1, |stamp| stamp.deliveries),
                settle: Box::new(JetStreamSettle::new(self.core().client.clone(), message)),
            }),
            Err(error) => {
                self.core().discard(message, &error).await;
                None
            }
        }
    }
}

/// After each reconnection, looks whether the streams and consumers are still there.
async fn keep(core: Arc<Core>) {
    const PAUSE: Duration = Duration::from_millis(500);
    let stop = core.stop.clone();
    let mut reconnects = core.reconnects.clone();
    reconnects.mark_unchanged();
    let keeping = async {
        while reconnects.changed().await.is_ok() {
            while let Err(error) = core.restore().await {
                tracing::warn!(%error, "streams and consumers cannot be checked yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    stop.run_until_cancelled(keeping).await;
}

fn job_headers(job: &Job) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, job.message_id().as_str());
    headers.insert("Content-Type", MESSAGE_PACK);
    headers.insert(PROTOCOL_HEADER, HeaderValue::from(u64::from(job.protocol)));
    headers.insert("Stepstream-Execution", job.token.execution.to_string().as_str());
    headers.insert("Stepstream-Step", job.token.step.to_string().as_str());
    headers.insert("Stepstream-Attempt", HeaderValue::from(job.token.attempt));
    headers.insert("Stepstream-Dispatch", HeaderValue::from(job.dispatch));
    if let Some(trace) = &job.trace {
        // It comes from a caller's request; one that may not stand in a header is left out.
        let mut carry = |name: &'static str, text: &str| {
            if let Ok(value) = text.parse::<HeaderValue>() {
                headers.insert(name, value);
            }
        };
        carry("traceparent", &trace.traceparent);
        if let Some(state) = &trace.tracestate {
            carry("tracestate", state);
        }
    }
    headers
}

fn unsendable(error: WireError) -> BusError {
    match error {
        WireError::TooLarge { found, limit } => BusError::TooLarge { found, limit },
        other => BusError::Misconfigured(other.to_string()),
    }
}

async fn publish_job(core: Arc<Core>, job: Job) -> Result<Published, BusError> {
    let queue = QueueId { tenant: job.tenant.clone(), name: job.queue.clone() };
    let subject = names::job_subject(&queue, job.priority)?;
    let payload = job.encode().map_err(unsendable)?;
    core.publish(subject, || job_headers(&job), payload.into()).await
}

#[async_trait]
impl CoordinatorBus for JetStreamBus {
    async fn declare_queue(&self, queue: &QueueId) -> Result<(), BusError> {
        self.core().declare(queue).await
    }

    async fn publish_jobs(&self, jobs: &[Job]) -> Vec<Result<Published, BusError>> {
        // Polled together: each holds its place in the client's window only until its own acknowledgement, so they
        // cannot wait for one another.
        let publications: Vec<_> = jobs.iter().map(|job| publish_job(self.core().clone(), job.clone())).collect();
        futures::stream::iter(publications).buffered(PUBLISH_WINDOW).collect().await
    }

    async fn outcomes(
        &self,
        partition: PartitionId,
        max: usize,
    ) -> Result<Vec<(TenantId, Delivery<Outcome>)>, BusError> {
        let lane = self.outcome_lane(partition).await?;
        loop {
            let messages = lane.take(max).await?;
            let mut outcomes = Vec::with_capacity(messages.len());
            for message in messages {
                let Some(tenant) = names::tenant_of(&message.subject) else {
                    self.core().discard(&message, &"its subject names no tenant").await;
                    continue;
                };
                if let Some(outcome) = self.delivery(&message, Outcome::decode).await {
                    outcomes.push((tenant, outcome));
                }
            }
            if !outcomes.is_empty() {
                return Ok(outcomes);
            }
        }
    }

    async fn commands(&self, partition: PartitionId) -> Result<CommandRequest, BusError> {
        let lane = self.command_lane(partition).await?;
        loop {
            for message in lane.take(1).await? {
                if let Some(command) = commands::read(self.core(), partition, &message).await {
                    return Ok(command);
                }
            }
        }
    }

    async fn asked(&self, partition: PartitionId, max: usize) -> Result<Vec<Asked>, BusError> {
        let lane = part(&self.0.asks, &partition, AskLane::start(self.core(), partition)).await?;
        lane.take(self.core(), max).await
    }

    async fn request(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        let answers = self.0.answers.get_or_try_init(|| Answers::start(self.core())).await?;
        answers.request(self.core(), tenant, partition, body, timeout).await
    }

    async fn control(&self, tenant: &TenantId, control: &Control) -> Result<(), BusError> {
        let body = control.encode().map_err(|error| BusError::Misconfigured(error.to_string()))?;
        let sent = self.core().client.publish(names::control_subject(tenant), body.into());
        match tokio::time::timeout(connect::REQUEST_TIMEOUT, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(BusError::Unavailable(error.to_string())),
            Err(_) => Err(BusError::Unavailable("the connection takes no messages".into())),
        }
    }

    async fn feed(&self, tenant: &TenantId, execution: ExecutionId, events: Vec<(String, String, Bytes)>) {
        let feed = self.0.feed.get_or_init(|| async { Feed::start(self.core()) }).await;
        for (kind, id, body) in events {
            match names::event_subject(tenant, &execution, &kind) {
                Ok(subject) => feed.offer(Event { subject, id, body }),
                Err(error) => tracing::warn!(%error, "an event cannot go to the live feed"),
            }
        }
    }

    async fn dead_letters(&self, tenant: &TenantId, letters: Vec<(String, String, Bytes)>) {
        let feed = self.0.feed.get_or_init(|| async { Feed::start(self.core()) }).await;
        for (queue, id, body) in letters {
            match names::dead_subject(tenant, &queue) {
                Ok(subject) => feed.offer(Event { subject, id, body }),
                Err(error) => tracing::warn!(%error, "a dead letter cannot go to its feed"),
            }
        }
    }

    async fn jobs_state(&self) -> Result<JobsStreamState, BusError> {
        let info = self.core().jobs_info().await?;
        let unreadable = || BusError::Misconfigured("the server's account of stream JOBS is not readable".into());
        let state = &info["state"];
        let consumers = state["consumer_count"].as_u64().ok_or_else(unreadable)?;
        if (consumers as usize) < self.core().declared_consumers() {
            // The stream was made again by somebody who does not know our queues, or an operator removed some.
            self.core().restore().await?;
        }
        let created = info["created"].as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let created = created.ok_or_else(unreadable)?;
        Ok(JobsStreamState {
            created_nanos: i128::from(created.timestamp()) * 1_000_000_000
                + i128::from(created.timestamp_subsec_nanos()),
            last_sequence: state["last_seq"].as_u64().ok_or_else(unreadable)?,
            messages: state["messages"].as_u64().ok_or_else(unreadable)?,
        })
    }

    async fn job_exists(&self, sequence: u64) -> Result<bool, BusError> {
        if sequence == 0 {
            return Ok(false);
        }
        let request = format!("STREAM.MSG.GET.{}", streams::JOBS);
        match api::call(&self.core().client, &request, Some(&json!({ "seq": sequence }))).await {
            Ok(_) => Ok(true),
            Err(error) if error.is(api::code::NO_MESSAGE) => Ok(false),
            Err(error) => Err(error.about("stream JOBS")),
        }
    }

    async fn withdraw_job(&self, sequence: u64) -> Result<bool, BusError> {
        if sequence == 0 {
            return Ok(false);
        }
        let request = format!("STREAM.MSG.DELETE.{}", streams::JOBS);
        let asked = json!({ "seq": sequence, "no_erase": true });
        match api::call(&self.core().client, &request, Some(&asked)).await {
            Ok(_) => Ok(true),
            Err(error) => {
                let gone = [api::code::NO_MESSAGE, api::code::NO_SEQUENCE, api::code::DELETE_FAILED];
                if gone.into_iter().any(|code| error.is(code)) { Ok(false) } else { Err(error.about("stream JOBS")) }
            }
        }
    }

    fn connected(&self) -> bool {
        self.core().client.connection_state() == async_nats::connection::State::Connected
    }

    fn undecodable(&self) -> u64 {
        self.core().undecodable.load(Ordering::Relaxed)
    }

    async fn leave(&self, partition: PartitionId) {
        let outcomes = retire(&self.0.outcomes, &partition);
        let commands = retire(&self.0.commands, &partition);
        retire(&self.0.asks, &partition);
        futures::future::join_all(outcomes.iter().chain(&commands).map(|lane| lane.close())).await;
        if let Err(error) = self.flush().await {
            tracing::debug!(%error, "what was given back may reach the next owner only after its wait");
        }
    }
}

#[async_trait]
impl WorkerBus for JetStreamBus {
    async fn jobs(&self, queue: &QueueId, max: usize) -> Result<Vec<Delivery<Job>>, BusError> {
        self.take_jobs(queue, max, Asks::AndWaits).await
    }

    async fn jobs_now(&self, queue: &QueueId, max: usize) -> Result<Vec<Delivery<Job>>, BusError> {
        self.take_jobs(queue, max, Asks::Once).await
    }

    async fn report(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        outcome: &Outcome,
    ) -> Result<Published, BusError> {
        let payload = outcome.encode().map_err(unsendable)?;
        let id = outcome.message_id();
        let protocol = u64::from(outcome.protocol);
        let headers = move || {
            let mut headers = HeaderMap::new();
            headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
            headers.insert("Content-Type", MESSAGE_PACK);
            headers.insert(PROTOCOL_HEADER, HeaderValue::from(protocol));
            headers
        };
        self.core().publish(names::outcome_subject(tenant, partition), headers, payload.into()).await
    }

    async fn ask(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        outcome: &Outcome,
        timeout: Duration,
    ) -> Result<Judgement, BusError> {
        asking::ask(self.core(), tenant, partition, outcome, timeout).await
    }

    async fn controls(&self, tenant: &TenantId) -> Result<BoxStream<'static, Control>, BusError> {
        let hints = self
            .core()
            .client
            .subscribe(names::control_subject(tenant))
            .await
            .map_err(|error| BusError::Unavailable(format!("subscribing: {error}")))?;
        // "From now on" begins when the server knows of it.
        if let Err(error) = self.flush().await {
            tracing::warn!(%error, "hints of the next moments may be missed");
        }
        let read = |hint: Message| async move {
            Control::decode(&hint.payload).inspect_err(|error| tracing::warn!(%error, "a hint is not readable")).ok()
        };
        Ok(hints.filter_map(read).boxed())
    }

    fn ack_wait(&self) -> Duration {
        self.core().options.ack_wait
    }
}
