//! Graphs that others take in by name: what a name stands for is put in its place before anything is compiled, so that
//! the stored document, and with it the digest, holds all that will run.
//!
//! Whoever compiles looks the names up. What is found was compiled before, so it has its own names replaced already:
//! one round is enough, and no name can stand for something that is not known yet.

use std::collections::HashMap;

use super::super::document;
use super::super::document::tree::{Key, Shape, Tree, canonical};
use super::super::document::{MAX_DOCUMENT_BYTES, MAX_NODES};
use crate::graph::diagnose::{Place, Reporter};

/// What names of graphs stand for.
#[derive(Clone, Copy)]
pub(crate) enum Known<'a> {
    /// Canonical documents by the words that name them. Another name is a mistake.
    Documents(&'a HashMap<String, String>),
    /// Nobody can look them up here: something stands in for each, so that the rest can be checked.
    Unlooked,
}

/// A graph that takes anything and gives nothing.
const STAND_IN: &str = r#"{"nodes":{"not_looked_up":{"transform":null}}}"#;

/// The graphs that a document takes in by name, each once.
pub(crate) fn references(tree: &mut Tree) -> Vec<String> {
    let mut found = Vec::new();
    each(tree, &mut |graph| {
        if let Shape::Text(name) = &graph.shape
            && !found.contains(name)
        {
            found.push(name.clone());
        }
    });
    found
}

/// Puts documents in the place of their names. Where they are too large together it is reported and the rest is left as it
/// is: each name costs a copy, so what is put in is bounded as it grows. Says whether what came of it can be compiled.
pub(crate) fn resolve(tree: &mut Tree, known: Known<'_>, reporter: &mut Reporter<'_>) -> bool {
    let mut taken = Taken::default();
    each(tree, &mut |graph| {
        let Shape::Text(name) = &graph.shape else { return };
        if taken.is_too_much {
            return;
        }
        let document = match known {
            Known::Unlooked => Some(STAND_IN),
            Known::Documents(documents) => documents.get(name).map(String::as_str),
        };
        let Some(found) = document.and_then(|text| document::parse_json(text, reporter)) else {
            let message = format!("there is no graph `{}` to take in", document::short(name));
            let hint = "register it first (`stepstream register FILE`), or write the document here";
            reporter.report_with(graph.place, "unknown-graph", message, hint);
            return;
        };
        let mut found = at(found, graph.place);
        if let Shape::Map(fields) = &mut found.shape {
            // Those of the execution hold.
            fields.retain(|(key, _)| key.name != "limits");
        }
        if let Some(problem) = taken.add(&found) {
            reporter.report(graph.place, "document-limit", problem);
            return;
        }
        *graph = found;
    });
    if taken.is_too_much {
        return false;
    }
    // What is put into a document is further down in it than it was by itself, and comes to what is there already.
    let Some((place, problem)) = tree.excess() else { return true };
    reporter.report(place, "document-limit", format!("with what it takes in, {problem}"));
    false
}

/// What has been put in so far.
#[derive(Default)]
struct Taken {
    /// Of canonical text.
    bytes: usize,
    nodes: usize,
    is_too_much: bool,
}

impl Taken {
    /// Counts a document that is about to be put in, or says why it is not.
    fn add(&mut self, document: &Tree) -> Option<String> {
        self.bytes += canonical(document).len();
        self.nodes += nodes_of(document);
        let problem = if self.bytes > MAX_DOCUMENT_BYTES {
            format!("what the document takes in has more than {MAX_DOCUMENT_BYTES} bytes (document limit)")
        } else if self.nodes > MAX_NODES {
            format!("what the document takes in has more than {MAX_NODES} nodes (node limit)")
        } else {
            return None;
        };
        self.is_too_much = true;
        Some(problem)
    }
}

/// Nodes of a document and of those in it.
fn nodes_of(document: &Tree) -> usize {
    let Some(Shape::Map(nodes)) = document.get("nodes").map(|nodes| &nodes.shape) else { return 0 };
    nodes.len() + nodes.iter().filter_map(|(_, node)| node.get("graph")).map(nodes_of).sum::<usize>()
}

/// Everything in it is told of where its name stands.
fn at(tree: Tree, place: Place) -> Tree {
    let shape = match tree.shape {
        Shape::List(items) => Shape::List(items.into_iter().map(|item| at(item, place)).collect()),
        Shape::Map(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (Key { place, ..key }, at(value, place)));
            Shape::Map(entries.collect())
        }
        other => other,
    };
    Tree { place, shape }
}

/// Every `graph` of a node that takes a graph in by name.
fn each(tree: &mut Tree, change: &mut dyn FnMut(&mut Tree)) {
    let Some(Shape::Map(nodes)) = field(tree, "nodes").map(|nodes| &mut nodes.shape) else { return };
    for (_, node) in nodes {
        let mode = node.get("spawn").and_then(|spawn| spawn.get("mode")).map(|mode| &mode.shape);
        let inline = matches!(mode, Some(Shape::Text(mode)) if mode == "inline");
        let Some(graph) = field(node, "graph") else { continue };
        match &graph.shape {
            Shape::Text(_) if inline => change(graph),
            Shape::Map(_) => each(graph, change),
            _ => {}
        }
    }
}

fn field<'t>(tree: &'t mut Tree, name: &str) -> Option<&'t mut Tree> {
    match &mut tree.shape {
        Shape::Map(entries) => entries.iter_mut().find(|(key, _)| key.name == name).map(|(_, value)| value),
        _ => None,
    }
}
