//! Requests to the owner of a partition, and the answers.
//!
//! The request waits in the stream until its owner takes it; the answer is a plain message to the inbox that the
//! request names. The owner settles the request after it has answered, so one that dies in between leaves it to the
//! next owner; the log's idempotency rows make the second execution give the first answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{HeaderMap, Message};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use stepstream_shared::id::{PartitionId, TenantId};
use tokio::sync::oneshot;

use super::core::{Core, lock};
use super::names;
use super::settle::{JetStreamSettle, Stamp};
use crate::bus::{BusError, CommandRequest, ReplyTo, Settle};

/// Where the answer goes.
const REPLY: &str = "Stepstream-Reply";
/// After this many milliseconds nobody waits for the answer any more.
const TIMEOUT: &str = "Stepstream-Timeout-Ms";

/// One inbox for the answers to all requests of this process.
pub(super) struct Answers {
    inbox: String,
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Bytes>>>>,
}

impl Answers {
    pub(super) async fn start(core: &Arc<Core>) -> Result<Self, BusError> {
        let inbox = core.client.new_inbox();
        let mut answers = core
            .client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| BusError::Unavailable(format!("subscribing: {error}")))?;
        let waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Bytes>>>> = Arc::default();
        let (stop, asked) = (core.stop.clone(), waiting.clone());
        tokio::spawn(async move {
            while let Some(Some(answer)) = stop.run_until_cancelled(answers.next()).await {
                let asker = lock(&asked).remove(answer.subject.as_str());
                if let Some(asker) = asker {
                    // An asker that gave up has its own error already.
                    let _ = asker.send(answer.payload);
                }
            }
        });
        Ok(Answers { inbox, waiting })
    }

    pub(super) async fn request(
        &self,
        core: &Core,
        tenant: &TenantId,
        partition: PartitionId,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let place = Place { inbox: format!("{}.{id}", self.inbox), waiting: &self.waiting };
        let (asker, answer) = oneshot::channel();
        lock(&self.waiting).insert(place.inbox.clone(), asker);

        let headers = || {
            let mut headers = HeaderMap::new();
            headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
            headers.insert("Content-Type", "application/json");
            headers.insert(REPLY, place.inbox.as_str());
            headers.insert(TIMEOUT, timeout.as_millis().to_string().as_str());
            headers
        };
        let exchange = async {
            core.publish(names::command_subject(tenant, partition), headers, body).await?;
            answer.await.map_err(|_| BusError::Unavailable("the bus was closed".into()))
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(BusError::Unavailable(format!("nobody answered for partition {partition} in {timeout:?}"))),
        }
    }
}

/// Forgets the request when its future is dropped, answered or not.
struct Place<'a> {
    inbox: String,
    waiting: &'a Mutex<HashMap<String, oneshot::Sender<Bytes>>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(self.waiting).remove(&self.inbox);
    }
}

/// Reads a command; nothing if it is not one, or nobody waits for it any more. Both are removed from the stream.
pub(super) async fn read(core: &Arc<Core>, partition: PartitionId, message: &Message) -> Option<CommandRequest> {
    let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str());
    let Some(tenant) = names::tenant_of(&message.subject) else {
        core.discard(message, &"its subject names no tenant").await;
        return None;
    };
    let Some(inbox) = header(REPLY).filter(|inbox| names::is_plain(inbox)) else {
        core.discard(message, &"it does not say where the answer goes").await;
        return None;
    };
    let settle = JetStreamSettle::new(core.client.clone(), message);
    let timeout = header(TIMEOUT).and_then(|text| text.parse().ok()).map(Duration::from_millis);
    if let (Some(timeout), Some(age)) = (timeout, age(message))
        && age >= timeout
    {
        tracing::info!(%partition, %tenant, ?age, "dropped a command that nobody waits for any more");
        if let Err(error) = settle.ack().await {
            tracing::debug!(%error, "it will be delivered, and dropped, once more");
        }
        return None;
    }
    let reply = Box::new(Reply { core: core.clone(), inbox: inbox.to_owned(), settle });
    Some(CommandRequest { tenant, partition, body: message.payload.clone(), reply })
}

/// By the server's clock when it came, and ours now.
fn age(message: &Message) -> Option<Duration> {
    let published = Duration::from_nanos(Stamp::of(message)?.published_nanos);
    SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(published)
}

struct Reply {
    core: Arc<Core>,
    inbox: String,
    settle: JetStreamSettle,
}

#[async_trait]
impl ReplyTo for Reply {
    async fn reply(&self, body: Bytes) -> Result<(), BusError> {
        let limit = self.core.client.max_payload();
        if body.len() > limit {
            return Err(BusError::TooLarge { found: body.len(), limit });
        }
        self.core
            .client
            .publish(self.inbox.clone(), body)
            .await
            .map_err(|error| BusError::Unavailable(error.to_string()))?;
        self.settle.ack().await
    }
}
