//! From a document to a graph that can run, or all the reasons why it cannot.
//!
//! Indexes follow the sorted names of nodes and, within a node, the order of its edges, so equal documents (same digest)
//! compile to equal graphs, and a graph loaded from its canonical form is the one that was registered.

mod expressions;
mod flatten;
mod inline;
mod joins;
mod loops;
mod permits;
mod races;
mod reads;
mod schema;
mod waits;

use std::collections::HashMap;

use super::compiled::{
    CompiledGraph, DeadLettering, Edge, EdgeKind, Guarantee, Join, Map, NodeIx, NodeKind, Reserve, Routing, SubGraph,
    Task,
};
use super::diagnose::{Diagnostics, Place, Reporter};
use super::document::tree::{Tree, canonical};
use super::document::{self, Document, DocumentNode, Kind, ReconcileFields, TaskFields};
use super::expression::Template;
use super::policy::LongRunningPolicy;
use super::room::with_room;
use super::suggest;
use crate::id::GraphId;
use expressions::Expressions;
use flatten::{Inline, Level, LevelNode};
use inline::Known;
pub(crate) use schema::problems as input_problems;

/// Separates digests of graphs from every other hash.
const DIGEST_DOMAIN: &str = "stepstream graph document 1";

/// A document as it came.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The name shown in messages; an extension `.json`, `.yaml` or `.yml` decides how the text is read.
    pub name: &'a str,
    pub text: &'a str,
}

/// Compiles a document, or says everything that is wrong with it. Graphs that it takes in by name are not known.
pub fn compile(source: &Source<'_>) -> Result<CompiledGraph, Diagnostics> {
    compile_knowing(source, &HashMap::new())
}

/// The same, with the canonical documents of the graphs that it takes in, by the words by which it names them.
pub fn compile_knowing(source: &Source<'_>, documents: &HashMap<String, String>) -> Result<CompiledGraph, Diagnostics> {
    compile_with(source, document::parse, Known::Documents(documents))
}

/// The same where nobody can look names up: something stands in for the graphs that are taken in by name, so that the rest
/// is checked. What it gives is not what will run, where [`inline_references`] are not none.
pub fn compile_unlooked(source: &Source<'_>) -> Result<CompiledGraph, Diagnostics> {
    compile_with(source, document::parse, Known::Unlooked)
}

/// The graphs that a document takes in by name: `name` or `name@version`, each once. None of one that cannot be read.
pub fn inline_references(source: &Source<'_>) -> Vec<String> {
    if !source.text.contains("inline") {
        return Vec::new();
    }
    let found = with_room(|| {
        let mut reporter = Reporter::new(source.name, source.text);
        document::parse(source, &mut reporter).map(|mut tree| inline::references(&mut tree)).unwrap_or_default()
    });
    found.unwrap_or_default()
}

impl CompiledGraph {
    /// Compiles a stored document, as [`CompiledGraph::canonical`] holds it.
    pub fn from_canonical(text: &str) -> Result<CompiledGraph, Diagnostics> {
        let source = Source { name: "stored graph", text };
        let parse = |source: &Source<'_>, reporter: &mut Reporter<'_>| document::parse_json(source.text, reporter);
        compile_with(&source, parse, Known::Documents(&HashMap::new()))
    }
}

fn compile_with(
    source: &Source<'_>,
    parse: impl FnOnce(&Source<'_>, &mut Reporter<'_>) -> Option<Tree> + Send,
    known: Known<'_>,
) -> Result<CompiledGraph, Diagnostics> {
    let outcome = with_room(|| {
        let mut reporter = Reporter::new(source.name, source.text);
        let graph = parse(source, &mut reporter).and_then(|mut tree| {
            inline::resolve(&mut tree, known, &mut reporter).then(|| from_tree(&tree, &mut reporter)).flatten()
        });
        match graph {
            Some(graph) if reporter.is_clean() => Ok(graph),
            _ => Err(reporter.finish()),
        }
    });
    outcome.unwrap_or_else(|no_result| {
        let mut reporter = Reporter::new(source.name, source.text);
        reporter.report(Place::START, "unreadable", no_result.to_string());
        Err(reporter.finish())
    })
}

/// Graphs within graphs within graphs.
const MAX_INLINE_DEPTH: usize = 8;

