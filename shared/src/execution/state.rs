//! What an execution holds. Private to the core: outside, everything is read-only.

mod reading;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::artifacts::Artifacts;
use super::background::BackgroundRun;
use super::compensation::Compensation;
pub use super::kept::KeptSignal;
use super::kept::KeptSignals;
use super::lifecycle::{ExecutionState, WaitReason};
use super::permits::Permits;
use super::step::StepState;
use crate::cost::Money;
use crate::data::Data;
use crate::error::ExecutionError;
use crate::event::child::{CancellationPolicy, ChildState, Share, Spent};
use crate::event::{Input, Message, Origin, ParentLink, SkipReason, Violation, Wait};
use crate::graph::{GraphDigest, LimitOverrides};
use crate::id::{ControlId, ExecutionId, StepId, TenantId};
use crate::time::Timestamp;
use crate::wire::ClaimId;

/// The version of the canonical form that [`Execution::state_hash`](super::hash) covers.
///
/// 1: until executions waited for people and signals. 2: counts of workers and failures, waits, the inbox.
pub const STATE_VERSION: u32 = 2;

/// One run of a graph: the fold of its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    pub(super) id: ExecutionId,
    pub(super) tenant: TenantId,
    /// All zeros until the first event names it.
    pub(super) graph: GraphDigest,
    pub(super) graph_name: String,
    /// Sequence of the last event applied; 0 before the first.
    pub(super) sequence: u64,
    pub(super) state: ExecutionState,
    /// What a pause interrupted: resuming goes on waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) paused_wait: Option<WaitReason>,
    /// It waits because all that is open does, and not because somebody put it there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) waits_on_steps: bool,
    /// Paused, and not yet said to be quiescent: the moment from which on it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) quiet_from: Option<Timestamp>,
    /// Steps that a worker is on record as having.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) at_work: u32,
    /// Attempts that failed since the last one that did not, or since it was resumed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) failures_in_a_row: u32,
    /// Nodes before which it is paused.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) breakpoints: BTreeSet<u32>,
    /// The node whose breakpoint it has stopped at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stopped_before: Option<u32>,
    /// The node whose breakpoint somebody has resumed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) passing: Option<u32>,
    /// Since when it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) paused_at: Option<Timestamp>,
    /// How long it was paused before, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub(super) held_us: u64,
    /// Why it is paused, or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Data::is_null")]
    pub(super) inputs: Data,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<ParentLink>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub(super) request_hash: Option<Vec<u8>>,
    pub(super) created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended_at: Option<Timestamp>,
    /// When the state last changed.
    pub(super) changed_at: Timestamp,
    /// Of the last event: time does not run backwards within a log, whatever the clocks say.
    pub(super) last_at: Timestamp,
    #[serde(default, skip_serializing_if = "Data::is_null")]
    pub(super) output: Data,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<ExecutionError>,
    /// What an input from outside brought last.
    #[serde(default, skip_serializing_if = "Data::is_null")]
    pub(super) received: Data,
    /// By ordinal.
    pub(super) steps: Vec<Step>,
    pub(super) counts: Counts,
    /// By place in the graph.
    pub(super) nodes: Vec<NodeRun>,
    pub(super) loops: Vec<LoopRun>,
    /// Edges out of loops that were taken already in this pass of the loops around them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) left_by: BTreeSet<u32>,
    /// Nodes and loops outside of every loop that have not settled.
    pub(super) unsettled: u32,
    /// Steps that are not terminal.
    pub(super) open: BTreeSet<u32>,
    /// By the execution's own clock, which stands still while it is paused: what remains of a timeout is state, and a
    /// pause moves nothing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) deadlines: BTreeSet<(Timestamp, Deadline)>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) maps: BTreeMap<u32, MapRun>,
    /// Nodes whose join is decided and whose consequence is not recorded yet: empty between appends, unless an append
    /// had reached its size.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(super) ready: VecDeque<Ready>,
    /// Maps that have something to schedule or to finish.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) busy_maps: BTreeSet<u32>,
    /// Steps that wait for something outside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) waits: BTreeMap<u32, WaitRun>,
    /// Signals that no step has waited for yet, by the sequence of the event that brought them.
    #[serde(default, skip_serializing_if = "KeptSignals::is_empty")]
    pub(super) signals: KeptSignals,
    /// Messages that no step has taken yet, the most urgent first, then by the sequence of their event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) inbox: BTreeMap<(u8, u64), Message>,
    /// What open steps have taken from the inbox.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) taken: BTreeMap<u32, Vec<(u64, Message)>>,
    /// Guidance and evidence as they came, the latest last: what expressions see.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(super) heard: VecDeque<(u64, Message)>,
    /// Requests that were carried out, the latest last: one that is repeated is done already.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(super) asked: VecDeque<ControlId>,
    /// Controls that were denied since one was last carried out, as far as they are on record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) denied: Vec<ControlId>,
    /// By the ordinal of the step that wants them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) children: BTreeMap<u32, ChildRun>,
    /// How deep it lies under the execution that nobody started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) depth: u32,
    /// Messages that children are to be given yet, by the sequence of their event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) relayed: BTreeMap<u64, Relayed>,
    /// Of the messages that its parent has received: up to which one it has them, by the sequence there.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub(super) inherited_to: u64,
    /// In the place of what the graph says.
    #[serde(default, skip_serializing_if = "LimitOverrides::is_none")]
    pub(super) limits: LimitOverrides,
    /// Tokens and money.
    #[serde(default, skip_serializing_if = "Usage::is_none")]
    pub(super) usage: Usage,
    /// What steps share with other executions.
    #[serde(default, skip_serializing_if = "Permits::is_none")]
    pub(super) permits: Permits,
    /// Decisions that its steps have put on record.
    #[serde(default, skip_serializing_if = "Decisions::is_none")]
    pub(super) decisions: Decisions,
    /// When nothing will have happened for too long, by its own clock; the deadline that is set for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) idle_due: Option<Timestamp>,
    /// Bytes outside the log.
    #[serde(default, skip_serializing_if = "Artifacts::is_none")]
    pub(super) artifacts: Artifacts,
    /// What it may need is set aside in its tenant's account too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) governed: bool,
    /// It has ended, and its parent knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) parent_told: bool,
    /// Open steps of branches that have lost their race, to be closed before anything else follows.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) losing: BTreeSet<u32>,
    /// Completed steps that can be undone, in the order in which they completed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) undoable: Vec<u32>,
    /// Set once undoing has begun; its counts stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) compensation: Option<Compensation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) background: Option<Box<BackgroundRun>>,
    /// Steps there are that only ask about steps in doubt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) reconciliations: u32,
    /// Events of kinds that record and change nothing.
    pub(super) notes: u64,
    /// How many of the open steps workers have, or are asked for. It follows from the rest, so it is stored nowhere.
    #[serde(skip)]
    pub(super) in_hand: u32,
}

