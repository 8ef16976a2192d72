//! Bounds of an execution: steps, time, tokens, money, and how much work may be found.

use super::fields::{Fields, Known, number};
use super::tree::{Shape, Tree};
use super::{MAX_STEPS, duration, word};
use crate::cost::Money;
use crate::graph::compiled::{Discover, GraphLimits, OnLimit, Reserve};
use crate::graph::diagnose::Reporter;

/// Deepest discovery.
const MAX_DEPTH: u32 = 1000;
/// Most items that a map may find.
const MAX_FOUND: u32 = 100_000;

const LIMITS: Known = Known {
    what: "limits",
    fields: &[
        "max_steps",
        "wall_time",
        "max_tokens",
        "cost_usd",
        "cost_alert_usd",
        "warn_at",
        "on_limit",
        "pause_after_failures",
    ],
    later: &["idle_timeout", "max_memory_mb", "max_concurrent_executions"],
};

pub(crate) fn read(tree: &Tree, reporter: &mut Reporter<'_>) -> GraphLimits {
    let mut limits = GraphLimits::most();
    let Some(mut fields) = Fields::of(tree, &LIMITS, reporter) else { return limits };
    if let Some(tree) = fields.take("max_steps") {
        limits.max_steps = number(tree, "max_steps", 1..=MAX_STEPS, reporter).unwrap_or(MAX_STEPS);
    }
    if let Some(tree) = fields.take("wall_time") {
        limits.wall_time = duration::read(tree, "wall_time", duration::Zero::Refused, reporter);
    }
    if let Some(tree) = fields.take("max_tokens") {
        limits.max_tokens = tokens(tree, "max_tokens", reporter);
    }
    limits.max_cost = fields.take("cost_usd").and_then(|tree| money(tree, "cost_usd", reporter));
    limits.cost_alert = fields.take("cost_alert_usd").and_then(|tree| money(tree, "cost_alert_usd", reporter));
    if let Some(tree) = fields.take("warn_at") {
        limits.warn_at = number(tree, "warn_at", 1..=100, reporter).unwrap_or(limits.warn_at);
    }
    if let Some(tree) = fields.take("on_limit") {
        let words = [
            ("stop", OnLimit::Stop),
            ("pause", OnLimit::Pause),
            ("approve", OnLimit::Approve),
            ("fail_step", OnLimit::FailStep),
        ];
        limits.on_limit = word(tree, "on_limit", &words, reporter).copied().unwrap_or_default();
    }
    if let Some(tree) = fields.take("pause_after_failures") {
        limits.pause_after_failures = number(tree, "pause_after_failures", 1..=MAX_STEPS, reporter);
    }
    limits
}

const RESERVE: Known = Known { what: "`reserve`", fields: &["cost_usd", "tokens"], later: &[] };

pub(crate) fn reserve(tree: &Tree, reporter: &mut Reporter<'_>) -> Reserve {
    let Some(mut fields) = Fields::of(tree, &RESERVE, reporter) else { return Reserve::default() };
    Reserve {
        cost: fields.take("cost_usd").and_then(|tree| money(tree, "cost_usd", reporter)).unwrap_or_default(),
        tokens: fields.take("tokens").and_then(|tree| tokens(tree, "tokens", reporter)).unwrap_or_default(),
    }
}

const DISCOVER: Known =
    Known { what: "`discover`", fields: &["max_steps", "max_depth", "same_step_repeats"], later: &["policy"] };

/// What is not said is that of the standard policy for long-running executions: 50 steps, 5 deep, 3 times the same.
pub(crate) fn discover(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<Discover> {
    let mut bounds = Discover { max_steps: 50, max_depth: 5, same_step_repeats: 3 };
    if let Shape::Text(_) = &tree.shape {
        let words =
            [("standard", bounds), ("extended", Discover { max_steps: 300, max_depth: 10, same_step_repeats: 5 })];
        return word(tree, "discover", &words, reporter).copied();
    }
    let mut fields = Fields::of(tree, &DISCOVER, reporter)?;
    if let Some(tree) = fields.take("max_steps") {
        bounds.max_steps = number(tree, "max_steps", 1..=MAX_FOUND, reporter)?;
    }
    if let Some(tree) = fields.take("max_depth") {
        bounds.max_depth = number(tree, "max_depth", 1..=MAX_DEPTH, reporter)?;
    }
    if let Some(tree) = fields.take("same_step_repeats") {
        bounds.same_step_repeats = number(tree, "same_step_repeats", 1..=MAX_FOUND, reporter)?;
    }
    Some(bounds)
}

fn money(tree: &Tree, what: &str, reporter: &mut Reporter<'_>) -> Option<Money> {
    let written = match &tree.shape {
        Shape::Text(text) => text.to_string(),
        Shape::Number(number) if !number.to_string().contains('.') => number.to_string(),
        Shape::Number(number) => {
            let message = format!("`{what}` is an amount as text, not a number with a point");
            reporter.report_with(tree.place, "wrong-type", message, format!("quote it: \"{number}\""));
            return None;
        }
        _ => {
            reporter.report(tree.place, "wrong-type", format!("`{what}` is an amount, not {}", tree.kind()));
            return None;
        }
    };
    match written.parse() {
        Ok(money) => Some(money),
        Err(error) => {
            let message = format!("`{what}` cannot be `{}`: {error}", super::short(&written));
            reporter.report(tree.place, "bad-value", message);
            None
        }
    }
}

fn tokens(tree: &Tree, what: &str, reporter: &mut Reporter<'_>) -> Option<u64> {
    let found = match &tree.shape {
        Shape::Number(number) => number.as_u64().filter(|tokens| *tokens > 0),
        _ => None,
    };
    if found.is_none() {
        reporter.report(tree.place, "out-of-range", format!("`{what}` is a whole number above 0"));
    }
    found
}
