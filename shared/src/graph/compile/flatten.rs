//! From documents within documents to one flat graph.
//!
//! Each document is compiled by itself, with a node that takes another one in as one node among others. Here such a node
//! becomes two, around the nodes of its document: the one that is entered, which has its incoming edges and evaluates
//! what the document is given, and the one that is left, which has its name and its outgoing edges. Between them lies a
//! region: it is over when everything in it has settled, as a loop is that is run once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::graph::compiled::{
    Edge, EdgeIx, EdgeKind, Frame, FrameIx, Join, Loop, LoopIx, Node, NodeIx, NodeKind, Routing,
};
use crate::graph::expression::Template;

/// A document, compiled by itself: places are those among its own nodes, edges and loops.
pub(super) struct Level {
    pub(super) name: Option<String>,
    pub(super) nodes: Vec<LevelNode>,
    pub(super) edges: Vec<Edge>,
    pub(super) loops: Vec<Loop>,
    /// The race that each loop as a whole runs for.
    pub(super) loops_run_for: Vec<Option<NodeIx>>,
    pub(super) inputs: Option<Arc<jsonschema::Validator>>,
    pub(super) output: Option<Template>,
}

pub(super) struct LevelNode {
    pub(super) name: String,
    pub(super) label: Option<String>,
    /// `None` where it takes a document in.
    pub(super) kind: Option<NodeKind>,
    pub(super) join: Join,
    pub(super) routing: Routing,
    pub(super) undo: Option<crate::graph::compiled::Task>,
    pub(super) in_loop: Option<LoopIx>,
    pub(super) runs_for: Option<NodeIx>,
    pub(super) inline: Option<Inline>,
}

/// A document that is taken in, and what it is given.
pub(super) struct Inline {
    pub(super) level: Level,
    pub(super) with: Option<Template>,
}

/// All of it in one.
pub(super) struct Flat {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    pub(super) loops: Vec<Loop>,
    pub(super) frames: Vec<Frame>,
    pub(super) start: Vec<NodeIx>,
    pub(super) by_name: HashMap<String, NodeIx>,
    pub(super) inputs: Option<Arc<jsonschema::Validator>>,
    pub(super) output: Option<Template>,
}

/// A level in its place among the others. Those that it takes in come after it.
struct Placed {
    level: Level,
    /// What stands before the names of its nodes.
    prefix: String,
    /// The level, and the node in it, that takes this one in, and what it is given.
    owner: Option<(usize, usize)>,
    with: Option<Template>,
    /// The level that each node takes in.
    inside: Vec<Option<usize>>,
    /// Where edges to each node lead, and where those from it begin.
    into: Vec<NodeIx>,
    out_of: Vec<NodeIx>,
    loops: Vec<LoopIx>,
    region: Option<LoopIx>,
    /// The race that it runs for as a whole.
    around: Option<NodeIx>,
}

impl Placed {
    /// The innermost loop or region around a node.
    fn in_loop(&self, local: usize) -> Option<LoopIx> {
        let own = self.level.nodes[local].in_loop;
        own.map(|ix| self.loops[ix.0 as usize]).or(self.region)
    }

    fn runs_for(&self, local: usize) -> Option<NodeIx> {
        let own = self.level.nodes[local].runs_for;
        own.map(|race| self.into[race.0 as usize]).or(self.around)
    }

    /// Nodes that nothing but edges back leads to.
    fn starts(&self) -> impl Iterator<Item = NodeIx> + '_ {
        let mut led_to = vec![false; self.into.len()];
        for edge in self.level.edges.iter().filter(|edge| edge.back.is_none()) {
            led_to[edge.to.0 as usize] = true;
        }
        self.into.iter().zip(led_to).filter(|(_, led)| !led).map(|(into, _)| *into)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Plain,
    Enter,
    Leave,
}

/// A node of the flat graph, before it is made.
struct Item {
    path: String,
    level: usize,
    local: usize,
    role: Role,
}

/// The name of the node that is entered. No document can give it to a node of its own.
fn entry_name(path: &str) -> String {
    format!("{path}.@inputs")
}

/// The level as a frame: all but the first, which is the graph itself.
fn frame_of(level: usize) -> Option<FrameIx> {
    level.checked_sub(1).map(|at| FrameIx(at as u32))
}

pub(super) fn flatten(root: Level) -> Flat {
    let mut levels = Vec::new();
    place(root, String::new(), None, None, &mut levels);
    let items = name_all(&mut levels);
    let mut loops = Vec::new();
    regions(0, None, &mut levels, &mut loops);
    for at in 1..levels.len() {
        if let Some((owner, local)) = levels[at].owner {
            levels[at].around = levels[owner].runs_for(local);
        }
    }
    let edges = edges(&items, &mut levels);
    let mut nodes: Vec<Node> = items.iter().map(|item| node(item, &mut levels)).collect();
    connect(&mut nodes, &edges, &mut loops);
    race(&mut nodes, &levels);
    let start = levels[0].starts().collect();
    let frames = (1..levels.len()).filter_map(|at| frame(at, &mut levels)).collect();
    let by_name = (0_u32..).zip(items).map(|(ix, item)| (item.path, NodeIx(ix))).collect();
    let root = &mut levels[0].level;
    let (inputs, output) = (root.inputs.take(), root.output.take());
    Flat { nodes, edges, loops, frames, start, by_name, inputs, output }
}

