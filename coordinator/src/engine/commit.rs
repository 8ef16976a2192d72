//! From a command to a durable append, and what may happen then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use stepstream_runtime::bus::{CoordinatorBus, Settle};
use stepstream_runtime::random;
use stepstream_shared::event::view::event_json;
use stepstream_shared::event::{Actor, Causation, ChainHash, Envelope, Event, EventData, codec, event_id};
use stepstream_shared::execution::{Asked, Command, Decided, Execution, Refusal, Rejection, Rest};
use stepstream_shared::graph::CompiledGraph;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::wire::{Control, TraceContext};
use tokio::sync::oneshot;

use super::Engine;
use super::dispatch::Settlement;
use super::live::Live;
use super::permits::PermitChanges;
use super::withdraw::Unwanted;
use crate::error::ServiceError;
use crate::hint::Hint;
use crate::planted::{self, Bug};
use crate::ports::{Append, Appended, StoreError};
use crate::store::SubmitError;

/// How long an outcome rests before it is delivered again after its execution could not take it.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(500);
/// How long an outcome rests whose execution is set aside.
const REST_IN_QUARANTINE: Duration = Duration::from_secs(30);

/// Answers a request.
pub(crate) type Reply = oneshot::Sender<Result<(), ServiceError>>;

/// Who asked, why, and who waits for it to be durable.
pub(super) struct Occasion {
    pub(super) actor: Actor,
    pub(super) causation: Causation,
    pub(super) trace: Option<TraceContext>,
    pub(super) settle: Option<Box<dyn Settle>>,
    pub(super) reply: Option<Reply>,
}

impl Occasion {
    pub(super) fn restore() -> Self {
        let causation = Causation::Command { name: "restored".to_owned(), key: None };
        Occasion { causation, ..Self::deadline() }
    }

    pub(super) fn deadline() -> Self {
        Occasion { actor: Actor::System, causation: Causation::Deadline, trace: None, settle: None, reply: None }
    }
}

/// An append on its way.
pub(super) struct Pending {
    execution: ExecutionId,
    tenant: TenantId,
    partition: PartitionId,
    /// Under which the append was made: a partition that was lost and won again is another ownership.
    epoch: u64,
    generation: u64,
    last_seq: u64,
    terminal: bool,
    asked: Asked,
    unwanted: Unwanted,
    permits: PermitChanges,
    control: Vec<Control>,
    /// Steps that became dead letters.
    letters: Vec<u32>,
    /// For the live feed, if there is one.
    feed: Option<Feed>,
    settle: Option<Box<dyn Settle>>,
    reply: Option<Reply>,
    /// What whoever asked is told: the request is on record, and it was denied.
    denied: Option<ServiceError>,
    /// What was refused because of this append, and is refused in truth once it is durable.
    refused: Vec<Refused>,
}

/// A refusal that rests on a decision which is not durable yet.
struct Refused {
    settle: Option<Box<dyn Settle>>,
    reply: Option<(Reply, Result<(), ServiceError>)>,
}

/// Events to publish once they are durable.
struct Feed {
    hash: ChainHash,
    envelope: Envelope,
    events: Vec<Event>,
}

impl Engine {
    /// Decides a command against a live execution and sends what follows to the log.
    pub(super) async fn act(&mut self, id: ExecutionId, command: Command, occasion: Occasion) {
        let mut now = self.clock.now();
        if planted::has(Bug::FiresEarly) && matches!(occasion.causation, Causation::Deadline) {
            now = now.after(Duration::from_secs(2));
        }
        let Some(live) = self.live.get_mut(&id) else { return };
        live.touched = now;
        let graphs = live.graphs.clone();
        let execution = &mut live.execution;
        // A panic in the fold must cost one execution, never the partition (a controller that panics on stored input is
        // down for good otherwise).
        let decided = catch_unwind(AssertUnwindSafe(|| execution.decide_in_place(&graphs, command, now)));
        match decided {
            Ok(Ok(decided)) => self.record(id, decided, occasion).await,
            Ok(Err(Rejection::Internal(error))) => {
                tracing::error!(execution = %id, %error, "a decision is not legal; the execution is set aside");
                self.set_aside(id, occasion);
            }
            Ok(Err(rejection)) => {
                tracing::debug!(execution = %id, %rejection, "refused");
                self.refuse(id, occasion.settle, occasion.reply, refused(rejection));
                self.watch(id);
            }
            Err(_) => {
                tracing::error!(execution = %id, "a decision panicked; the execution is set aside");
                self.set_aside(id, occasion);
            }
        }
    }

