//! The log of an execution as people read it, and what must not be in it twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stepstream_coordinator::reading::{Loaded, Reader};
use stepstream_shared::execution::ExecutionState;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::time::Timestamp;

/// More than any execution of these tests has.
const MOST: usize = 100_000;
/// Events that a step, named by its id, has once at most.
const ONCE_A_STEP: [&str; 6] =
    ["step_completed", "step_failed", "child_spawned", "child_started", "child_finished", "inbox_delivered"];
/// Events that a request, named by its id, leads to once at most.
const ONCE_A_REQUEST: [&str; 6] =
    ["control_recorded", "signal_received", "approval_decided", "inbox_received", "budget_set", "input_received"];
/// Events that follow the end of an execution: of a child or a parent, or one in the background.
const AFTER_END: [&str; 6] = [
    "parent_told",
    "background_retry_started",
    "callback_attempted",
    "callback_delivered",
    "callback_given_up",
    "callback_renewed",
];

pub struct Story {
    pub id: String,
    pub loaded: Loaded,
    pub events: Vec<Value>,
}

impl Story {
    /// Reads the log, checked from end to end.
    ///
    /// # Panics
    /// When it does not verify, or has something twice that happens once.
    pub async fn of(reader: &Reader, id: &str) -> Self {
        let (tenant, execution) = (TenantId::default_tenant(), id.parse::<ExecutionId>().expect("an id"));
        let loaded =
            reader.verify(&tenant, execution).await.unwrap_or_else(|error| panic!("{id} does not verify: {error}"));
        let events = reader.events(&tenant, execution, 0, MOST).await.expect("a log that verifies can be read");
        let story = Story { id: id.to_owned(), loaded, events };
        story.has_nothing_twice();
        story
    }

    pub fn state(&self) -> ExecutionState {
        self.loaded.execution.state()
    }

    /// Executions that it has started.
    pub fn children(&self) -> Vec<String> {
        self.loaded.execution.children().map(|(_, child)| child.id().to_string()).collect()
    }

    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["type"] == kind)
    }

    pub fn count(&self, kind: &str) -> usize {
        self.all(kind).count()
    }

    /// Of a node.
    pub fn of_node<'a>(&'a self, kind: &'a str, node: &'a str) -> impl Iterator<Item = &'a Value> {
        self.all(kind).filter(move |event| event["node"] == node)
    }

    /// When the only event of its kind happened at a node.
    ///
    /// # Panics
    /// When there is not exactly one.
    #[track_caller]
    pub fn moment(&self, kind: &str, node: &str) -> Timestamp {
        let found: Vec<&Value> = self.of_node(kind, node).collect();
        assert_eq!(found.len(), 1, "{kind} of {node}: {self}");
        at(found[0])
    }

    /// How many requests under this key changed something.
    pub fn done_under(&self, key: &str) -> usize {
        let under = self.events.iter().filter(|event| event["idempotency_key"] == key && event["outcome"] != "denied");
        // All events of one decision happen at one moment; two decisions under one key would be two controls.
        under.map(|event| &event["timestamp"]).filter_map(Value::as_str).collect::<BTreeSet<_>>().len()
    }

    /// The child of this step is cancelled when its parent ends.
    fn cancels_with_its_end(&self, step: &Value) -> bool {
        self.all("child_spawned").any(|spawned| spawned["step_id"] == *step && spawned["on_cancel"] == "cascade_cancel")
    }

    fn has_nothing_twice(&self) {
        let mut seen: BTreeMap<(&str, String), u64> = BTreeMap::new();
        let mut once = |kind: &'static str, what: String, event: &Value| {
            let sequence = event["sequence"].as_u64().expect("a number");
            if let Some(before) = seen.insert((kind, what.clone()), sequence) {
                panic!("{kind} of {what} at {before} and again at {sequence}: {self}");
            }
        };
        let (mut paused, mut quiet, mut over) = (false, false, false);
        for event in &self.events {
            let kind = event["type"].as_str().expect("a name");
            // What its tenant's day has come to is told when it is known, and the end of a child when it comes: before the
            // end or, of a child that the end has cancelled, behind it.
            let whenever = match kind {
                "child_finished" => !over || self.cancels_with_its_end(&event["step_id"]),
                _ => kind == "limit_warned" && event["of"] == "tenant",
            };
            assert!(
                whenever || over == AFTER_END.contains(&kind),
                "{kind} at its place behind or before the end: {self}"
            );
            if let Some(kind) = ONCE_A_STEP.iter().find(|once| **once == kind) {
                once(kind, event["step_id"].to_string(), event);
            }
            let control = [&event["control_id"], &event["message_id"]].into_iter().find(|id| !id.is_null());
            let denied = event["outcome"] == "denied"; // Changes nothing, and may be asked again.
            if !denied && let (Some(kind), Some(control)) = (ONCE_A_REQUEST.iter().find(|once| **once == kind), control)
            {
                once(kind, control.to_string(), event);
            }
            match kind {
                // A step ends once, one way or the other.
                "step_completed" | "step_failed" | "step_skipped" => {
                    once("the end", event["step_id"].to_string(), event);
                }
                "approval_decided" => once("a decision", format!("{} by {}", event["step_id"], event["by"]), event),
                "signal_delivered" => {
                    once("a delivery", event["signal_sequence"].to_string(), event);
                    once("a signal to", event["step_id"].to_string(), event);
                }
                "inbox_delivered" => {
                    for message in event["message_sequences"].as_array().expect("a list") {
                        once("a message", message.to_string(), event);
                    }
                }
                "execution_paused" => {
                    assert!(!paused, "paused twice: {self}");
                    (paused, quiet) = (true, false);
                }
                "execution_resumed" | "compensation_started" => paused = false,
                "execution_quiescent" => {
                    assert!(paused && !quiet, "quiet twice, or not paused: {self}");
                    quiet = true;
                }
                "execution_completed" | "execution_failed" | "execution_cancelled" => over = true,
                _ => {}
            }
        }
    }
}

/// When an event happened.
///
/// # Panics
/// When it is none.
pub fn at(event: &Value) -> Timestamp {
    event["timestamp"].as_str().and_then(|text| text.parse().ok()).expect("a moment")
}

impl std::fmt::Display for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} is {}", self.id, self.state())?;
        self.events.iter().try_for_each(|event| writeln!(f, "  {event}"))
    }
}
