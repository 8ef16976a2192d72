//! What an attempt shares with other executions of its tenant, and has to have before a worker is asked for it.

use serde::{Deserialize, Serialize};

use crate::cost::Money;
use crate::graph::Priority;

/// A place under a key, a moment under another, or both; as evaluated when the step was scheduled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermitAsk {
    /// A place among those that may run at the same time.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// A moment in a sequence of evenly spaced ones.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// What it may need at most of the tenant's budget of the day.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub need: Option<Need>,
    /// Who has its turn first among those that wait for a place.
    #[serde(rename = "p", default, skip_serializing_if = "is_normal")]
    pub priority: Priority,
}

/// One of at most `max` attempts that run under a key at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    #[serde(rename = "k")]
    pub key: String,
    #[serde(rename = "m")]
    pub max: u32,
}

/// One of at most `max` attempts under a key in each `per_us` microseconds, `burst` of them at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    #[serde(rename = "k")]
    pub key: String,
    #[serde(rename = "m")]
    pub max: u32,
    #[serde(rename = "d")]
    pub per_us: u64,
    #[serde(rename = "b")]
    pub burst: u32,
}

/// An amount that is set aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    #[serde(rename = "u", default, skip_serializing_if = "Money::is_zero")]
    pub cost: Money,
    #[serde(rename = "t", default, skip_serializing_if = "is_zero")]
    pub tokens: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_normal(priority: &Priority) -> bool {
    *priority == Priority::Normal
}