fn from_tree(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<CompiledGraph> {
    let document = document::read(tree, reporter)?;
    let mut whole = Whole { policy: document.limits.policy, ..Whole::default() };
    let root = level(&document, &mut whole, reporter)?;
    let canonical = canonical(tree);
    if canonical.len() > document::MAX_DOCUMENT_BYTES {
        let message = format!(
            "with its aliases followed, and with what it takes in, the document has {} bytes; the limit is {} (document limit)",
            canonical.len(),
            document::MAX_DOCUMENT_BYTES
        );
        reporter.report(Place::START, "document-limit", message);
        return None;
    }
    let flat = flatten::flatten(root);
    let looked_into = reads::find(&flat);
    Some(CompiledGraph {
        digest: GraphId::derived(DIGEST_DOMAIN, &[canonical.as_bytes()]),
        name: document.name,
        version: document.version,
        canonical,
        inputs: flat.inputs,
        limits: document.limits,
        nodes: flat.nodes,
        edges: flat.edges,
        loops: flat.loops,
        frames: flat.frames,
        start: flat.start,
        output: flat.output,
        looked_into,
        by_name: flat.by_name,
    })
}

/// What all documents of a graph have together.
#[derive(Default)]
struct Whole {
    policy: LongRunningPolicy,
    /// Of expressions.
    bytes: usize,
    nodes: usize,
    edges: usize,
    /// The names of the documents around.
    names: Vec<String>,
}

/// A document by itself, with what it takes in.
fn level(document: &Document<'_>, whole: &mut Whole, reporter: &mut Reporter<'_>) -> Option<Level> {
    let by_name: HashMap<String, NodeIx> =
        document.nodes.iter().enumerate().map(|(at, node)| (node.name.to_owned(), NodeIx(at as u32))).collect();
    let wires = wires(document, &by_name, reporter);
    let shape = loops::find(document, &wires, reporter);
    joins::check(document, &wires, &shape, reporter);
    let races = races::find(document, &wires, &shape, reporter);
    whole.nodes += document.nodes.len();
    whole.edges += wires.len();
    whole.names.push(document.name.clone());
    let levels: Vec<Option<Level>> = document.nodes.iter().map(|node| taken_in(node, whole, reporter)).collect();
    whole.names.pop();

    let inputs = document.inputs.and_then(|tree| schema::compile(tree, "inputs", reporter));
    let mut expressions = Expressions::new(document, &by_name, &wires, &shape, reporter, whole.bytes);
    let kinds: Vec<Option<NodeKind>> = (0..document.nodes.len())
        .map(|at| node_kind(&document.nodes[at], at, whole.policy, &mut expressions))
        .collect();
    let withs: Vec<Option<Template>> = (0..document.nodes.len())
        .map(|at| match &document.nodes[at].kind {
            Some(Kind::Inline { with: Some(tree), .. }) => expressions.template(tree, Some(at)),
            _ => None,
        })
        .collect();
    let undos: Vec<Option<Task>> =
        (0..document.nodes.len()).map(|at| undo_of(&document.nodes[at], at, &mut expressions)).collect();
    let whens: Vec<Option<EdgeKind>> = wires.iter().map(|wire| edge_kind(document, wire, &mut expressions)).collect();
    let output = document.output.and_then(|tree| expressions.template(tree, None));
    whole.bytes = expressions.bytes();
    if !expressions.is_clean() {
        return None;
    }

    let mut edges = Vec::with_capacity(wires.len());
    for ((wire, kind), at) in wires.iter().zip(whens).zip(0..) {
        edges.push(Edge { from: wire.from, to: wire.to, kind: kind?, back: shape.back(at), exits: shape.exits(at) });
    }
    let mut nodes = Vec::with_capacity(document.nodes.len());
    let parts = document.nodes.iter().zip(kinds).zip(undos).zip(levels.into_iter().zip(withs));
    for ((((node, kind), undo), (level, with)), at) in parts.zip(0..) {
        let inline = level.map(|level| Inline { level, with });
        if kind.is_none() && inline.is_none() {
            return None;
        }
        nodes.push(LevelNode {
            name: node.name.to_owned(),
            label: node.label.clone(),
            kind,
            join: node.join,
            routing: node.routing,
            undo,
            in_loop: shape.in_loop(at),
            runs_for: races.runs_for(at),
            inline,
        });
    }
    let loops_run_for = (0..shape.loops.len()).map(|at| races.loop_runs_for(at)).collect();
    let name = Some(document.name.clone()).filter(|name| !name.is_empty());
    Some(Level { name, nodes, edges, loops: shape.loops, loops_run_for, inputs, output })
}

/// The document that a node takes in.
fn taken_in(node: &DocumentNode<'_>, whole: &mut Whole, reporter: &mut Reporter<'_>) -> Option<Level> {
    let Some(Kind::Inline { document, .. }) = &node.kind else { return None };
    if !document.name.is_empty() && whole.names.contains(&document.name) {
        let mut way = whole.names.clone();
        way.push(document.name.clone());
        let message = format!("a graph cannot take itself in: {}", way.join(" → "));
        reporter.report_with(node.place, "inline-cycle", message, "run it as a child: `spawn: { mode: child }`");
        return None;
    }
    let too = if whole.names.len() > MAX_INLINE_DEPTH {
        Some(format!("graphs take graphs in {MAX_INLINE_DEPTH} deep at most (inline limit)"))
    } else if whole.nodes > document::MAX_NODES || whole.edges > document::MAX_EDGES {
        let (nodes, edges) = (document::MAX_NODES, document::MAX_EDGES);
        Some(format!("with what it takes in the graph has more than {nodes} nodes or {edges} edges (node limit)"))
    } else {
        None
    };
    if let Some(message) = too {
        reporter.report(node.place, "document-limit", message);
        return None;
    }
    whole.nodes += 1; // It becomes two.
    level(document, whole, reporter)
}

/// An edge with both ends known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) from: NodeIx,
    pub(crate) to: NodeIx,
    /// Its place in the `next` of its node.
    pub(crate) nth: usize,
}

