//! How edges, joins and loops carry an execution on.
//!
//! Every edge of a graph is settled once in each iteration of the loops around it: taken, or not taken. A node's join
//! counts settled edges and decides, once, that the node runs or is skipped; a skipped node settles its own edges as
//! not taken, so dead branches reach the joins behind them. An iteration of a loop is over when everything in its body
//! has settled; then either an edge back to the header was taken and the next iteration begins with a fresh body, or
//! the loop is over, and the edges that leave it and were never taken are settled as not taken.
//!
//! All of it is counting: an event costs the edges of its node, and nothing is searched.

use super::state::{Execution, LoopRun, NodeRun, Ready};
use crate::graph::{CompiledGraph, EdgeIx, EdgeKind, Join, LoopIx, Node, NodeIx, NodeKind};

/// How a node ended, for its edges.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending<'a> {
    /// Edges taken by their place among the node's; `None`: every plain one.
    Completed(Option<&'a [u32]>),
    /// Error edges taken; plain edges into tolerant joins count as failed arrivals when there are none.
    Failed(&'a [u32]),
    Skipped,
}

impl Execution {
    /// Makes the start nodes ready.
    pub(super) fn enter(&mut self, graph: &CompiledGraph) {
        for start in &graph.start {
            self.activate(graph, Ready::Run(start.0));
        }
    }

    /// The iteration of each loop around a node, outermost first.
    pub(super) fn scope_of(&self, graph: &CompiledGraph, node: &Node) -> Vec<u32> {
        let mut iterations = Vec::new();
        let mut at = node.in_loop;
        while let Some((ix, each)) = at.and_then(|ix| Some((ix, graph.loops.get(ix.0 as usize)?))) {
            at = each.parent;
            if each.frame.is_some() {
                continue;
            }
            iterations.push(self.loops.get(ix.0 as usize).map_or(0, |run| run.iteration));
        }
        iterations.reverse();
        iterations
    }

    /// Settles the edges of a node that has ended, and the node as a member of its loop.
    ///
    /// `step` is the step that ended, for the nodes that an error edge leads to.
    pub(super) fn settle_node(&mut self, graph: &CompiledGraph, node_ix: u32, step: Option<u32>, ending: Ending<'_>) {
        let Some(node) = graph.node(NodeIx(node_ix)) else { return };
        if let NodeKind::Enter(frame) = node.kind {
            self.enter_frame(graph, frame, !matches!(ending, Ending::Skipped));
        }
        let mut chosen = vec![false; node.out.len()];
        if let Ending::Completed(Some(places)) | Ending::Failed(places) = ending {
            for place in places {
                if let Some(is) = chosen.get_mut(*place as usize) {
                    *is = true;
                }
            }
        }
        for (is_chosen, edge_ix) in chosen.into_iter().zip(&node.out) {
            let Some(edge) = graph.edge(*edge_ix) else { continue };
            let taken = match ending {
                Ending::Completed(None) => matches!(edge.kind, EdgeKind::Plain),
                Ending::Completed(Some(_)) | Ending::Failed(_) => is_chosen,
                Ending::Skipped => false,
            };
            if taken {
                let cause = if matches!(edge.kind, EdgeKind::Catch(_)) { step } else { None };
                self.take_edge(graph, *edge_ix, cause);
            } else if matches!(ending, Ending::Failed([]))
                && !matches!(edge.kind, EdgeKind::Catch(_))
                && graph.node(edge.to).is_some_and(|target| target.join == Join::AllSettled)
            {
                self.arrive_failed(graph, *edge_ix, step);
            } else if edge.back.is_none() && edge.exits.is_none() {
                self.arrive(graph, edge.to, |run| run.untaken += 1);
            }
            // An untaken edge back asks for nothing; an untaken edge out of a loop may be taken in a later iteration.
        }
        self.member_settled(graph, node.in_loop);
    }

    fn take_edge(&mut self, graph: &CompiledGraph, ix: EdgeIx, cause: Option<u32>) {
        let Some(edge) = graph.edge(ix) else { return };
        if let Some(back) = edge.back {
            if let Some(run) = self.loops.get_mut(back.0 as usize) {
                run.again = true;
            }
            return;
        }
        if edge.exits.is_some() && !self.left_by.insert(ix.0) {
            return; // An earlier iteration has taken it; a join counts an edge once.
        }
        if let Some(run) = self.nodes.get_mut(edge.to.0 as usize)
            && cause.is_some()
            && !run.activated
        {
            run.cause = cause;
        }
        self.arrive(graph, edge.to, |run| run.taken += 1);
    }

    fn arrive_failed(&mut self, graph: &CompiledGraph, ix: EdgeIx, cause: Option<u32>) {
        let Some(edge) = graph.edge(ix) else { return };
        if edge.back.is_some() || (edge.exits.is_some() && !self.left_by.insert(ix.0)) {
            return;
        }
        if let Some(run) = self.nodes.get_mut(edge.to.0 as usize)
            && !run.activated
        {
            run.cause = cause;
        }
        self.arrive(graph, edge.to, |run| run.failed += 1);
    }

    fn arrive(&mut self, graph: &CompiledGraph, to: NodeIx, count: impl FnOnce(&mut NodeRun)) {
        let (Some(run), Some(node)) = (self.nodes.get_mut(to.0 as usize), graph.node(to)) else { return };
        count(run);
        if run.activated {
            return;
        }
        let all_settled = run.taken + run.untaken + run.failed >= node.forward_in;
        let verdict = match node.join {
            Join::All | Join::AllSettled if !all_settled => None,
            Join::All | Join::AllSettled if run.taken + run.failed > 0 => Some(Ready::Run(to.0)),
            Join::Any | Join::Race if run.taken > 0 => Some(Ready::Run(to.0)),
            Join::Quorum(needed) if run.taken >= needed => Some(Ready::Run(to.0)),
            Join::Quorum(_) if all_settled && run.taken > 0 => Some(Ready::Unmet(to.0)),
            Join::All | Join::AllSettled | Join::Any | Join::Race | Join::Quorum(_) if all_settled => {
                Some(Ready::Skip(to.0))
            }
            Join::All | Join::AllSettled | Join::Any | Join::Race | Join::Quorum(_) => None,
        };
        if let Some(verdict) = verdict {
            self.activate(graph, verdict);
            if let Ready::Run(winner) = verdict {
                self.decide_race(graph, winner);
            }
        }
    }

    pub(super) fn activate(&mut self, graph: &CompiledGraph, verdict: Ready) {
        let node_ix = verdict.node();
        if let Some(run) = self.nodes.get_mut(node_ix as usize) {
            run.activated = true;
        }
        // Reaching a header enters its loop.
        if let Some(ix) = graph.node(NodeIx(node_ix)).and_then(|node| node.in_loop)
            && let Some(entered) = graph.loops.get(ix.0 as usize)
            && entered.header.0 == node_ix
            && entered.frame.is_none()
            && let Some(run) = self.loops.get_mut(ix.0 as usize)
        {
            let iteration = run.iteration + 1;
            *run = LoopRun { iteration, unsettled: entered.members, again: false, lost: run.lost, cut: None };
        }
        self.ready.push_back(verdict);
    }

    /// A node or an inner loop has settled; so may have, with it, the iterations around it.
    pub(super) fn member_settled(&mut self, graph: &CompiledGraph, of: Option<LoopIx>) {
        let mut around = of;
        loop {
            let Some(ix) = around else {
                self.unsettled = self.unsettled.saturating_sub(1);
                return;
            };
            let (Some(each), Some(run)) = (graph.loops.get(ix.0 as usize), self.loops.get_mut(ix.0 as usize)) else {
                return;
            };
            run.unsettled = run.unsettled.saturating_sub(1);
            if run.unsettled > 0 || run.cut.is_some() {
                return;
            }
            if let Some(frame) = each.frame {
                self.leave_frame(graph, frame);
            }
            let Some(run) = self.loops.get(ix.0 as usize) else { return };
            if run.again {
                self.next_iteration(graph, ix);
                return;
            }
            for exit in &each.exits {
                // An edge that goes on to the next round of an outer loop asks for nothing when it is not taken.
                if !self.left_by.contains(&exit.0)
                    && let Some(edge) = graph.edge(*exit)
                    && edge.back.is_none()
                {
                    self.arrive(graph, edge.to, |run| run.untaken += 1);
                }
            }
            around = each.parent;
        }
    }

    /// Gives the body of a loop a fresh start. Costs the size of the body, which settled node by node just before.
    fn next_iteration(&mut self, graph: &CompiledGraph, ix: LoopIx) {
        let Some(each) = graph.loops.get(ix.0 as usize) else { return };
        // A race that the loop as a whole has lost stays lost; those inside it are run anew.
        let lost = self.loops.get(ix.0 as usize).is_some_and(|run| run.lost);
        for node_ix in &each.body {
            let Some(run) = self.nodes.get_mut(node_ix.0 as usize) else { continue };
            let own = graph.node(*node_ix).is_some_and(|node| node.in_loop == Some(ix));
            *run = NodeRun { last: run.last, runs: if own { run.runs } else { 0 }, lost, ..NodeRun::default() };
        }
        for inner in &each.inner {
            if let Some(run) = self.loops.get_mut(inner.0 as usize) {
                *run = LoopRun { lost, ..LoopRun::default() };
            }
            if let Some(inner) = graph.loops.get(inner.0 as usize) {
                for exit in &inner.exits {
                    self.left_by.remove(&exit.0);
                }
            }
        }
        self.activate(graph, Ready::Run(each.header.0));
    }
}
