//! `graph` and `spawn`: a node that runs another graph as a child execution.

use super::fields::{CALLABLE, Fields, Known, VERSION, flag, matches, text};
use super::tree::Tree;
use super::word;
use crate::event::child::CancellationPolicy;
use crate::graph::diagnose::Reporter;

#[derive(Debug)]
pub(crate) struct SubGraphFields {
    /// `name` or `name@version`.
    pub(crate) reference: String,
    pub(crate) background: bool,
    pub(crate) on_cancel: CancellationPolicy,
}

const SPAWN: Known = Known {
    what: "`spawn`",
    fields: &["mode", "background", "on_cancel"],
    later: &["inherit_inbox", "policies", "max_children"],
};

pub(crate) fn read(tree: &Tree, spawn: Option<&Tree>, reporter: &mut Reporter<'_>) -> Option<SubGraphFields> {
    let (written, place) = text(tree, "graph", reporter)?;
    let (name, version) = match written.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (written, None),
    };
    let good = matches(name, place, "a graph", &CALLABLE, reporter)
        && version.is_none_or(|version| matches(version, place, "a version", &VERSION, reporter));
    let mut sub =
        SubGraphFields { reference: written.to_owned(), background: false, on_cancel: CancellationPolicy::default() };
    if let Some(tree) = spawn {
        let mut fields = Fields::of(tree, &SPAWN, reporter)?;
        if let Some(tree) = fields.take("mode") {
            // Work that joins the parent's execution is a part of its graph.
            word(tree, "mode", &[("child", ())], reporter)?;
        }
        if let Some(tree) = fields.take("background") {
            sub.background = flag(tree, "background", reporter);
        }
        if let Some(tree) = fields.take("on_cancel") {
            let words = CancellationPolicy::ALL.map(|policy| (policy.name(), policy));
            sub.on_cancel = word(tree, "on_cancel", &words, reporter).copied().unwrap_or_default();
        }
    }
    good.then_some(sub)
}
