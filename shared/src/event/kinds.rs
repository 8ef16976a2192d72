//! Every kind of event, under the names of the original specification where it has one.
//!
//! Field names in storage are short because they are stored with every event; a rename is as final as a published name.
//! New fields are optional and left out at their default, so that old rows read as they were written.

mod about;

use serde::{Deserialize, Serialize};

use crate::background::{Background, TargetType};
use crate::cost::Money;
use crate::data::Data;
use crate::error::ExecutionError;
use crate::graph::{GraphDigest, LimitOverrides};
use crate::id::{ArtifactId, ControlId, ExecutionId};
use crate::time::Timestamp;
use crate::wire::ClaimId;

use super::artifact::ArtifactRecord;
use super::child::{CancellationPolicy, ChildState, Share, Spent};
use super::control::{ControlAction, ControlOutcome};
use super::decision::DecisionRecord;
use super::doubt::{DeadReason, DoubtCause, Resolution};
use super::limit::Violation;
use super::message::Message;
use super::parts::{
    Ending, GoalStatus, Input, NewStep, Origin, ParentLink, SkipReason, StepSourceType, Undone, is_default,
};
use super::wait::Wait;

/// What happened. Steps are named by their ordinal: their place in the order in which the execution minted them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventData {
    /// The execution exists. Always the first event, unless the execution continues another's log.
    #[serde(rename = "xn")]
    ExecutionCreated {
        #[serde(rename = "g")]
        graph: GraphDigest,
        #[serde(rename = "n")]
        graph_name: String,
        #[serde(rename = "i", default, skip_serializing_if = "Data::is_null")]
        inputs: Data,
        /// Created in `Planning`: somebody still decides what it shall do before it is started.
        #[serde(rename = "p", default, skip_serializing_if = "is_default")]
        planning: bool,
        #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
        parent: Option<Box<ParentLink>>,
        #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
        /// BLAKE3 of the request that created it under an idempotency key: another request under the key conflicts.
        #[serde(rename = "h", default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
        request_hash: Option<Vec<u8>>,
        #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Data>,
        /// In the place of what the graph says.
        #[serde(rename = "k", default, skip_serializing_if = "LimitOverrides::is_none")]
        limits: Box<LimitOverrides>,
        /// It runs in the background, so.
        #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
        background: Option<Box<Background>>,
        /// Its tenant had limits when it began: what its steps may need is set aside in the tenant's account too.
        #[serde(rename = "v", default, skip_serializing_if = "is_default")]
        governed: bool,
    },
    /// Its moment has come: it waits for a place among the background executions that run.
    #[serde(rename = "bq")]
    BackgroundQueued {},
    #[serde(rename = "xs")]
    ExecutionStarted {},
    #[serde(rename = "xp")]
    ExecutionPaused {
        #[serde(rename = "r")]
        reason: String,
        /// The node whose breakpoint was reached.
        #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
        breakpoint: Option<u32>,
    },
    #[serde(rename = "xr")]
    ExecutionResumed {},
    /// Entered `Waiting`.
    #[serde(rename = "xw")]
    ExecutionWaiting {
        #[serde(rename = "r")]
        reason: crate::execution::WaitReason,
        /// All that is open waits, this step first; absent: somebody put the execution there.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
        control: Option<ControlId>,
    },
    /// What was waited for: by a step, or by the execution, which leaves `Waiting`.
    #[serde(rename = "xi")]
    InputReceived {
        #[serde(rename = "i", default, skip_serializing_if = "Data::is_null")]
        input: Data,
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
        control: Option<ControlId>,
    },
    /// Paused, and the last attempt that a worker had has ended.
    #[serde(rename = "xq")]
    ExecutionQuiescent {},
    /// Somebody asked for something. What follows from it stands in the events behind it.
    #[serde(rename = "ct")]
    ControlRecorded {
        #[serde(rename = "i")]
        control: ControlId,
        #[serde(rename = "a")]
        action: ControlAction,
        #[serde(rename = "o", default, skip_serializing_if = "is_default")]
        outcome: ControlOutcome,
        #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The execution is paused before this node runs, or not any more.
    #[serde(rename = "bp")]
    BreakpointSet {
        #[serde(rename = "n")]
        node: u32,
        #[serde(rename = "o")]
        on: bool,
        #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
        control: Option<ControlId>,
    },
    /// What the output was made into for the place that it belongs to.
    #[serde(rename = "bt")]
    TargetBindingApplied {
        #[serde(rename = "t")]
        target: TargetType,
        #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Null where the output itself is taken, and where there is an error.
        #[serde(rename = "v", default, skip_serializing_if = "Data::is_null")]
        value: Data,
        #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// It is about to fail, and another attempt follows as an execution of its own.
    #[serde(rename = "br")]
    BackgroundRetryScheduled {
        #[serde(rename = "x")]
        next: ExecutionId,
        #[serde(rename = "u")]
        due: Timestamp,
    },
    /// That attempt exists. The only kinds that come after the end are this one, those of the callback, `ParentTold`, and
    /// `ChildFinished` of a child that is cancelled because its parent has ended; they change nothing but what they are
    /// about.
    #[serde(rename = "bn")]
    BackgroundRetryStarted {},
    /// It has ended, and its parent knows, or is not there to know.
    #[serde(rename = "kt")]
    ParentTold {},
    /// The other side was not reached, or did not take it; it is tried again.
    #[serde(rename = "ba")]
    CallbackAttempted {
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        #[serde(rename = "u")]
        due: Timestamp,
    },
    #[serde(rename = "bd")]
    CallbackDelivered {
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// It is not tried again, unless somebody asks for it.
    #[serde(rename = "bg")]
    CallbackGivenUp {
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Somebody asked for it anew.
    #[serde(rename = "bc")]
    CallbackRenewed {
        #[serde(rename = "i")]
        control: ControlId,
    },
    #[serde(rename = "xc")]
    ExecutionCompleted {
        #[serde(rename = "o", default, skip_serializing_if = "Data::is_null")]
        output: Data,
    },
    #[serde(rename = "xf")]
    ExecutionFailed {
        #[serde(rename = "e")]
        error: ExecutionError,
        /// The step that brought it down.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        /// What became of the undo steps, where there was anything to undo.
        #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
        undone: Option<Undone>,
    },
    #[serde(rename = "xx")]
    ExecutionCancelled {
        #[serde(rename = "r")]
        reason: String,
        #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
        undone: Option<Undone>,
    },
    /// It is about to end, and what it has done is undone first.
    #[serde(rename = "xu")]
    CompensationStarted {
        #[serde(rename = "e")]
        ending: Ending,
    },

    /// A new step, at its first attempt.
    #[serde(rename = "ss")]
    StepScheduled {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "n")]
        node: u32,
        /// The iteration (from 1) of each loop around the node, outermost first.
        #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
        iterations: Vec<u32>,
        /// The step of the map that this is an item of.
        #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
        parent: Option<u32>,
        /// The item's place in the map's list, from 0.
        #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
        #[serde(rename = "i", default, skip_serializing_if = "Input::is_none")]
        input: Input,
        /// The completed step that this one undoes.
        #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
        undoes: Option<u32>,
    },
    /// A worker runs the attempt.
    #[serde(rename = "sb")]
    StepStarted {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "w")]
        worker: String,
        #[serde(rename = "c")]
        claim: ClaimId,
    },
    /// A worker has the attempt, and may run it from now on. On record before it does.
    #[serde(rename = "cm")]
    StepClaimed {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "w")]
        worker: String,
        #[serde(rename = "c")]
        claim: ClaimId,
        /// How long it may be silent, in milliseconds.
        #[serde(rename = "l")]
        lease_ms: u64,
    },
    /// The worker that has the attempt is lost, and nobody knows what became of it: it does not run again by itself.
    #[serde(rename = "di")]
    StepInDoubt {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "c", default, skip_serializing_if = "is_default")]
        cause: DoubtCause,
    },
    /// A new step, which asks the target what became of the attempt at a step that is in doubt.
    #[serde(rename = "dq")]
    ReconciliationScheduled {
        #[serde(rename = "s")]
        step: u32,
        /// The step in doubt.
        #[serde(rename = "o")]
        of: u32,
        /// Its idempotency key.
        #[serde(rename = "k")]
        key: String,
    },
    /// It is known, or decided, what becomes of a step that was in doubt or a dead letter. What follows from it stands
    /// in the events behind it.
    #[serde(rename = "dv")]
    StepResolved {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "v")]
        resolution: Resolution,
        /// Somebody has said so.
        #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
        control: Option<ControlId>,
        /// The step that has found out.
        #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
        reconciliation: Option<u32>,
    },
    /// Failed for good, and held for somebody to redrive it instead of failing the step.
    #[serde(rename = "dl")]
    StepDeadLettered {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "r")]
        reason: DeadReason,
        #[serde(rename = "e")]
        error: ExecutionError,
        #[serde(rename = "d", default, skip_serializing_if = "is_default")]
        duration_us: u64,
    },
    #[serde(rename = "sc")]
    StepCompleted {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "a")]
        attempt: u32,
        /// Null for a map: its output is its items', each stored once.
        #[serde(rename = "o", default, skip_serializing_if = "Data::is_null")]
        output: Data,
        /// As the worker measured it, in microseconds; 0 where no worker ran.
        #[serde(rename = "d", default, skip_serializing_if = "is_default")]
        duration_us: u64,
        /// The edges taken, by their place among the node's edges; absent: all plain ones.
        #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
        taken: Option<Vec<u32>>,
        /// The work was done but its edges could not be chosen.
        #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
        routing_error: Option<Box<ExecutionError>>,
    },
    /// Failed for good.
    #[serde(rename = "sf")]
    StepFailed {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "e")]
        error: ExecutionError,
        #[serde(rename = "d", default, skip_serializing_if = "is_default")]
        duration_us: u64,
        /// The error edges taken; an empty list when a join that tolerates failures takes it; absent: nobody does.
        #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
        taken: Option<Vec<u32>>,
        /// Nobody has reported for the attempt: what it has used may yet be told.
        #[serde(rename = "g", default, skip_serializing_if = "is_default")]
        given_up: bool,
    },
    /// An attempt failed and another will be made.
    #[serde(rename = "sy")]
    StepRetryScheduled {
        #[serde(rename = "s")]
        step: u32,
        /// The attempt that failed.
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "e")]
        error: ExecutionError,
        #[serde(rename = "d", default, skip_serializing_if = "is_default")]
        duration_us: u64,
        #[serde(rename = "u")]
        due: Timestamp,
        /// Nobody has reported for the attempt: what it has used may yet be told.
        #[serde(rename = "g", default, skip_serializing_if = "is_default")]
        given_up: bool,
    },
    /// The retry is due: the next attempt may be dispatched.
    #[serde(rename = "sr")]
    StepRescheduled {
        #[serde(rename = "s")]
        step: u32,
        /// The new attempt.
        #[serde(rename = "a")]
        attempt: u32,
    },
    /// The end of the log may be lost: the store was restored, or followed a server that had more. What workers had in hand
    /// is theirs no more, under whatever they were told; what has to run is handed out anew.
    #[serde(rename = "xz")]
    StoreRestored {
        /// The incarnation of the store that began with it.
        #[serde(rename = "i")]
        incarnation: u64,
    },
    /// Will not run, or not to its end.
    #[serde(rename = "sk")]
    StepSkipped {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "r")]
        reason: SkipReason,
        /// For a step that never was scheduled.
        #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
        new: Option<NewStep>,
    },
    /// A step waits for something outside; nothing runs for it meanwhile.
    #[serde(rename = "sw")]
    StepWaiting {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "w")]
        wait: Wait,
    },
    /// An attempt has the permit that it waits for. From a moment on: it waits until then, and is granted it again.
    #[serde(rename = "pg")]
    PermitGranted {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "a")]
        attempt: u32,
        #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
    },
    /// A step wants another execution to be started.
    #[serde(rename = "kw")]
    ChildSpawned {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "c")]
        child: ExecutionId,
        /// `name` or `name@version`.
        #[serde(rename = "g")]
        graph: String,
        /// The step does not wait for it.
        #[serde(rename = "b", default, skip_serializing_if = "is_default")]
        background: bool,
        #[serde(rename = "p", default, skip_serializing_if = "is_default")]
        on_cancel: CancellationPolicy,
        /// What comes for this execution comes for the child, too.
        #[serde(rename = "m", default, skip_serializing_if = "is_default")]
        inherit_inbox: bool,
        /// What is set aside for it.
        #[serde(rename = "h", default, skip_serializing_if = "is_default")]
        share: Share,
    },
    /// The child exists.
    #[serde(rename = "kb")]
    ChildStarted {
        #[serde(rename = "s")]
        step: u32,
    },
    /// The child has ended. What follows from it stands in the events behind it.
    #[serde(rename = "kc")]
    ChildFinished {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "t")]
        state: ChildState,
        /// Taken from the purse of this execution in the place of what was set aside.
        #[serde(rename = "u", default, skip_serializing_if = "is_default")]
        used: Spent,
    },
    /// Kept until a step waits for it.
    #[serde(rename = "gr")]
    SignalReceived {
        #[serde(rename = "i")]
        control: ControlId,
        #[serde(rename = "n")]
        name: String,
        #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
        correlation: Option<String>,
        #[serde(rename = "d", default, skip_serializing_if = "Data::is_null")]
        payload: Data,
    },
    /// A step that waits has its signal.
    #[serde(rename = "gd")]
    SignalDelivered {
        /// Sequence of the event by which the signal was received.
        #[serde(rename = "g")]
        signal: u64,
        #[serde(rename = "s")]
        step: u32,
    },
    /// Somebody said yes or no.
    #[serde(rename = "ad")]
    ApprovalDecided {
        #[serde(rename = "i")]
        control: ControlId,
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "b")]
        by: String,
        #[serde(rename = "a")]
        approved: bool,
        #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
        #[serde(rename = "d", default, skip_serializing_if = "Data::is_null")]
        form: Data,
    },
    #[serde(rename = "mr")]
    InboxReceived {
        #[serde(rename = "i")]
        control: ControlId,
        #[serde(rename = "m")]
        message: Message,
        /// It came for the parent, whose event of this sequence has it.
        #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
        inherited: Option<u64>,
    },
    /// A child that inherits the inbox has copies of these messages.
    #[serde(rename = "mf")]
    InboxForwarded {
        /// The one that wanted the child.
        #[serde(rename = "s")]
        step: u32,
        /// Sequences of the events by which they were received, in that order.
        #[serde(rename = "m")]
        messages: Vec<u64>,
    },
    /// A step that asked for its inbox has these messages, and nobody after it.
    #[serde(rename = "md")]
    InboxDelivered {
        #[serde(rename = "s")]
        step: u32,
        /// Sequences of the events by which they were received, in the order of their urgency.
        #[serde(rename = "m")]
        messages: Vec<u64>,
    },
    /// The list of a map, as its expression gave it.
    #[serde(rename = "me")]
    MapExpanded {
        #[serde(rename = "s")]
        step: u32,
        #[serde(rename = "i")]
        items: Data,
    },
    /// Bytes are in the artifact store. The record stays when they are collected there.
    #[serde(rename = "as")]
    ArtifactStored {
        #[serde(rename = "i")]
        artifact: ArtifactId,
        /// Whose attempt stored it; `None` for what the execution was given.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        /// Hash of the content, in lower-case hexadecimal, with its algorithm: `blake3:…`.
        #[serde(rename = "h")]
        content_hash: String,
        #[serde(rename = "z")]
        size_bytes: u64,
        #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
        record: Option<Box<ArtifactRecord>>,
    },
    #[serde(rename = "sd")]
    StepDiscovered {
        #[serde(rename = "n")]
        name: String,
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        discovered_by: Option<u32>,
        #[serde(rename = "t")]
        source_type: StepSourceType,
        #[serde(rename = "r")]
        reason: String,
        #[serde(rename = "d")]
        depth: u32,
        /// The map that has it as one more item, and the item.
        #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
        map: Option<u32>,
        #[serde(rename = "i", default, skip_serializing_if = "Data::is_null")]
        input: Data,
    },
    /// Tokens that a step has used, and what they cost.
    #[serde(rename = "us")]
    UsageRecorded {
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        #[serde(rename = "m")]
        model: String,
        #[serde(rename = "p", default, skip_serializing_if = "is_default")]
        prompt_tokens: u64,
        #[serde(rename = "c", default, skip_serializing_if = "is_default")]
        completion_tokens: u64,
        #[serde(rename = "u", default, skip_serializing_if = "is_default")]
        cost: Money,
        /// The attempt, where it was told after the attempt had been given up.
        #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
    },
    /// So much of a limit is used.
    #[serde(rename = "lw")]
    LimitWarned {
        #[serde(rename = "l")]
        limit: Violation,
        #[serde(rename = "c")]
        current: u64,
        #[serde(rename = "m")]
        max: u64,
        /// It is the tenant's budget of this day (days since 1970-01-01, UTC), and what this execution used has brought it
        /// there. May stand behind the end of the execution.
        #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
        day: Option<i64>,
    },
    /// A limit is in the way. What follows from it stands in the events behind it.
    #[serde(rename = "lr")]
    LimitReached {
        #[serde(rename = "l")]
        limit: Violation,
        #[serde(rename = "c")]
        current: u64,
        #[serde(rename = "m")]
        max: u64,
        /// What is open may yet leave enough: nothing is scheduled until some of it has ended.
        #[serde(rename = "h", default, skip_serializing_if = "is_default")]
        held: bool,
        /// It is the tenant's, and other executions have their part in it.
        #[serde(rename = "t", default, skip_serializing_if = "is_default")]
        tenant: bool,
    },
    /// Somebody gave the execution another budget.
    #[serde(rename = "bs")]
    BudgetSet {
        #[serde(rename = "i")]
        control: ControlId,
        #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
        max_cost: Option<Money>,
        #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u64>,
    },
    #[serde(rename = "tb")]
    ToolCallStarted {
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        #[serde(rename = "i")]
        tool_call_id: String,
        #[serde(rename = "n")]
        tool_name: String,
        #[serde(rename = "d")]
        input: Data,
    },
    #[serde(rename = "tc")]
    ToolCallCompleted {
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        #[serde(rename = "i")]
        tool_call_id: String,
        #[serde(rename = "o")]
        output: Data,
        /// It failed with this.
        #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
        error: Option<Box<ExecutionError>>,
    },
    /// A callable has decided something, and says why.
    #[serde(rename = "dr")]
    DecisionRecorded {
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        #[serde(rename = "d")]
        record: Box<DecisionRecord>,
    },
    #[serde(rename = "cs")]
    CheckpointSaved {
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        #[serde(rename = "i")]
        checkpoint_id: String,
        #[serde(rename = "h")]
        state_hash: String,
    },
    #[serde(rename = "ge")]
    GoalEvaluated {
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        #[serde(rename = "i")]
        goal_id: String,
        #[serde(rename = "t")]
        status: GoalStatus,
        #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
        score: Option<f64>,
        #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Anything a callable wants on record.
    #[serde(rename = "cu")]
    Custom {
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        #[serde(rename = "t")]
        event_type: String,
        #[serde(rename = "d")]
        data: Data,
    },
}
