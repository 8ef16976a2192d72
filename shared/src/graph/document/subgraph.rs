//! `graph` and `spawn`: a node that runs another graph as a child execution.

use super::fields::{CALLABLE, Fields, Known, VERSION, flag, matches, text};
use super::tree::Tree;
use super::{limits, word};
use crate::event::child::{CancellationPolicy, Share};
use crate::graph::compiled::{Allocation, Spawn};
use crate::graph::diagnose::Reporter;

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

pub(crate) fn read(tree: &Tree, spawn: Option<&Tree>, reporter: &mut Reporter<'_>) -> Option<SubGraphFields> {
    let (written, place) = text(tree, "graph", reporter)?;
    let (name, version) = match written.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (written, None),
    };
    let good = matches(name, place, "a graph", &CALLABLE, reporter)
        && version.is_none_or(|version| matches(version, place, "a version", &VERSION, reporter));
    let spawn = match spawn {
        Some(tree) => read_spawn(tree, reporter)?,
        None => Spawn::default(),
    };
    good.then(|| SubGraphFields { reference: written.to_owned(), spawn })
}

fn read_spawn(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<Spawn> {
    let mut spawn = Spawn::default();
    let mut fields = Fields::of(tree, &SPAWN, reporter)?;
    if let Some(tree) = fields.take("mode") {
        // Work that joins the parent's execution is a part of its graph.
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