/// An execution that a step of this one wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildRun {
    #[serde(rename = "x")]
    pub(super) id: ExecutionId,
    #[serde(rename = "g")]
    pub(super) graph: String,
    #[serde(rename = "b", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) background: bool,
    #[serde(rename = "p", default)]
    pub(super) on_cancel: CancellationPolicy,
    #[serde(rename = "t")]
    pub(super) state: ChildState,
    /// Kept until it is started.
    #[serde(rename = "i", default, skip_serializing_if = "Data::is_null")]
    pub(super) input: Data,
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) inherit_inbox: bool,
    /// Messages that it is to be given, by the sequence of their event here; those themselves are in `relayed`.
    #[serde(rename = "f", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) owed: BTreeSet<u64>,
    /// Set aside until it has ended.
    #[serde(rename = "h", default, skip_serializing_if = "is_default")]
    pub(super) share: Share,
    /// Once it has ended.
    #[serde(rename = "u", default, skip_serializing_if = "is_default")]
    pub(super) used: Spent,
}

/// A message on its way to children.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relayed {
    #[serde(rename = "m")]
    pub(super) message: Message,
    /// Children that are to be given it.
    #[serde(rename = "n")]
    pub(super) to: u32,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ChildRun {
    pub fn id(&self) -> ExecutionId {
        self.id
    }

    /// `name` or `name@version`.
    pub fn graph(&self) -> &str {
        &self.graph
    }

    /// The step does not wait for it.
    pub fn is_background(&self) -> bool {
        self.background
    }

    pub fn on_cancel(&self) -> CancellationPolicy {
        self.on_cancel
    }

    /// As far as this execution has been told.
    pub fn state(&self) -> ChildState {
        self.state
    }

    /// What comes for this execution comes for the child, too.
    pub fn inherits_inbox(&self) -> bool {
        self.inherit_inbox
    }

    /// Messages that are on their way to it.
    pub fn messages_owed(&self) -> usize {
        self.owed.len()
    }

    /// What it may spend of the purse of this execution.
    pub fn share(&self) -> Share {
        self.share
    }

    /// What it used, once it has ended.
    pub fn used(&self) -> Spent {
        self.used
    }
}