    /// Says no. What the log does not hold yet may never come to hold, so a refusal waits for the append it rests on.
    pub(super) fn refuse(
        &mut self,
        id: ExecutionId,
        settle: Option<Box<dyn Settle>>,
        reply: Option<Reply>,
        answer: Result<(), ServiceError>,
    ) {
        let refused = Refused { settle, reply: reply.map(|reply| (reply, answer)) };
        let waits = |live: &&Live| live.in_flight > 0 && !planted::has(Bug::RefusesEarly);
        let last = self.live.get(&id).filter(waits).map(|live| live.last_ticket);
        match last.and_then(|ticket| self.pending.get_mut(&ticket)) {
            Some(pending) => pending.refused.push(refused),
            None => self.refused(refused),
        }
    }

    fn refused(&mut self, refused: Refused) {
        if let Some(settle) = refused.settle {
            self.refusals.stale();
            self.settle(Settlement::Ack(settle)); // Late or doubled: the log has decided already.
        }
        if let Some((reply, answer)) = refused.reply {
            let _ = reply.send(answer); // The caller may have gone.
        }
    }

    fn set_aside(&mut self, id: ExecutionId, occasion: Occasion) {
        self.live.remove(&id);
        if let Some(settle) = occasion.settle {
            self.settle(Settlement::Nak(settle, REST_IN_QUARANTINE));
        }
        if let Some(reply) = occasion.reply {
            let _ = reply.send(Err(ServiceError::Internal("the execution is set aside; see the log".to_owned())));
        }
    }

    async fn record(&mut self, id: ExecutionId, decided: Decided, occasion: Occasion) {
        if decided.events.is_empty() {
            // Nothing follows from it, so there is nothing to store; an append without events is none.
            tracing::error!(execution = %id, "a decision without events");
            self.refuse(id, occasion.settle, occasion.reply, Ok(()));
            self.watch_again(id);
            return;
        }
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(held) = self.held.get_mut(&live.partition) else {
            // Lost while the request waited: whoever owns it now will do it.
            self.abandon(id, occasion, &StoreError::Unavailable(anyhow::anyhow!("the partition has moved")));
            return;
        };
        let Decided { at, events, denied } = decided;
        let last_seq = live.execution.sequence();
        let first_seq = last_seq + 1 - events.len() as u64;
        let asked = Asked::by(&events);
        let unwanted = Unwanted::by(&events);
        let permits = PermitChanges::by(&events, &live.execution, &live.graph, last_seq);
        let letters = events.iter().filter_map(|event| match event {
            EventData::StepDeadLettered { step, .. } => Some(*step),
            _ => None,
        });
        let letters: Vec<u32> = letters.collect();
        let control = controls(&live.execution, &live.graph, &events, &occasion.causation);
        let Occasion { actor, causation, trace, settle, mut reply } = occasion;
        if planted::has(Bug::AnswersEarly)
            && let Some(reply) = reply.take()
        {
            let _ = reply.send(Ok(()));
        }
        let early = planted::has(Bug::PublishesEarly).then(|| live.execution.owed_of(&live.graph, &asked));
        let envelope = Envelope { at, actor, causation, trace };
        let silent = live.execution.background().is_some_and(|run| run.config().mode.is_silent());
        let feed = (self.settings.feed && !silent).then(|| {
            let numbered = (first_seq..).zip(&events);
            let events = numbered.map(|(sequence, data)| Event { sequence, at, data: data.clone() }).collect();
            Feed { hash: ChainHash::default(), envelope: envelope.clone(), events }
        });
        let encoded = match codec::encode(&live.head, &envelope, events, random::salt()) {
            Ok(encoded) => encoded,
            Err(error) => {
                tracing::error!(execution = %id, %error, "events cannot be encoded; the execution is set aside");
                let occasion = Occasion { settle, reply, ..Occasion::deadline() };
                self.set_aside(id, occasion);
                return;
            }
        };
        let append = Append {
            tenant: live.execution.tenant().clone(),
            execution: id,
            partition: live.partition,
            epoch: held.epoch,
            first_seq,
            last_seq,
            previous_first_seq: live.last_first_seq,
            origin: None,
            hash: encoded.hash,
            body: encoded.body,
            summary: live.summary(),
            agenda: live.agenda(),
        };
        live.head = encoded.hash;
        live.last_first_seq = first_seq;
        live.in_flight += 1;
        held.in_flight += 1;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        live.last_ticket = ticket;
        let pending = Pending {
            execution: id,
            tenant: append.tenant.clone(),
            partition: live.partition,
            epoch: held.epoch,
            generation: live.generation,
            last_seq,
            terminal: live.execution.state().is_terminal(),
            asked,
            unwanted,
            permits,
            control,
            letters,
            feed: feed.map(|feed| Feed { hash: encoded.hash, ..feed }),
            settle,
            reply,
            denied: denied.map(refusal),
            refused: Vec::new(),
        };
        self.pending.insert(ticket, pending);
        self.backlog.push_back((append, ticket));
        self.submit_backlog().await;
        if let Some(jobs) = early {
            self.hand_out(id, jobs);
        }
        self.watch(id);
    }

