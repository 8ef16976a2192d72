//! What the outside must still do, computed from state: a crash between recording and acting loses nothing.

use std::time::Duration;

use super::lifecycle::ExecutionState;
use super::state::{Execution, id_of};
use super::step::StepState;
use crate::data::Data;
use crate::event::{EventData, Input};
use crate::graph::{CompiledGraph, Map, NodeIx, NodeKind, Priority, Task};
use crate::id::StepId;
use crate::time::Timestamp;

/// An attempt that a worker must be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    pub ordinal: u32,
    pub step: StepId,
    pub attempt: u32,
    /// Sequence of the event that scheduled it.
    pub position: u64,
    pub node: String,
    pub callable: String,
    pub queue: String,
    pub priority: Priority,
    pub input: Data,
    pub start_to_close: Option<Duration>,
    pub heartbeat: Option<Duration>,
    pub scheduled_at: Timestamp,
    /// What it took from the inbox: a list of messages, the most urgent first; null when there are none.
    pub inbox: Data,
    /// Expressions look into the output: it is not to be put away.
    pub inline: bool,
    /// Mebibytes that the programs of the attempt may have in memory together.
    pub max_memory_mb: Option<u32>,
    /// The worker asks for the attempt before it runs it.
    pub claim: bool,
    /// A worker has said that it runs the attempt: it need not be asked for again unless that worker is lost.
    pub running: bool,
}

/// What the events of one append ask the outside for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Attempts at these steps.
    Steps(Vec<u32>),
    /// Whatever was withheld while the execution was held.
    Everything,
}

impl Asked {
    pub fn by(events: &[EventData]) -> Self {
        let mut steps = Vec::new();
        for event in events {
            match event {
                EventData::ExecutionResumed {}
                | EventData::InputReceived { step: None, .. }
                | EventData::StoreRestored { .. } => {
                    return Asked::Everything;
                }
                EventData::StepScheduled { step, .. }
                | EventData::StepRescheduled { step, .. }
                | EventData::ReconciliationScheduled { step, .. }
                | EventData::PermitGranted { step, .. } => steps.push(*step),
                _ => {}
            }
        }
        Asked::Steps(steps)
    }
}

/// What an execution waits for, from whoever drives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: workers are to run attempts, children are to be started or cancelled, a parent or permits are to be asked
    /// or told, or a decision goes on at once.
    Owes,
    /// That this moment comes. Nothing is owed before.
    Until(Timestamp),
    /// A command, and nothing else moves it: it is held, or waits without a deadline. Attempts that workers had before may
    /// still be reported.
    Command,
    /// It has ended, and owes nobody anything. One that has ended and owes something rests as any other does.
    Over,
}

impl Execution {
    /// What keeps the execution going next. Costs the same whatever its size, but for its children.
    pub fn rest(&self) -> Rest {
        if self.state.is_terminal() {
            if self.owed_attempt().is_some() || self.owes_its_parent() || self.cancels_children() {
                return Rest::Owes;
            }
            return self.owed_callback().and_then(|callback| callback.due()).map_or(Rest::Over, Rest::Until);
        }
        if self.state == ExecutionState::Running && (self.in_hand > 0 || self.has_more()) {
            return Rest::Owes;
        }
        if self.looks_after_children() || self.asks_for_permits() {
            return Rest::Owes;
        }
        self.next_deadline().map_or(Rest::Command, Rest::Until)
    }

    /// How many attempts workers are on record as running, also while the execution is held.
    pub fn at_work(&self) -> u32 {
        self.at_work
    }

    /// How many attempts workers have or are asked for, also while the execution is held.
    #[cfg(test)]
    pub(super) fn in_hand(&self) -> u32 {
        self.in_hand
    }

    /// Every attempt that a worker must run or is running. Nothing while the execution is held or over.
    pub fn owed(&self, graph: &CompiledGraph) -> Vec<JobSpec> {
        if self.state != ExecutionState::Running {
            return Vec::new();
        }
        self.open.iter().filter_map(|ordinal| self.job(graph, *ordinal)).collect()
    }

    /// Of what an append asked for, what is still owed now.
    pub fn owed_of(&self, graph: &CompiledGraph, asked: &Asked) -> Vec<JobSpec> {
        match asked {
            _ if self.state != ExecutionState::Running => Vec::new(),
            Asked::Steps(steps) => steps.iter().filter_map(|step| self.job(graph, *step)).collect(),
            Asked::Everything => self.owed(graph),
        }
    }

