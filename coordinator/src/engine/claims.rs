//! What workers ask and wait for: attempts to run, and that an end they report was taken.
//!
//! A yes is said once the append that it rests on is durable, a no once the one is that it might rest on. Each says where
//! in the log it was judged. Whatever cannot be judged here and now is not answered: whoever asks goes on asking.

use stepstream_runtime::bus::Asked;
use stepstream_shared::event::{Actor, Causation};
use stepstream_shared::execution::{ExecutionState, StepState};
use stepstream_shared::id::{ExecutionId, PartitionId};
use stepstream_shared::wire::{Judgement, OutcomeResult};
use tokio::sync::oneshot;

use super::Engine;
use super::commit::Occasion;
use super::loading::Waiting;
use super::outcome::command_of;
use crate::error::ServiceError;

impl Engine {
    /// Takes a question if a coordinator of this store asked for the attempt and its partition is ours.
    pub(super) async fn asked(&mut self, partition: PartitionId, asked: Asked) {
        let token = &asked.outcome.token;
        let id = token.execution;
        if !self.key.verify(&asked.tenant, token) {
            tracing::warn!(execution = %id, worker = asked.outcome.worker, "a question with a forged token was dropped");
            self.refusals.forged();
            return;
        }
        if token.incarnation != self.meta.incarnation {
            tracing::info!(execution = %id, "a question about an earlier incarnation of the store was refused");
            self.refusals.earlier_incarnation();
            if token.incarnation < self.meta.incarnation {
                self.say(asked, 0, false);
            }
            return;
        }
        let owner = PartitionId::of(id, self.meta.partitions);
        if owner != partition || self.held.get(&owner).is_none_or(|held| held.releasing.is_some()) {
            return; // Whoever owns it answers.
        }
        if self.live.contains_key(&id) {
            self.live_asked(id, asked).await;
        } else {
            self.load(&asked.tenant.clone(), id, None, Waiting::Asked(Box::new(asked)));
        }
    }

    /// Takes a question about an execution in memory.
    pub(super) async fn live_asked(&mut self, id: ExecutionId, asked: Asked) {
        let (step, attempt, claim) = (asked.outcome.token.ordinal, asked.outcome.token.attempt, asked.outcome.claim);
        let now = self.clock.now();
        let Some(live) = self.live.get_mut(&id) else { return };
        if *live.execution.tenant() != asked.tenant {
            self.refusals.forged(); // A token of another tenant does not verify; this is a second lock on the same door.
            return;
        }
        let claims = matches!(asked.outcome.result, OutcomeResult::Claim);
        let holds = live.execution.is_held_by(step, attempt, claim);
        if let Some(entry) = live.dispatched.get_mut(&step)
            && entry.attempt == attempt
            && (claims || holds)
        {
            entry.sign_of_life = now;
        }
        let (answer, judged) = oneshot::channel();
        let before = live.execution.sequence();
        if !claims && live.execution.has_reported(step, attempt, claim) {
            // It was taken, and the answer was lost.
            self.refuse(id, None, Some(answer), Ok(()));
        } else {
            let Asked { outcome, .. } = &asked;
            let command = command_of(outcome.clone());
            if holds && !claims {
                live.forget(step, attempt);
            }
            let occasion = Occasion {
                actor: Actor::Worker(outcome.worker.clone()),
                causation: Causation::Outcome,
                trace: None,
                settle: None,
                reply: Some(answer),
            };
            self.act(id, command, occasion).await;
        }
        if claims {
            self.claim_was_asked(id, step, attempt);
        }
        let position = self.live.get(&id).map_or(before, |live| live.execution.sequence()).max(before);
        let (bus_answer, incarnation) = (asked.judge, self.meta.incarnation);
        tokio::spawn(async move {
            let granted = match judged.await {
                Ok(Ok(())) => true,
                Ok(Err(ServiceError::Conflict(_))) => false,
                // Nothing was decided: no answer is better than a wrong one.
                Ok(Err(_)) | Err(_) => return,
            };
            if let Err(error) = bus_answer.judge(Judgement::new(incarnation, position, granted)).await {
                tracing::debug!(%error, "a worker was not answered; it asks again");
            }
        });
    }

    fn claim_was_asked(&mut self, id: ExecutionId, step: u32, attempt: u32) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let state = live.execution.step(step).filter(|each| each.attempt() == attempt).map(|each| each.state());
        match state {
            Some(StepState::Claimed) => self.expect_heartbeat(id, step),
            // The execution is held: whoever asked lets go of the job, and it is handed out again when it goes on.
            Some(StepState::Scheduled) if live.execution.state() != ExecutionState::Running => {
                live.dispatched.remove(&step);
                live.withdrawn.insert(step);
            }
            _ => {}
        }
    }

    fn say(&self, asked: Asked, position: u64, granted: bool) {
        let judgement = Judgement::new(self.meta.incarnation, position, granted);
        tokio::spawn(async move {
            if let Err(error) = asked.judge.judge(judgement).await {
                tracing::debug!(%error, "a worker was not answered; it asks again");
            }
        });
    }
}
