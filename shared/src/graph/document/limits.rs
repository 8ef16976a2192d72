//! Bounds of an execution: steps, time, tokens, money, and how much work may be found.

use super::fields::{Fields, Known, number};
use super::tree::{Shape, Tree};
use super::{MAX_STEPS, duration, word};
use crate::cost::Money;
use crate::event::child::Share;
use crate::graph::compiled::{Discover, GraphLimits, OnLimit, Reserve};
use crate::graph::diagnose::{Diagnostics, Reporter};
use crate::graph::policy::{LongRunningPolicy, MAX_DEPTH, MAX_FOUND};
use crate::graph::{LimitOverrides, Source};

/// Most mebibytes that a bound of memory can name: a terabyte.
pub(crate) const MAX_MEMORY_MB: u32 = 1024 * 1024;

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
        "policy",
        "idle_timeout",
        "max_memory_mb",
    ],
    later: &["max_concurrent_executions"],
};

pub(crate) fn read(tree: &Tree, reporter: &mut Reporter<'_>) -> GraphLimits {
    let mut limits = GraphLimits::most();
    let Some(mut fields) = Fields::of(tree, &LIMITS, reporter) else { return limits };
    if let Some(policy) = fields.take("policy").and_then(|tree| policy(tree, reporter)) {
        limits.policy = policy;
        limits.cost_alert = policy.cost_alert();
        limits.idle_timeout = policy.idle_timeout();
    }
    each(&mut fields, reporter).over(&limits)
}

/// A policy bounds what maps may find, which is a part of the graph: nobody else can choose it.
const OVERRIDES: Known = Known {
    what: "limits",
    fields: &[
        "idle_timeout",
        "max_steps",
        "wall_time",
        "max_tokens",
        "cost_usd",
        "cost_alert_usd",
        "warn_at",
        "on_limit",
        "pause_after_failures",
        "max_memory_mb",
    ],
    later: &["policy", "max_concurrent_executions"],
};

/// Limits in the place of a graph's: `policies` of a child, `limits` of a start.
pub(crate) fn overrides(tree: &Tree, what: &'static str, reporter: &mut Reporter<'_>) -> LimitOverrides {
    let fields = Fields::of(tree, &Known { what, ..OVERRIDES }, reporter);
    fields.map(|mut fields| each(&mut fields, reporter)).unwrap_or_default()
}

fn each(fields: &mut Fields<'_>, reporter: &mut Reporter<'_>) -> LimitOverrides {
    let mut limits = LimitOverrides::default();
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let idle = fields.take("idle_timeout");
    let idle = idle.and_then(|tree| duration::read(tree, "idle_timeout", duration::Zero::Refused, reporter));
    limits.idle_timeout_us = idle.map(micros);
    limits.max_steps = fields.take("max_steps").and_then(|tree| number(tree, "max_steps", 1..=MAX_STEPS, reporter));
    let wall_time =
        fields.take("wall_time").and_then(|tree| duration::read(tree, "wall_time", duration::Zero::Refused, reporter));
    limits.wall_time_us = wall_time.map(micros);
    limits.max_tokens = fields.take("max_tokens").and_then(|tree| tokens(tree, "max_tokens", reporter));
    limits.max_cost = fields.take("cost_usd").and_then(|tree| money(tree, "cost_usd", reporter));
    limits.cost_alert = fields.take("cost_alert_usd").and_then(|tree| money(tree, "cost_alert_usd", reporter));
    limits.warn_at = fields.take("warn_at").and_then(|tree| number(tree, "warn_at", 1..=100, reporter));
    limits.on_limit = fields.take("on_limit").and_then(|tree| {
        let words = [
            ("stop", OnLimit::Stop),
            ("pause", OnLimit::Pause),
            ("approve", OnLimit::Approve),
            ("fail_step", OnLimit::FailStep),
        ];
        word(tree, "on_limit", &words, reporter).copied()
    });
    limits.pause_after_failures = fields
        .take("pause_after_failures")
        .and_then(|tree| number(tree, "pause_after_failures", 1..=MAX_STEPS, reporter));
    limits.max_memory_mb =
        fields.take("max_memory_mb").and_then(|tree| number(tree, "max_memory_mb", 1..=MAX_MEMORY_MB, reporter));
    limits
}

