//! Which values of a graph its expressions look into: those have to be in the log, whatever their size. What is only passed
//! on from step to step may be a reference to bytes outside it.

use std::collections::{BTreeSet, HashMap};

use crate::graph::compiled::{
    Edge, EdgeKind, LookedInto, Node, NodeIx, NodeKind, PermitRules, SubGraph, Task, WaitFor, WaitNode,
};
use crate::graph::expression::{Reads, Template};

/// Finds them once all expressions are compiled.
pub(crate) fn find(
    nodes: &[Node],
    edges: &[Edge],
    output: Option<&Template>,
    by_name: &HashMap<String, NodeIx>,
) -> LookedInto {
    let mut reads = Reads::default();
    let mut looked_into = BTreeSet::new();
    for (node, ix) in nodes.iter().zip(0..) {
        of_kind(&node.kind, &mut reads);
        node.undo.iter().for_each(|undo| of_task(undo, &mut reads));
        for edge in node.out.iter().filter_map(|edge| edges.get(edge.0 as usize)) {
            if let EdgeKind::When(condition) = &edge.kind {
                condition.reads(&mut reads);
            }
        }
        if std::mem::take(&mut reads.output) {
            looked_into.insert(NodeIx(ix));
        }
    }
    output.iter().for_each(|output| output.reads(true, &mut reads));
    looked_into.extend(reads.steps.iter().filter_map(|name| by_name.get(name)).copied());
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

fn of_kind(kind: &NodeKind, reads: &mut Reads) {
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
        NodeKind::Route | NodeKind::End { output: None } => {}
        NodeKind::Transform(template) | NodeKind::End { output: Some(template) } => template.reads(true, reads),
        NodeKind::Fail { message, .. } => message.reads(false, reads),
    }
}
