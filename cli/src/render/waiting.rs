//! Steps that nobody takes: seen from outside, a queue without a worker looks like a long step.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long it is quiet before that is said: a worker that is there takes a step within milliseconds, and says after a
/// second that it runs.
const QUIET: Duration = Duration::from_secs(5);

/// What an execution's feed tells of steps in the hands of workers, and of steps that are in nobody's.
#[derive(Default)]
pub struct Waiting {
    /// For each step that is dispatched: its node, and whether somebody said to have begun it.
    dispatched: HashMap<String, (String, bool)>,
    begun: usize,
    last: Option<Instant>,
    /// Nothing is dispatched meanwhile.
    paused: bool,
    /// Nor here: somebody had it wait.
    held: bool,
    said: bool,
}

impl Waiting {
    pub fn observe(&mut self, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        match (kind, event["step_id"].is_null()) {
            ("execution_paused", _) => self.paused = true,
            ("execution_resumed", _) if self.paused => self.paused = false,
            ("execution_waiting", true) => self.held = true,
            ("execution_resumed" | "input_received", true) => self.held = false,
            _ => {}
        }
        if let "execution_paused" | "execution_resumed" | "input_received" = kind {
            self.last = Some(Instant::now());
        }
        let Some(step) = event["step_id"].as_str() else { return };
        let begun = match kind {
            "step_scheduled" | "step_rescheduled" | "reconciliation_scheduled" => Some(false),
            "step_started" | "step_claimed" => Some(true),
            // A map waits for its items, and those for workers.
            "step_completed" | "step_failed" | "step_retry_scheduled" | "step_skipped" | "map_expanded" => None,
            // Nobody is to take it.
            "step_waiting" | "step_in_doubt" | "step_dead_lettered" => None,
            _ => return,
        };
        self.last = Some(Instant::now());
        let before = match begun {
            Some(begun) => {
                let node = event["node"].as_str().unwrap_or_default().to_owned();
                self.begun += usize::from(begun);
                self.dispatched.insert(step.to_owned(), (node, begun))
            }
            None => self.dispatched.remove(step),
        };
        self.begun -= usize::from(before.is_some_and(|(_, begun)| begun));
    }

    /// A node whose step waits while nothing else happens. Said once.
    pub fn too_long(&mut self) -> Option<&str> {
        self.too_long_after(QUIET)
    }

    fn too_long_after(&mut self, quiet: Duration) -> Option<&str> {
        let is_quiet = self.last.is_some_and(|last| last.elapsed() >= quiet);
        if self.said || self.paused || self.held || self.begun > 0 || self.dispatched.is_empty() || !is_quiet {
            return None;
        }
        self.said = true;
        self.dispatched.values().next().map(|(node, _)| node.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn after(events: &[(&str, &str)]) -> Option<String> {
        let mut waiting = Waiting::default();
        for (kind, step) in events {
            waiting.observe(&json!({"type": kind, "step_id": step, "node": format!("node of {step}")}));
        }
        let found = waiting.too_long_after(Duration::ZERO).map(str::to_owned);
        assert_eq!(waiting.too_long_after(Duration::ZERO), None, "it is said once");
        found
    }

    #[test]
    fn a_step_waits_from_its_schedule_until_somebody_takes_it() {
        let scheduled = ("step_scheduled", "a");
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[scheduled]).as_deref(), Some("node of a"));
        assert_eq!(after(&[scheduled, ("step_started", "a")]), None);
        assert_eq!(after(&[scheduled, ("step_completed", "a")]), None);
        assert_eq!(after(&[scheduled, ("step_retry_scheduled", "a")]), None);
        assert_eq!(
            after(&[scheduled, ("step_retry_scheduled", "a"), ("step_rescheduled", "a")]).as_deref(),
            Some("node of a")
        );
    }

    #[test]
    fn while_another_step_runs_nothing_waits_too_long() {
        let events = [("step_scheduled", "a"), ("step_scheduled", "b"), ("step_started", "b")];
        assert_eq!(after(&events), None);
        assert_eq!(after(&[&events[..], &[("step_completed", "b")]].concat()).as_deref(), Some("node of a"));
    }

    #[test]
    fn a_paused_execution_waits_for_no_worker() {
        let mut waiting = Waiting::default();
        waiting.observe(&json!({"type": "step_scheduled", "step_id": "a", "node": "a"}));
        waiting.observe(&json!({"type": "execution_paused"}));
        assert_eq!(waiting.too_long_after(Duration::ZERO), None);
        waiting.observe(&json!({"type": "execution_resumed"}));
        assert_eq!(waiting.too_long_after(Duration::ZERO), Some("a"));
    }

    #[test]
    fn what_is_held_or_waits_for_somebody_waits_for_no_worker() {
        assert_eq!(after(&[("step_scheduled", "a"), ("step_waiting", "a")]), None);
        let mut waiting = Waiting::default();
        waiting.observe(&json!({"type": "step_scheduled", "step_id": "a", "node": "a"}));
        waiting.observe(&json!({"type": "execution_waiting"}));
        assert_eq!(waiting.too_long_after(Duration::ZERO), None);
        waiting.observe(&json!({"type": "input_received"}));
        assert_eq!(waiting.too_long_after(Duration::ZERO), Some("a"));
    }

    #[test]
    fn it_is_quiet_only_after_a_while() {
        let mut waiting = Waiting::default();
        waiting.observe(&json!({"type": "step_scheduled", "step_id": "a"}));
        assert_eq!(waiting.too_long(), None);
    }
}
