//! What workers report.

use stepstream_runtime::bus::Delivery;
use stepstream_runtime::random;
use stepstream_shared::event::{Actor, Causation};
use stepstream_shared::execution::{Command, StepState};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::wire::{Control, Outcome, OutcomeResult};

use super::Engine;
use super::commit::Occasion;
use super::dispatch::Settlement;
use super::loading::Waiting;
use crate::planted::{self, Bug};

/// How long an outcome rests that reached somebody who does not own its partition.
const REST_ELSEWHERE: std::time::Duration = std::time::Duration::from_millis(200);

impl Engine {
    /// Takes an outcome if a coordinator of this store asked for it and its partition is ours.
    pub(super) async fn outcome(&mut self, partition: PartitionId, tenant: TenantId, delivery: Delivery<Outcome>) {
        let token = &delivery.message.token;
        let id = token.execution;
        if !self.key.verify(&tenant, token) {
            tracing::warn!(execution = %id, worker = delivery.message.worker, "an outcome with a forged token was dropped");
            self.refusals.forged();
            self.settle(Settlement::Ack(delivery.settle));
            return;
        }
        if token.incarnation != self.meta.incarnation {
            tracing::info!(execution = %id, "an outcome of an earlier incarnation of the store was dropped");
            self.refusals.earlier_incarnation();
            self.settle(Settlement::Ack(delivery.settle));
            return;
        }
        let owner = PartitionId::of(id, self.meta.partitions);
        if owner != partition || self.held.get(&owner).is_none_or(|held| held.releasing.is_some()) {
            self.settle(Settlement::Nak(delivery.settle, REST_ELSEWHERE));
            return;
        }
        if self.live.contains_key(&id) {
            self.live_outcome(id, &tenant, delivery).await;
        } else {
            self.load(&tenant, id, None, Waiting::Outcome(tenant.clone(), Box::new(delivery)));
        }
    }

    fn abandon_attempt(&self, tenant: &TenantId, hint: Control) {
        let (bus, tenant) = (self.bus.clone(), tenant.clone());
        tokio::spawn(async move {
            if let Err(error) = bus.control(&tenant, &hint).await {
                tracing::debug!(%error, "a control hint was not sent; the next sign of life brings another");
            }
        });
    }

    /// Takes an outcome of an execution in memory.
    pub(super) async fn live_outcome(&mut self, id: ExecutionId, tenant: &TenantId, delivery: Delivery<Outcome>) {
        let Delivery { message, settle, .. } = delivery;
        let Some(live) = self.live.get_mut(&id) else {
            self.refusals.stale();
            self.settle(Settlement::Ack(settle));
            return;
        };
        if live.execution.tenant() != tenant {
            // A token of another tenant does not verify; this is a second lock on the same door.
            self.refusals.forged();
            self.settle(Settlement::Ack(settle));
            return;
        }
        let (step, mut attempt) = (message.token.ordinal, message.token.attempt);
        if planted::has(Bug::AcceptsOldAttempts) {
            attempt = live.execution.step(step).map_or(attempt, |step| step.attempt());
        }
        let now = self.clock.now();
        let holder = live.execution.step(step).filter(|each| each.attempt() == attempt).and_then(|each| each.claim());
        if let Some(entry) = live.dispatched.get_mut(&step)
            && entry.attempt == attempt
            && holder.is_none_or(|holder| holder == message.claim)
        {
            entry.sign_of_life = now;
        }
        let waits = live.execution.step(step).map(|step| (step.state(), step.attempt()));
        let started = waits != Some((StepState::Scheduled, attempt));
        if matches!(message.result, OutcomeResult::Started | OutcomeResult::Progress { .. }) && started {
            // On record already, or over: a sign of life and nothing more.
            let over = waits.is_none_or(|(state, present)| {
                state.is_terminal() || state == StepState::InDoubt || present != attempt
            }) || holder.is_some_and(|holder| holder != message.claim);
            if over || live.execution.state().is_terminal() {
                // Whoever gives it missed the hint that nobody waits for this any more.
                self.abandon_attempt(tenant, Control::Abandon { execution: id, ordinal: step, attempt });
            }
            self.settle(Settlement::Ack(settle));
            return;
        }
        if message.result == OutcomeResult::Released && holder.is_none() {
            // The job itself goes back to the bus; nothing has happened to the step.
            self.settle(Settlement::Ack(settle));
            return;
        }
        if message.result == OutcomeResult::Claim {
            self.settle(Settlement::Ack(settle)); // Nobody waits for an answer: whoever asked so would not run it.
            return;
        }
        let worker = message.worker.clone();
        let is_holders = holder.is_none_or(|holder| holder == message.claim);
        let command = command_of(message);
        let was_start = matches!(command, Command::Started { .. });
        if !was_start && is_holders {
            live.forget(step, attempt);
        }
        let occasion = Occasion {
            actor: Actor::Worker(worker),
            causation: Causation::Outcome,
            trace: None,
            settle: Some(settle),
            reply: None,
        };
        self.act(id, command, occasion).await;
        if was_start {
            self.expect_heartbeat(id, step);
        }
    }
}

/// What an outcome asks of its execution.
pub(super) fn command_of(message: Outcome) -> Command {
    let (step, attempt) = (message.token.ordinal, message.token.attempt);
    let Outcome { worker, claim, notes, result, .. } = message;
    let command = match result {
        OutcomeResult::Started | OutcomeResult::Progress { .. } => {
            return Command::Started { step, attempt, worker, claim };
        }
        OutcomeResult::Claim => return Command::Claim { step, attempt, worker, claim },
        OutcomeResult::Released => return Command::Released { step, attempt, claim },
        OutcomeResult::Stopped => Command::Stopped { step, attempt, claim, chance: random::chance() },
        OutcomeResult::Completed { output, duration_us } => {
            Command::Completed { step, attempt, worker, claim, output, duration_us }
        }
        OutcomeResult::Failed { error, duration_us } => {
            let chance = random::chance();
            Command::Failed { step, attempt, worker, claim, error, duration_us, chance }
        }
        OutcomeResult::NotStarted { error, duration_us } => {
            let chance = random::chance();
            Command::NotStarted { step, attempt, worker, claim, error, duration_us, chance }
        }
    };
    match notes.is_empty() {
        true => command,
        false => Command::Noted { notes, result: Box::new(command) },
    }
}
