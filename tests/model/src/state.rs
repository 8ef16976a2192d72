//! All there is at one moment: the log, the owners and what they believe, messages, workers, clients.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::Budget;

/// Coordinators, of which the one under the highest epoch owns the execution.
pub(crate) const COORDINATORS: usize = 2;
pub(crate) const WORKERS: usize = 2;

/// The step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    New,
    Scheduled,
    Claimed {
        worker: u8,
        claim: u8,
    },
    Done,
    /// May have run, must not run twice.
    InDoubt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    Unset,
    Set,
    Fired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Completed,
    Cancelled,
}

/// What the log folds to, with counts that no fold has: how often something that happens once is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    /// Sequence of the last event; 0 before the first.
    pub(crate) sequence: u8,
    pub(crate) attempt: u8,
    /// The event that scheduled it.
    pub(crate) scheduled: u8,
    /// The incarnation that the present attempt's token names.
    pub(crate) incarnation: u8,
    pub(crate) phase: Phase,
    pub(crate) completions: u8,
    pub(crate) timer: Timer,
    pub(crate) firings: u8,
    /// Signals taken.
    pub(crate) signals: u8,
    pub(crate) end: Option<End>,
    pub(crate) endings: u8,
    /// Something was recorded behind the end.
    pub(crate) goes_on: bool,
}

impl Log {
    pub(crate) const EMPTY: Log = Log {
        sequence: 0,
        attempt: 0,
        scheduled: 0,
        incarnation: 0,
        phase: Phase::New,
        completions: 0,
        timer: Timer::Unset,
        firings: 0,
        signals: 0,
        end: None,
        endings: 0,
        goes_on: false,
    };
}

/// A job, or what became of it: the token, and the place in the log at which it was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token {
    pub(crate) attempt: u8,
    pub(crate) incarnation: u8,
    pub(crate) position: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Worker {
    Idle,
    /// Asks whether it may run.
    Asking {
        token: Token,
        claim: u8,
    },
    /// May run.
    Granted {
        token: Token,
        claim: u8,
    },
    /// Has run, and reports until it is answered.
    Reporting {
        token: Token,
        claim: u8,
    },
}

impl Worker {
    pub(crate) fn claim(self) -> Option<u8> {
        match self {
            Worker::Idle => None,
            Worker::Asking { claim, .. } | Worker::Granted { claim, .. } | Worker::Reporting { claim, .. } => {
                Some(claim)
            }
        }
    }
}

/// Somebody who asks for one thing, under one id, until an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    Silent,
    Asking,
    Told { done: bool },
}

/// A coordinator. `epoch` 0 says that it owns nothing and knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Coordinator {
    pub(crate) epoch: u8,
    /// What it believes the log to be.
    pub(crate) view: Log,
    /// Without [`crate::Protocol::timers_in_log`]: it is the one that set the timer.
    pub(crate) set_timer: bool,
    /// With [`crate::Protocol::remembering_in_memory`]: it has taken the signal.
    pub(crate) took_signal: bool,
}

impl Coordinator {
    pub(crate) const NEW: Coordinator =
        Coordinator { epoch: 0, view: Log::EMPTY, set_timer: false, took_signal: false };
}

/// What must never have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Sins {
    /// A completion was accepted that was not of the claim on record.
    pub(crate) accepted_another: bool,
    /// The holder of the claim on record was told that it is not.
    pub(crate) fenced_holder: bool,
    /// An append was accepted under an epoch that was over.
    pub(crate) accepted_epoch: bool,
    /// A timer fired before its time.
    pub(crate) fired_early: bool,
    /// A client was told "done" of what is not on record.
    pub(crate) told_too_much: bool,
    /// A client was told "no" of what its own request did.
    pub(crate) told_too_little: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) epoch: u8,
    pub(crate) log: Log,
    /// A copy of the store that may be restored.
    pub(crate) copy: Option<Log>,
    /// Grows with every restore.
    pub(crate) incarnation: u8,
    pub(crate) coordinators: [Coordinator; COORDINATORS],
    /// On the bus. A set: each may be delivered any number of times, in any order.
    pub(crate) jobs: BTreeSet<Token>,
    pub(crate) workers: [Worker; WORKERS],
    /// How often the step has run, for each (attempt, incarnation).
    pub(crate) runs: BTreeMap<(u8, u8), u8>,
    pub(crate) canceller: Client,
    pub(crate) signaller: Client,
    /// The timer's time has come.
    pub(crate) due: bool,
    pub(crate) sins: Sins,
    pub(crate) left: Budget,
}

impl State {
    pub(crate) fn new(budget: Budget) -> Self {
        State {
            epoch: 0,
            log: Log::EMPTY,
            copy: None,
            incarnation: 1,
            coordinators: [Coordinator::NEW; COORDINATORS],
            jobs: BTreeSet::new(),
            workers: [Worker::Idle; WORKERS],
            runs: BTreeMap::new(),
            canceller: Client::Silent,
            signaller: Client::Silent,
            due: false,
            sins: Sins::default(),
            left: budget,
        }
    }

    /// Nothing more has to happen.
    pub fn is_over(&self) -> bool {
        self.log.end.is_some() || self.log.phase == Phase::InDoubt
    }

    /// Some coordinator is the owner and knows it.
    pub(crate) fn is_owned(&self) -> bool {
        self.epoch > 0 && self.coordinators.iter().any(|each| each.epoch == self.epoch)
    }

    /// The worker still has what the claim was given for.
    pub(crate) fn holds(&self, worker: u8, claim: u8) -> bool {
        self.workers[usize::from(worker)].claim() == Some(claim)
    }

    /// A coordinator may take the claim for dead: it is, or it is misjudged.
    pub(crate) fn may_expire(&self, worker: u8, claim: u8) -> bool {
        !self.holds(worker, claim) || self.left.misjudged > 0
    }

    /// The least claim id that nothing knows which can still matter: ids that only grow would have no end of states.
    pub(crate) fn unused_claim(&self) -> u8 {
        let views = self.coordinators.iter().map(|each| &each.view);
        let logs = views.chain(&self.copy).chain([&self.log]);
        let recorded = logs.filter_map(|log| match log.phase {
            Phase::Claimed { claim, .. } => Some(claim),
            _ => None,
        });
        let used: Vec<u8> = recorded.chain(self.workers.iter().filter_map(|each| each.claim())).collect();
        (1..).find(|claim| !used.contains(claim)).unwrap_or(u8::MAX)
    }
}
