//! Graphs as pictures: Graphviz DOT and Mermaid.
//!
//! Names come from strangers, so what is printed is escaped for the language it is printed in, and node ids are numbers.

use std::fmt::Write;

use super::compiled::{CompiledGraph, Edge, EdgeKind, Join, Loop, LoopIx, Node, NodeIx, NodeKind, Routing, WaitFor};

/// Longest text on an edge.
const MAX_EDGE_CHARS: usize = 60;

/// For `dot -Tsvg`.
pub fn to_dot(graph: &CompiledGraph) -> String {
    let mut out = String::new();
    let quoted = |text: &str| format!("\"{}\"", dot_escape(text));
    line(&mut out, 0, &format!("digraph {} {{", quoted(&graph.name)));
    line(&mut out, 1, "rankdir=LR;");
    line(&mut out, 1, "node [shape=box, style=rounded, fontname=\"sans-serif\"];");
    line(&mut out, 1, "edge [fontname=\"sans-serif\", fontsize=10];");
    grouped(graph, None, 1, &mut |depth, item| match item {
        Item::Node(at, node) => {
            let label = caption(node).join("\n");
            line(&mut out, depth, &format!("n{} [label={}, shape={}];", at.0, quoted(&label), dot_shape(&node.kind)));
        }
        Item::Open(at, text) => {
            line(&mut out, depth, &format!("subgraph cluster_{} {{", at.0));
            line(&mut out, depth + 1, &format!("label={}; style=dashed;", quoted(&text)));
        }
        Item::Close => line(&mut out, depth, "}"),
    });
    for edge in &graph.edges {
        let mut attributes = Vec::new();
        if let Some(text) = edge_text(edge) {
            attributes.push(format!("label={}", quoted(&text)));
        }
        if matches!(edge.kind, EdgeKind::Catch(_)) {
            attributes.push("style=dashed, color=red".to_owned());
        }
        if edge.back.is_some() {
            attributes.push("constraint=false".to_owned());
        }
        let attributes = if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
        line(&mut out, 1, &format!("n{} -> n{}{attributes};", edge.from.0, edge.to.0));
    }
    for (from, to) in ways_out(graph) {
        line(&mut out, 1, &format!("n{} -> n{} [style=dotted];", from.0, to.0));
    }
    line(&mut out, 0, "}");
    out
}

/// For Markdown that draws Mermaid.
pub fn to_mermaid(graph: &CompiledGraph) -> String {
    let mut out = String::from("flowchart LR\n");
    grouped(graph, None, 1, &mut |depth, item| match item {
        Item::Node(at, node) => {
            let text: Vec<String> = caption(node).iter().map(|text| mermaid_escape(text)).collect();
            let (open, close) = match node.kind {
                NodeKind::Enter(_) | NodeKind::Inline(_) => ("(\"", "\")"),
                NodeKind::Route => ("{\"", "\"}"),
                NodeKind::Map(_) => ("[[\"", "\"]]"),
                NodeKind::Transform(_) => ("(\"", "\")"),
                NodeKind::Fail { .. } | NodeKind::End { .. } => ("([\"", "\"])"),
                NodeKind::Task(_) => ("[\"", "\"]"),
                NodeKind::Graph(_) => ("[[\"", "\"]]"),
                NodeKind::Wait(_) => ("{{\"", "\"}}"),
            };
            line(&mut out, depth, &format!("n{}{open}{}{close}", at.0, text.join("<br/>")));
        }
        Item::Open(at, text) => line(&mut out, depth, &format!("subgraph l{}[\"{}\"]", at.0, mermaid_escape(&text))),
        Item::Close => line(&mut out, depth, "end"),
    });
    for edge in &graph.edges {
        let arrow = if matches!(edge.kind, EdgeKind::Catch(_)) { "-.->" } else { "-->" };
        let text = edge_text(edge).map(|text| format!("|\"{}\"|", mermaid_escape(&text))).unwrap_or_default();
        line(&mut out, 1, &format!("n{} {arrow}{text} n{}", edge.from.0, edge.to.0));
    }
    for (from, to) in ways_out(graph) {
        line(&mut out, 1, &format!("n{} -.-> n{}", from.0, to.0));
    }
    out
}

/// From the last nodes of graphs that are taken in to the nodes that take them in.
fn ways_out(graph: &CompiledGraph) -> impl Iterator<Item = (NodeIx, NodeIx)> + '_ {
    (0_u32..).zip(&graph.nodes).filter_map(|(at, node)| {
        let frame = graph.frame(node.frame?)?;
        node.out.is_empty().then_some((NodeIx(at), frame.exit))
    })
}

enum Item<'a> {
    Node(NodeIx, &'a Node),
    Open(LoopIx, String),
    Close,
}

