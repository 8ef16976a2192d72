//! An event, as far as progress cares: from the log in this process or from a server's feed.

use std::time::Duration;

use serde_json::Value;
use stepstream_shared::event::view::wait_json;
use stepstream_shared::event::{Event, EventData};
use stepstream_shared::execution::Execution;
use stepstream_shared::graph::{CompiledGraph, NodeIx};
use stepstream_shared::time::Timestamp;

use crate::render::waits;

#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub sequence: u64,
    /// Empty where the event is the execution's.
    pub node: String,
    pub iteration: Vec<u64>,
    /// The place in a map.
    pub index: Option<u64>,
    pub attempt: u64,
    /// The step undoes another one.
    pub undoes: bool,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Scheduled,
    Started {
        worker: String,
    },
    Completed {
        duration: Duration,
    },
    Failed {
        error: String,
    },
    Retry {
        error: String,
        after: Duration,
    },
    Skipped {
        reason: String,
    },
    MapExpanded {
        items: u64,
    },
    /// Waits for something outside, in words.
    Waiting {
        what: String,
    },
    Paused {
        reason: String,
    },
    Resumed,
    /// All that is open waits.
    Rests,
    Other,
}

fn in_doubt(cause: &str) -> String {
    format!("somebody to say what became of it: its worker was lost ({cause})")
}

impl Seen {
    /// The execution has the event applied already.
    pub fn of(event: &Event, execution: &Execution, graph: &CompiledGraph) -> Self {
        let step = event.data.step().and_then(|ordinal| execution.step(ordinal));
        let node = step.and_then(|step| graph.node(NodeIx(step.node())));
        let kind = match &event.data {
            EventData::StepScheduled { .. } => Kind::Scheduled,
            EventData::ReconciliationScheduled { .. } => Kind::Scheduled,
            EventData::StepStarted { worker, .. } | EventData::StepClaimed { worker, .. } => {
                Kind::Started { worker: worker.clone() }
            }
            EventData::StepCompleted { duration_us, .. } => {
                Kind::Completed { duration: Duration::from_micros(*duration_us) }
            }
            EventData::StepFailed { error, .. } => Kind::Failed { error: error.to_string() },
            EventData::StepRetryScheduled { error, due, .. } => {
                Kind::Retry { error: error.to_string(), after: due.since(event.at) }
            }
            EventData::StepSkipped { reason, .. } => Kind::Skipped { reason: reason.name().to_owned() },
            EventData::MapExpanded { items, .. } => {
                Kind::MapExpanded { items: items.elements().map_or(0, |items| items.len() as u64) }
            }
            EventData::StepInDoubt { cause, .. } => Kind::Waiting { what: in_doubt(cause.name()) },
            EventData::StepDeadLettered { error, .. } => {
                Kind::Failed { error: format!("{error} (held as a dead letter)") }
            }
            EventData::StepWaiting { wait, .. } => Kind::Waiting { what: waits::words(&wait_json(wait)) },
            EventData::ExecutionPaused { reason, .. } => Kind::Paused { reason: reason.clone() },
            EventData::ExecutionResumed {} => Kind::Resumed,
            EventData::ExecutionWaiting { .. } => Kind::Rests,
            _ => Kind::Other,
        };
        Seen {
            sequence: event.sequence,
            node: node.map(|node| node.label.as_ref().unwrap_or(&node.name).clone()).unwrap_or_default(),
            iteration: step.map(|step| step.iterations().iter().map(|n| u64::from(*n)).collect()).unwrap_or_default(),
            index: step.and_then(|step| step.index()).map(u64::from),
            attempt: step.map_or(0, |step| u64::from(step.attempt())),
            undoes: step.is_some_and(|step| step.undoes().is_some()),
            kind,
        }
    }

    /// From an event as the outside sees it.
    pub fn of_json(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let error = || {
            let (category, message) = (&event["error"]["category"], &event["error"]["message"]);
            format!("[{}] {}", text(category), text(message))
        };
        let kind = match event["type"].as_str().unwrap_or_default() {
            "step_scheduled" | "reconciliation_scheduled" => Kind::Scheduled,
            "step_started" | "step_claimed" => Kind::Started { worker: text(&event["worker"]) },
            "step_completed" => {
                Kind::Completed { duration: Duration::from_micros(event["duration_us"].as_u64().unwrap_or(0)) }
            }
            "step_failed" => Kind::Failed { error: error() },
            "step_retry_scheduled" => {
                let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
                let after = match (time(&event["due"]), time(&event["timestamp"])) {
                    (Some(due), Some(at)) => due.since(at),
                    _ => Duration::ZERO,
                };
                Kind::Retry { error: error(), after }
            }
            "step_skipped" => Kind::Skipped { reason: text(&event["reason"]) },
            "map_expanded" => Kind::MapExpanded { items: event["items"].as_u64().unwrap_or(0) },
            "step_in_doubt" => Kind::Waiting { what: in_doubt(&text(&event["cause"])) },
            "step_dead_lettered" => Kind::Failed { error: format!("{} (held as a dead letter)", error()) },
            "step_waiting" => Kind::Waiting { what: waits::words(&event["wait"]) },
            "execution_paused" => Kind::Paused { reason: text(&event["reason"]) },
            "execution_resumed" => Kind::Resumed,
            "execution_waiting" => Kind::Rests,
            _ => Kind::Other,
        };
        Seen {
            sequence: event["sequence"].as_u64().unwrap_or(0),
            node: text(&event["node"]),
            iteration: event["iteration"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect(),
            index: event["index"].as_u64(),
            attempt: event["attempt"].as_u64().unwrap_or(0),
            undoes: !event["undoes"].is_null(),
            kind,
        }
    }

    /// The step as people write it: `hash[3]`, `polish #2`, `undo hash[3]`.
    pub fn name(&self) -> String {
        let mut name = crate::output::printable(&self.node);
        if self.undoes {
            name.insert_str(0, "undo ");
        }
        if let Some(index) = self.index {
            name.push_str(&format!("[{index}]"));
        }
        if !self.iteration.is_empty() {
            let passes: Vec<String> = self.iteration.iter().map(u64::to_string).collect();
            name.push_str(&format!(" #{}", passes.join(".")));
        }
        name
    }
}
