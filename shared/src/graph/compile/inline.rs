//! Graphs that others take in by name: what a name stands for is put in its place before anything is compiled, so that
//! the stored document, and with it the digest, holds all that will run.
//!
//! Whoever compiles looks the names up. What is found was compiled before, so it has its own names replaced already:
//! one round is enough, and no name can stand for something that is not known yet.

use std::collections::HashMap;

use super::super::document;
use super::super::document::tree::{Key, Shape, Tree};
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

/// Puts documents in the place of their names.
pub(crate) fn resolve(tree: &mut Tree, known: Known<'_>, reporter: &mut Reporter<'_>) {
    each(tree, &mut |graph| {
        let Shape::Text(name) = &graph.shape else { return };
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
        *graph = found;
    });
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
