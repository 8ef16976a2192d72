//! Documents in, graphs or diagnostics out.

mod bad_documents;
mod good_documents;
mod hostile_text;
mod pictures;
mod schema;
mod taken_in;

use super::*;

/// A document whose name says YAML or JSON.
#[track_caller]
fn good(name: &str, text: &str) -> CompiledGraph {
    compile(&Source { name, text }).unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn refused(name: &str, text: &str) -> Diagnostics {
    match compile(&Source { name, text }) {
        Ok(graph) => panic!("accepted: {}", graph.canonical),
        Err(problems) => problems,
    }
}

/// `name`s of a list of nodes.
fn names<'a>(graph: &'a CompiledGraph, nodes: &[NodeIx]) -> Vec<&'a str> {
    nodes.iter().map(|node| graph.nodes[node.0 as usize].name.as_str()).collect()
}
