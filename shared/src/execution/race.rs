//! Races: the first edge into a join wins, and whatever still runs only for that join is given up.
//!
//! Who runs for whom is known from the graph ([`Node::runs_for`](crate::graph::Node::runs_for)): the nearest race join
//! to which every forward path leads. A race that is decided takes the nodes that run for it, and those that run for
//! undecided races among them. Each node is given up once in an iteration of the loops around it, so all of it costs
//! what scheduling those nodes costs. Open steps of theirs are put into `losing`, from where the decision at hand, or
//! the next, closes them with an event each; nodes that get ready later are skipped instead of run.

use super::state::Execution;
use crate::graph::{CompiledGraph, Join, LoopIx, Node, NodeIx};

impl Execution {
    /// Whether the node ran only for a race that is decided without it, in this iteration.
    pub(super) fn has_lost(&self, node: u32) -> bool {
        self.nodes.get(node as usize).is_some_and(|run| run.lost)
    }

    /// Remembers the open step of a node that may lose a race.
    pub(super) fn run_for_race(&mut self, graph: &CompiledGraph, node: u32, step: u32) {
        if graph.node(NodeIx(node)).is_some_and(can_be_given_up)
            && let Some(run) = self.nodes.get_mut(node as usize)
        {
            run.step = Some(step);
        }
    }

    /// The step has ended, whichever way.
    pub(super) fn leave_race(&mut self, graph: &CompiledGraph, ordinal: u32) {
        self.losing.remove(&ordinal);
        let Some(node) = self.step(ordinal).map(|step| step.node) else { return };
        if graph.node(NodeIx(node)).is_some_and(can_be_given_up)
            && let Some(run) = self.nodes.get_mut(node as usize)
            && run.step == Some(ordinal)
        {
            run.step = None;
        }
    }

    /// A join is met. If it is a race, everything that runs only for it has lost.
    pub(super) fn decide_race(&mut self, graph: &CompiledGraph, winner: u32) {
        if graph.node(NodeIx(winner)).is_none_or(|node| node.join != Join::Race) {
            return;
        }
        match self.nodes.get_mut(winner as usize) {
            Some(run) if !run.lost => run.won = true,
            // It has lost a race itself, and with it everything that runs for it.
            _ => return,
        }
        let home = home_of(graph, NodeIx(winner));
        let mut joins = vec![NodeIx(winner)];
        while let Some(join) = joins.pop() {
            let runners = graph.node(join).map_or(&[][..], |node| &node.runners);
            for ix in runners {
                let (Some(runner), Some(run)) = (graph.node(*ix), self.nodes.get_mut(ix.0 as usize)) else { continue };
                run.lost = true;
                // A race at the head of a loop runs, as a node, for races inside the loop; who runs for it is outside.
                let begins = home_of(graph, *ix) != runner.in_loop && home_of(graph, join) == runner.in_loop;
                if runner.join == Join::Race && !run.won && !begins {
                    joins.push(*ix);
                }
                let step = run.step;
                self.lose_loops(graph, runner.in_loop, home);
                if let Some(step) = step {
                    self.lose_step(step);
                }
            }
        }
    }

    /// Loops around a loser that are not around its race have lost as a whole.
    fn lose_loops(&mut self, graph: &CompiledGraph, of: Option<LoopIx>, home: Option<LoopIx>) {
        let mut around = of;
        while around != home
            && let Some(ix) = around
            && let (Some(each), Some(run)) = (graph.loops.get(ix.0 as usize), self.loops.get_mut(ix.0 as usize))
        {
            run.lost = true;
            around = each.parent;
        }
    }

    /// A step, with its items if it is a map's: nothing is due for it any more.
    pub(super) fn lose_step(&mut self, ordinal: u32) {
        let items = self.maps.get(&ordinal).map(|map| map.steps.clone()).unwrap_or_default();
        self.busy_maps.remove(&ordinal);
        let all: Vec<u32> = items.into_iter().chain([ordinal]).collect();
        let asked = all.iter().filter_map(|each| self.reconciliation_of(*each)).collect::<Vec<_>>();
        for each in all.into_iter().chain(asked).filter(|each| self.open.contains(each)).collect::<Vec<_>>() {
            self.losing.insert(each);
            // Nothing can arrive for it any more.
            self.waits.remove(&each);
            if let Some(due) = self.steps.get_mut(each as usize).and_then(|step| step.deadline.take()) {
                self.deadlines.remove(&due);
            }
        }
    }
}

/// It runs for a race, or is in a graph that may end before its time.
const fn can_be_given_up(node: &Node) -> bool {
    node.runs_for.is_some() || node.frame.is_some()
}

/// The loop in which a race is run: who runs for the header of a loop is outside of that loop.
fn home_of(graph: &CompiledGraph, join: NodeIx) -> Option<LoopIx> {
    let own = graph.node(join)?.in_loop?;
    let each = graph.loops.get(own.0 as usize)?;
    if each.header == join && each.frame.is_none() { each.parent } else { Some(own) }
}
