//! `wait`: what a node may wait for.

use std::time::Duration;

use super::duration;
use super::fields::{Fields, Known, SIGNAL, matches, number, text};
use super::tree::{Shape, Tree};
use super::word;
use crate::event::ApprovalPolicy;
use crate::graph::diagnose::Reporter;

/// Most people that a quorum may ask for.
const MAX_QUORUM: u32 = 1000;

const WAIT: Known = Known {
    what: "`wait`",
    fields: &["timer", "until", "signal", "approval", "input", "external", "timeout"],
    later: &["rate_limit", "sub_agent", "escalate"],
};

#[derive(Debug)]
pub(crate) struct WaitFields<'t> {
    pub(crate) what: WaitKind<'t>,
    /// Patience; none for timers.
    pub(crate) timeout: Option<Duration>,
    /// A JSON Schema of what may come.
    pub(crate) form: Option<&'t Tree>,
}

#[derive(Debug)]
pub(crate) enum WaitKind<'t> {
    Timer(&'t Tree),
    Until(&'t Tree),
    Signal { name: String, correlation: Option<&'t Tree> },
    Approval { assignees: Option<&'t Tree>, policy: ApprovalPolicy },
    Input { from: Option<&'t Tree> },
    External,
}

pub(crate) fn read<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<WaitFields<'t>> {
    let mut fields = Fields::of(tree, &WAIT, reporter)?;
    let timeout =
        fields.take("timeout").and_then(|tree| duration::read(tree, "timeout", duration::Zero::Refused, reporter));
    let timed = tree.get("timeout").map(|tree| tree.place);
    let kinds: Vec<&str> = ["timer", "until", "signal", "approval", "input", "external"]
        .into_iter()
        .filter(|kind| tree.get(kind).is_some())
        .collect();
    let [kind] = kinds.as_slice() else {
        let message = match kinds.as_slice() {
            [] => "`wait` does not say what for".to_owned(),
            [first, second, ..] => format!("`wait` cannot be for `{first}` and `{second}` at once"),
            [_] => String::new(),
        };
        let hint = "give it one of `timer`, `until`, `signal`, `approval`, `input` and `external`";
        reporter.report_with(tree.place, "wait-kind", message, hint);
        return None;
    };
    let given = fields.take(kind)?;
    let (what, form) = match *kind {
        "timer" => (timer(given, reporter)?, None),
        "until" => (until(given, reporter)?, None),
        "signal" => signal(given, reporter)?,
        "approval" => approval(given, reporter)?,
        "input" => input(given, reporter)?,
        _ => external(given, reporter)?,
    };
    if let (WaitKind::Timer(_) | WaitKind::Until(_), Some(place)) = (&what, timed) {
        reporter.report_with(place, "bad-value", "a timer always comes, so it has no `timeout`", "leave it out");
    }
    Some(WaitFields { what, timeout, form })
}

fn timer<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<WaitKind<'t>> {
    if !is_expression(tree) {
        duration::read(tree, "timer", duration::Zero::Allowed, reporter)?;
    }
    Some(WaitKind::Timer(tree))
}

fn until<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<WaitKind<'t>> {
    let (written, place) = text(tree, "until", reporter)?;
    if !is_expression(tree) && written.parse::<crate::time::Timestamp>().is_err() {
        let hint = "write a time such as 2026-12-24T18:00:00Z, or an expression that gives one";
        reporter.report_with(place, "bad-time", format!("`{}` is not a time", super::short(written)), hint);
        return None;
    }
    Some(WaitKind::Until(tree))
}

fn is_expression(tree: &Tree) -> bool {
    matches!(&tree.shape, Shape::Text(text) if text.starts_with('=') && !text.starts_with("=="))
}

const SIGNAL_FIELDS: Known =
    Known { what: "`signal`", fields: &["name", "correlation", "payload"], later: &["count", "from"] };

type Read<'t> = (WaitKind<'t>, Option<&'t Tree>);

fn signal<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<Read<'t>> {
    let (named, correlation, payload) = match &tree.shape {
        Shape::Text(_) => (tree, None, None),
        _ => {
            let mut fields = Fields::of(tree, &SIGNAL_FIELDS, reporter)?;
            let named = fields.required("name", reporter)?;
            (named, fields.take("correlation"), fields.take("payload"))
        }
    };
    let (name, place) = text(named, "name", reporter)?;
    if !matches(name, place, "a signal", &SIGNAL, reporter) {
        return None;
    }
    Some((WaitKind::Signal { name: name.to_owned(), correlation }, payload))
}

const APPROVAL: Known =
    Known { what: "`approval`", fields: &["form", "assignees", "policy", "quorum"], later: &["escalate", "default"] };

fn approval<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<Read<'t>> {
    if let Shape::Bool(true) = tree.shape {
        return Some((WaitKind::Approval { assignees: None, policy: ApprovalPolicy::Any }, None));
    }
    let mut fields = Fields::of(tree, &APPROVAL, reporter)?;
    let form = fields.take("form");
    let assignees = fields.take("assignees");
    let words = [("any", ApprovalPolicy::Any), ("all", ApprovalPolicy::All)];
    let worded = fields.take("policy");
    let policy = worded.and_then(|tree| word(tree, "policy", &words, reporter).copied());
    let quorum = fields.take("quorum");
    let policy = match (policy, quorum) {
        (policy, None) => policy.unwrap_or_default(),
        (_, Some(tree)) => {
            if let Some(worded) = worded {
                let message = "an approval has a `policy` or a `quorum`, not both";
                reporter.report_with(worded.place, "bad-value", message, "leave one of them out");
            }
            ApprovalPolicy::Quorum(number(tree, "quorum", 1..=MAX_QUORUM, reporter)?)
        }
    };
    if policy == ApprovalPolicy::All && assignees.is_none() {
        let message = "`policy: all` does not say who all are";
        reporter.report_with(tree.place, "missing-field", message, "add `assignees: [name, …]`");
        return None;
    }
    if let (ApprovalPolicy::Quorum(needed), Some(Shape::List(people))) = (policy, assignees.map(|tree| &tree.shape))
        && needed as usize > people.len()
    {
        let message = format!("a quorum of {needed} cannot be met by {} assignees", people.len());
        reporter.report(tree.place, "out-of-range", message);
        return None;
    }
    Some((WaitKind::Approval { assignees, policy }, form))
}

const INPUT: Known = Known { what: "`input`", fields: &["form", "from"], later: &["prompt", "default"] };

fn input<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<Read<'t>> {
    if let Shape::Bool(true) = tree.shape {
        return Some((WaitKind::Input { from: None }, None));
    }
    let mut fields = Fields::of(tree, &INPUT, reporter)?;
    Some((WaitKind::Input { from: fields.take("from") }, fields.take("form")))
}

const EXTERNAL: Known = Known { what: "`external`", fields: &["form"], later: &["token", "callback"] };

fn external<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<Read<'t>> {
    if let Shape::Bool(true) = tree.shape {
        return Some((WaitKind::External, None));
    }
    let mut fields = Fields::of(tree, &EXTERNAL, reporter)?;
    Some((WaitKind::External, fields.take("form")))
}
