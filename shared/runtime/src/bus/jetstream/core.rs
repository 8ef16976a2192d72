//! What all parts of the adapter share: the connection, publishing, and bringing back what a wiped server lost.

use std::collections::HashSet;
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::api::{self, code};
use super::options::JetStreamOptions;
use super::{connect, streams};
use crate::bus::{BusError, Published, QueueId};

/// Publications that wait for their acknowledgement at the same time, over all callers. The client library stops
/// accepting beyond it, so it is far above what any caller starts at once ([`PUBLISH_WINDOW`]).
const MAX_ACKS_IN_FLIGHT: usize = 16 * 1024;
/// Publications that one caller starts before the first is acknowledged. Measured: more is not faster.
pub(super) const PUBLISH_WINDOW: usize = 1024;

pub(super) struct Core {
    pub(super) client: Client,
    pub(super) options: JetStreamOptions,
    pub(super) reconnects: watch::Receiver<u64>,
    /// Ends every task of this bus.
    pub(super) stop: CancellationToken,
    /// Messages that could not be read and were removed.
    pub(super) undecodable: AtomicU64,
    context: Context,
    /// Set by the coordinator's side, which may make streams; the worker's side only waits for them.
    manages: AtomicBool,
    declared: Mutex<HashSet<QueueId>>,
    restored: tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
}