    /// The present attempt at a step, if a worker is to run it.
    pub fn job(&self, graph: &CompiledGraph, ordinal: u32) -> Option<JobSpec> {
        let step = self.step(ordinal)?;
        let running = match step.state {
            StepState::Scheduled => false,
            StepState::Running | StepState::Claimed => true,
            _ => return None,
        };
        let node = graph.node(NodeIx(step.node))?;
        let task = self.task_of(graph, ordinal)?;
        let input = self.input_of(ordinal)?;
        Some(JobSpec {
            ordinal,
            step: id_of(self.id, &node.name, step),
            attempt: step.attempt,
            position: step.position,
            node: node.name.clone(),
            callable: task.callable.clone(),
            queue: task.queue.clone(),
            priority: task.priority,
            input,
            start_to_close: task.timeouts.start_to_close,
            heartbeat: if task.claim { Some(task.lease()) } else { task.timeouts.heartbeat },
            scheduled_at: step.scheduled_at,
            inbox: self.inbox_of(ordinal),
            // What a reconciliation gives is looked into.
            inline: self.keeps_inline(graph, NodeIx(step.node)) || step.reconciles.is_some(),
            claim: task.claim,
            max_memory_mb: self.limits(graph).max_memory_mb,
            running,
        })
    }

    /// What a worker runs for a step: of its node, or what undoes it. `None` where no worker runs anything.
    pub fn task_of<'g>(&self, graph: &'g CompiledGraph, ordinal: u32) -> Option<&'g Task> {
        let step = self.step(ordinal)?;
        let node = graph.node(NodeIx(step.node))?;
        match &node.kind {
            _ if step.undoes.is_some() => node.undo.as_ref(),
            NodeKind::Task(task) | NodeKind::Map(Map { task, .. }) if step.reconciles.is_some() => {
                task.reconcile.as_deref()
            }
            NodeKind::Task(task) => Some(task),
            // The map's own step is no worker's; its items are.
            NodeKind::Map(map) if step.parent.is_some() => Some(&map.task),
            _ => None,
        }
    }

    /// The input of a step that keeps it: for one that waits, what is shown to whoever decides or answers.
    pub fn input_of(&self, ordinal: u32) -> Option<Data> {
        let step = self.step(ordinal)?;
        Some(match &step.input {
            Input::None => Data::null(),
            Input::Value(value) => value.clone(),
            Input::Inputs => self.inputs.clone(),
            Input::Output(of) => self.step(*of)?.output.clone(),
            Input::Item => self.maps.get(&step.parent?)?.items.get(step.index? as usize)?.clone(),
            Input::Undone => self.work_done(step.undoes?).ok()?,
            Input::Doubted(key) => {
                let (of, attempt) = step.reconciles?;
                self.doubted(of, attempt, key)
            }
            Input::Given(of) => self.input_of(*of)?,
        })
    }

    /// When the execution wants to be told that time has passed. At or after that point, a
    /// [`Command::Tick`](super::Command::Tick) always yields events.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        match self.state {
            ExecutionState::Running if self.has_more() => Some(self.last_at),
            ExecutionState::Running | ExecutionState::Waiting(_) => {
                self.deadlines.first().map(|(own, _)| self.moment_of(*own))
            }
            // Whatever a worker has ends by itself, and is what is waited for then.
            ExecutionState::Paused if self.at_work == 0 => self.quiet_from,
            ExecutionState::Created => self.deferred_until(),
            _ => None,
        }
    }

    /// Paused, no worker is on record as having anything, and one that has would have said so by now.
    pub(super) fn is_getting_quiet(&self, at: Timestamp) -> bool {
        self.state == ExecutionState::Paused && self.at_work == 0 && self.quiet_from.is_some_and(|from| from <= at)
    }

    /// The last append had reached its size before all consequences were recorded: a tick at once goes on.
    pub fn has_more(&self) -> bool {
        // An `end` does not come before the children are there that are wanted; their start goes on with the rest.
        let goes_on = (!self.ready.is_empty() || !self.busy_maps.is_empty()) && !self.wants_a_child();
        !self.losing.is_empty() || self.undo_is_due() || (goes_on && !self.usage.short)
    }
}
