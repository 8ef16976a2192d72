//! Undoing what was done, when an execution is about to end as failed or cancelled.
//!
//! A task or a map may name its undo. Every completed step of such a node, each item of a map by itself, is undone by a
//! step of its own: one at a time, the last one completed first. Until the last undo has ended the execution is not
//! over; then it ends as it would have at once. An undo that fails for good is counted and the next one has its turn:
//! stopping would leave more standing than going on. What did not complete is not undone: whether a step that failed,
//! or was given up, left anything behind only its own callable can know.
//!
//! Undo steps are counted by themselves, not among the steps of the graph, and bounded by them: `limits.max_steps` does
//! not stop them and `limits.wall_time` does not cut them short.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::advance::expression_failed;
use super::decide::{Decision, Rejection};
use super::lifecycle::{ExecutionAction, ExecutionState};
use super::scope::View;
use super::state::Execution;
use super::step::StepState;
use crate::data::{Data, DataError};
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::{Ending, EventData, Input, Undone};
use crate::graph::expression::Reference;
use crate::graph::{CompiledGraph, NodeIx, NodeKind};

/// An execution that undoes what it has done, or has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compensation {
    /// How it ends when everything is undone.
    #[serde(rename = "e")]
    pub(super) ending: Ending,
    #[serde(rename = "u", default)]
    pub(super) undone: Undone,
    /// The undo step that is open.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<u32>,
}

impl Compensation {
    pub fn ending(&self) -> &Ending {
        &self.ending
    }

    /// How many undo steps ended how, so far.
    pub fn undone(&self) -> Undone {
        self.undone
    }

    /// The undo step that is open.
    pub fn step(&self) -> Option<u32> {
        self.step
    }

    /// Undo steps there are, the open one included.
    pub fn steps(&self) -> u32 {
        self.undone.done + self.undone.failed + u32::from(self.step.is_some())
    }
}

impl Execution {
    /// Once it has begun to undo, also when it is over.
    pub fn compensation(&self) -> Option<&Compensation> {
        self.compensation.as_ref()
    }

    /// Completed steps that are not undone and not being undone, should it come to that or while it does.
    pub fn undo_left(&self) -> usize {
        self.undoable.len()
    }

    /// Steps of the graph, without those that undo or only ask about others.
    pub fn graph_steps(&self) -> usize {
        let undo = self.compensation.as_ref().map_or(0, Compensation::steps);
        self.steps.len().saturating_sub(undo as usize + self.reconciliations as usize)
    }

    /// The next undo can be scheduled, or the execution ended.
    pub(super) fn undo_is_due(&self) -> bool {
        !self.state.is_terminal()
            && self.compensation.as_ref().is_some_and(|running| running.step.is_none())
            && (!self.undoable.is_empty() || !self.holds_back())
    }

    /// `{input, output}` of a completed step.
    ///
    /// # Errors
    /// When the two are within the limits of a value and both together are not.
    pub(super) fn work_done(&self, ordinal: u32) -> Result<Data, DataError> {
        let input = self.input_of(ordinal).unwrap_or_default();
        let output = self.step(ordinal).map(|step| step.output.clone()).unwrap_or_default();
        let mut bytes = Vec::with_capacity(input.len() + output.len() + 14);
        // A map of two, with keys of five and six bytes.
        bytes.extend_from_slice(b"\x82\xa5input");
        bytes.extend_from_slice(input.as_msgpack());
        bytes.extend_from_slice(b"\xa6output");
        bytes.extend_from_slice(output.as_msgpack());
        Data::from_msgpack(Bytes::from(bytes))
    }

    /// Whether a step that ends keeps its input, or a map its items, for whoever undoes it.
    pub(super) fn input_is_kept(&self, graph: &CompiledGraph, ordinal: u32) -> bool {
        let Some(step) = self.step(ordinal) else { return false };
        if graph.node(NodeIx(step.node)).is_some_and(|node| matches!(node.kind, NodeKind::Enter(_))) {
            return true; // The inputs of a frame.
        }
        let undoable = graph.node(NodeIx(step.node)).is_some_and(|node| node.undo.is_some()) && !step.is_aside();
        // A map that ends has items that have completed.
        undoable && (step.state == StepState::Completed || self.maps.contains_key(&ordinal))
    }

