//! Finds out who runs for which race, and refuses races that nobody can lose.
//!
//! A node runs for a race join when every forward path from it leads there: the join post-dominates it. Each loop is
//! looked at by itself, with the loops directly inside it as one vertex each: a loop runs for a race behind it as a
//! whole or not at all, and an edge that asks for another round, or leaves the loop, leads away from the races inside.
//! Without those edges every such region is acyclic, so one pass from its ends gives the tree of post-dominators, and
//! the common ancestors in it are found by doubling. Costs the edges times the depth of loops, and a logarithm.

use super::Wire;
use super::loops::Shape;
use crate::graph::compiled::{Join, LoopIx, NodeIx};
use crate::graph::diagnose::Reporter;
use crate::graph::document::Document;

#[derive(Debug, Default)]
pub(crate) struct Races {
    runs_for: Vec<Option<NodeIx>>,
    /// The race that each loop as a whole runs for: behind it, where it begins with one.
    loops: Vec<Option<NodeIx>>,
    /// A loop that begins with a race, and the race behind the loop. As a node, the first may run for one inside.
    behind: Vec<(NodeIx, NodeIx)>,
}

impl Races {
    /// The nearest race join that a node runs only for.
    pub(crate) fn runs_for(&self, node: usize) -> Option<NodeIx> {
        self.runs_for.get(node).copied().flatten()
    }

    /// The nearest race join that a loop as a whole runs only for.
    pub(crate) fn loop_runs_for(&self, at: usize) -> Option<NodeIx> {
        self.loops.get(at).copied().flatten()
    }

    /// Each node with a race that it runs for.
    fn runners(&self) -> impl Iterator<Item = (NodeIx, NodeIx)> {
        let nodes = (0_u32..).zip(&self.runs_for).filter_map(|(at, join)| Some((NodeIx(at), (*join)?)));
        nodes.chain(self.behind.iter().copied().filter(|(node, join)| self.runs_for(node.0 as usize) != Some(*join)))
    }
}

pub(crate) fn find(document: &Document<'_>, wires: &[Wire], shape: &Shape, reporter: &mut Reporter<'_>) -> Races {
    let is_race = |node: &usize| document.nodes[*node].join == Join::Race;
    if !(0..document.nodes.len()).any(|node| is_race(&node)) {
        return Races::default();
    }
    // A loop is entered through its header only, so whoever leads into it leads to a race there.
    let race = |vertex: &Vertex| match vertex {
        Vertex::Node(node) => Some(*node).filter(is_race),
        Vertex::Loop(ix) => Some(shape.loops[ix.0 as usize].header.0 as usize).filter(is_race),
    };
    // Loops come after their parents, so what a loop as a whole runs for is known before its inside is looked at.
    let mut found = Races { runs_for: vec![None; document.nodes.len()], ..Races::default() };
    let mut loops: Vec<Option<NodeIx>> = vec![None; shape.loops.len()];
    for mut region in regions(document.nodes.len(), wires, shape) {
        let around = region.of.and_then(|ix| loops[ix.0 as usize]);
        let Some(nearest) = region.nearest(&race) else { return Races::default() }; // A cycle that is no loop.
        for (vertex, near) in region.vertices.iter().zip(nearest) {
            match vertex {
                Vertex::Node(node) => found.runs_for[*node] = near.or(around),
                Vertex::Loop(ix) => loops[ix.0 as usize] = near.or(around),
            }
        }
    }
    for (each, behind) in shape.loops.iter().zip(&loops) {
        if let Some(behind) = behind.filter(|_| is_race(&(each.header.0 as usize))) {
            found.behind.push((each.header, behind));
        }
    }
    found.loops = loops;
    check(document, wires, shape, &found, reporter);
    found
}

fn check(document: &Document<'_>, wires: &[Wire], shape: &Shape, found: &Races, reporter: &mut Reporter<'_>) {
    let mut from: Vec<Vec<NodeIx>> = vec![Vec::new(); document.nodes.len()];
    for (wire, at) in wires.iter().zip(0..) {
        let branches = &mut from[wire.to.0 as usize];
        if document.nodes[wire.to.0 as usize].join == Join::Race
            && shape.back(at).is_none()
            && branches.last() != Some(&wire.from)
        {
            branches.push(wire.from);
        }
    }
    let mut has_runners = vec![false; document.nodes.len()];
    for (_, join) in found.runners() {
        has_runners[join.0 as usize] = true;
    }
    for (node, at) in document.nodes.iter().zip(0..).filter(|(node, _)| node.join == Join::Race) {
        let name = node.name;
        if from[at].len() < 2 {
            let message = match from[at].as_slice() {
                [] => format!("`{name}` is a race, and no edge leads to it"),
                _ => format!("`{name}` is a race, and only one node leads to it"),
            };
            reporter.report_with(
                node.join_place,
                "race-without-rivals",
                message,
                "lead edges of two nodes or more to it, or remove `join`",
            );
        } else if !has_runners[at] {
            let message = format!(
                "`{name}` is a race that nobody can lose: each branch also leads elsewhere, so none runs only for it"
            );
            let hint = "let every edge of a branch, error edges too, lead towards the race; or write `join: any`";
            reporter.report_with(node.join_place, "race-without-losers", message, hint);
        }
    }
}