    /// Hands appends to the lanes, in order, as far as there is room.
    pub(super) async fn submit_backlog(&mut self) {
        while let Some((append, ticket)) = self.backlog.pop_front() {
            match self.lanes.submit(append, ticket) {
                Ok(()) => {}
                Err(SubmitError::Full(append)) => {
                    self.backlog.push_front((*append, ticket));
                    return;
                }
                Err(SubmitError::Closed(_)) => {
                    let error = StoreError::Unavailable(anyhow::anyhow!("the writer lanes have ended"));
                    Box::pin(self.committed(ticket, Err(error))).await;
                }
            }
        }
    }

    /// An append is durable, or will not be.
    pub(super) async fn committed(&mut self, ticket: u64, result: Result<Appended, StoreError>) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        let held = self.held.get_mut(&pending.partition).filter(|held| held.epoch == pending.epoch);
        let still_held = held.is_some();
        if let Some(held) = held {
            held.in_flight = held.in_flight.saturating_sub(1);
        }
        match result {
            Ok(Appended::Committed | Appended::AlreadyThere) => self.durable(pending).await,
            Ok(Appended::Conflict) => {
                tracing::warn!(execution = %pending.execution, "somebody else has written; folding the log anew");
                self.reload.insert((pending.tenant.clone(), pending.execution));
                self.undone(pending, || {
                    ServiceError::Unavailable("the execution was written by another coordinator; try again".to_owned())
                });
            }
            Ok(Appended::Fenced) => {
                let partition = pending.partition;
                tracing::warn!(%partition, epoch = pending.epoch, "another coordinator owns the partition");
                self.reload.insert((pending.tenant.clone(), pending.execution));
                self.undone(pending, || ServiceError::Unavailable("the partition has moved; try again".to_owned()));
                // An append of an earlier ownership says nothing about the present one.
                if still_held {
                    self.lost(partition);
                }
            }
            Err(error) => {
                tracing::error!(execution = %pending.execution, error = &error as &dyn std::error::Error, "the store did not take an append");
                self.reload.insert((pending.tenant.clone(), pending.execution));
                self.undone(pending, || ServiceError::from_store(&error));
            }
        }
        self.check_releases();
    }

    async fn durable(&mut self, pending: Pending) {
        let Pending {
            execution: id,
            tenant,
            generation,
            last_seq,
            terminal,
            asked,
            unwanted,
            permits,
            control,
            letters,
            feed,
            settle,
            reply,
            denied,
            refused,
            ..
        } = pending;
        if let Some(settle) = settle {
            if denied.is_some() {
                self.refusals.stale(); // Only what the attempt has used was taken.
            }
            self.settle(Settlement::Ack(settle));
        }
        if let Some(reply) = reply {
            let _ = reply.send(denied.map_or(Ok(()), Err)); // The caller may have gone.
        }
        for each in refused {
            self.refused(each);
        }
        self.change_permits(id, &tenant, permits, last_seq);
        if let Some(live) = self.live.get_mut(&id)
            && live.generation == generation
        {
            live.in_flight = live.in_flight.saturating_sub(1);
            dead_letters(&self.bus, live, &tenant, &letters);
            if let Some(feed) = feed {
                publish_feed(&self.bus, live, &tenant, feed);
            }
            if live.execution.queue_rank().is_some() {
                self.admission.soon(self.clock.now()); // The store has it in the queue now.
            }
            // What a later append changed, that append will ask for when it is durable itself.
            let jobs: Vec<_> = live
                .execution
                .owed_of(&live.graph, &asked)
                .into_iter()
                .filter(|job| !job.running && job.position <= last_seq)
                .collect();
            let over = live.execution.rest() == Rest::Over && live.in_flight == 0;
            self.run_errands(id);
            self.withdraw(id, &unwanted);
            if over {
                self.live.remove(&id);
            } else {
                if terminal {
                    self.watch(id); // What it owes after its end has a moment from now on.
                }
                self.hand_out(id, jobs);
                self.snapshot_if_due(id, last_seq);
            }
        }
        for hint in control {
            if let Err(error) = self.bus.control(&tenant, &hint).await {
                tracing::debug!(%error, "a control hint was not sent; the worker will be refused instead");
            }
        }
        if self.hints.receiver_count() > 0 {
            let _ = self.hints.send(Hint { tenant, execution: id, sequence: last_seq, terminal });
        }
    }

    /// An append did not make it: the state in memory is ahead of a log that will never follow.
    fn undone(&mut self, mut pending: Pending, why: impl Fn() -> ServiceError) {
        if self.live.get(&pending.execution).is_some_and(|live| live.generation == pending.generation) {
            self.live.remove(&pending.execution);
        }
        for settle in pending.settle.into_iter().chain(pending.refused.iter_mut().filter_map(|each| each.settle.take()))
        {
            self.settle(Settlement::Nak(settle, REST_AFTER_FAILURE));
        }
        let refused = pending.refused.into_iter().filter_map(|each| each.reply).map(|(reply, _)| reply);
        for reply in pending.reply.into_iter().chain(refused) {
            let _ = reply.send(Err(why())); // The caller may have gone.
        }
    }

    /// Something that was waiting cannot be done here and now.
    pub(super) fn abandon(&mut self, id: ExecutionId, occasion: Occasion, error: &StoreError) {
        tracing::debug!(execution = %id, %error, "put off");
        self.live.remove(&id);
        if let Some(settle) = occasion.settle {
            self.settle(Settlement::Nak(settle, REST_AFTER_FAILURE));
        }
        if let Some(reply) = occasion.reply {
            let _ = reply.send(Err(ServiceError::from_store(error)));
        }
    }
}