fn place(
    mut level: Level,
    prefix: String,
    owner: Option<(usize, usize)>,
    with: Option<Template>,
    levels: &mut Vec<Placed>,
) {
    let (at, count) = (levels.len(), level.nodes.len());
    let taken: Vec<Option<Inline>> = level.nodes.iter_mut().map(|node| node.inline.take()).collect();
    let loops = vec![LoopIx(0); level.loops.len()];
    let (into, out_of) = (vec![NodeIx(0); count], vec![NodeIx(0); count]);
    let inside = vec![None; count];
    let placed = Placed { level, prefix, owner, with, inside, into, out_of, loops, region: None, around: None };
    levels.push(placed);
    for (local, inline) in taken.into_iter().enumerate() {
        let Some(Inline { level, with }) = inline else { continue };
        let prefix = format!("{}{}.", levels[at].prefix, levels[at].level.nodes[local].name);
        levels[at].inside[local] = Some(levels.len());
        place(level, prefix, Some((at, local)), with, levels);
    }
}

/// Every node, in the order of their names: one document has one set of indexes.
fn name_all(levels: &mut [Placed]) -> Vec<Item> {
    let mut items = Vec::new();
    for (level, placed) in levels.iter().enumerate() {
        for (local, node) in placed.level.nodes.iter().enumerate() {
            let path = format!("{}{}", placed.prefix, node.name);
            let role = if placed.inside[local].is_some() { Role::Leave } else { Role::Plain };
            if role == Role::Leave {
                items.push(Item { path: entry_name(&path), level, local, role: Role::Enter });
            }
            items.push(Item { path, level, local, role });
        }
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    for (item, ix) in items.iter().zip(0_u32..) {
        let placed = &mut levels[item.level];
        if item.role != Role::Leave {
            placed.into[item.local] = NodeIx(ix);
        }
        if item.role != Role::Enter {
            placed.out_of[item.local] = NodeIx(ix);
        }
    }
    items
}

/// Loops and regions, parents before children.
fn regions(at: usize, within: Option<LoopIx>, levels: &mut [Placed], loops: &mut Vec<Loop>) {
    for local in 0..levels[at].level.loops.len() {
        let ix = LoopIx(loops.len() as u32);
        let own = &levels[at].level.loops[local];
        let body = own.body.iter().map(|node| node.0 as usize).collect::<Vec<_>>();
        let found = Loop {
            header: levels[at].into[own.header.0 as usize],
            parent: own.parent.map(|parent| levels[at].loops[parent.0 as usize]).or(within),
            max_iterations: own.max_iterations,
            body: all_in(at, body, levels),
            inner: Vec::new(),
            members: 0,
            exits: Vec::new(),
            depth: 0,
            frame: None,
        };
        loops.push(found);
        levels[at].loops[local] = ix;
    }
    for local in 0..levels[at].inside.len() {
        let Some(inside) = levels[at].inside[local] else { continue };
        let ix = LoopIx(loops.len() as u32);
        loops.push(Loop {
            header: levels[at].into[local],
            parent: levels[at].in_loop(local),
            max_iterations: 1,
            body: all_in(inside, (0..levels[inside].inside.len()).collect(), levels),
            inner: Vec::new(),
            members: 0,
            exits: Vec::new(),
            depth: 0,
            frame: frame_of(inside),
        });
        levels[inside].region = Some(ix);
        regions(inside, Some(ix), levels, loops);
    }
}

/// These nodes of a level and all that is inside of them.
fn all_in(at: usize, locals: Vec<usize>, levels: &[Placed]) -> Vec<NodeIx> {
    let mut all = Vec::new();
    let mut left: Vec<(usize, usize)> = locals.into_iter().map(|local| (at, local)).collect();
    while let Some((at, local)) = left.pop() {
        let placed = &levels[at];
        all.push(placed.out_of[local]);
        if let Some(inside) = placed.inside[local] {
            all.push(placed.into[local]);
            left.extend((0..levels[inside].inside.len()).map(|local| (inside, local)));
        }
    }
    all.sort_unstable();
    all
}

/// Grouped by the node that they leave.
fn edges(items: &[Item], levels: &mut [Placed]) -> Vec<Edge> {
    let mut leaving: Vec<Vec<Vec<usize>>> = Vec::new();
    for placed in levels.iter() {
        let mut of = vec![Vec::new(); placed.inside.len()];
        for (at, edge) in placed.level.edges.iter().enumerate() {
            of[edge.from.0 as usize].push(at);
        }
        leaving.push(of);
    }
    let mut edges = Vec::new();
    for item in items {
        let placed = &mut levels[item.level];
        if item.role == Role::Enter {
            let (from, inside) = (placed.into[item.local], placed.inside[item.local]);
            let starts: Vec<NodeIx> = inside.map(|at| levels[at].starts().collect()).unwrap_or_default();
            let entering = |to| Edge { from, to, kind: EdgeKind::Plain, back: None, exits: None };
            edges.extend(starts.into_iter().map(entering));
            continue;
        }
        for at in &leaving[item.level][item.local] {
            let own = &mut placed.level.edges[*at];
            let kind = std::mem::replace(&mut own.kind, EdgeKind::Plain);
            let (back, exits, to) = (own.back, own.exits, own.to);
            let region = |ix: LoopIx| placed.loops[ix.0 as usize];
            edges.push(Edge {
                from: placed.out_of[item.local],
                to: placed.into[to.0 as usize],
                kind,
                back: back.map(region),
                exits: exits.map(region),
            });
        }
    }
    edges
}

fn node(item: &Item, levels: &mut [Placed]) -> Node {
    let placed = &mut levels[item.level];
    let (in_loop, runs_for) = (placed.in_loop(item.local), placed.runs_for(item.local));
    let inside = placed.inside[item.local].and_then(frame_of);
    let own = &mut placed.level.nodes[item.local];
    let enters = item.role == Role::Enter;
    let kind = match (inside, enters) {
        (Some(frame), true) => NodeKind::Enter(frame),
        (Some(frame), false) => NodeKind::Inline(frame),
        // A node without a kind was reported, and nothing of its document comes here.
        (None, _) => own.kind.take().unwrap_or(NodeKind::Route),
    };
    Node {
        name: item.path.clone(),
        label: if enters { None } else { own.label.take() },
        kind,
        join: if item.role == Role::Leave { Join::All } else { own.join },
        routing: if enters { Routing::All } else { own.routing },
        undo: own.undo.take(),
        out: Vec::new(),
        // Its region leads to it.
        forward_in: u32::from(item.role == Role::Leave),
        in_loop,
        runs_for,
        runners: Vec::new(),
        frame: frame_of(item.level),
    }
}

/// Whatever is counted.
fn connect(nodes: &mut [Node], edges: &[Edge], loops: &mut [Loop]) {
    for (edge, at) in edges.iter().zip(0_u32..) {
        nodes[edge.from.0 as usize].out.push(EdgeIx(at));
        if edge.back.is_none() {
            nodes[edge.to.0 as usize].forward_in += 1;
        }
        if let Some(left) = edge.exits {
            loops[left.0 as usize].exits.push(EdgeIx(at));
        }
    }
    for at in 0..loops.len() {
        let mut around = loops[at].parent;
        if let Some(parent) = around {
            loops[parent.0 as usize].members += 1;
            loops[at].depth = loops[parent.0 as usize].depth + 1;
        }
        while let Some(outer) = around {
            let outer = &mut loops[outer.0 as usize];
            outer.inner.push(LoopIx(at as u32));
            around = outer.parent;
        }
    }
    for around in nodes.iter().filter_map(|node| node.in_loop) {
        loops[around.0 as usize].members += 1;
    }
}

/// Who runs for which race: each node, and the races that begin loops which run for another one as a whole.
fn race(nodes: &mut [Node], levels: &[Placed]) {
    for at in 0..nodes.len() {
        if let Some(race) = nodes[at].runs_for {
            nodes[race.0 as usize].runners.push(NodeIx(at as u32));
        }
    }
    for placed in levels {
        for (each, behind) in placed.level.loops.iter().zip(&placed.level.loops_run_for) {
            let behind = behind.map(|race| placed.into[race.0 as usize]).or(placed.around);
            let header = placed.into[each.header.0 as usize];
            if let Some(behind) = behind
                && nodes[header.0 as usize].join == Join::Race
                && nodes[header.0 as usize].runs_for != Some(behind)
            {
                nodes[behind.0 as usize].runners.push(header);
            }
        }
    }
}

fn frame(at: usize, levels: &mut [Placed]) -> Option<Frame> {
    let (owner, local) = levels[at].owner?;
    let (entry, exit) = (levels[owner].into[local], levels[owner].out_of[local]);
    let placed = &mut levels[at];
    let names = placed.level.nodes.iter().map(|node| node.name.clone());
    Some(Frame {
        graph_name: placed.level.name.take(),
        entry,
        exit,
        region: placed.region?,
        inputs: placed.level.inputs.take(),
        with: placed.with.take(),
        output: placed.level.output.take(),
        by_name: names.zip(placed.out_of.iter().copied()).collect(),
    })
}
