//! The rules, and how much may go wrong.

/// What may go wrong in one history. Each is used up; together they bound the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Deaths of coordinators and workers.
    pub crashes: u8,
    /// Messages and answers that never arrive.
    pub losses: u8,
    /// Claims that are taken for dead while their worker lives.
    pub misjudged: u8,
    /// Partitions that are taken from an owner that lives.
    pub takeovers: u8,
    /// Restores of the store from a copy.
    pub restores: u8,
}

impl Budget {
    pub const NOTHING: Budget = Budget { crashes: 0, losses: 0, misjudged: 0, takeovers: 0, restores: 0 };
    /// One of each, but no restore.
    pub const ONE_OF_EACH: Budget = Budget { crashes: 1, losses: 1, misjudged: 1, takeovers: 1, restores: 0 };
}

/// The protocol, rule by rule. [`Protocol::default`] has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// An append under an epoch that is not the partition's is refused.
    pub epochs: bool,
    /// An append that does not follow the last one is refused.
    pub sequences: bool,
    /// A report about another attempt is refused.
    pub attempts: bool,
    /// A report of another claim than the one on record is refused.
    pub claims: bool,
    /// Tokens name the incarnation of the store.
    pub incarnations: bool,
    /// After a restore, whatever was handed out gets another token.
    pub restamping: bool,
    /// A claim is named by the delivery, not by the worker.
    pub fresh_claims: bool,
    /// Answers say at which place of the log they were decided, and older "no"s are ignored.
    pub positions: bool,
    /// A job that is gone is published again.
    pub redispatching: bool,
    /// A worker asks before it runs.
    pub claims_first: bool,
    /// The step must never run twice: what may have run is held, not tried again.
    pub at_most_once: bool,
    /// Against that rule, an attempt in doubt is tried again.
    pub retrying_in_doubt: bool,
    /// Nothing follows the end of an execution.
    pub finality: bool,
    /// Whoever asked hears "done" when the append is durable, not before.
    pub durable_answers: bool,
    /// The ids of requests that were carried out are part of the state.
    pub remembered_requests: bool,
    /// Without the rule before: the coordinator remembers them for itself.
    pub remembering_in_memory: bool,
    /// Set timers are part of the state, not of the coordinator that set them.
    pub timers_in_log: bool,
    pub timers_when_due: bool,
    /// A timer that has fired is fired no more.
    pub timers_once: bool,
    /// A signal that comes before anybody waits for it is kept.
    pub early_signals: bool,

    /// The execution has a timer, and waits for it before it ends.
    pub has_timer: bool,
    /// A client cancels it.
    pub has_cancel: bool,
    /// It waits for a signal after its step, and a client sends one.
    pub has_signal: bool,
    pub budget: Budget,
}

impl Protocol {
    /// Every rule, and one of each fault.
    pub const ALL: Protocol = Protocol {
        epochs: true,
        sequences: true,
        attempts: true,
        claims: true,
        incarnations: true,
        restamping: true,
        fresh_claims: true,
        positions: true,
        redispatching: true,
        claims_first: true,
        at_most_once: false,
        retrying_in_doubt: false,
        finality: true,
        durable_answers: true,
        remembered_requests: true,
        remembering_in_memory: false,
        timers_in_log: true,
        timers_when_due: true,
        timers_once: true,
        early_signals: true,
        has_timer: false,
        has_cancel: false,
        has_signal: false,
        budget: Budget::ONE_OF_EACH,
    };
}

impl Default for Protocol {
    fn default() -> Self {
        Self::ALL
    }
}
