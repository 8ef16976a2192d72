//! One purse: a child spends what its parent has set aside for it, and what it did not need is there for others again.
//!
//! A share is taken from what is left when the child is wanted, as the reserve of a step is, and is the child's budget.
//! Once the child has ended, what it really used, with its own children, stands in its place. A parent that ends before
//! such a child counts the whole share as used: nobody is left to hear what it came to. A budget that somebody gives a
//! child by hand takes the place of its share, and is told to the parent all the same.

use super::decide::Decision;
use super::state::Execution;
use crate::cost::Money;
use crate::event::{Share, Spent};
use crate::graph::{CompiledGraph, GraphLimits, Reserve, Spawn};

impl Execution {
    /// What holds for this execution: what somebody has set since, what it was started with, what its parent has set
    /// aside for it, and what its graph says.
    pub fn limits(&self, graph: &CompiledGraph) -> GraphLimits {
        let own = self.limits.over(&graph.limits);
        let share = self.share();
        GraphLimits {
            max_cost: self.usage.max_cost.or(least(own.max_cost, share.cost)),
            max_tokens: self.usage.max_tokens.or(least(own.max_tokens, share.tokens)),
            ..own
        }
    }

    /// What its parent has set aside for it.
    pub fn share(&self) -> Share {
        self.parent.as_ref().map(|parent| parent.share).unwrap_or_default()
    }

    /// What it has used, with its children, as its parent is told. What is set aside for children that go on without it
    /// counts as used; of tokens nobody knows which kind they will be.
    pub fn spent(&self) -> Spent {
        let usage = &self.usage;
        Spent {
            prompt_tokens: usage.prompt_tokens.saturating_add(usage.reserved_tokens),
            completion_tokens: usage.completion_tokens,
            cost: usage.cost.plus(usage.reserved),
        }
    }
}

impl Decision<'_> {
    /// What a child would take from the purse at least.
    pub(super) fn need_of(spawn: &Spawn) -> Reserve {
        Reserve { cost: spawn.budget.cost.unwrap_or(Money::from_micros(1)), tokens: spawn.budget.tokens.unwrap_or(1) }
    }

    /// What a child is given. Whether there is room for the least of it was looked at before.
    pub(super) fn share_for(&self, spawn: &Spawn) -> Share {
        let limits = self.execution.limits(self.graph);
        let usage = &self.execution.usage;
        let part = |max: u64, spent: u64, reserved: u64| {
            spawn.allocation.of(max.saturating_sub(spent).saturating_sub(reserved))
        };
        let cost = spawn.budget.cost.or_else(|| {
            let max = limits.max_cost?;
            Some(Money::from_micros(part(max.micros(), usage.cost.micros(), usage.reserved.micros())))
        });
        let tokens = spawn
            .budget
            .tokens
            .or_else(|| limits.max_tokens.map(|max| part(max, usage.tokens(), usage.reserved_tokens)));
        // More than its own limit it cannot spend.
        Share {
            cost: least(cost, spawn.policies.max_cost.filter(|_| cost.is_some())),
            tokens: least(tokens, spawn.policies.max_tokens.filter(|_| tokens.is_some())),
        }
    }
}

/// The smaller bound, where there is one.
fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
