//! Finds the loops of a graph, and refuses cycles that are none.
//!
//! A set of nodes that can all reach each other is a cycle. If edges from outside enter it at one node only, and that
//! node declares `max_iterations`, it is a loop: the edges back to that node are cut and the search goes on inside.
//! What is left when nothing is found any more has no cycles. (The nesting forest of Bourdoncle, 1993, restricted to
//! reducible graphs.)

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::Wire;
use crate::graph::compiled::{EdgeIx, Loop, LoopIx, NodeIx};
use crate::graph::diagnose::Reporter;
use crate::graph::document::Document;

/// Deepest nesting of loops. Each level is searched anew, and nobody reads deeper ones.
const MAX_DEPTH: u32 = 32;
/// Headers that are tried when a cycle at the start of a graph has several.
const MAX_CANDIDATES: usize = 32;
/// Names that a message lists.
const MAX_NAMED: usize = 6;

/// What the search found.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    pub(crate) loops: Vec<Loop>,
    back: Vec<Option<LoopIx>>,
    exits: Vec<Option<LoopIx>>,
    in_loop: Vec<Option<LoopIx>>,
}

impl Shape {
    pub(crate) fn back(&self, edge: usize) -> Option<LoopIx> {
        self.back.get(edge).copied().flatten()
    }

    pub(crate) fn exits(&self, edge: usize) -> Option<LoopIx> {
        self.exits.get(edge).copied().flatten()
    }

    pub(crate) fn in_loop(&self, node: usize) -> Option<LoopIx> {
        self.in_loop.get(node).copied().flatten()
    }
}

pub(crate) fn find(document: &Document<'_>, wires: &[Wire], reporter: &mut Reporter<'_>) -> Shape {
    let nodes = document.nodes.len();
    let mut search = Search {
        document,
        wires,
        reporter,
        shape: Shape {
            loops: Vec::new(),
            back: vec![None; wires.len()],
            exits: vec![None; wires.len()],
            in_loop: vec![None; nodes],
        },
        outgoing: vec![Vec::new(); nodes],
        incoming: vec![Vec::new(); nodes],
        settled: true,
    };
    for (wire, at) in wires.iter().zip(0..) {
        search.outgoing[wire.from.0 as usize].push(at);
        search.incoming[wire.to.0 as usize].push(at);
    }
    let plain_start = (0..nodes).any(|node| search.incoming[node].is_empty());
    search.run(plain_start);
    search.finish();
    search.shape
}

struct Search<'a, 'r, 't> {
    document: &'a Document<'t>,
    wires: &'a [Wire],
    reporter: &'a mut Reporter<'r>,
    shape: Shape,
    outgoing: Vec<Vec<usize>>,
    incoming: Vec<Vec<usize>>,
    /// Whether every cycle turned out to be a loop.
    settled: bool,
}

/// Nodes still to be searched, and the loop they are the inside of.
struct Region {
    nodes: Vec<usize>,
    within: Option<LoopIx>,
    depth: u32,
}