/// Nodes outside every loop, then loops with what is in them. As deep as loops nest.
fn grouped(graph: &CompiledGraph, within: Option<LoopIx>, depth: usize, emit: &mut dyn FnMut(usize, Item<'_>)) {
    let members: Vec<NodeIx> = match within {
        None => (0..graph.nodes.len()).map(|at| NodeIx(at as u32)).collect(),
        Some(at) => graph.loops[at.0 as usize].body.clone(),
    };
    for at in members {
        if let Some(node) = graph.node(at).filter(|node| node.in_loop == within) {
            emit(depth, Item::Node(at, node));
        }
    }
    let inside: Vec<LoopIx> = match within {
        None => (0..graph.loops.len()).map(|at| LoopIx(at as u32)).collect(),
        Some(at) => graph.loops[at.0 as usize].inner.clone(),
    };
    for at in inside {
        let found = &graph.loops[at.0 as usize];
        if found.parent == within {
            emit(depth, Item::Open(at, caption_of(graph, found)));
            grouped(graph, Some(at), depth + 1, emit);
            emit(depth, Item::Close);
        }
    }
}

fn caption_of(graph: &CompiledGraph, found: &Loop) -> String {
    let Some(frame) = found.frame.and_then(|frame| graph.frame(frame)) else {
        return format!("at most {} times", found.max_iterations);
    };
    let path = graph.node(frame.exit).map_or("", |exit| exit.name.as_str());
    frame.graph_name.as_ref().map_or_else(|| path.to_owned(), |name| format!("{path}: {name}"))
}

fn caption(node: &Node) -> Vec<String> {
    let mut lines = vec![node.label.clone().unwrap_or_else(|| node.name.clone())];
    match &node.kind {
        NodeKind::Task(task) => lines.push(task.callable.clone()),
        NodeKind::Map(map) => lines.push(format!("{} for each of {}", map.task.callable, shorten(map.over.source()))),
        NodeKind::Graph(sub) => lines.push(format!("graph {}", sub.reference)),
        NodeKind::Wait(wait) => lines.push(match &wait.what {
            WaitFor::Signal { name, .. } => format!("wait: signal {name}"),
            other => format!("wait: {}", other.name()),
        }),
        NodeKind::Route if node.routing == Routing::First => lines.push("first".to_owned()),
        NodeKind::Route => lines.push("all that hold".to_owned()),
        NodeKind::Enter(_) => lines.push("inputs".to_owned()),
        NodeKind::Inline(_) => lines.push("output".to_owned()),
        NodeKind::Transform(_) => lines.push("transform".to_owned()),
        NodeKind::Fail { category, .. } => lines.push(format!("fail: {category}")),
        NodeKind::End { .. } => lines.push("end".to_owned()),
    }
    if let Some(undo) = &node.undo {
        lines.push(format!("undo: {}", undo.callable));
    }
    match node.join {
        Join::All => {}
        Join::Any => lines.push("join: any".to_owned()),
        Join::Race => lines.push("join: race".to_owned()),
        Join::Quorum(quorum) => lines.push(format!("join: {quorum} of {}", node.forward_in)),
        Join::AllSettled => lines.push("join: all settled".to_owned()),
    }
    lines
}

fn edge_text(edge: &Edge) -> Option<String> {
    match &edge.kind {
        EdgeKind::Plain => None,
        EdgeKind::When(expression) => Some(shorten(expression.source())),
        EdgeKind::Catch(categories) if categories.is_empty() => Some("catch any".to_owned()),
        EdgeKind::Catch(categories) => {
            let names: Vec<&str> = categories.iter().map(|category| category.name()).collect();
            Some(format!("catch {}", names.join(", ")))
        }
    }
}

fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_EDGE_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn dot_shape(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Task(_) => "box",
        NodeKind::Map(_) => "box3d",
        NodeKind::Wait(_) => "hexagon",
        NodeKind::Graph(_) => "folder",
        NodeKind::Route => "diamond",
        NodeKind::Transform(_) | NodeKind::Enter(_) | NodeKind::Inline(_) => "ellipse",
        NodeKind::Fail { .. } => "octagon",
        NodeKind::End { .. } => "doublecircle",
    }
}

fn dot_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Mermaid reads `#code;` as a character, whatever its own syntax or HTML would make of it.
fn mermaid_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_alphanumeric() || matches!(c, ' ' | '.' | ',' | '_' | '-' | ':' | '/' | '=' | '+' | '…') => {
                out.push(c)
            }
            c if c.is_control() => out.push(' '),
            c => {
                let _ = write!(out, "#{};", u32::from(c));
            }
        }
    }
    out
}

fn line(out: &mut String, depth: usize, text: &str) {
    out.push_str(&"  ".repeat(depth));
    out.push_str(text);
    out.push('\n');
}
