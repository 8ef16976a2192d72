//! The document people write: from text to a model whose every part is of the right type.
//!
//! Reading goes on after a problem, so that one run reports all of them. What needs the whole graph (names, joins,
//! loops, expressions) is left to the compiler.

mod delivery;
pub(crate) mod duration;
mod edge;
pub(crate) mod fields;
mod json;
mod limits;
mod node;
mod permits;
mod subgraph;
pub(crate) mod tree;
mod wait;
mod yaml;

use super::Source;
use super::compiled::GraphLimits;
use super::diagnose::{Place, Reporter};
use super::suggest;
pub(crate) use delivery::ReconcileFields;
pub(crate) use duration::parse as parse_duration;
pub(crate) use edge::DocumentEdge;
pub(crate) use fields::short;
use fields::{Fields, Known};
pub(crate) use limits::MAX_MEMORY_MB;
pub use limits::read_limits;
pub(crate) use node::{DocumentNode, Kind, MAX_CONCURRENCY, MAX_ITERATIONS, TaskFields};
pub(crate) use permits::{MAX_PERMITS, PermitFields};
use tree::{Shape, Tree};
pub(crate) use wait::{WaitFields, WaitKind};

/// Largest document in bytes of text. The largest recorded workflow we know, 2,122 tasks, has a seventh of it.
pub const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;
/// Most nodes of a graph.
pub const MAX_NODES: usize = 20_000;
/// Most edges of a graph.
pub const MAX_EDGES: usize = 200_000;
/// The version of the document format that this version reads.
pub(crate) const FORMAT: u64 = 1;
/// Most steps of an execution, unless the document says less.
pub const MAX_STEPS: u32 = 1_000_000;

const FIELDS: Known = Known {
    what: "a graph",
    fields: &["stepstream", "name", "version", "inputs", "limits", "nodes", "output"],
    later: &["description", "defaults", "cost_usd", "tags", "triggers", "secrets"],
};

#[derive(Debug)]
pub(crate) struct Document<'t> {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) inputs: Option<&'t Tree>,
    pub(crate) limits: GraphLimits,
    /// Sorted by name: equal documents compile to equal graphs, however their maps were ordered.
    pub(crate) nodes: Vec<DocumentNode<'t>>,
    pub(crate) output: Option<&'t Tree>,
}

/// Reads the text as what its name or its first character says.
pub(crate) fn parse(source: &Source<'_>, reporter: &mut Reporter<'_>) -> Option<Tree> {
    if source.text.len() > MAX_DOCUMENT_BYTES {
        let message =
            format!("the document has {} bytes; the limit is {MAX_DOCUMENT_BYTES} (document limit)", source.text.len());
        reporter.report_with(Place::START, "document-limit", message, "keep data out of graphs: pass it as input");
        return None;
    }
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(source.text);
    if let Some(at) = text.find('\0') {
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let place = Place { line: number(line), column: number(column) };
        reporter.report_with(place, "syntax", "the document holds a NUL byte", "is it text in UTF-8?");
        return None;
    }
    let extension = source.name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("json") => json::parse(text, reporter),
        Some("yaml" | "yml") => yaml::parse(text, reporter),
        // A `{` begins JSON and also the flow style of YAML, which allows more.
        _ if text.trim_start().starts_with('{') => match json::read(text) {
            Ok(tree) => Some(tree),
            Err(_) => yaml::parse(text, reporter),
        },
        _ => yaml::parse(text, reporter),
    }
}

pub(crate) fn parse_json(text: &str, reporter: &mut Reporter<'_>) -> Option<Tree> {
    json::parse(text, reporter)
}

/// The model of a tree, as far as it could be read. Complete only when the reporter found nothing.
pub(crate) fn read<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<Document<'t>> {
    read_as(tree, false, reporter)
}

/// The same of a document that another one takes in: which format it is and what it is called need not be said again.
pub(crate) fn read_inline<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<Document<'t>> {
    if let Some(limits) = tree.get("limits") {
        let message = "the limits of a graph that is taken in mean nothing: those of the execution hold";
        reporter.report_with(limits.place, "inline-limits", message, "remove them, or run it as a child");
    }
    read_as(tree, true, reporter)
}

