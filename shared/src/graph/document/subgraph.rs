//! `graph` and `spawn`: a node that runs another graph, as a child execution or as a part of this one.

use super::fields::{CALLABLE, Fields, Known, VERSION, flag, matches, short, text};
use super::tree::{Shape, Tree};
use super::{Document, limits, word};
use crate::event::child::{CancellationPolicy, Share};
use crate::graph::compiled::{Allocation, Spawn};
use crate::graph::diagnose::Reporter;
use crate::graph::document;

#[derive(Debug)]
pub(crate) struct SubGraphFields {
    /// `name` or `name@version`.
    pub(crate) reference: String,
    pub(crate) spawn: Spawn,
}

const SPAWN: Known = Known {
    what: "`spawn`",
    fields: &["mode", "background", "on_cancel", "inherit_inbox", "policies", "budget", "allocation"],
    later: &["max_children"],
};

/// How another graph is run.
pub(crate) enum Taken<'t> {
    Child(SubGraphFields),
    Inline(Box<Document<'t>>),
}

pub(crate) fn read<'t>(tree: &'t Tree, spawn: Option<&Tree>, reporter: &mut Reporter<'_>) -> Option<Taken<'t>> {
    let in_place = matches!(tree.shape, Shape::Map(_));
    let inline = match spawn.and_then(|spawn| spawn.get("mode")) {
        Some(mode) => *word(mode, "mode", &[("child", false), ("inline", true)], reporter)?,
        None => in_place,
    };
    match (inline, in_place) {
        (true, _) => {
            no_child(spawn, reporter);
            if !in_place {
                // A name was replaced by what it stands for before, or is wrong.
                reference(tree, reporter)?;
                return None;
            }
            document::read_inline(tree, reporter).map(|document| Taken::Inline(Box::new(document)))
        }
        (false, true) => {
            let message = "a document that stands here has no execution of its own";
            reporter.report_with(tree.place, "bad-value", message, "register it and name it, or write `mode: inline`");
            None
        }
        (false, false) => {
            let reference = reference(tree, reporter)?;
            let spawn = match spawn {
                Some(tree) => read_spawn(tree, reporter)?,
                None => Spawn::default(),
            };
            Some(Taken::Child(SubGraphFields { reference, spawn }))
        }
    }
}

/// `name` or `name@version`.
fn reference(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<String> {
    let (written, place) = text(tree, "graph", reporter)?;
    let (name, version) = match written.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (written, None),
    };
    let good = matches(name, place, "a graph", &CALLABLE, reporter)
        && version.is_none_or(|version| matches(version, place, "a version", &VERSION, reporter));
    good.then(|| written.to_owned())
}

/// What only executions of their own have.
fn no_child(spawn: Option<&Tree>, reporter: &mut Reporter<'_>) {
    let Some(Shape::Map(entries)) = spawn.map(|spawn| &spawn.shape) else { return };
    for (key, _) in entries.iter().filter(|(key, _)| key.name != "mode") {
        let name = short(&key.name);
        let message = format!("`{name}` means nothing with `mode: inline`: its steps are those of this execution");
        reporter.report_with(key.place, "bad-value", message, "remove it, or run the graph as a child");
    }
}

fn read_spawn(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<Spawn> {
    let mut spawn = Spawn::default();
    let mut fields = Fields::of(tree, &SPAWN, reporter)?;
    if let Some(tree) = fields.take("mode") {
        word(tree, "mode", &[("child", ())], reporter)?;
    }
    if let Some(tree) = fields.take("background") {
        spawn.background = flag(tree, "background", reporter);
    }
    if let Some(tree) = fields.take("on_cancel") {
        let words = CancellationPolicy::ALL.map(|policy| (policy.name(), policy));
        spawn.on_cancel = word(tree, "on_cancel", &words, reporter).copied().unwrap_or_default();
    }
    if let Some(tree) = fields.take("inherit_inbox") {
        spawn.inherit_inbox = flag(tree, "inherit_inbox", reporter);
    }
    if let Some(tree) = fields.take("policies") {
        spawn.policies = limits::overrides(tree, "`policies`", reporter);
    }
    if let Some(tree) = fields.take("budget") {
        spawn.budget = limits::budget(tree, reporter);
    }
    if let Some(tree) = fields.take("allocation") {
        let words = Allocation::ALL.map(|allocation| (allocation.name(), allocation));
        spawn.allocation = word(tree, "allocation", &words, reporter).copied().unwrap_or_default();
        if let Share { cost: Some(_), tokens: Some(_) } = spawn.budget {
            let message = "`allocation` means nothing where `budget` says both money and tokens";
            reporter.report_with(tree.place, "bad-value", message, "remove one of the two");
        }
    }
    Some(spawn)
}