/// The sets stay usable when a thread panicked while it held one: every change to them is a single step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(super) fn new(client: Client, reconnects: watch::Receiver<u64>, options: JetStreamOptions) -> Self {
        let context = ContextBuilder::new()
            .timeout(connect::REQUEST_TIMEOUT)
            .max_ack_inflight(MAX_ACKS_IN_FLIGHT)
            .build(client.clone());
        Core {
            client,
            options,
            reconnects,
            stop: CancellationToken::new(),
            undecodable: AtomicU64::new(0),
            context,
            manages: AtomicBool::new(false),
            declared: Mutex::default(),
            restored: tokio::sync::Mutex::default(),
        }
    }

    /// Publishes to a stream and waits until it holds the message. Where a stream is missing, one side of the bus may
    /// make it again and the publication is repeated once.
    /// `headers` makes the message's headers, again for the repetition.
    pub(super) async fn publish(
        &self,
        subject: String,
        headers: impl Fn() -> HeaderMap + Send + Sync,
        payload: Bytes,
    ) -> Result<Published, BusError> {
        let first = headers();
        self.fits(&first, &payload)?;
        match self.publish_once(&subject, first, payload.clone()).await {
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound && self.manages() => {
                self.restore().await?;
                self.publish_once(&subject, headers(), payload).await
            }
            result => result,
        }
        .map_err(|error| publication(&subject, &error))
    }

    async fn publish_once(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<Published, PublishError> {
        let message = PublishMessage::build().headers(headers).payload(payload);
        let ack = self.context.send_publish(subject.to_owned(), message).await?.await?;
        Ok(Published { sequence: ack.sequence, duplicate: ack.duplicate })
    }

    /// The server closes the connection of a client that sends more than it takes.
    fn fits(&self, headers: &HeaderMap, payload: &Bytes) -> Result<(), BusError> {
        let limit = self.client.max_payload();
        let found = payload.len() + encoded_len(headers);
        if found > limit { Err(BusError::TooLarge { found, limit }) } else { Ok(()) }
    }

    pub(super) fn manages(&self) -> bool {
        self.manages.load(Ordering::Relaxed)
    }

    /// Makes and checks the streams, and from now on makes them again when they are gone.
    pub(super) async fn set_up(&self) -> Result<(), BusError> {
        self.ensure_streams().await?;
        self.manages.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn ensure_streams(&self) -> Result<(), BusError> {
        for stream in streams::streams(&self.options) {
            streams::ensure_stream(&self.client, &stream).await?;
        }
        Ok(())
    }

    /// Makes and checks the consumers of a queue, unless this object did so before.
    pub(super) async fn declare(&self, queue: &QueueId) -> Result<(), BusError> {
        if lock(&self.declared).contains(queue) {
            return Ok(());
        }
        if let Err(error) = self.ensure_queue(queue).await {
            // A stream that is gone takes its consumers with it.
            if !(self.manages() && matches!(error, BusError::Unavailable(_))) {
                return Err(error);
            }
            self.restore().await?;
            self.ensure_queue(queue).await?;
        }
        lock(&self.declared).insert(queue.clone());
        Ok(())
    }

    async fn ensure_queue(&self, queue: &QueueId) -> Result<(), BusError> {
        let consumers = streams::job_consumers(queue, &self.options)?;
        let ensured = consumers.iter().map(|wanted| streams::ensure_consumer(&self.client, streams::JOBS, wanted));
        join_all(ensured).await.into_iter().try_for_each(|result| result.map(drop))
    }

    /// How many consumers the declared queues need on the jobs stream.
    pub(super) fn declared_consumers(&self) -> usize {
        lock(&self.declared).len() * 3
    }

    /// Makes what is missing again: the streams, and the consumers of every queue that was declared here. One outage
    /// is thousands of failures: those that ask while one of them works share the next answer.
    pub(super) async fn restore(&self) -> Result<(), BusError> {
        let asked = Instant::now();
        let mut last = self.restored.lock().await;
        if let Some((began, result)) = &*last
            && *began >= asked
        {
            return result.clone().map_err(BusError::Unavailable);
        }
        let began = Instant::now();
        let result = self.restore_now().await;
        let shared = result.as_ref().map(|_| ()).map_err(ToString::to_string);
        *last = Some((began, shared));
        result
    }

    async fn restore_now(&self) -> Result<(), BusError> {
        self.ensure_streams().await?;
        let queues: Vec<QueueId> = lock(&self.declared).iter().cloned().collect();
        for queue in queues {
            self.ensure_queue(&queue).await?;
        }
        Ok(())
    }

    /// What the server says about the jobs stream.
    pub(super) async fn jobs_info(&self) -> Result<serde_json::Value, BusError> {
        let request = format!("STREAM.INFO.{}", streams::JOBS);
        match api::call(&self.client, &request, None).await {
            Err(error) if error.is(code::STREAM_NOT_FOUND) && self.manages() => {
                self.restore().await?;
                api::call(&self.client, &request, None).await
            }
            found => found,
        }
        .map_err(|error| error.about("stream JOBS"))
    }

    /// Waits until the server has acted upon everything that was sent before. The client's own flush ends when the
    /// bytes are in the socket; an echo through an inbox of ours comes back after whatever went ahead of it.
    pub(super) async fn round_trip(&self) -> Result<(), BusError> {
        let unavailable = |error: &dyn std::fmt::Display| BusError::Unavailable(error.to_string());
        let echoed = async {
            let inbox = self.client.new_inbox();
            let mut echo = self.client.subscribe(inbox.clone()).await.map_err(|error| unavailable(&error))?;
            self.client.publish(inbox, Bytes::new()).await.map_err(|error| unavailable(&error))?;
            match echo.next().await {
                Some(_) => Ok(()),
                None => Err(BusError::Unavailable("the connection was closed".into())),
            }
        };
        match tokio::time::timeout(connect::REQUEST_TIMEOUT, echoed).await {
            Ok(result) => result,
            Err(_) => Err(BusError::Unavailable(
                "the server does not confirm (is it away, or may this user not publish to its own inbox?)".into(),
            )),
        }
    }

    /// Removes a message that nobody can read: delivered again it would be as unreadable.
    pub(super) async fn discard(&self, message: &async_nats::Message, reason: &(dyn std::fmt::Display + Sync)) {
        self.undecodable.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            subject = %message.subject,
            bytes = message.payload.len(),
            %reason,
            "removed a message that is not readable"
        );
        if let Err(error) = super::settle::JetStreamSettle::new(self.client.clone(), message).terminate().await {
            tracing::debug!(%error, "it will be delivered, and removed, once more");
        }
    }
}

/// Bytes of the headers on the wire: a version line, `name: value` lines and an empty one.
fn encoded_len(headers: &HeaderMap) -> usize {
    const VERSION_LINE: usize = "NATS/1.0\r\n".len();
    let line = |name: &str, value: &str| name.len() + value.len() + ": \r\n".len();
    let lines: usize = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| line(name.as_ref(), value.as_str())))
        .sum();
    if headers.is_empty() { 0 } else { VERSION_LINE + lines + "\r\n".len() }
}

fn publication(subject: &str, error: &PublishError) -> BusError {
    let refused = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), refused) {
        (_, Some(refused)) => {
            api::refusal(&format!("publishing to {subject}"), refused.error_code().0, &refused.to_string())
        }
        (PublishErrorKind::StreamNotFound, _) => {
            BusError::Unavailable(format!("no stream takes {subject} at the moment"))
        }
        _ => BusError::Unavailable(format!("publishing to {subject}: {error}")),
    }
}