/// Puts events on the live feed, in a task of its own: a feed that is slow costs its listeners, not the engine.
fn publish_feed(bus: &Arc<dyn CoordinatorBus>, live: &Live, tenant: &TenantId, feed: Feed) {
    let rendered = (0_u32..).zip(&feed.events).map(|(index, event)| {
        let body = event_json(event, index, &feed.hash, &feed.envelope, &live.execution, &live.graph);
        let body = serde_json::to_vec(&body).unwrap_or_default();
        (event.data.name().to_owned(), event_id(&feed.hash, index).to_string(), body.into())
    });
    let (bus, tenant, id, events) = (bus.clone(), tenant.clone(), live.execution.id(), rendered.collect());
    tokio::spawn(async move { bus.feed(&tenant, id, events).await });
}

/// Tells whoever watches the dead letters, in a task of its own; the letters are in the log.
fn dead_letters(bus: &Arc<dyn CoordinatorBus>, live: &Live, tenant: &TenantId, letters: &[u32]) {
    if letters.is_empty() {
        return;
    }
    let id = live.execution.id();
    let told = letters.iter().filter_map(|ordinal| {
        let step = live.execution.step(*ordinal)?;
        let task = live.execution.task_of(&live.graph, *ordinal)?;
        let node = live.graph.node(stepstream_shared::graph::NodeIx(step.node()))?;
        let step_id = live.execution.step_id(*ordinal, &node.name)?;
        let body = serde_json::json!({
            "execution_id": id, "step_id": step_id, "node": node.name, "attempt": step.attempt(),
            "queue": task.queue, "callable": task.callable, "error": step.error(),
        });
        let body = serde_json::to_vec(&body).unwrap_or_default();
        Some((task.queue.clone(), format!("{id}/{step_id}/{}/dead", step.attempt()), body.into()))
    });
    let (bus, tenant, told) = (bus.clone(), tenant.clone(), told.collect());
    tokio::spawn(async move { bus.dead_letters(&tenant, told).await });
}