impl Wire {
    fn edge<'d, 't>(&self, document: &'d Document<'t>) -> &'d document::DocumentEdge<'t> {
        &document.nodes[self.from.0 as usize].next[self.nth]
    }
}

/// Edges grouped by their source; those to unknown nodes and those from ends are reported and left out.
fn wires(document: &Document<'_>, by_name: &HashMap<String, NodeIx>, reporter: &mut Reporter<'_>) -> Vec<Wire> {
    let mut wires = Vec::new();
    for (node, from) in document.nodes.iter().zip(0..) {
        check_edges_of(node, reporter);
        if matches!(node.kind, Some(Kind::Fail { .. } | Kind::End { .. })) {
            continue;
        }
        for (edge, nth) in node.next.iter().zip(0..) {
            match by_name.get(edge.to) {
                Some(to) => wires.push(Wire { from: NodeIx(from), to: *to, nth }),
                None if reporter.is_full() => reporter.report(edge.to_place, "unknown-node", ""),
                None => {
                    let message = format!("there is no node `{}`", document::short(edge.to));
                    let hint = suggest::hint(edge.to, document.nodes.iter().map(|node| node.name));
                    reporter.report_with(edge.to_place, "unknown-node", message, hint);
                }
            }
        }
    }
    wires
}

fn check_edges_of(node: &DocumentNode<'_>, reporter: &mut Reporter<'_>) {
    let name = node.name;
    match (&node.kind, node.next.first()) {
        (Some(Kind::Fail { .. } | Kind::End { .. }), Some(edge)) => {
            let message = format!("`{name}` ends the execution, so no edge can lead on from it");
            reporter.report_with(edge.place, "edge-from-end", message, "remove its `next`");
        }
        (Some(Kind::Route), None) => {
            let message = format!("`{name}` only chooses among edges, and has none");
            reporter.report_with(
                node.place,
                "route-without-edges",
                message,
                "add `next: [ { when: \"=…\", to: … }, { to: … } ]`",
            );
        }
        _ => {}
    }
    if node.routing == Routing::First {
        // Behind an edge that always holds, none is ever looked at. Error edges are another matter.
        let mut certain = None;
        for edge in node.next.iter().filter(|edge| edge.catch.is_none()) {
            if let Some(place) = certain {
                let message = format!(
                    "this edge of `{name}` can never be taken: the one at {place} always holds and comes first"
                );
                reporter.report_with(
                    edge.place,
                    "edge-never-taken",
                    message,
                    "move the edge without `when` to the end",
                );
            } else if edge.when.is_none() {
                certain = Some(edge.place);
            }
        }
    }
}