/// Limits that somebody gives an execution when it is started, in YAML or JSON.
///
/// # Errors
/// Everything that is wrong with them, with its place.
pub fn read_limits(source: &Source<'_>) -> Result<LimitOverrides, Diagnostics> {
    let mut reporter = Reporter::new(source.name, source.text);
    let limits = super::parse(source, &mut reporter).map(|tree| overrides(&tree, "`limits`", &mut reporter));
    match limits {
        Some(limits) if reporter.is_clean() => Ok(limits),
        _ => Err(reporter.finish()),
    }
}

const RESERVE: Known = Known { what: "`reserve`", fields: &["cost_usd", "tokens"], later: &[] };

pub(crate) fn reserve(tree: &Tree, reporter: &mut Reporter<'_>) -> Reserve {
    let Some(mut fields) = Fields::of(tree, &RESERVE, reporter) else { return Reserve::default() };
    Reserve {
        cost: fields.take("cost_usd").and_then(|tree| money(tree, "cost_usd", reporter)).unwrap_or_default(),
        tokens: fields.take("tokens").and_then(|tree| tokens(tree, "tokens", reporter)).unwrap_or_default(),
    }
}

fn policy(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<LongRunningPolicy> {
    word(tree, "policy", &LongRunningPolicy::ALL.map(|policy| (policy.name(), policy)), reporter).copied()
}

const BUDGET: Known = Known { what: "`budget`", fields: &["cost_usd", "tokens"], later: &[] };

/// What a child is given of its parent's purse.
pub(crate) fn budget(tree: &Tree, reporter: &mut Reporter<'_>) -> Share {
    let Some(mut fields) = Fields::of(tree, &BUDGET, reporter) else { return Share::default() };
    let cost = fields.take("cost_usd").and_then(|tree| Some((tree, money(tree, "cost_usd", reporter)?)));
    if let Some((tree, Money::ZERO)) = cost {
        reporter.report(tree.place, "out-of-range", "a child without any money: `cost_usd` is above 0");
    }
    Share {
        cost: cost.map(|(_, money)| money),
        tokens: fields.take("tokens").and_then(|tree| tokens(tree, "tokens", reporter)),
    }
}

const DISCOVER: Known =
    Known { what: "`discover`", fields: &["policy", "max_steps", "max_depth", "same_step_repeats"], later: &[] };

/// What a map says of the bounds of its discovery. What it does not say is its policy's, or that of `limits`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DiscoverFields {
    policy: Option<LongRunningPolicy>,
    max_steps: Option<u32>,
    max_depth: Option<u32>,
    same_step_repeats: Option<u32>,
}

impl DiscoverFields {
    pub(crate) fn under(self, policy: LongRunningPolicy) -> Discover {
        let bounds = self.policy.unwrap_or(policy).discover();
        Discover {
            max_steps: self.max_steps.unwrap_or(bounds.max_steps),
            max_depth: self.max_depth.unwrap_or(bounds.max_depth),
            same_step_repeats: self.same_step_repeats.unwrap_or(bounds.same_step_repeats),
        }
    }
}

pub(crate) fn discover(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<DiscoverFields> {
    if let Shape::Text(_) = &tree.shape {
        let words = LongRunningPolicy::ALL.map(|policy| (policy.name(), policy));
        let policy = word(tree, "discover", &words, reporter).copied()?;
        return Some(DiscoverFields { policy: Some(policy), ..DiscoverFields::default() });
    }
    let mut fields = Fields::of(tree, &DISCOVER, reporter)?;
    let mut bounds = DiscoverFields::default();
    if let Some(tree) = fields.take("policy") {
        bounds.policy = Some(policy(tree, reporter)?);
    }
    if let Some(tree) = fields.take("max_steps") {
        bounds.max_steps = Some(number(tree, "max_steps", 1..=MAX_FOUND, reporter)?);
    }
    if let Some(tree) = fields.take("max_depth") {
        bounds.max_depth = Some(number(tree, "max_depth", 1..=MAX_DEPTH, reporter)?);
    }
    if let Some(tree) = fields.take("same_step_repeats") {
        bounds.same_step_repeats = Some(number(tree, "same_step_repeats", 1..=MAX_FOUND, reporter)?);
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