/// What running workers should hear of these events.
///
/// An execution that is over has nothing that should run. One that only undoes what it has done has: there, as where a
/// race or a map gives up some of its steps, each attempt that was given up is named.
fn controls(execution: &Execution, graph: &CompiledGraph, events: &[EventData], causation: &Causation) -> Vec<Control> {
    let id = execution.id();
    let closed = |event: &EventData| matches!(event, EventData::StepSkipped { new: None, .. });
    let over = match events.last() {
        Some(EventData::ExecutionCancelled { .. } | EventData::ExecutionFailed { .. }) => true,
        Some(EventData::ExecutionCompleted { .. }) => events.iter().any(closed),
        _ => false,
    };
    if over {
        return vec![Control::Cancel { execution: id }];
    }
    let mut hints = Vec::new();
    for event in events {
        match event {
            // A start need not be on record for a worker to have the attempt.
            EventData::StepSkipped { step, new: None, .. } if execution.task_of(graph, *step).is_some() => {
                let attempt = execution.step(*step).map_or(1, |step| step.attempt());
                hints.push(Control::Abandon { execution: id, ordinal: *step, attempt });
            }
            // Given up by a deadline: its worker does not know yet.
            EventData::StepRetryScheduled { step, attempt, .. }
            | EventData::StepInDoubt { step, attempt, .. }
            | EventData::StepDeadLettered { step, attempt, .. }
            | EventData::StepFailed { step, attempt, .. }
                if matches!(causation, Causation::Deadline) =>
            {
                hints.push(Control::Abandon { execution: id, ordinal: *step, attempt: *attempt });
            }
            _ => {}
        }
    }
    hints
}

/// What whoever asked is told: a request that was carried out before is done.
fn refused(rejection: Rejection) -> Result<(), ServiceError> {
    match rejection {
        Rejection::Refused(Refusal::Repeated) => Ok(()),
        other => Err(refusal(other)),
    }
}

fn refusal(rejection: Rejection) -> ServiceError {
    match rejection {
        Rejection::Refused(refusal) => match refusal {
            Refusal::BadForm(problems) => ServiceError::InvalidForm(problems),
            Refusal::NotAssigned { .. } => ServiceError::Forbidden(refusal.to_string()),
            Refusal::UnknownNode(_) | Refusal::UnknownSignal(_) => ServiceError::NotThere(refusal.to_string()),
            Refusal::Length { .. } | Refusal::Range { .. } => ServiceError::InvalidForm(vec![refusal.to_string()]),
            Refusal::Full { .. } | Refusal::FullBytes { .. } => ServiceError::Full(refusal.to_string()),
            Refusal::Repeated
            | Refusal::Over(_)
            | Refusal::Withheld(_)
            | Refusal::NotWaiting(_)
            | Refusal::WhichRound { .. }
            | Refusal::NobodyTakes
            | Refusal::NotItsParent(_)
            | Refusal::NoCallback
            | Refusal::NoDeadLetters
            | Refusal::OtherWait { .. }
            | Refusal::DecidedAlready { .. }
            | Refusal::WaitsForStep { .. } => ServiceError::Conflict(refusal.to_string()),
        },
        Rejection::InvalidInputs(problems) => ServiceError::InvalidInputs(problems),
        Rejection::UnknownGraph(digest) => ServiceError::GraphNotFound(digest.to_string()),
        other => ServiceError::Conflict(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
