//! What expressions see of an execution.

use std::cell::Cell;

use super::state::{Execution, Step};
use super::step::StepState;
use crate::data::Data;
use crate::error::ExecutionError;
use crate::graph::expression::{OutputView, Scope, StepView};
use crate::graph::{Collect, CompiledGraph, FrameIx, NodeIx, NodeKind};

/// An execution, seen from one place in it.
pub(super) struct View<'a> {
    pub(super) execution: &'a Execution,
    pub(super) graph: &'a CompiledGraph,
    /// The graph inside of the graph that it is seen from, and its inputs.
    pub(super) frame: Option<FrameIx>,
    pub(super) inputs: Data,
    /// The node whose edges are being chosen, and what it gave; its step has not ended yet as far as the state knows.
    pub(super) ending: Option<(NodeIx, OutputView<'a>)>,
    pub(super) error: Option<&'a ExecutionError>,
    pub(super) item: Option<(&'a Data, u32)>,
    /// What the step gave that is being undone.
    pub(super) undoing: Option<&'a Data>,
    pub(super) iteration: Option<u32>,
    /// What all evaluations of a decision have taken.
    pub(super) work: &'a Cell<u64>,
}

impl<'a> View<'a> {
    /// Seen from a node that is about to run.
    pub(super) fn before(
        execution: &'a Execution,
        graph: &'a CompiledGraph,
        node: NodeIx,
        work: &'a Cell<u64>,
    ) -> Self {
        let cause = execution.nodes.get(node.0 as usize).and_then(|run| run.cause);
        let frame = graph.node(node).and_then(|node| node.frame);
        View {
            execution,
            graph,
            frame,
            inputs: execution.inputs_in(graph, frame),
            ending: None,
            error: cause.and_then(|step| execution.step(step)).and_then(Step::error),
            item: None,
            undoing: None,
            iteration: execution.iteration_of(graph, node),
            work,
        }
    }
}

impl Execution {
    /// The iteration of the innermost loop around a node.
    pub(super) fn iteration_of(&self, graph: &CompiledGraph, node: NodeIx) -> Option<u32> {
        let ix = graph.node(node)?.in_loop?;
        // Inside of a graph that is taken in, the loops around that graph are not seen.
        graph.loops.get(ix.0 as usize).filter(|each| each.frame.is_none())?;
        self.loops.get(ix.0 as usize).map(|run| run.iteration)
    }

    /// What a step gave, if it gave anything.
    pub(super) fn output_of<'a>(&'a self, graph: &CompiledGraph, ordinal: u32) -> Option<OutputView<'a>> {
        let step = self.step(ordinal)?;
        match (&graph.node(NodeIx(step.node))?.kind, step.parent) {
            _ if step.state != StepState::Completed => None,
            (NodeKind::Map(map), None) => self.collected(ordinal, map.collect),
            _ => Some(OutputView::One(&step.output)),
        }
    }

    /// The results of a map's items so far, in order.
    pub(super) fn collected(&self, ordinal: u32, collect: Collect) -> Option<OutputView<'_>> {
        let run = self.maps.get(&ordinal)?;
        let steps = run.steps.iter().filter_map(|step| self.step(*step));
        Some(match collect {
            Collect::All => OutputView::All(steps.map(|step| &step.output).collect()),
            Collect::AllSettled => OutputView::Settled(
                steps
                    .map(|step| match (&step.error, step.state) {
                        (Some(error), StepState::Failed) => Err(&**error),
                        _ => Ok(&step.output),
                    })
                    .collect(),
            ),
        })
    }
}

impl Scope for View<'_> {
    fn inputs(&self) -> &Data {
        &self.inputs
    }

    fn step(&self, node: &str) -> Option<StepView<'_>> {
        let ix = self.graph.named(self.frame, node)?;
        let run = self.execution.nodes.get(ix.0 as usize)?;
        if let Some((ending, output)) = &self.ending
            && *ending == ix
        {
            return Some(StepView { output: Some(output.clone()), error: self.error, iterations: run.runs + 1 });
        }
        let last = run.last.and_then(|ordinal| Some((ordinal, self.execution.step(ordinal)?)));
        Some(StepView {
            output: last.and_then(|(ordinal, _)| self.execution.output_of(self.graph, ordinal)),
            error: last.and_then(|(_, step)| step.error()),
            iterations: run.runs,
        })
    }

    fn output(&self) -> Option<OutputView<'_>> {
        let undoing = self.undoing.map(OutputView::One);
        undoing.or_else(|| self.ending.as_ref().map(|(_, output)| output.clone()))
    }

    fn error(&self) -> Option<&ExecutionError> {
        self.error
    }

    fn item(&self) -> Option<(&Data, u32)> {
        self.item
    }

    fn iteration(&self) -> Option<u32> {
        self.iteration
    }

    fn execution_id(&self) -> String {
        self.execution.id.to_string()
    }

    fn inbox(&self) -> Data {
        self.execution.heard()
    }

    fn spend(&self, steps: u64) {
        self.work.set(self.work.get().saturating_add(steps));
    }
}