impl Search<'_, '_, '_> {
    fn run(&mut self, plain_start: bool) {
        let mut regions = vec![Region { nodes: (0..self.document.nodes.len()).collect(), within: None, depth: 0 }];
        while let Some(region) = regions.pop() {
            for cycle in self.cycles(&region.nodes, None) {
                if let Some(inside) = self.cycle(cycle, region.within, region.depth, plain_start) {
                    regions.push(inside);
                }
            }
        }
    }

    /// Groups of nodes that reach each other, without edges that are cut or lead to `cut`.
    fn cycles(&self, nodes: &[usize], cut: Option<usize>) -> Vec<Vec<usize>> {
        let mut place = std::collections::HashMap::with_capacity(nodes.len());
        let mut graph: DiGraph<usize, ()> = DiGraph::with_capacity(nodes.len(), nodes.len());
        for node in nodes {
            place.insert(*node, graph.add_node(*node));
        }
        let mut own = vec![false; nodes.len()];
        for node in nodes {
            for edge in &self.outgoing[*node] {
                let to = self.wires[*edge].to.0 as usize;
                if self.shape.back[*edge].is_some() || cut == Some(to) {
                    continue;
                }
                if let (Some(from), Some(target)) = (place.get(node), place.get(&to)) {
                    if from == target {
                        own[from.index()] = true;
                    }
                    graph.add_edge(*from, *target, ());
                }
            }
        }
        let is_cycle = |group: &Vec<NodeIndex>| group.len() > 1 || group.first().is_some_and(|node| own[node.index()]);
        let mut groups: Vec<Vec<usize>> = kosaraju_scc(&graph)
            .into_iter()
            .filter(is_cycle)
            .map(|group| {
                let mut group: Vec<usize> = group.into_iter().map(|node| graph[node]).collect();
                group.sort_unstable();
                group
            })
            .collect();
        groups.sort_unstable();
        groups
    }

    fn name(&self, node: usize) -> &str {
        self.document.nodes[node].name
    }

    fn names(&self, nodes: &[usize]) -> String {
        let mut names: Vec<String> =
            nodes.iter().take(MAX_NAMED).map(|node| format!("`{}`", self.name(*node))).collect();
        if nodes.len() > MAX_NAMED {
            names.push(format!("{} more", nodes.len() - MAX_NAMED));
        }
        names.join(", ")
    }

    /// Makes a loop of a cycle, if it is one; gives what is inside.
    fn cycle(&mut self, cycle: Vec<usize>, within: Option<LoopIx>, depth: u32, plain_start: bool) -> Option<Region> {
        let mut inside = std::collections::HashSet::with_capacity(cycle.len());
        inside.extend(cycle.iter().copied());
        let enters =
            |edge: &usize| self.shape.back[*edge].is_none() && !inside.contains(&(self.wires[*edge].from.0 as usize));
        let entries: Vec<usize> =
            cycle.iter().copied().filter(|node| self.incoming[*node].iter().any(enters)).collect();
        let header = match entries.as_slice() {
            [header] => *header,
            [] => self.header_at_start(&cycle, plain_start)?,
            _ => {
                self.irreducible(&cycle, &entries);
                return None;
            }
        };
        let Some((max_iterations, _)) = self.document.nodes[header].max_iterations else {
            self.unbounded(&cycle, header);
            return None;
        };
        if depth >= MAX_DEPTH {
            self.settled = false;
            let place = self.document.nodes[header].place;
            self.reporter.report(place, "loop-depth", format!("loops nest deeper than {MAX_DEPTH} levels"));
            return None;
        }
        let at = LoopIx(self.shape.loops.len() as u32);
        for edge in &self.incoming[header] {
            if inside.contains(&(self.wires[*edge].from.0 as usize)) {
                self.shape.back[*edge] = Some(at);
            }
        }
        for node in &cycle {
            self.shape.in_loop[*node] = Some(at);
        }
        self.shape.loops.push(Loop {
            header: NodeIx(header as u32),
            parent: within,
            max_iterations,
            body: cycle.iter().map(|node| NodeIx(*node as u32)).collect(),
            inner: Vec::new(),
            members: 0,
            exits: Vec::new(),
            depth,
            frame: None,
        });
        Some(Region { nodes: cycle, within: Some(at), depth: depth + 1 })
    }

    /// A cycle that nothing leads to can only begin at a header of its own.
    fn header_at_start(&mut self, cycle: &[usize], plain_start: bool) -> Option<usize> {
        let declared: Vec<usize> =
            cycle.iter().copied().filter(|node| self.document.nodes[*node].max_iterations.is_some()).collect();
        let first = *cycle.first()?;
        if plain_start {
            self.settled = false;
            let message = format!("nothing leads to {}", self.names(cycle));
            let hint = format!(
                "the graph starts at its nodes without incoming edges; lead an edge from there, for example to `{}`",
                self.name(declared.first().copied().unwrap_or(first))
            );
            self.reporter.report_with(self.document.nodes[first].place, "unreachable-node", message, hint);
            return None;
        }
        match declared.as_slice() {
            [] => {
                self.unbounded(cycle, first);
                let message = "the graph has no start: every node has incoming edges";
                let hint = "the graph starts at nodes without incoming edges, or at a loop that it begins with";
                self.reporter.report_with(self.document.nodes[first].place, "no-start", message, hint);
                None
            }
            [header] => Some(*header),
            _ => {
                // The outermost loop is the one whose header, when cut, leaves the others in cycles of their own.
                let fits = |header: &usize| {
                    let rest = self.cycles(cycle, Some(*header));
                    declared.iter().all(|other| other == header || rest.iter().any(|group| group.contains(other)))
                };
                let candidates: Vec<usize> = declared.iter().copied().take(MAX_CANDIDATES).filter(fits).collect();
                if let [header] = candidates.as_slice() {
                    return Some(*header);
                }
                self.settled = false;
                let message =
                    format!("the graph begins with a loop, and it is not clear where: {}", self.names(&declared));
                let hint = "add a node with an edge to the one to begin with, for example `begin: { transform: null, next: [ … ] }`";
                self.reporter.report_with(self.document.nodes[first].place, "ambiguous-start", message, hint);
                None
            }
        }
    }

    fn unbounded(&mut self, cycle: &[usize], header: usize) {
        self.settled = false;
        let name = self.name(header);
        let elsewhere = cycle.iter().find(|node| self.document.nodes[**node].max_iterations.is_some());
        let (message, hint) = match elsewhere {
            Some(other) => (
                format!("the cycle through {} has no bound where it is entered, at `{name}`", self.names(cycle)),
                format!("move `max_iterations` from `{}` to `{name}`", self.name(*other)),
            ),
            None => (
                format!("the cycle through {} has no bound", self.names(cycle)),
                format!("add `max_iterations: <number>` to `{name}`"),
            ),
        };
        self.reporter.report_with(self.document.nodes[header].place, "unbounded-cycle", message, hint);
    }

    fn irreducible(&mut self, cycle: &[usize], entries: &[usize]) {
        self.settled = false;
        let message =
            format!("the cycle through {} is entered in several places: {}", self.names(cycle), self.names(entries));
        let place = self.document.nodes[entries[1]].place;
        let bounded = cycle.iter().any(|node| self.document.nodes[*node].max_iterations.is_some());
        let hint = match bounded {
            true => "lead every edge from outside to one node, and give that one `max_iterations`",
            false => {
                "a cycle is a loop with one entry: lead every edge from outside to one node, and give that one `max_iterations`"
            }
        };
        self.reporter.report_with(place, "irreducible-loop", message, hint);
    }

    /// Everything that follows from which loops there are.
    fn finish(&mut self) {
        let headers: std::collections::HashSet<usize> =
            self.shape.loops.iter().map(|found| found.header.0 as usize).collect();
        if self.settled {
            for (node, at) in self.document.nodes.iter().zip(0..) {
                if let Some((_, place)) = node.max_iterations
                    && !headers.contains(&at)
                {
                    let message = format!("`{}` declares `max_iterations`, and no edge leads back to it", node.name);
                    let hint = match self.shape.in_loop(at) {
                        Some(around) => format!(
                            "it is inside the loop of `{}`, which is the one that counts",
                            self.name(self.shape.loops[around.0 as usize].header.0 as usize)
                        ),
                        None => "remove it, or add an edge back to this node".to_owned(),
                    };
                    self.reporter.report_with(place, "bound-without-loop", message, hint);
                }
            }
        }
        for at in 0..self.shape.loops.len() {
            let mut around = self.shape.loops[at].parent;
            if let Some(parent) = around {
                self.shape.loops[parent.0 as usize].members += 1;
            }
            while let Some(outer) = around {
                let outer = &mut self.shape.loops[outer.0 as usize];
                outer.inner.push(LoopIx(at as u32));
                around = outer.parent;
            }
        }
        for node in 0..self.document.nodes.len() {
            if let Some(around) = self.shape.in_loop(node) {
                self.shape.loops[around.0 as usize].members += 1;
            }
        }
        for (wire, at) in self.wires.iter().zip(0..) {
            let exits = self.left(wire);
            self.shape.exits[at] = exits;
            if let Some(left) = exits {
                self.shape.loops[left.0 as usize].exits.push(EdgeIx(at as u32));
            }
        }
    }

    /// The outermost loop around the source that is not around the target.
    fn left(&self, wire: &Wire) -> Option<LoopIx> {
        let mut kept = Vec::new();
        let mut around = self.shape.in_loop(wire.to.0 as usize);
        while let Some(outer) = around {
            kept.push(outer);
            around = self.shape.loops[outer.0 as usize].parent;
        }
        let mut left = None;
        let mut around = self.shape.in_loop(wire.from.0 as usize);
        while let Some(outer) = around {
            if kept.contains(&outer) {
                break;
            }
            left = Some(outer);
            around = self.shape.loops[outer.0 as usize].parent;
        }
        left
    }
}