/// How many decisions are on record, and where the last one stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    #[serde(rename = "n")]
    pub count: u64,
    /// Sequence of its event; 0 before the first.
    #[serde(rename = "l")]
    pub last: u64,
}

impl Decisions {
    fn is_none(&self) -> bool {
        *self == Decisions::default()
    }
}

/// What the execution has used, and what is set aside for steps that are open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    #[serde(rename = "p", default, skip_serializing_if = "is_zero_u64")]
    pub prompt_tokens: u64,
    #[serde(rename = "c", default, skip_serializing_if = "is_zero_u64")]
    pub completion_tokens: u64,
    #[serde(rename = "u", default, skip_serializing_if = "Money::is_zero")]
    pub cost: Money,
    /// Of these, what children have used that have ended.
    #[serde(rename = "k", default, skip_serializing_if = "is_default")]
    pub of_children: Spent,
    /// Set aside for open steps and for children that have not ended.
    #[serde(rename = "r", default, skip_serializing_if = "Money::is_zero")]
    pub reserved: Money,
    #[serde(rename = "o", default, skip_serializing_if = "is_zero_u64")]
    pub reserved_tokens: u64,
    /// Instead of what the graph allows.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub(super) max_cost: Option<Money>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) max_tokens: Option<u64>,
    /// Limits of which it was warned, or which it was told are reached.
    #[serde(rename = "w", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) warned: BTreeSet<Violation>,
    #[serde(rename = "l", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) reached: BTreeSet<Violation>,
    /// Budgets of its tenant's day that what it used has brought near their end: the last day on which it did, and the
    /// budget then.
    #[serde(rename = "d", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) warned_of_tenant: BTreeMap<Violation, (i64, u64)>,
    /// Nothing is scheduled until something that is open has ended.
    #[serde(rename = "h", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) short: bool,
    /// Steps and attempts that were given up by a deadline, and of which nobody has told what they have used.
    #[serde(rename = "a", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) unreported: BTreeSet<(u32, u32)>,
}

impl Usage {
    fn is_none(&self) -> bool {
        *self == Usage::default()
    }

    pub const fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// A step that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitRun {
    #[serde(rename = "w")]
    pub(super) wait: Wait,
    #[serde(rename = "b")]
    pub(super) since: Timestamp,
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) decisions: Vec<Decision>,
}

/// What one person said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    #[serde(rename = "b")]
    pub by: String,
    #[serde(rename = "a")]
    pub approved: bool,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(rename = "d", default, skip_serializing_if = "Data::is_null")]
    pub form: Data,
    #[serde(rename = "t")]
    pub at: Timestamp,
}

impl WaitRun {
    pub fn wait(&self) -> &Wait {
        &self.wait
    }

    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// What was said so far, in order.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }
}

/// How many steps ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub completed: u32,
    pub failed: u32,
    pub skipped: u32,
}

/// One run of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    #[serde(rename = "n")]
    pub(super) node: u32,
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) iterations: Vec<u32>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<u32>,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u32>,
    #[serde(rename = "s")]
    pub(super) state: StepState,
    #[serde(rename = "a")]
    pub(super) attempt: u32,
    /// Kept while the step is open, and beyond where it can be undone.
    #[serde(rename = "i", default, skip_serializing_if = "Input::is_none")]
    pub(super) input: Input,
    #[serde(rename = "o", default, skip_serializing_if = "Data::is_null")]
    pub(super) output: Data,
    /// Of the last attempt that failed, or of choosing the edges.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Box<ExecutionError>>,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) skip_reason: Option<SkipReason>,
    /// Sequence of the event that scheduled the attempt.
    #[serde(rename = "q")]
    pub(super) position: u64,
    /// When the attempt was scheduled.
    #[serde(rename = "b")]
    pub(super) scheduled_at: Timestamp,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<Timestamp>,
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub(super) ended_at: Option<Timestamp>,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(super) worker: Option<Box<str>>,
    /// The one deadline of the attempt that is set, by the execution's own clock.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(super) deadline: Option<(Timestamp, Deadline)>,
    /// The completed step that it undoes.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub(super) undoes: Option<u32>,
    /// The step in doubt that it asks about, and the attempt of that.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) reconciles: Option<(u32, u32)>,
    /// Under which a worker has, or had, the present attempt. Gone once that is in doubt.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) claim: Option<ClaimId>,
    /// What the present attempt has used is on record: it was told in time, or after the attempt was given up.
    #[serde(rename = "v", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) told: bool,
}

