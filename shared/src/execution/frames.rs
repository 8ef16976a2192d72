//! Graphs that are taken in: entered, left, and ended before their time.
//!
//! The nodes of such a graph are nodes of the graph around it, in a region of their own. It is entered with the step that
//! evaluates its inputs, and is over when everything in its region has settled; then the node that takes it in has its
//! step, which gives its output and chooses edges. What fails inside and is taken by nobody there fails that step, and
//! an `end` inside completes it: what is still open in the region is given up then, as what loses a race is.

use super::state::{Execution, LoopRun, Ready, Step};
use crate::data::Data;
use crate::event::Input;
use crate::graph::{CompiledGraph, FrameIx, NodeIx, NodeKind};

impl Execution {
    /// The inputs, seen from inside a frame or from the graph itself.
    pub(super) fn inputs_in(&self, graph: &CompiledGraph, frame: Option<FrameIx>) -> Data {
        match frame {
            None => self.inputs.clone(),
            Some(frame) => {
                let entered = self.entered_by(graph, frame);
                entered.and_then(|step| self.input_of(step)).unwrap_or_default()
            }
        }
    }

    /// The same, by name.
    pub(super) fn named_inputs(&self, graph: &CompiledGraph, frame: Option<FrameIx>) -> Input {
        let entered = frame.and_then(|frame| self.entered_by(graph, frame));
        entered.map_or(Input::Inputs, Input::Given)
    }

    /// The inputs that a step ran under, by name: in a loop, those of the round that it belongs to.
    pub(super) fn named_inputs_of(&self, graph: &CompiledGraph, frame: Option<FrameIx>, ordinal: u32) -> Input {
        match frame {
            None => Input::Inputs,
            Some(frame) => self.entered_for(graph, frame, ordinal).map_or(Input::None, Input::Given),
        }
    }

    /// The same, as a value.
    pub(super) fn inputs_of(&self, graph: &CompiledGraph, frame: Option<FrameIx>, ordinal: u32) -> Data {
        match frame {
            None => self.inputs.clone(),
            Some(frame) => {
                let entered = self.entered_for(graph, frame, ordinal);
                entered.and_then(|step| self.input_of(step)).unwrap_or_default()
            }
        }
    }

    /// The step by which a frame was entered for a step inside it: the one in the same iterations of the loops around.
    fn entered_for(&self, graph: &CompiledGraph, frame: FrameIx, ordinal: u32) -> Option<u32> {
        let entry = graph.frame(frame)?.entry.0;
        let inside = self.step(ordinal)?;
        let fits = |step: &Step| {
            step.node == entry && step.undoes.is_none() && inside.iterations.starts_with(&step.iterations)
        };
        // Mostly it was entered once, or it is the last round that is asked for.
        let last = self.entered_by(graph, frame).filter(|last| self.step(*last).is_some_and(fits));
        last.or_else(|| {
            let before = self.steps.get(..ordinal as usize)?;
            before.iter().rposition(fits).and_then(|at| u32::try_from(at).ok())
        })
    }

    /// The step by which a frame was entered last.
    fn entered_by(&self, graph: &CompiledGraph, frame: FrameIx) -> Option<u32> {
        let entry = graph.frame(frame)?.entry;
        self.nodes.get(entry.0 as usize)?.last
    }

    /// The step that ended a frame before its time.
    pub(super) fn cut_by(&self, graph: &CompiledGraph, frame: FrameIx) -> Option<u32> {
        let region = graph.frame(frame)?.region;
        self.loops.get(region.0 as usize)?.cut
    }

    /// Whether a step is in a frame that was ended before its time.
    pub(super) fn is_cut(&self, graph: &CompiledGraph, ordinal: u32) -> bool {
        let node = self.step(ordinal).and_then(|step| graph.node(NodeIx(step.node)));
        let mut around = node.and_then(|node| node.in_loop);
        while let Some(each) = around.and_then(|ix| graph.loops.get(ix.0 as usize)) {
            if around.and_then(|ix| self.loops.get(ix.0 as usize)).is_some_and(|run| run.cut.is_some()) {
                return true;
            }
            around = each.parent;
        }
        false
    }

    /// The frame that ends with a step that nobody takes, or that an `end` is in.
    pub(super) fn frame_around(&self, graph: &CompiledGraph, ordinal: u32) -> Option<FrameIx> {
        let step = self.step(ordinal)?;
        if step.parent.is_some() || step.is_aside() {
            return None;
        }
        let node = graph.node(NodeIx(step.node))?;
        match node.kind {
            NodeKind::Enter(frame) => Some(frame),
            _ => node.frame,
        }
    }

    /// What is in a frame begins anew: nothing of an earlier round is seen.
    pub(super) fn enter_frame(&mut self, graph: &CompiledGraph, ix: FrameIx, runs: bool) {
        let Some(each) = graph.frame(ix).and_then(|frame| graph.loops.get(frame.region.0 as usize)) else { return };
        let Some(region) = graph.frame(ix).map(|frame| frame.region) else { return };
        for node in &each.body {
            if let Some(run) = self.nodes.get_mut(node.0 as usize) {
                run.last = None;
                run.runs = 0;
            }
        }
        if let Some(run) = self.loops.get_mut(region.0 as usize) {
            let iteration = u32::from(runs);
            *run = LoopRun { iteration, unsettled: each.members, again: false, lost: run.lost, cut: None };
        }
    }

    /// Everything in it has settled.
    pub(super) fn leave_frame(&mut self, graph: &CompiledGraph, ix: FrameIx) {
        let Some(frame) = graph.frame(ix) else { return };
        let entered = self.loops.get(frame.region.0 as usize).is_some_and(|run| run.iteration > 0);
        let exit = frame.exit.0;
        self.activate(graph, if entered { Ready::Run(exit) } else { Ready::Skip(exit) });
    }

    /// A step has ended the frame that it is in: what is open there is given up, and the frame is left.
    pub(super) fn cut_frame(&mut self, graph: &CompiledGraph, ix: FrameIx, by: u32) {
        let Some(frame) = graph.frame(ix) else { return };
        let Some(each) = graph.loops.get(frame.region.0 as usize) else { return };
        if let Some(node) = self.step(by).map(|step| step.node)
            && let Some(run) = self.nodes.get_mut(node as usize)
        {
            run.runs += 1;
            run.last = Some(by);
            if node == frame.entry.0 {
                let around = graph.node(frame.entry).and_then(|node| node.in_loop);
                self.member_settled(graph, around);
            }
        }
        for node in &each.body {
            let Some(run) = self.nodes.get_mut(node.0 as usize) else { continue };
            run.lost = true;
            if let Some(step) = run.step {
                self.lose_step(step);
            }
        }
        for inner in &each.inner {
            if let Some(run) = self.loops.get_mut(inner.0 as usize) {
                run.lost = true;
            }
        }
        self.ready.retain(|ready| each.body.binary_search(&NodeIx(ready.node())).is_err());
        if let Some(run) = self.loops.get_mut(frame.region.0 as usize) {
            run.unsettled = 0;
            run.cut = Some(by);
        }
        self.activate(graph, Ready::Run(frame.exit.0));
        self.member_settled(graph, each.parent);
    }
}