fn read_as<'t>(tree: &'t Tree, inline: bool, reporter: &mut Reporter<'_>) -> Option<Document<'t>> {
    if !matches!(tree.shape, Shape::Map(_)) {
        let message = format!("a graph is a map, this is {}", tree.kind());
        reporter.report_with(tree.place, "wrong-type", message, "begin with `stepstream: 1`");
        return None;
    }
    let mut fields = Fields::of(tree, &FIELDS, reporter)?;
    let mut required = |name: &str, reporter: &mut Reporter<'_>| match inline {
        true => fields.take(name),
        false => fields.required(name, reporter),
    };
    let (format, named) = (required("stepstream", reporter), required("name", reporter));
    match format {
        None => {}
        Some(version) => match &version.shape {
            Shape::Number(number) if number.as_u64() == Some(FORMAT) => {}
            Shape::Number(number) => {
                let message = format!("document format {number} is not known to this version, which reads {FORMAT}");
                reporter.report_with(
                    version.place,
                    "format-version",
                    message,
                    "upgrade stepstream, or write `stepstream: 1`",
                );
                return None;
            }
            _ => reporter.report(
                version.place,
                "wrong-type",
                format!("`stepstream` is a number, not {}", version.kind()),
            ),
        },
    }
    let name = named.and_then(|name| fields::text(name, "name", reporter)).and_then(|(name, place)| {
        fields::matches(name, place, "a graph name", &fields::CALLABLE, reporter).then(|| name.to_owned())
    });
    let version = match fields.take("version") {
        None => "1".to_owned(),
        Some(tree) => match &tree.shape {
            Shape::Text(version) if fields::matches(version, tree.place, "a version", &fields::VERSION, reporter) => {
                version.clone()
            }
            Shape::Text(_) => String::new(),
            Shape::Number(number) => {
                let message = "a version is text, this is a number";
                reporter.report_with(tree.place, "wrong-type", message, format!("quote it: \"{number}\""));
                String::new()
            }
            _ => {
                reporter.report(tree.place, "wrong-type", format!("a version is text, not {}", tree.kind()));
                String::new()
            }
        },
    };
    let limits = fields.take("limits").map_or(GraphLimits::most(), |tree| limits::read(tree, reporter));
    let nodes = fields.required("nodes", reporter).map(|tree| nodes(tree, reporter)).unwrap_or_default();
    Some(Document {
        name: name.unwrap_or_default(),
        version,
        inputs: fields.take("inputs"),
        limits,
        nodes,
        output: fields.take("output"),
    })
}

fn nodes<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Vec<DocumentNode<'t>> {
    let Shape::Map(entries) = &tree.shape else {
        let message = format!("`nodes` is a map from names to nodes, not {}", tree.kind());
        reporter.report_with(tree.place, "wrong-type", message, "write `nodes: { first: { task: echo } }`");
        return Vec::new();
    };
    if entries.is_empty() {
        reporter.report_with(
            tree.place,
            "no-start",
            "the graph has no nodes",
            "add one, for example `first: { task: echo }`",
        );
    }
    if entries.len() > MAX_NODES {
        let message = format!("the graph has {} nodes; the limit is {MAX_NODES} (node limit)", entries.len());
        reporter.report_with(tree.place, "document-limit", message, "a `map` runs one node over many items");
        return Vec::new();
    }
    let mut nodes = Vec::with_capacity(entries.len());
    let mut edges = 0;
    for (key, value) in entries {
        fields::matches(&key.name, key.place, "a node name", &fields::NODE, reporter);
        let node = node::read(key, value, reporter);
        edges += node.next.len();
        nodes.push(node);
    }
    if edges > MAX_EDGES {
        let message = format!("the graph has {edges} edges; the limit is {MAX_EDGES} (edge limit)");
        reporter.report_with(tree.place, "document-limit", message, "a `map` runs one node over many items");
        return Vec::new();
    }
    nodes.sort_by(|a, b| a.name.cmp(b.name));
    nodes
}

/// A label of any text, cut to what a label may have.
pub(crate) fn short_label(text: &str) -> String {
    let end = (0..=text.len().min(node::MAX_LABEL_BYTES)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}

/// One of a few words, or a problem that names them.
pub(crate) fn word<'w, T>(
    tree: &Tree,
    what: &str,
    words: &'w [(&'w str, T)],
    reporter: &mut Reporter<'_>,
) -> Option<&'w T> {
    let Shape::Text(written) = &tree.shape else {
        let hint = suggest::hint("", words.iter().map(|(word, _)| *word));
        reporter.report_with(tree.place, "wrong-type", format!("`{what}` is a word, not {}", tree.kind()), hint);
        return None;
    };
    let found = words.iter().find(|(word, _)| word == written);
    if found.is_none() {
        let hint = suggest::hint(written, words.iter().map(|(word, _)| *word));
        reporter.report_with(tree.place, "bad-value", format!("`{what}` cannot be `{}`", fields::short(written)), hint);
    }
    found.map(|(_, value)| value)
}
