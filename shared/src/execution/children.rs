//! Children: executions that a step of this one starts, waits for, and is told about.
//!
//! A child's id is a pure function of the step that wants it, so that asking for it twice starts it once. Starting it
//! is owed until it is on record as started; that it has ended is taken once, whoever says it how often.

use super::decide::{Decision, Rejection};
use super::lifecycle::ExecutionState;
use super::state::{ChildRun, Execution, step_id};
use super::steering::Refusal;
use crate::data::Data;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::child::{CancellationPolicy, ChildEnding, ChildState, Share, Spent};
use crate::event::{EventData, Input, Wait};
use crate::graph::{LimitOverrides, NodeIx, NodeKind, SubGraph};
use crate::id::{ExecutionId, StepId};

/// How deep executions may start executions: one that nobody started lies at 0.
pub const MAX_DEPTH: u32 = 16;
/// Most children of one execution.
pub const MAX_CHILDREN: usize = 1000;

/// A child that somebody has to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSpec {
    /// Of the step that wants it.
    pub ordinal: u32,
    pub step: StepId,
    pub child: ExecutionId,
    /// `name` or `name@version`.
    pub graph: String,
    pub input: Data,
    /// How deep it lies.
    pub depth: u32,
    /// In the place of the limits of its graph.
    pub limits: LimitOverrides,
    /// What it may spend of the purse of this execution.
    pub share: Share,
    /// It is to be there, and do nothing: its parent is about to end.
    pub held: bool,
    /// Nobody waits for it: it runs in the background.
    pub background: bool,
}

impl Execution {
    /// Children, by the ordinal of the step that wants them.
    pub fn children(&self) -> impl Iterator<Item = (u32, &ChildRun)> {
        self.children.iter().map(|(ordinal, child)| (*ordinal, child))
    }

    /// The child that a step wants.
    pub fn child_of(&self, ordinal: u32) -> Option<ExecutionId> {
        self.children.get(&ordinal).map(|child| child.id)
    }

    /// It has failed or was cancelled, and ends as that once what it did is undone and its children have ended.
    pub fn is_ending(&self) -> bool {
        self.compensation.is_some() && !self.state.is_terminal()
    }

    /// How deep it lies under the execution that nobody started.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Children that are to be started. None while it is held.
    pub fn owed_children(&self, graph: &crate::graph::CompiledGraph) -> Vec<ChildSpec> {
        let goes_on = match self.state {
            ExecutionState::Running => true,
            ExecutionState::Waiting(_) => self.waits_on_steps,
            _ => false,
        };
        if !goes_on {
            return Vec::new();
        }
        let wanted = self.children.iter().filter(|(_, child)| child.state == ChildState::Wanted);
        let spec = |(ordinal, child): (&u32, &ChildRun)| {
            let step = self.step(*ordinal)?;
            let node = graph.node(NodeIx(step.node))?;
            Some(ChildSpec {
                ordinal: *ordinal,
                step: step_id(self.id, &node.name, &step.iterations, step.index, false),
                child: child.id,
                graph: child.graph.clone(),
                input: child.input.clone(),
                depth: self.depth + 1,
                limits: match &node.kind {
                    NodeKind::Graph(sub) => sub.spawn.policies.clone(),
                    _ => LimitOverrides::default(),
                },
                share: child.share,
                background: child.background,
                held: child.on_cancel == CancellationPolicy::CascadeCancel
                    && (self.is_ending() || self.is_orphan(*ordinal, child)),
            })
        };
        wanted.filter_map(spec).collect()
    }

    /// Children that have not ended and whose end is waited for: by their steps, or before the execution can end.
    pub fn awaited_children(&self) -> impl Iterator<Item = ExecutionId> + '_ {
        let open = self.children.iter().filter(|(_, child)| !child.state.is_over());
        let ending = self.is_ending();
        open.filter(move |(ordinal, child)| {
            self.open.contains(ordinal)
                || (ending && child.on_cancel != CancellationPolicy::Detach)
                // What is set aside for it is what the next step waits for.
                || (self.usage.short && child.share != Share::default())
                || (child.on_cancel == CancellationPolicy::CascadeCancel && self.is_orphan(**ordinal, child))
        })
        .map(|(_, child)| child.id)
    }

    /// Children that are to be cancelled: the execution is about to end, or their steps are over. Also when it has ended,
    /// because an `end` does not wait for them; that they have ended is recorded all the same.
    pub fn cancelled_children(&self) -> Vec<ExecutionId> {
        self.cancelled().map(|child| child.id).collect()
    }

    fn cancelled(&self) -> impl Iterator<Item = &ChildRun> {
        let ending = self.is_ending();
        let cascades = move |(ordinal, child): &(&u32, &ChildRun)| {
            child.state == ChildState::Running
                && child.on_cancel == CancellationPolicy::CascadeCancel
                && (ending || self.is_orphan(**ordinal, child))
        };
        self.children.iter().filter(cascades).map(|(_, child)| child)
    }

    /// Children are to be cancelled.
    pub fn cancels_children(&self) -> bool {
        self.cancelled().next().is_some()
    }

    /// It has ended, and the execution whose step started it is to be told.
    pub fn owes_its_parent(&self) -> bool {
        let parent = || self.parent.as_ref().and_then(|parent| parent.execution).is_some();
        self.state.is_terminal() && !self.parent_told && parent()
    }

    /// Its step is over without it: a race was decided, or an `end` was reached.
    fn is_orphan(&self, ordinal: u32, child: &ChildRun) -> bool {
        !child.background && !child.state.is_over() && !self.open.contains(&ordinal)
    }

    /// Children that are to be cancelled although the execution goes on; it does not complete before they have ended.
    pub(super) fn has_orphans(&self) -> bool {
        let cascades = |child: &ChildRun| child.on_cancel == CancellationPolicy::CascadeCancel;
        self.children.iter().any(|(ordinal, child)| cascades(child) && self.is_orphan(*ordinal, child))
    }

    /// Children without whose end it cannot end.
    pub(super) fn holds_back(&self) -> bool {
        let held = |child: &ChildRun| match child.state {
            // Whatever becomes of it: it has to be there first.
            ChildState::Wanted => true,
            ChildState::Running => child.on_cancel != CancellationPolicy::Detach,
            _ => false,
        };
        self.children.values().any(held)
    }

    /// A child is to be started, to be cancelled, or to be given messages. That it has ended it tells by itself.
    pub(super) fn looks_after_children(&self) -> bool {
        let goes_on = self.state == ExecutionState::Running
            || (self.waits_on_steps && matches!(self.state, ExecutionState::Waiting(_)));
        !self.children.is_empty()
            && (self.owes_messages() || (goes_on && (self.wants_a_child() || self.cancels_children())))
    }

    /// Some child is to be started yet.
    pub(super) fn wants_a_child(&self) -> bool {
        self.children.values().any(|child| child.state == ChildState::Wanted)
    }
}

