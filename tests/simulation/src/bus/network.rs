//! What is on the bus.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use stepstream_runtime::bus::{JobsStreamState, Published};
use stepstream_shared::id::{PartitionId, TenantId};
use stepstream_shared::wire::{Control, Job, Judgement, Outcome};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::faults::Fault;
use crate::process::Process;

/// How long copies are recognised.
const REMEMBERED: Duration = Duration::from_secs(120);

#[derive(Default)]
pub struct Network {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Jobs(String),
    Outcomes(PartitionId),
}

#[derive(Clone)]
pub enum Body {
    Job(Box<Job>),
    Outcome(TenantId, Box<Outcome>),
}

/// A message that somebody has.
pub struct Taken {
    pub sequence: u64,
    pub delivery: u64,
    pub deliveries: u64,
    pub body: Body,
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = match &self.body {
            Body::Job(job) => &job.token,
            Body::Outcome(_, outcome) => &outcome.token,
        };
        let (id, step, attempt) = (token.execution, token.ordinal, token.attempt);
        write!(f, "{} of {id} step {step} attempt {attempt}, delivery {}", self.sequence, self.deliveries)
    }
}

pub struct Command {
    pub partition: PartitionId,
    pub tenant: TenantId,
    pub body: Bytes,
    pub asker: oneshot::Sender<Bytes>,
}

/// What a worker asks the owner of a partition.
pub struct Question {
    pub partition: PartitionId,
    pub tenant: TenantId,
    pub outcome: Outcome,
    pub asker: oneshot::Sender<Judgement>,
}

#[derive(Default)]
struct State {
    /// Streams made so far.
    made: i128,
    sequence: u64,
    messages: BTreeMap<u64, Message>,
    seen: BTreeMap<String, (u64, Instant)>,
    deliveries: u64,
    commands: VecDeque<Command>,
    questions: VecDeque<Question>,
    listeners: Vec<(TenantId, Arc<Process>, mpsc::UnboundedSender<Control>)>,
}

struct Message {
    kind: Kind,
    body: Body,
    deliveries: u64,
    free_from: Instant,
    /// The last delivery.
    delivery: u64,
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub fn put(&self, kind: Kind, id: String, lost: bool, body: Body) -> Published {
        let mut state = self.state();
        let now = Instant::now();
        if let Some((sequence, until)) = state.seen.get(&id)
            && *until > now
        {
            return Published { sequence: *sequence, duplicate: true };
        }
        state.sequence += 1;
        let sequence = state.sequence;
        state.seen.insert(id, (sequence, now + REMEMBERED));
        if !lost {
            state.messages.insert(sequence, Message { kind, body, deliveries: 0, free_from: now, delivery: 0 });
            drop(state);
            self.changed.notify_waiters();
        }
        Published { sequence, duplicate: false }
    }

    /// Something of this kind can be taken now.
    pub fn has(&self, kind: &Kind) -> bool {
        let now = Instant::now();
        self.state().messages.values().any(|message| message.kind == *kind && message.free_from <= now)
    }

    /// What can be taken now, and otherwise when something can be if nothing changes.
    pub fn take(
        &self,
        kind: &Kind,
        max: usize,
        struck: Option<Fault>,
        wait: Duration,
    ) -> (Vec<Taken>, Option<Instant>) {
        let now = Instant::now();
        let mut state = self.state();
        let of_kind = state.messages.iter().filter(|(_, message)| message.kind == *kind);
        let mut free: Vec<u64> = Vec::new();
        let mut next: Option<Instant> = None;
        for (sequence, message) in of_kind {
            if message.free_from <= now {
                free.push(*sequence);
            } else {
                next = Some(next.map_or(message.free_from, |next| next.min(message.free_from)));
            }
        }
        if struck == Some(Fault::Reordered) {
            free.reverse();
        }
        free.truncate(max.max(1));
        let mut taken = Vec::with_capacity(free.len());
        for sequence in free {
            state.deliveries += 1;
            let delivery = state.deliveries;
            if let Some(message) = state.messages.get_mut(&sequence) {
                message.deliveries += 1;
                message.delivery = delivery;
                if struck != Some(Fault::Doubled) {
                    message.free_from = now + wait;
                }
                taken.push(Taken { sequence, delivery, deliveries: message.deliveries, body: message.body.clone() });
            }
        }
        drop(state);
        if struck == Some(Fault::Doubled) {
            self.changed.notify_waiters();
        }
        (taken, next)
    }

    /// Answers whether it was there.
    pub fn settled(&self, sequence: u64) -> bool {
        self.state().messages.remove(&sequence).is_some()
    }

    /// Others may have it after this time; with `delivery`, only if nobody else has had it since.
    pub fn free_after(&self, sequence: u64, delivery: Option<u64>, wait: Duration) {
        let mut state = self.state();
        if let Some(message) = state.messages.get_mut(&sequence)
            && delivery.is_none_or(|delivery| delivery == message.delivery)
        {
            message.free_from = Instant::now() + wait;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    pub fn exists(&self, sequence: u64) -> bool {
        self.state().messages.contains_key(&sequence)
    }

    pub fn jobs_state(&self) -> JobsStreamState {
        let state = self.state();
        let jobs = state.messages.values().filter(|message| matches!(message.kind, Kind::Jobs(_))).count();
        JobsStreamState { created_nanos: state.made, last_sequence: state.sequence, messages: jobs as u64 }
    }

    /// Everything on it is gone, and what was on it is forgotten.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.made += 1;
        state.sequence = 0;
        state.messages.clear();
        state.seen.clear();
    }

    pub fn ask(&self, command: Command) {
        self.state().commands.push_back(command);
        self.changed.notify_waiters();
    }

    /// The next one for this partition whose asker still waits.
    pub fn command(&self, partition: PartitionId) -> Option<Command> {
        let mut state = self.state();
        state.commands.retain(|command| !command.asker.is_closed());
        let place = state.commands.iter().position(|command| command.partition == partition)?;
        state.commands.remove(place)
    }

    pub fn put_question(&self, question: Question) {
        self.state().questions.push_back(question);
        self.changed.notify_waiters();
    }

    /// The next one for this partition whose asker still waits.
    pub fn question(&self, partition: PartitionId) -> Option<Question> {
        let mut state = self.state();
        state.questions.retain(|question| !question.asker.is_closed());
        let place = state.questions.iter().position(|question| question.partition == partition)?;
        state.questions.remove(place)
    }

    pub fn listen(&self, tenant: &TenantId, process: Arc<Process>, sender: mpsc::UnboundedSender<Control>) {
        self.state().listeners.push((tenant.clone(), process, sender));
    }

    pub fn tell(&self, tenant: &TenantId, control: &Control) {
        let mut state = self.state();
        state.listeners.retain(|(_, process, sender)| !process.is_dead() && !sender.is_closed());
        for (of, process, sender) in &state.listeners {
            if of == tenant && !process.is_cut_off() {
                let _ = sender.send(control.clone()); // It was open a moment ago.
            }
        }
    }

    /// Lets go of whoever listens: they hold the world, which holds this.
    pub fn close(&self) {
        let mut state = self.state();
        state.listeners.clear();
        state.commands.clear();
        state.questions.clear();
    }
}
