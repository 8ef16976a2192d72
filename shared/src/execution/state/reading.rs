//! What may be read of an execution and of its steps, by anybody.

use super::{Counts, Decisions, Execution, KeptSignal, Step, Usage, WaitRun, id_of};
use crate::data::Data;
use crate::error::ExecutionError;
use crate::event::{Message, ParentLink, SkipReason};
use crate::execution::lifecycle::ExecutionState;
use crate::execution::step::StepState;
use crate::graph::GraphDigest;
use crate::id::{ExecutionId, StepId, TenantId};
use crate::time::Timestamp;
use crate::wire::ClaimId;

impl Execution {
    pub fn id(&self) -> ExecutionId {
        self.id
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub fn graph(&self) -> GraphDigest {
        self.graph
    }

    pub fn graph_name(&self) -> &str {
        &self.graph_name
    }

    /// Sequence of the last event applied; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn state(&self) -> ExecutionState {
        self.state
    }

    /// Why it is paused, or was cancelled.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    pub fn inputs(&self) -> &Data {
        &self.inputs
    }

    pub fn output(&self) -> &Data {
        &self.output
    }

    pub fn error(&self) -> Option<&ExecutionError> {
        self.error.as_ref()
    }

    pub fn request_hash(&self) -> Option<&[u8]> {
        self.request_hash.as_deref()
    }

    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// When the state last changed.
    pub fn changed_at(&self) -> Timestamp {
        self.changed_at
    }

    /// When the last event was accepted.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    pub fn parent(&self) -> Option<&ParentLink> {
        self.parent.as_ref()
    }

    /// Steps that wait for something outside, by ordinal.
    pub fn waits(&self) -> impl Iterator<Item = (u32, &WaitRun)> {
        self.waits.iter().map(|(ordinal, run)| (*ordinal, run))
    }

    /// Signals that no step has waited for yet, in the order in which they came.
    pub fn kept_signals(&self) -> impl Iterator<Item = &KeptSignal> {
        self.signals.iter().map(|(_, signal)| signal)
    }

    /// Messages that no step has taken yet, the most urgent first, with the sequence of their event.
    pub fn inbox(&self) -> impl Iterator<Item = (u64, &Message)> {
        self.inbox.iter().map(|((_, sequence), message)| (*sequence, message))
    }

    /// Nodes before which it is paused, by their place in the graph.
    pub fn breakpoints(&self) -> impl Iterator<Item = u32> + '_ {
        self.breakpoints.iter().copied()
    }

    /// Paused, and nothing that a worker has is left.
    pub fn is_quiescent(&self) -> bool {
        self.state == ExecutionState::Paused && self.quiet_from.is_none()
    }

    /// Tokens and money.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Decisions that its steps have put on record.
    pub fn decisions(&self) -> Decisions {
        self.decisions
    }

    /// What an input from outside brought last.
    pub fn received(&self) -> &Data {
        &self.received
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Every step, by ordinal.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub fn step(&self, ordinal: u32) -> Option<&Step> {
        self.steps.get(ordinal as usize)
    }

    /// Ordinals of the steps that are not terminal.
    pub fn open_steps(&self) -> impl Iterator<Item = u32> + '_ {
        self.open.iter().copied()
    }

    /// Children of a map step, by index.
    pub fn map_steps(&self, ordinal: u32) -> &[u32] {
        self.maps.get(&ordinal).map_or(&[], |map| &map.steps)
    }

    /// The id of a step: a pure function of the execution, the node and the scope, so that no step is minted twice.
    pub fn step_id(&self, ordinal: u32, node_name: &str) -> Option<StepId> {
        self.step(ordinal).map(|step| id_of(self.id, node_name, step))
    }
}

impl Step {
    /// Its node's place in the graph.
    pub fn node(&self) -> u32 {
        self.node
    }

    pub fn state(&self) -> StepState {
        self.state
    }

    /// From 1; the present or last one.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    pub fn iterations(&self) -> &[u32] {
        &self.iterations
    }

    pub fn parent(&self) -> Option<u32> {
        self.parent
    }

    pub fn index(&self) -> Option<u32> {
        self.index
    }

    /// The completed step that this one undoes.
    pub fn undoes(&self) -> Option<u32> {
        self.undoes
    }

    /// The step in doubt that this one asks about.
    pub fn reconciles(&self) -> Option<u32> {
        self.reconciles.map(|(of, _)| of)
    }

    /// It is no step of the graph, but undoes one or asks about one.
    pub(in crate::execution) fn is_aside(&self) -> bool {
        self.undoes.is_some() || self.reconciles.is_some()
    }

    /// Under which a worker has, or had, the present attempt.
    pub fn claim(&self) -> Option<ClaimId> {
        self.claim
    }

    pub fn output(&self) -> &Data {
        &self.output
    }

    pub fn error(&self) -> Option<&ExecutionError> {
        self.error.as_deref()
    }

    pub fn worker(&self) -> Option<&str> {
        self.worker.as_deref()
    }

    pub fn skip_reason(&self) -> Option<SkipReason> {
        self.skip_reason
    }

    pub fn scheduled_at(&self) -> Timestamp {
        self.scheduled_at
    }

    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }
}
