//! The commands of one partition, and the way back to whoever asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use stepstream_shared::id::{PartitionId, TenantId};
use tokio::sync::{Notify, oneshot};

use super::lock;
use crate::bus::{BusError, CommandRequest, ReplyTo};

pub(super) struct CommandQueue {
    capacity: usize,
    waiting: Mutex<VecDeque<Entry>>,
    ready: Notify,
}

struct Entry {
    tenant: TenantId,
    body: Bytes,
    asker: oneshot::Sender<Bytes>,
}

impl CommandQueue {
    pub(super) fn new(capacity: usize) -> Self {
        CommandQueue { capacity, waiting: Mutex::default(), ready: Notify::new() }
    }

    pub(super) fn push(&self, tenant: TenantId, body: Bytes) -> Result<oneshot::Receiver<Bytes>, BusError> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= self.capacity {
            // Those whose asker gave up only take up room.
            waiting.retain(|entry| !entry.asker.is_closed());
        }
        if waiting.len() >= self.capacity {
            return Err(BusError::Full(format!("{} commands wait, the limit", self.capacity)));
        }
        let (asker, answer) = oneshot::channel();
        waiting.push_back(Entry { tenant, body, asker });
        drop(waiting);
        self.ready.notify_one();
        Ok(answer)
    }

    pub(super) async fn take(self: &Arc<Self>, partition: PartitionId) -> CommandRequest {
        loop {
            if let Some(entry) = self.take_now() {
                let (tenant, body) = (entry.tenant.clone(), entry.body.clone());
                let reply = Box::new(Answer { queue: self.clone(), entry: Mutex::new(Some(entry)) });
                return CommandRequest { tenant, partition, body, reply };
            }
            self.ready.notified().await;
        }
    }

    /// The next one whose asker still waits: it was told "timed out" otherwise, and must not be surprised.
    fn take_now(&self) -> Option<Entry> {
        let mut waiting = lock(&self.waiting);
        let found = std::iter::from_fn(|| waiting.pop_front()).find(|entry| !entry.asker.is_closed());
        if !waiting.is_empty() {
            self.ready.notify_one();
        }
        found
    }
}

struct Answer {
    queue: Arc<CommandQueue>,
    entry: Mutex<Option<Entry>>,
}

#[async_trait]
impl ReplyTo for Answer {
    async fn reply(&self, body: Bytes) -> Result<(), BusError> {
        if let Some(entry) = lock(&self.entry).take() {
            // An asker that is gone has its own error already.
            let _ = entry.asker.send(body);
        }
        Ok(())
    }
}

/// Dropped unanswered: somebody else may have it.
impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(entry) = lock(&self.entry).take() {
            lock(&self.queue.waiting).push_front(entry);
            self.queue.ready.notify_one();
        }
    }
}