fn node_kind(
    node: &DocumentNode<'_>,
    at: usize,
    policy: LongRunningPolicy,
    expressions: &mut Expressions<'_, '_>,
) -> Option<NodeKind> {
    Some(match node.kind.as_ref()? {
        Kind::Task(task) => NodeKind::Task(task_of(task, at, false, expressions)?),
        Kind::Map { over, max_concurrency, collect, discover, task } => {
            let over = expressions.list(over, at);
            let task = task_of(task, at, true, expressions);
            let (max_concurrency, collect) = (*max_concurrency, *collect);
            let discover = discover.map(|fields| fields.under(policy));
            NodeKind::Map(Map { over: over?, max_concurrency, collect, discover, task: task? })
        }
        Kind::Wait { wait, with } => NodeKind::Wait(waits::compile(wait, *with, at, expressions)?),
        Kind::Graph { sub, with } => NodeKind::Graph(SubGraph {
            reference: sub.reference.clone(),
            with: match with {
                Some(tree) => Some(expressions.template(tree, Some(at))?),
                None => None,
            },
            spawn: sub.spawn.clone(),
        }),
        Kind::Inline { .. } => return None,
        Kind::Route => NodeKind::Route,
        Kind::Transform(tree) => NodeKind::Transform(expressions.template(tree, Some(at))?),
        Kind::Fail { category, message } => {
            let message = match message {
                Some(tree) => expressions.message(tree, at)?,
                None => expressions.fixed(&format!("the graph failed at `{}`", node.name)),
            };
            NodeKind::Fail { category: *category, message }
        }
        Kind::End { output: Some(tree) } => NodeKind::End { output: Some(expressions.template(tree, Some(at))?) },
        Kind::End { output: None } => NodeKind::End { output: None },
    })
}

/// What undoes a node's steps. A problem with it is reported, and ends the compilation.
fn undo_of(node: &DocumentNode<'_>, at: usize, expressions: &mut Expressions<'_, '_>) -> Option<Task> {
    let (task, map) = match node.kind.as_ref()? {
        Kind::Task(task) => (task, false),
        Kind::Map { task, .. } => (task, true),
        _ => return None,
    };
    let undo = task.undo.as_deref()?;
    let with = match undo.with {
        Some(tree) => Some(expressions.undo_template(tree, at, map)?),
        None => None,
    };
    // The undo that kills its workers fails, and the next one has its turn.
    Some(Task { dead_letter: DeadLettering::Never, ..plain_task(undo, with) })
}

fn task_of(task: &TaskFields<'_>, at: usize, map: bool, expressions: &mut Expressions<'_, '_>) -> Option<Task> {
    let with = match task.with {
        Some(tree) if map => Some(expressions.item_template(tree, at)?),
        Some(tree) => Some(expressions.template(tree, Some(at))?),
        None => None::<Template>,
    };
    let permits = permits::compile(&task.permits, at, map, expressions)?;
    Some(Task { permits, ..plain_task(task, with) })
}

fn plain_task(task: &TaskFields<'_>, with: Option<Template>) -> Task {
    Task {
        callable: task.callable.clone(),
        queue: task.queue.clone(),
        priority: task.priority,
        with,
        retry: task.retry,
        timeouts: task.timeouts,
        inbox: task.inbox,
        reserve: task.reserve,
        permits: None,
        guarantee: task.delivery.guarantee,
        claim: task.delivery.claim,
        reconcile: task.delivery.reconcile.as_ref().map(|reconcile| Box::new(reconciliation(reconcile))),
        dead_letter: task.delivery.dead_letter,
    }
}

/// It runs at least once, and one that fails for good leaves the doubt to a person.
fn reconciliation(fields: &ReconcileFields) -> Task {
    Task {
        callable: fields.callable.clone(),
        queue: fields.queue.clone(),
        priority: fields.priority,
        with: None,
        retry: fields.retry,
        timeouts: fields.timeouts,
        inbox: false,
        reserve: Reserve::default(),
        permits: None,
        guarantee: Guarantee::AtLeastOnce,
        claim: false,
        reconcile: None,
        dead_letter: DeadLettering::Never,
    }
}

fn edge_kind(document: &Document<'_>, wire: &Wire, expressions: &mut Expressions<'_, '_>) -> Option<EdgeKind> {
    let edge = wire.edge(document);
    match (&edge.when, &edge.catch) {
        (_, Some(categories)) => Some(EdgeKind::Catch(categories.clone())),
        (Some(tree), None) => expressions.condition(tree, wire.from.0 as usize).map(EdgeKind::When),
        (None, None) => Some(EdgeKind::Plain),
    }
}

/// Whether the join waits for a number of edges.
fn quorum(join: Join) -> Option<u32> {
    match join {
        Join::Quorum(quorum) => Some(quorum),
        _ => None,
    }
}