    /// A step has completed.
    pub(super) fn keep_for_undo(&mut self, graph: &CompiledGraph, ordinal: u32) {
        let Some(step) = self.step(ordinal) else { return };
        let Some(node) = graph.node(NodeIx(step.node)).filter(|node| node.undo.is_some()) else { return };
        // The items of a map are undone, not their list.
        if step.parent.is_some() || !matches!(node.kind, NodeKind::Map(_)) {
            self.undoable.push(ordinal);
        }
    }

    pub(super) fn begin_compensation(&mut self, ending: &Ending) -> Result<(), &'static str> {
        match ending {
            _ if self.compensation.is_some() => return Err("undoing has begun already"),
            _ if !self.open.is_empty() => return Err("steps are still open"),
            _ if self.undoable.is_empty() && !self.holds_back() => return Err("there is nothing to undo"),
            Ending::Failed { step: Some(step), .. } if self.step(*step).is_none() => {
                return Err("there is no such step");
            }
            Ending::Failed { .. } | Ending::Cancelled { .. } => {}
        }
        self.compensation = Some(Compensation { ending: ending.clone(), undone: Undone::default(), step: None });
        self.paused_wait = None;
        self.waits_on_steps = false;
        self.passing = None;
        // Nothing of the graph goes on, and the wall time is over or does not matter any more.
        self.ready.clear();
        self.busy_maps.clear();
        self.losing.clear();
        self.deadlines.clear();
        Ok(())
    }

    pub(super) fn may_undo(&self, undone: u32) -> Result<(), &'static str> {
        match &self.compensation {
            None => Err("nothing is undone before undoing has begun"),
            Some(running) if running.step.is_some() => Err("steps are undone one at a time"),
            Some(_) if self.undoable.last() != Some(&undone) => Err("another step is to be undone first"),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn undo_begun(&mut self, ordinal: u32) {
        self.undoable.pop();
        if let Some(running) = &mut self.compensation {
            running.step = Some(ordinal);
        }
    }

    /// Counts a step that has ended, if it is one that undoes.
    pub(super) fn undo_ended(&mut self, ordinal: u32) -> bool {
        let Some(step) = self.step(ordinal) else { return false };
        let (undone, done) = (step.undoes, step.state == StepState::Completed);
        let (Some(undone), Some(running)) = (undone, &mut self.compensation) else { return false };
        if done {
            running.undone.done += 1;
        } else {
            running.undone.failed += 1;
        }
        running.step = None;
        if let Some(step) = self.steps.get_mut(undone as usize) {
            step.input = Input::None;
        }
        true
    }

    /// Whether it may end so, as far as undoing goes.
    pub(super) fn may_end(&self, action: ExecutionAction) -> Result<(), &'static str> {
        match (action, &self.compensation) {
            (ExecutionAction::Complete, Some(_)) => Err("it does not complete once it undoes"),
            (ExecutionAction::Complete, None) => Ok(()),
            _ if !self.undoable.is_empty() => Err("what was done is undone first"),
            _ if self.holds_back() => Err("its children end first"),
            (ExecutionAction::Fail, Some(running)) if matches!(running.ending, Ending::Cancelled { .. }) => {
                Err("it ends as cancelled once everything is undone")
            }
            (ExecutionAction::Cancel, Some(running)) if matches!(running.ending, Ending::Failed { .. }) => {
                Err("it ends as failed once everything is undone")
            }
            _ => Ok(()),
        }
    }

    /// The execution is over: nothing will be undone any more, and what was kept for that is let go.
    pub(super) fn forget_undo(&mut self) {
        for ordinal in std::mem::take(&mut self.undoable) {
            let Some(step) = self.steps.get_mut(ordinal as usize) else { continue };
            step.input = Input::None;
            if let Some(map) = step.parent.and_then(|map| self.maps.get_mut(&map)) {
                map.items = Vec::new();
            }
        }
    }
}

