//! Limits that one execution has in the place of its graph's: given by whoever starts it, or by the step that wants it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::compiled::{GraphLimits, OnLimit};
use crate::cost::Money;

/// What is not said stays as the graph has it. Stored with the first event of an execution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitOverrides {
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u32>,
    /// In microseconds, from the start of the execution.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub wall_time_us: Option<u64>,
    /// In microseconds.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_us: Option<u64>,
    /// Prompt and completion together.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Money>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub cost_alert: Option<Money>,
    /// Percent.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub warn_at: Option<u32>,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub on_limit: Option<OnLimit>,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub pause_after_failures: Option<u32>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub max_memory_mb: Option<u32>,
}

impl LimitOverrides {
    pub fn is_none(&self) -> bool {
        *self == LimitOverrides::default()
    }

    /// Under the names and in the units of a document.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                fields.insert(name.to_owned(), value);
            }
        };
        put("max_steps", json!(self.max_steps));
        let millis = |us: Option<u64>| json!(us.map(|us| format!("{}ms", us.div_ceil(1000))));
        put("wall_time", millis(self.wall_time_us));
        put("idle_timeout", millis(self.idle_timeout_us));
        put("max_tokens", json!(self.max_tokens));
        put("cost_usd", json!(self.max_cost));
        put("cost_alert_usd", json!(self.cost_alert));
        put("warn_at", json!(self.warn_at));
        put("on_limit", json!(self.on_limit));
        put("pause_after_failures", json!(self.pause_after_failures));
        put("max_memory_mb", json!(self.max_memory_mb));
        Value::Object(fields)
    }

    /// These limits, and those of the graph where nothing is said.
    pub fn over(&self, graph: &GraphLimits) -> GraphLimits {
        GraphLimits {
            max_steps: self.max_steps.unwrap_or(graph.max_steps),
            wall_time: self.wall_time_us.map(Duration::from_micros).or(graph.wall_time),
            idle_timeout: self.idle_timeout_us.map(Duration::from_micros).or(graph.idle_timeout),
            policy: graph.policy,
            max_tokens: self.max_tokens.or(graph.max_tokens),
            max_cost: self.max_cost.or(graph.max_cost),
            cost_alert: self.cost_alert.or(graph.cost_alert),
            warn_at: self.warn_at.unwrap_or(graph.warn_at),
            on_limit: self.on_limit.unwrap_or(graph.on_limit),
            pause_after_failures: self.pause_after_failures.or(graph.pause_after_failures),
            max_memory_mb: self.max_memory_mb.or(graph.max_memory_mb),
        }
    }
}
