//! What workers ask about executions of one partition.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use stepstream_shared::id::TenantId;
use stepstream_shared::wire::{Judgement, Outcome};
use tokio::sync::{Notify, oneshot};

use super::lock;
use crate::bus::{Asked, BusError, Judge};

pub(super) struct AskQueue {
    capacity: usize,
    waiting: Mutex<VecDeque<(TenantId, Outcome, oneshot::Sender<Judgement>)>>,
    ready: Notify,
}

impl AskQueue {
    pub(super) fn new(capacity: usize) -> Self {
        AskQueue { capacity, waiting: Mutex::default(), ready: Notify::new() }
    }

    pub(super) fn push(&self, tenant: &TenantId, outcome: &Outcome) -> Result<oneshot::Receiver<Judgement>, BusError> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= self.capacity {
            // Those whose asker gave up only take up room.
            waiting.retain(|(_, _, asker)| !asker.is_closed());
        }
        if waiting.len() >= self.capacity {
            return Err(BusError::Full(format!("{} workers wait for an answer, the limit", self.capacity)));
        }
        let (asker, answer) = oneshot::channel();
        waiting.push_back((tenant.clone(), outcome.clone(), asker));
        drop(waiting);
        self.ready.notify_one();
        Ok(answer)
    }

    pub(super) async fn take(&self, max: usize) -> Vec<Asked> {
        loop {
            let taken = self.take_now(max);
            if !taken.is_empty() {
                return taken;
            }
            self.ready.notified().await;
        }
    }

    fn take_now(&self, max: usize) -> Vec<Asked> {
        let mut waiting = lock(&self.waiting);
        let asked = std::iter::from_fn(|| waiting.pop_front()).filter(|(_, _, asker)| !asker.is_closed());
        let judged =
            |(tenant, outcome, asker)| Asked { tenant, outcome, judge: Box::new(Answer(Mutex::new(Some(asker)))) };
        let taken = asked.take(max).map(judged).collect();
        if !waiting.is_empty() {
            self.ready.notify_one();
        }
        taken
    }
}

struct Answer(Mutex<Option<oneshot::Sender<Judgement>>>);

#[async_trait]
impl Judge for Answer {
    async fn judge(&self, judgement: Judgement) -> Result<(), BusError> {
        if let Some(asker) = lock(&self.0).take() {
            let _ = asker.send(judgement); // Whoever is gone asks again.
        }
        Ok(())
    }
}