impl Decision<'_> {
    pub(super) fn not_while_compensating(&self) -> Result<(), Rejection> {
        match &self.execution.compensation {
            Some(running) => Err(Rejection::Compensating { ending: running.ending.name() }),
            None => Ok(()),
        }
    }

    /// Ends the execution, after everything is undone that can be. Every step is closed already.
    pub(super) fn end_as(&mut self, ending: Ending) -> Result<(), Rejection> {
        if self.execution.undoable.is_empty() && !self.execution.holds_back() {
            return self.end_badly(ending, None);
        }
        // Who cancels what is paused wants an end of it.
        if self.execution.state == ExecutionState::Paused && matches!(ending, Ending::Cancelled { .. }) {
            self.emit(EventData::ExecutionResumed {})?;
        }
        self.emit(EventData::CompensationStarted { ending })?;
        self.compensate()
    }

    /// Undoes the next step, or ends the execution when there is none.
    pub(super) fn compensate(&mut self) -> Result<(), Rejection> {
        while self.execution.undo_is_due() {
            if self.is_full() {
                return Ok(()); // A tick goes on.
            }
            match self.execution.undoable.last().copied() {
                Some(step) => self.undo(step)?,
                None => {
                    let Some(running) = &self.execution.compensation else { return Ok(()) };
                    let (ending, undone) = (running.ending.clone(), running.undone);
                    self.end_badly(ending, Some(undone))?;
                }
            }
        }
        Ok(())
    }

    fn undo(&mut self, undone: u32) -> Result<(), Rejection> {
        let input = self.undo_input(undone)?;
        let step = self.execution.step(undone).ok_or(Rejection::UnknownStep(undone))?;
        let (node, iterations, index) = (step.node, step.iterations.clone(), step.index);
        let (input, error) = match input {
            Ok(input) => (input, None),
            Err(error) => (Input::None, Some(error)),
        };
        let step = self.next_ordinal();
        let undoes = Some(undone);
        self.emit(EventData::StepScheduled { step, node, iterations, parent: None, index, input, undoes })?;
        match error {
            Some(error) => self.fail_step(step, error, 0),
            None => Ok(()),
        }
    }

    fn undo_input(&self, undone: u32) -> Result<Result<Input, ExecutionError>, Rejection> {
        let unknown = || Rejection::UnknownStep(undone);
        let step = self.execution.step(undone).ok_or_else(unknown)?;
        let node = self.graph.node(NodeIx(step.node)).ok_or_else(unknown)?;
        let Some(template) = node.undo.as_ref().ok_or_else(unknown)?.with.as_ref() else {
            return Ok(match self.execution.work_done(undone) {
                Ok(_) => Ok(Input::Undone),
                Err(error) => Err(ExecutionError::new(ErrorCategory::QuotaExceeded, error.to_string())
                    .with_code(ErrorCode::new("payload_limit"))),
            });
        };
        if template.reference() == Some(Reference::Inputs) {
            return Ok(Ok(self.execution.named_inputs_of(self.graph, node.frame, undone)));
        }
        let item = step.parent.and_then(|map| {
            let index = step.index?;
            Some((self.execution.maps.get(&map)?.items.get(index as usize)?, index))
        });
        let view = View {
            execution: self.execution,
            graph: self.graph,
            frame: node.frame,
            inputs: self.execution.inputs_of(self.graph, node.frame, undone),
            ending: None,
            error: None,
            item,
            undoing: Some(&step.output),
            iteration: step.iterations.last().copied(),
            work: &self.work,
        };
        Ok(template.evaluate(&view).map(Input::Value).map_err(|error| expression_failed(&error)))
    }
}