enum Vertex {
    Node(usize),
    Loop(LoopIx),
}

/// The inside of one loop, or what is outside of all.
struct Region {
    of: Option<LoopIx>,
    vertices: Vec<Vertex>,
    /// Where the edges of each vertex lead; `None` is out of the region or into another round.
    next: Vec<Vec<Option<usize>>>,
}

fn regions(nodes: usize, wires: &[Wire], shape: &Shape) -> Vec<Region> {
    let new = |of| Region { of, vertices: Vec::new(), next: Vec::new() };
    let slot = |of: Option<LoopIx>| of.map_or(0, |ix| ix.0 as usize + 1);
    let mut regions: Vec<Region> = vec![new(None)];
    regions.extend((0..shape.loops.len()).map(|at| new(Some(LoopIx(at as u32)))));
    let mut add = |of: Option<LoopIx>, vertex| {
        let region = &mut regions[slot(of)];
        region.vertices.push(vertex);
        region.next.push(Vec::new());
        region.vertices.len() - 1
    };
    let of_loop: Vec<usize> =
        (0_u32..).zip(&shape.loops).map(|(at, each)| add(each.parent, Vertex::Loop(LoopIx(at)))).collect();
    let of_node: Vec<usize> = (0..nodes).map(|at| add(shape.in_loop(at), Vertex::Node(at))).collect();
    // The vertices that stand for a node, in its own region and in those around it.
    let stands_for = |node: usize| {
        let own = (shape.in_loop(node), of_node[node]);
        std::iter::successors(Some(own), |(region, _)| {
            let ix = (*region)?;
            Some((shape.loops[ix.0 as usize].parent, of_loop[ix.0 as usize]))
        })
    };
    for (wire, at) in wires.iter().zip(0..) {
        let targets: Vec<_> = stands_for(wire.to.0 as usize).collect();
        for (region, vertex) in stands_for(wire.from.0 as usize) {
            let target = targets.iter().find(|(other, _)| *other == region).map(|(_, target)| *target);
            let back = shape.back(at).is_some() && shape.back(at) == region;
            match target {
                // Within a loop that is one vertex here.
                Some(target) if target == vertex && !back => {}
                target => regions[slot(region)].next[vertex].push(target.filter(|_| !back)),
            }
            if target.is_some() {
                break; // Regions further out have both ends in one vertex.
            }
        }
    }
    regions
}

impl Region {
    /// The nearest race that post-dominates each vertex. `None` if the region has a cycle.
    fn nearest(&mut self, race: &dyn Fn(&Vertex) -> Option<usize>) -> Option<Vec<Option<NodeIx>>> {
        let count = self.vertices.len();
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut waits: Vec<usize> = vec![0; count];
        for (from, next) in self.next.iter().enumerate() {
            for to in next.iter().flatten() {
                before[*to].push(from);
                waits[from] += 1;
            }
        }
        let mut tree = Tree::new(count);
        let mut nearest = vec![None; count];
        let mut ready: Vec<usize> = (0..count).filter(|vertex| waits[*vertex] == 0).collect();
        let mut done = 0;
        while let Some(vertex) = ready.pop() {
            done += 1;
            let parent = self.next[vertex].iter().copied().reduce(|a, b| tree.common(a?, b?)).flatten();
            tree.hang(vertex, parent);
            nearest[vertex] = parent.and_then(|parent| match race(&self.vertices[parent]) {
                Some(node) => Some(NodeIx(node as u32)),
                None => nearest[parent],
            });
            for from in &before[vertex] {
                waits[*from] -= 1;
                if waits[*from] == 0 {
                    ready.push(*from);
                }
            }
        }
        (done == count).then_some(nearest)
    }
}

/// A forest that grows at its leaves, with the ancestors of each vertex at distances of 1, 2, 4 …
struct Tree {
    depth: Vec<u32>,
    up: Vec<Vec<usize>>,
}

impl Tree {
    fn new(count: usize) -> Self {
        Tree { depth: vec![0; count], up: vec![Vec::new(); count] }
    }

    fn hang(&mut self, vertex: usize, parent: Option<usize>) {
        let Some(parent) = parent else { return };
        self.depth[vertex] = self.depth[parent] + 1;
        let mut up = vec![parent];
        while let Some(far) = up.last().and_then(|last| self.up[*last].get(up.len() - 1)) {
            up.push(*far);
        }
        self.up[vertex] = up;
    }

    /// The nearest vertex that is above both, or is one of them.
    fn common(&self, a: usize, b: usize) -> Option<usize> {
        let (mut low, mut high) = if self.depth[a] >= self.depth[b] { (a, b) } else { (b, a) };
        let mut far = self.depth[low] - self.depth[high];
        while far > 0 {
            let step = far.ilog2();
            low = *self.up[low].get(step as usize)?;
            far -= 1 << step;
        }
        if low == high {
            return Some(low);
        }
        for step in (0..self.up[low].len()).rev() {
            if let (Some(a), Some(b)) = (self.up[low].get(step), self.up[high].get(step))
                && a != b
            {
                (low, high) = (*a, *b);
            }
        }
        match (self.up[low].first(), self.up[high].first()) {
            (Some(a), Some(b)) if a == b => Some(*a),
            _ => None,
        }
    }
}