impl Decision<'_> {
    /// A scheduled step wants its child.
    pub(super) fn spawn(&mut self, step: u32, sub: &SubGraph) -> Result<(), Rejection> {
        let too = |code: &str, message: String| {
            ExecutionError::new(ErrorCategory::QuotaExceeded, message).with_code(ErrorCode::new(code))
        };
        if self.execution.depth >= MAX_DEPTH {
            let error = too("child_depth_limit", format!("executions start executions {MAX_DEPTH} deep at most"));
            return self.fail_step(step, error, 0);
        }
        if self.execution.children.len() >= MAX_CHILDREN {
            let error = too("child_limit", format!("an execution has at most {MAX_CHILDREN} children"));
            return self.fail_step(step, error, 0);
        }
        let held = self.execution.step(step).ok_or(Rejection::UnknownStep(step))?;
        let id = step_id(self.execution.id, &self.node_name(step), &held.iterations, held.index, false);
        let child = ExecutionId::derived(
            "stepstream 2026 child execution",
            &[self.execution.tenant.as_str().as_bytes(), self.execution.id.as_bytes(), id.as_bytes()],
        );
        let share = self.share_for(&sub.spawn);
        self.emit(EventData::ChildSpawned {
            step,
            child,
            graph: sub.reference.clone(),
            background: sub.spawn.background,
            on_cancel: sub.spawn.on_cancel,
            inherit_inbox: sub.spawn.inherit_inbox,
            share,
        })?;
        if sub.spawn.background {
            let told = Data::from_json(&serde_json::json!({ "execution_id": child })).unwrap_or_default();
            return self.complete_step(step, told, 0);
        }
        self.emit(EventData::StepWaiting { step, wait: Wait::Child { execution: child } })
    }

    pub(super) fn step_of_child(&self, child: ExecutionId) -> Result<(u32, ChildState), Rejection> {
        let found = self.execution.children.iter().find(|(_, run)| run.id == child);
        found.map(|(step, run)| (*step, run.state)).ok_or_else(|| Refusal::NotWaiting(child.to_string()).into())
    }

    pub(super) fn child_started(&mut self, child: ExecutionId) -> Result<(), Rejection> {
        self.not_over()?;
        let (step, state) = self.step_of_child(child)?;
        if state != ChildState::Wanted {
            return Err(Refusal::Repeated.into());
        }
        self.emit(EventData::ChildStarted { step })
    }

    pub(super) fn child_ended(
        &mut self,
        child: ExecutionId,
        ending: ChildEnding,
        used: Spent,
    ) -> Result<(), Rejection> {
        let (step, state) = self.step_of_child(child)?;
        if state.is_over() {
            return Err(Refusal::Repeated.into());
        }
        if !self.execution.cancelled().any(|cancelled| cancelled.id == child) {
            self.not_over()?;
        }
        self.emit(EventData::ChildFinished { step, state: ending.state(), used })?;
        // Otherwise nobody waits for what it gave: it went on in the background, or its step was closed.
        if self.execution.waits.contains_key(&step) {
            self.take_ending(step, child, ending)?;
        }
        if self.execution.state.is_terminal() { Ok(()) } else { self.look_at_usage() }
    }

    fn take_ending(&mut self, step: u32, child: ExecutionId, ending: ChildEnding) -> Result<(), Rejection> {
        match ending {
            ChildEnding::Completed { output } => self.complete_step(step, output, 0),
            ChildEnding::Failed { error } => {
                let message = format!("the child {child} failed: {}", error.message);
                self.fail_step(step, ExecutionError { message, ..error }.cut(), 0)
            }
            ChildEnding::Cancelled { reason } => {
                let message = format!("the child {child} was cancelled: {reason}");
                let error = ExecutionError::new(ErrorCategory::PolicyViolation, message)
                    .with_code(ErrorCode::new("child_cancelled"));
                self.fail_step(step, error.cut(), 0)
            }
        }
    }
}

impl Execution {
    /// What a step was given, as a value.
    pub(super) fn given_to(&self, ordinal: u32) -> Data {
        let Some(step) = self.step(ordinal) else { return Data::null() };
        match &step.input {
            Input::Value(value) => value.clone(),
            Input::Inputs => self.inputs.clone(),
            Input::Output(of) => self.step(*of).map(|step| step.output.clone()).unwrap_or_default(),
            Input::Given(of) => self.given_to(*of),
            _ => Data::null(),
        }
    }
}