/// A node in the present iteration of the loops around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeRun {
    /// Edges taken into it.
    #[serde(rename = "t", default, skip_serializing_if = "is_zero")]
    pub(super) taken: u32,
    /// Edges that were not taken, and cannot be any more.
    #[serde(rename = "k", default, skip_serializing_if = "is_zero")]
    pub(super) untaken: u32,
    /// Edges from steps that failed and are tolerated.
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    pub(super) failed: u32,
    /// Its join is decided.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) activated: bool,
    /// How often it ended in the present iteration of the loops around its own.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub(super) runs: u32,
    /// Its latest step that ended, skipped ones apart.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<u32>,
    /// The failed step whose error edge led here.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<u32>,
    /// Its open step, where it runs for a race.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<u32>,
    /// The race it runs for is decided without it: it does not run any more.
    #[serde(rename = "z", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) lost: bool,
    /// A race join that an edge has won.
    #[serde(rename = "w", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) won: bool,
}

pub(super) fn is_zero_u64(value: &u64) -> bool {
    *value == 0
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// A loop in the present iteration of the loops around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LoopRun {
    /// From 1; 0 before it is entered.
    #[serde(rename = "i")]
    pub(super) iteration: u32,
    /// Members that have not settled in this iteration.
    #[serde(rename = "u")]
    pub(super) unsettled: u32,
    /// A back edge was taken in this iteration.
    #[serde(rename = "c")]
    pub(super) again: bool,
    /// The loop as a whole ran for a race that is decided.
    #[serde(rename = "z", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) lost: bool,
    /// Of a graph that was taken in: the step that ended it before all of it had settled.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub(super) cut: Option<u32>,
}

/// A map step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapRun {
    /// Empty once the map is over.
    #[serde(rename = "i", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) items: Vec<Data>,
    #[serde(rename = "n")]
    pub(super) total: u32,
    #[serde(rename = "c")]
    pub(super) max_concurrency: u32,
    #[serde(rename = "f")]
    pub(super) in_flight: u32,
    #[serde(rename = "d")]
    pub(super) settled: u32,
    /// Failed items do not fail the map.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) tolerant: bool,
    /// The first item that failed for good, in the order of events, unless the map is tolerant.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<u32>,
    /// Ordinals of the items' steps, by index.
    #[serde(rename = "s")]
    pub(super) steps: Vec<u32>,
    /// Of a map whose items may find more items.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub(super) discovery: Option<Box<Discovery>>,
}

/// What the items of a map have found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// Items that were found.
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    pub(super) found: u32,
    /// How deep each item lies, by index; the first ones lie at 0.
    #[serde(rename = "d")]
    pub(super) depths: Vec<u32>,
    /// How often the same work was found, by the hash of its name and input.
    #[serde(rename = "r", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) repeats: BTreeMap<u64, u32>,
    #[serde(rename = "g", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) goal_met: bool,
}

impl MapRun {
    pub(super) fn is_busy(&self) -> bool {
        self.settled == self.total || self.failed.is_some() || self.goal_met() || self.can_schedule()
    }

    pub(super) fn goal_met(&self) -> bool {
        self.discovery.as_ref().is_some_and(|discovery| discovery.goal_met)
    }

    pub(super) fn can_schedule(&self) -> bool {
        !self.goal_met() && self.in_flight < self.max_concurrency && (self.steps.len() as u32) < self.total
    }
}

/// A node whose join is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ready {
    #[serde(rename = "r")]
    Run(u32),
    #[serde(rename = "s")]
    Skip(u32),
    /// Its quorum cannot be met any more.
    #[serde(rename = "u")]
    Unmet(u32),
}

impl Ready {
    pub(super) const fn node(self) -> u32 {
        match self {
            Ready::Run(node) | Ready::Skip(node) | Ready::Unmet(node) => node,
        }
    }
}

/// Something that must happen at a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Deadline {
    /// The whole execution may not run longer.
    #[serde(rename = "w")]
    WallTime,
    /// Nothing has happened for too long.
    #[serde(rename = "i")]
    Idle,
    /// The next attempt of the step is due.
    #[serde(rename = "r")]
    Retry(u32),
    /// No worker took the attempt.
    #[serde(rename = "s")]
    ScheduleToStart(u32),
    /// The attempt runs too long.
    #[serde(rename = "c")]
    StartToClose(u32),
    /// The step has waited for long enough: its timer fires, or its patience ends.
    #[serde(rename = "p")]
    Wait(u32),
    /// As `Wait`, at a moment that pauses do not put off.
    #[serde(rename = "m")]
    Moment(u32),
    /// The execution, in the background, may not run longer.
    #[serde(rename = "b")]
    Timeout,
}

