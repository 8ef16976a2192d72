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
    let mut looked_into = BTreeSet::new();
    let mut frames: HashMap<Option<FrameIx>, Reads> = HashMap::new();
    for (node, ix) in graph.nodes.iter().zip(0..) {
        let reads = frames.entry(node.frame).or_default();
        of_kind(&node.kind, node.frame.is_none(), reads);
        node.undo.iter().for_each(|undo| of_task(undo, reads));
        for edge in node.out.iter().filter_map(|edge| graph.edges.get(edge.0 as usize)) {
            if let EdgeKind::When(condition) = &edge.kind {
                condition.reads(reads);
            }
        }
        if std::mem::take(&mut reads.output) {
            looked_into.insert(NodeIx(ix));
        }
        let own = |frame: FrameIx| graph.frames.get(frame.0 as usize);
        match &node.kind {
            NodeKind::Enter(frame) => match own(*frame).and_then(|frame| frame.with.as_ref()) {
                Some(with) => with.reads(false, reads),
                None => reads.inputs = true,
            },
            NodeKind::Inline(frame) => match own(*frame).and_then(|frame| frame.output.as_ref()) {
                Some(output) => output.reads(false, frames.entry(Some(*frame)).or_default()),
                None => {
                    let last = (0..).zip(&graph.nodes).filter(|(_, node)| node.frame == Some(*frame));
                    looked_into.extend(last.filter(|(_, node)| node.out.is_empty()).map(|(at, _)| NodeIx(at)));
                }
            },
            _ => {}
        }
    }
    graph.output.iter().for_each(|output| output.reads(true, frames.entry(None).or_default()));
    for (frame, reads) in &frames {
        let names = match frame {
            Some(frame) => graph.frames.get(frame.0 as usize).map(|frame| &frame.by_name),
            None => Some(&graph.by_name),
        };
        looked_into.extend(reads.steps.iter().filter_map(|name| names?.get(name)).copied());
    }
    let reads = frames.remove(&None).unwrap_or_default();
    LookedInto { outputs: looked_into, inputs: reads.inputs, fields: reads.fields }
}

fn of_task(task: &Task, reads: &mut Reads) {
    // By name, so that whoever adds an expression to a task comes by here.
    let Task { with, permits, callable: _, queue: _, priority: _, retry: _, timeouts: _, inbox: _, reserve: _ } = task;
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
