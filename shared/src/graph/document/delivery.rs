//! `delivery`, `claim`, `reconcile` and `dead_letter`: what is promised of a task whose worker is lost.

use super::fields::{CALLABLE, Fields, Known, QUEUE, flag, matches, text};
use super::node::{retry, timeouts};
use super::tree::{Shape, Tree};
use super::word;
use crate::error::RetryPolicy;
use crate::graph::compiled::{DeadLettering, Guarantee, Priority, Timeouts};
use crate::graph::diagnose::Reporter;

/// What a task says of its delivery.
#[derive(Debug, Default)]
pub(crate) struct DeliveryFields {
    pub(crate) guarantee: Guarantee,
    /// A worker asks for the attempt before it runs it.
    pub(crate) claim: bool,
    pub(crate) reconcile: Option<ReconcileFields>,
    pub(crate) dead_letter: DeadLettering,
}

/// Who finds out what became of an attempt whose worker is lost.
#[derive(Debug)]
pub(crate) struct ReconcileFields {
    pub(crate) callable: String,
    pub(crate) queue: String,
    pub(crate) priority: Priority,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) timeouts: Timeouts,
}

/// The fields of a task in `queue`, which its reconciliation shares unless it names its own.
pub(crate) fn read(
    fields: &mut Fields<'_>,
    queue: &str,
    priority: Priority,
    reporter: &mut Reporter<'_>,
) -> DeliveryFields {
    let guarantees = Guarantee::ALL.map(|guarantee| (guarantee.name(), guarantee));
    let guarantee = fields
        .take("delivery")
        .and_then(|tree| word(tree, "delivery", &guarantees, reporter).copied())
        .unwrap_or_default();
    let claim = match fields.take("claim") {
        Some(tree) => {
            let claim = flag(tree, "claim", reporter);
            if !claim && guarantee == Guarantee::AtMostOnce && matches!(tree.shape, Shape::Bool(false)) {
                let message = "`delivery: at_most_once` is kept by claims: a worker asks before it runs the attempt";
                reporter.report_with(tree.place, "bad-value", message, "leave `claim` out");
            }
            claim
        }
        None => guarantee == Guarantee::AtMostOnce,
    };
    let reconcile = fields.take("reconcile").and_then(|tree| {
        if guarantee == Guarantee::AtLeastOnce {
            let message =
                "only a step that runs at most once can be in doubt: one that runs at least once is tried again";
            reporter.report_with(
                tree.place,
                "bad-value",
                message,
                "add `delivery: at_most_once`, or remove `reconcile`",
            );
        }
        reconciliation(tree, queue, priority, reporter)
    });
    let words = DeadLettering::ALL.map(|when| (when.name(), when));
    let dead_letter = fields
        .take("dead_letter")
        .and_then(|tree| word(tree, "dead_letter", &words, reporter).copied())
        .unwrap_or_default();
    DeliveryFields { guarantee, claim, reconcile, dead_letter }
}

const RECONCILE: Known = Known {
    what: "`reconcile`",
    fields: &["task", "queue", "retry", "timeout"],
    later: &["with", "priority", "after"],
};

fn reconciliation(
    tree: &Tree,
    queue: &str,
    priority: Priority,
    reporter: &mut Reporter<'_>,
) -> Option<ReconcileFields> {
    if let Shape::Text(name) = &tree.shape {
        let hint = format!("write `reconcile: {{ task: {} }}`", super::fields::short(name));
        reporter.report_with(tree.place, "wrong-type", "`reconcile` is a map, not text", hint);
        return None;
    }
    let mut fields = Fields::of(tree, &RECONCILE, reporter)?;
    let callable = fields.required("task", reporter).and_then(|tree| text(tree, "task", reporter));
    let callable = callable.filter(|(name, place)| matches(name, *place, "a callable", &CALLABLE, reporter));
    let own = fields.take("queue").and_then(|tree| text(tree, "queue", reporter));
    let own = own.filter(|(name, place)| matches(name, *place, "a queue", &QUEUE, reporter));
    Some(ReconcileFields {
        queue: own.map_or(queue, |(name, _)| name).to_owned(),
        priority,
        retry: fields.take("retry").and_then(|tree| retry(tree, reporter)),
        timeouts: fields.take("timeout").map(|tree| timeouts(tree, reporter)).unwrap_or_default(),
        callable: callable?.0.to_owned(),
    })
}