impl Execution {
    /// An execution of which nothing is known but its name: what the first event is applied to.
    pub fn empty(id: ExecutionId, tenant: TenantId) -> Self {
        Execution {
            id,
            tenant,
            graph: GraphDigest::from_bytes([0; crate::id::ID_BYTES]),
            graph_name: String::new(),
            sequence: 0,
            state: ExecutionState::Created,
            paused_wait: None,
            waits_on_steps: false,
            quiet_from: None,
            at_work: 0,
            failures_in_a_row: 0,
            breakpoints: BTreeSet::new(),
            stopped_before: None,
            passing: None,
            paused_at: None,
            held_us: 0,
            reason: None,
            inputs: Data::null(),
            parent: None,
            origin: None,
            request_hash: None,
            created_at: Timestamp::default(),
            started_at: None,
            ended_at: None,
            changed_at: Timestamp::default(),
            last_at: Timestamp::default(),
            output: Data::null(),
            error: None,
            received: Data::null(),
            steps: Vec::new(),
            counts: Counts::default(),
            nodes: Vec::new(),
            loops: Vec::new(),
            left_by: BTreeSet::new(),
            unsettled: 0,
            open: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            maps: BTreeMap::new(),
            ready: VecDeque::new(),
            busy_maps: BTreeSet::new(),
            waits: BTreeMap::new(),
            signals: KeptSignals::default(),
            inbox: BTreeMap::new(),
            taken: BTreeMap::new(),
            heard: VecDeque::new(),
            asked: VecDeque::new(),
            denied: Vec::new(),
            children: BTreeMap::new(),
            depth: 0,
            relayed: BTreeMap::new(),
            inherited_to: 0,
            limits: LimitOverrides::default(),
            usage: Usage::default(),
            permits: Permits::default(),
            decisions: Decisions::default(),
            idle_due: None,
            artifacts: Artifacts::default(),
            governed: false,
            parent_told: false,
            losing: BTreeSet::new(),
            undoable: Vec::new(),
            compensation: None,
            background: None,
            reconciliations: 0,
            notes: 0,
            in_hand: 0,
        }
    }

    /// A worker has the present attempt at a step, or is asked for it. A map's own step is no worker's once it has its
    /// items.
    pub(super) fn is_in_hand(&self, ordinal: u32) -> bool {
        self.step(ordinal).is_some_and(|step| step.state.is_in_hand()) && !self.maps.contains_key(&ordinal)
    }

    /// The execution's own time at a moment: without its pauses.
    pub(super) fn own_time(&self, at: Timestamp) -> Timestamp {
        self.paused_at.unwrap_or(at).before(Duration::from_micros(self.held_us))
    }

    /// The moment at which the own time is reached, if no further pause comes between.
    pub(super) fn moment_of(&self, own: Timestamp) -> Timestamp {
        own.after(Duration::from_micros(self.held_us))
    }
}

/// The id of a step as its node's name and its own fields make it.
pub(super) fn id_of(execution: ExecutionId, node_path: &str, step: &Step) -> StepId {
    match step.reconciles {
        // Asked for each attempt that is in doubt. No index ends so, as none ends with the mark of what undoes.
        Some((_, attempt)) => {
            let mut scope = scope_of(&step.iterations, step.index);
            scope.extend_from_slice(&attempt.to_le_bytes());
            scope.extend_from_slice(b"?~");
            StepId::derived("stepstream 2026 step id", &[execution.as_bytes(), node_path.as_bytes(), &scope])
        }
        None => step_id(execution, node_path, &step.iterations, step.index, step.undoes.is_some()),
    }
}

/// Scope is the iteration of each enclosing loop, outermost first, the index in a map, and a mark of what undoes.
pub fn step_id(
    execution: ExecutionId,
    node_path: &str,
    iterations: &[u32],
    index: Option<u32>,
    undoes: bool,
) -> StepId {
    let mut scope = scope_of(iterations, index);
    if undoes {
        // No index ends with it: its last byte is that of more steps than an execution may have.
        scope.push(b'~');
    }
    StepId::derived("stepstream 2026 step id", &[execution.as_bytes(), node_path.as_bytes(), &scope])
}

fn scope_of(iterations: &[u32], index: Option<u32>) -> Vec<u8> {
    let mut scope = Vec::with_capacity(iterations.len() * 4 + 11);
    for iteration in iterations {
        scope.extend_from_slice(&iteration.to_le_bytes());
    }
    if let Some(index) = index {
        scope.push(b'[');
        scope.extend_from_slice(&index.to_le_bytes());
    }
    scope
}
