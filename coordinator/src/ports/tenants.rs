//! What a tenant may have and spend, over all its executions.

use serde::{Deserialize, Serialize};
use stepstream_shared::cost::Money;
use stepstream_shared::event::Violation;
use stepstream_shared::fairness::Weight;
use stepstream_shared::graph::OnLimit;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::time::day_name;

use super::AttemptRef;

/// Limits of a tenant. What is not said is not limited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantLimits {
    /// Executions that nobody's step started, begun and not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_executions: Option<u32>,
    /// From midnight to midnight in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd_per_day: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Percent of the day's budget from which on the account says so.
    #[serde(default = "eighty")]
    pub warn_at: u32,
    /// What becomes of an execution that finds the day's budget used up.
    #[serde(default)]
    pub on_limit: OnLimit,
    /// What it gets of what tenants share, in proportion to the others.
    #[serde(default, skip_serializing_if = "Weight::is_one")]
    pub weight: Weight,
}

const fn eighty() -> u32 {
    80
}

impl Default for TenantLimits {
    fn default() -> Self {
        TenantLimits {
            max_concurrent_executions: None,
            cost_usd_per_day: None,
            tokens_per_day: None,
            warn_at: eighty(),
            on_limit: OnLimit::default(),
            weight: Weight::ONE,
        }
    }
}

impl TenantLimits {
    /// Nothing is limited.
    pub fn are_none(&self) -> bool {
        self.max_concurrent_executions.is_none() && self.cost_usd_per_day.is_none() && self.tokens_per_day.is_none()
    }

    /// The day's budget of cost or tokens, if so much of it (micro-dollars or tokens) is worth telling.
    pub(crate) fn near(&self, limit: Violation, used: u64) -> Option<u64> {
        let max = match limit {
            Violation::TokenLimit => self.tokens_per_day,
            _ => self.cost_usd_per_day.map(Money::micros),
        };
        max.filter(|max| u128::from(used) * 100 >= u128::from(*max) * u128::from(self.warn_at))
    }

    /// What is wrong with them, if anything is.
    pub fn problem(&self) -> Option<String> {
        if self.max_concurrent_executions == Some(0) {
            return Some("`max_concurrent_executions` is at least 1".to_owned());
        }
        if self.tokens_per_day == Some(0) || self.tokens_per_day.is_some_and(|tokens| i64::try_from(tokens).is_err()) {
            return Some("`tokens_per_day` is a whole number above 0".to_owned());
        }
        if self.cost_usd_per_day.is_some_and(|cost| cost.micros() == 0) {
            return Some("`cost_usd_per_day` is above 0".to_owned());
        }
        if !(1..=100).contains(&self.warn_at) {
            return Some(format!("`warn_at` cannot be {}; it is a percentage from 1 to 100", self.warn_at));
        }
        None
    }
}

/// What a tenant has used today, and what is set aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantAccount {
    /// Days since 1970-01-01, by the store's clock in UTC.
    pub day: i64,
    pub cost: Money,
    pub tokens: u64,
    /// Of attempts that have their permit and are not over, also those of yesterday.
    pub reserved_cost: Money,
    pub reserved_tokens: u64,
}

impl TenantAccount {
    /// As people write it: `2026-12-24`.
    pub fn day_name(&self) -> String {
        day_name(self.day)
    }

    /// A budget of the day is used to the percentage at which that is worth saying.
    pub fn warns(&self, limits: &TenantLimits) -> bool {
        limits.near(Violation::CostLimit, self.cost.micros()).is_some()
            || limits.near(Violation::TokenLimit, self.tokens).is_some()
    }
}

/// All that an execution has used, as of an event: telling it twice, or the older after the newer, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub sequence: u64,
    pub cost: Money,
    pub tokens: u64,
}

/// What an execution has used has brought a budget of its tenant's day to the percentage at which that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossed {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub limit: Violation,
    /// Used by all executions so far, in micro-dollars or tokens.
    pub current: u64,
    pub max: u64,
    /// Days since 1970-01-01, by the store's clock in UTC.
    pub day: i64,
}

/// The day's budget has no room for an attempt, whatever ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    pub attempt: AttemptRef,
    pub limit: Violation,
    /// In micro-dollars or tokens.
    pub current: u64,
    pub max: u64,
    pub on_limit: OnLimit,
}
