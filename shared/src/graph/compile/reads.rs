//! Which values of a graph its expressions look into: those have to be in the log, whatever their size. What is only passed
//! on from step to step may be a reference to bytes outside it.

use std::collections::{BTreeSet, HashMap};

use super::flatten::Flat;
use crate::graph::compiled::{
    EdgeKind, FrameIx, LookedInto, NodeIx, NodeKind, PermitRules, SubGraph, Task, WaitFor, WaitNode,
};
use crate::graph::expression::Reads;

/// Finds them once all expressions are compiled. Names are those of the graph that an expression stands in. What is given
/// to a graph that is taken in, and what that gives, may be looked into.
pub(super) fn find(graph: &Flat) -> LookedInto {
    let mut found = Found { graph, outputs: BTreeSet::new(), frames: HashMap::new() };
    for (node, ix) in graph.nodes.iter().zip(0..) {
        let reads = found.frames.entry(node.frame).or_default();
        of_kind(&node.kind, node.frame.is_none(), reads);
        node.undo.iter().for_each(|undo| of_task(undo, reads));
        for edge in node.out.iter().filter_map(|edge| graph.edges.get(edge.0 as usize)) {
            if let EdgeKind::When(condition) = &edge.kind {
                condition.reads(reads);
            }
        }
        if std::mem::take(&mut reads.output) {
            found.outputs.insert(NodeIx(ix));
        }
        let own = |frame: FrameIx| graph.frames.get(frame.0 as usize);
        match &node.kind {
            NodeKind::Enter(frame) => match own(*frame).and_then(|frame| frame.with.as_ref()) {
                Some(with) => with.reads(false, reads),
                None => reads.inputs = true,
            },
            NodeKind::Inline(frame) => match own(*frame).and_then(|frame| frame.output.as_ref()) {
                Some(output) => output.reads(false, found.frames.entry(Some(*frame)).or_default()),
                None => found.outputs.extend(graph.last(Some(*frame))),
            },
            _ => {}
        }
    }
    graph.output.iter().for_each(|output| output.reads(true, found.frames.entry(None).or_default()));
    found.close();
    let reads = found.frames.remove(&None).unwrap_or_default();
    LookedInto { outputs: found.outputs, inputs: reads.inputs, fields: reads.fields, returned: returned(graph) }
}

/// The outputs that reach whoever is given the output of the execution.
fn returned(graph: &Flat) -> BTreeSet<NodeIx> {
    let mut found = Found { graph, outputs: BTreeSet::new(), frames: HashMap::new() };
    let reads = found.frames.entry(None).or_default();
    graph.output.iter().for_each(|output| output.reads(false, reads));
    for node in graph.nodes.iter().filter(|node| node.frame.is_none()) {
        if let NodeKind::End { output: Some(output) } = &node.kind {
            output.reads(false, reads);
        }
    }
    if graph.output.is_none() {
        found.outputs.extend(graph.last(None));
    }
    found.close();
    found.outputs
}

impl Flat {
    /// The nodes behind which nothing comes: of a graph that declares no output, the only one gives it.
    fn last(&self, frame: Option<FrameIx>) -> impl Iterator<Item = NodeIx> + '_ {
        let nodes = (0_u32..).zip(&self.nodes);
        nodes.filter(move |(_, node)| node.frame == frame && node.out.is_empty()).map(|(at, _)| NodeIx(at))
    }
}

struct Found<'a> {
    graph: &'a Flat,
    outputs: BTreeSet<NodeIx>,
    /// What the expressions of each graph look into, by the names inside it.
    frames: HashMap<Option<FrameIx>, Reads>,
}

impl Found<'_> {
    fn place(&self, frame: Option<FrameIx>, name: &str) -> Option<NodeIx> {
        let names = match frame {
            Some(frame) => &self.graph.frames.get(frame.0 as usize)?.by_name,
            None => &self.graph.by_name,
        };
        names.get(name).copied()
    }

    /// Adds the nodes that are named, and what their outputs are made of: whoever looks into what a transform gives looks
    /// into what the transform passes on. Each node is gone through once.
    fn close(&mut self) {
        for (frame, reads) in &self.frames {
            let named: Vec<NodeIx> = reads.steps.iter().filter_map(|name| self.place(*frame, name)).collect();
            self.outputs.extend(named);
        }
        let mut open: Vec<NodeIx> = self.outputs.iter().copied().collect();
        while let Some(ix) = open.pop() {
            let Some(node) = self.graph.nodes.get(ix.0 as usize) else { continue };
            let NodeKind::Transform(template) = &node.kind else { continue };
            let mut within = Reads::default();
            template.reads(false, &mut within);
            for name in &within.steps {
                if let Some(ix) = self.place(node.frame, name)
                    && self.outputs.insert(ix)
                {
                    open.push(ix);
                }
            }
            // Those of a graph that is taken in are looked into already, where they are given to it.
            let reads = self.frames.entry(node.frame).or_default();
            reads.inputs |= within.inputs;
            reads.fields.extend(within.fields);
        }
    }
}

fn of_task(task: &Task, reads: &mut Reads) {
    // By name, so that whoever adds an expression to a task comes by here.
    let Task {
        with,
        permits,
        callable: _,
        queue: _,
        priority: _,
        retry: _,
        timeouts: _,
        inbox: _,
        reserve: _,
        guarantee: _,
        claim: _,
        reconcile,
        dead_letter: _,
    } = task;
    reconcile.iter().for_each(|reconcile| of_task(reconcile, reads));
    with.iter().for_each(|with| with.reads(true, reads));
    if let Some(PermitRules { concurrency, rate, patience: _ }) = permits.as_deref() {
        concurrency.iter().for_each(|rule| rule.key.reads(false, reads));
        rate.iter().for_each(|rule| rule.key.reads(false, reads));
    }
}

/// `passes`: what a node gives is not the output of a graph that is taken in, which may be looked into.
fn of_kind(kind: &NodeKind, passes: bool, reads: &mut Reads) {
    match kind {
        NodeKind::Task(task) => of_task(task, reads),
        NodeKind::Map(map) => {
            map.over.reads(reads);
            of_task(&map.task, reads);
        }
        NodeKind::Wait(WaitNode { what, with, .. }) => {
            with.iter().for_each(|with| with.reads(true, reads));
            match what {
                WaitFor::Timer(when) | WaitFor::Until(when) => when.reads(false, reads),
                WaitFor::Signal { correlation: template, .. }
                | WaitFor::Approval { assignees: template, .. }
                | WaitFor::Input { from: template } => template.iter().for_each(|part| part.reads(false, reads)),
                WaitFor::External => {}
            }
        }
        // The other graph may look into what it is given.
        NodeKind::Graph(SubGraph { with: Some(with), .. }) => with.reads(false, reads),
        NodeKind::Graph(SubGraph { with: None, .. }) => reads.inputs = true,
        NodeKind::Route | NodeKind::End { output: None } | NodeKind::Enter(_) | NodeKind::Inline(_) => {}
        NodeKind::Transform(template) => template.reads(passes, reads),
        NodeKind::End { output: Some(template) } => template.reads(passes, reads),
        NodeKind::Fail { message, .. } => message.reads(false, reads),
    }
}
