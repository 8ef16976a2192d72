//! What workers ask and wait for: plain requests, which no stream holds. Who gets no answer asks again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Request, RequestErrorKind, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use stepstream_shared::id::{PartitionId, TenantId};
use stepstream_shared::wire::{Judgement, Outcome};
use tokio::sync::Mutex;

use super::core::Core;
use super::{names, unsendable};
use crate::bus::{Asked, BusError, Judge};

/// The questions about executions of one partition, as long as somebody listens.
pub(super) struct AskLane {
    questions: Mutex<Subscriber>,
}

impl AskLane {
    pub(super) async fn start(core: &Arc<Core>, partition: PartitionId) -> Result<Self, BusError> {
        let questions = core
            .client
            .subscribe(names::ask_subjects(partition))
            .await
            .map_err(|error| BusError::Unavailable(format!("subscribing: {error}")))?;
        core.round_trip().await?;
        Ok(AskLane { questions: Mutex::new(questions) })
    }

    pub(super) async fn take(&self, core: &Arc<Core>, max: usize) -> Result<Vec<Asked>, BusError> {
        let mut questions = self.questions.lock().await;
        loop {
            let Some(first) = questions.next().await else {
                return Err(BusError::Unavailable("the bus was closed".into()));
            };
            let mut asked = Vec::from_iter(read(core, &first));
            while asked.len() < max
                && let Some(Some(next)) = futures::FutureExt::now_or_never(questions.next())
            {
                asked.extend(read(core, &next));
            }
            if !asked.is_empty() {
                return Ok(asked);
            }
        }
    }
}

/// Reads a question; what is none is dropped: whoever asked gets no answer.
fn read(core: &Arc<Core>, message: &Message) -> Option<Asked> {
    let tenant = names::tenant_of(&message.subject)?;
    let reply = message.reply.clone().filter(|reply| names::is_plain(reply))?;
    match Outcome::decode(&message.payload) {
        Ok(outcome) => {
            let judge = Box::new(Reply { core: core.clone(), inbox: reply.to_string() });
            Some(Asked { tenant, outcome, judge })
        }
        Err(error) => {
            core.undecodable.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tracing::warn!(%tenant, %error, "a question of a worker is not readable");
            None
        }
    }
}

struct Reply {
    core: Arc<Core>,
    inbox: String,
}

#[async_trait]
impl Judge for Reply {
    async fn judge(&self, judgement: Judgement) -> Result<(), BusError> {
        let body = judgement.encode().map_err(unsendable)?;
        let sent = self.core.client.publish(self.inbox.clone(), Bytes::from(body)).await;
        sent.map_err(|error| BusError::Unavailable(error.to_string()))
    }
}

/// Asks, and waits for the answer.
pub(super) async fn ask(
    core: &Core,
    tenant: &TenantId,
    partition: PartitionId,
    outcome: &Outcome,
    timeout: Duration,
) -> Result<Judgement, BusError> {
    let body = outcome.encode().map_err(unsendable)?;
    let (found, limit) = (body.len(), core.client.max_payload());
    if found > limit {
        return Err(BusError::TooLarge { found, limit });
    }
    let request = Request::new().payload(body.into()).timeout(Some(timeout));
    match core.client.send_request(names::ask_subject(tenant, partition), request).await {
        Ok(answer) => Judgement::decode(&answer.payload).map_err(|error| BusError::Misconfigured(error.to_string())),
        Err(error) if error.kind() == RequestErrorKind::TimedOut => {
            Err(BusError::Unavailable(format!("nobody answered for partition {partition} in {timeout:?}")))
        }
        Err(error) => Err(BusError::Unavailable(error.to_string())),
    }
}
