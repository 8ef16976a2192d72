//! Edges: entries of a node's `next`.

use super::fields::{Fields, Known, text};
use super::tree::{Shape, Tree};
use crate::error::ErrorCategory;
use crate::graph::diagnose::{Place, Reporter};
use crate::graph::suggest;

const FIELDS: Known = Known {
    what: "an edge",
    fields: &["to", "when", "catch"],
    later: &["delivery", "on", "priority", "label", "delay"],
};

#[derive(Debug)]
pub(crate) struct DocumentEdge<'t> {
    pub(crate) place: Place,
    pub(crate) to: &'t str,
    pub(crate) to_place: Place,
    pub(crate) when: Option<&'t Tree>,
    /// Empty is `any`.
    pub(crate) catch: Option<Vec<ErrorCategory>>,
}

/// A list of edges, or a single one.
pub(crate) fn read_all<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Vec<DocumentEdge<'t>> {
    match &tree.shape {
        Shape::List(items) => items.iter().filter_map(|item| read(item, reporter)).collect(),
        Shape::Map(_) => read(tree, reporter).into_iter().collect(),
        other => {
            let hint = match other {
                Shape::Text(name) => format!("write `next: [ {{ to: {} }} ]`", super::fields::short(name)),
                _ => "write `next: [ { to: <node> } ]`".to_owned(),
            };
            reporter.report_with(
                tree.place,
                "wrong-type",
                format!("`next` is a list of edges, not {}", tree.kind()),
                hint,
            );
            Vec::new()
        }
    }
}

fn read<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<DocumentEdge<'t>> {
    let mut fields = Fields::of(tree, &FIELDS, reporter)?;
    let to = fields.required("to", reporter).and_then(|to| text(to, "to", reporter));
    let when = fields.take("when");
    let catch = fields.take_entry("catch");
    if let (Some(when), Some((key, _))) = (when, catch) {
        let hint = "split it: a `catch` edge to a `route` node that decides by `error`";
        let message = "an edge has `when` (for steps that completed) or `catch` (for steps that failed), not both";
        reporter.report_with(when.place.max(key.place), "edge-kind", message, hint);
    }
    let catch = catch.map(|(_, tree)| categories(tree, reporter));
    let (to, to_place) = to?;
    Some(DocumentEdge { place: tree.place, to, to_place, when, catch })
}

fn categories(tree: &Tree, reporter: &mut Reporter<'_>) -> Vec<ErrorCategory> {
    let names = || ErrorCategory::ALL.iter().map(|category| category.name()).chain(["any"]).collect::<Vec<_>>();
    let items = match &tree.shape {
        Shape::List(items) if !items.is_empty() => items.as_slice(),
        Shape::Text(_) => std::slice::from_ref(tree),
        _ => {
            let message = "`catch` is a list of error categories, or `any`";
            reporter.report_with(tree.place, "wrong-type", message, suggest::hint("", names()));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    let mut any = false;
    for item in items {
        let Some((name, place)) = text(item, "catch", reporter) else { continue };
        match name.parse::<ErrorCategory>() {
            _ if name == "any" => any = true,
            Ok(category) if found.contains(&category) => {
                reporter.report(place, "bad-value", format!("`{name}` is caught twice"));
            }
            Ok(category) => found.push(category),
            Err(_) => {
                let message = format!("`{}` is no error category", super::fields::short(name));
                reporter.report_with(place, "bad-value", message, suggest::hint(name, names()));
            }
        }
    }
    if any && !found.is_empty() {
        reporter.report_with(tree.place, "bad-value", "`any` includes the other categories", "write `catch: any`");
    }
    if any { Vec::new() } else { found }
}
