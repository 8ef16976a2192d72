//! What an execution waits for, as people and programs outside read it.

use serde::Serialize;
use serde_json::{Value, json};
use stepstream_shared::data::Data;
use stepstream_shared::event::Wait;
use stepstream_shared::event::view::wait_json;
use stepstream_shared::execution::{WaitReason, WaitRun};
use stepstream_shared::graph::NodeIx;
use stepstream_shared::id::{ExecutionId, StepId};
use stepstream_shared::time::Timestamp;
use utoipa::ToSchema;

use super::Loaded;

/// Values of users in one answer, in bytes. What does not fit any more is left out, and stands in the events.
const SHOWN_BYTES: usize = 8 * 1024 * 1024;

/// What an execution waits for, and what waits for it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Waits {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    pub execution_id: ExecutionId,
    /// Created, Planning, Running, Paused, Waiting, Completed, Failed or Cancelled.
    pub state: &'static str,
    /// Why it is paused or was cancelled.
    #[schema(required)]
    pub reason: Option<String>,
    /// What it waits for as a whole, such as `approval`; null while something goes on.
    #[schema(value_type = Option<String>, required)]
    pub waiting_for: Option<WaitReason>,
    /// It waits because somebody holds it: resuming it or an input lets it go on.
    pub held: bool,
    pub paused: bool,
    /// It is paused, and no worker has anything of it left.
    pub quiescent: bool,
    /// Each step that waits, the one that began first first.
    pub waits: Vec<StepWait>,
    /// Signals that have come before a step waited for them.
    pub signals: Vec<KeptSignal>,
    /// Messages that no step has taken yet, the most urgent first: `sequence`, and the message.
    #[schema(value_type = Vec<Object>)]
    pub inbox: Vec<Value>,
    /// Messages in the inbox, those that are not shown included.
    pub inbox_total: usize,
    /// Nodes before which it is paused.
    pub breakpoints: Vec<String>,
    /// There was too much to show: values are null, or messages missing. The events have all of them.
    pub left_out: bool,
}

/// A step that waits.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StepWait {
    #[schema(value_type = String, example = "step_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    pub step_id: StepId,
    /// The node's name in the graph.
    pub node: String,
    /// The iteration of each loop around the node, outermost first.
    pub iteration: Vec<u32>,
    /// approval, user_input, external, signal, timer, sub_agent for another execution, rate_limit for a place or a
    /// moment that is shared with other executions, in_doubt for whoever says what became of it, or dead_letter.
    #[schema(value_type = String)]
    pub reason: WaitReason,
    /// The wait as it was decided when it began: who is assigned, which signal, and so on.
    #[schema(value_type = Object)]
    pub wait: Value,
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it ends by itself; null when it does not, or when that is not known because the execution is paused.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub due: Option<Timestamp>,
    /// What whoever decides or answers is shown.
    pub shown: Value,
    /// The JSON Schema of what is asked for; null where anything fits.
    pub form: Value,
    /// What was said so far: `by`, `approved`, `comment`, `form`, `at`.
    #[schema(value_type = Vec<Object>)]
    pub decisions: Vec<Value>,
}

/// A signal that no step has taken yet.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct KeptSignal {
    pub name: String,
    #[schema(required)]
    pub correlation: Option<String>,
}

/// How much may still be shown.
struct Room {
    left: usize,
    left_out: bool,
}

impl Room {
    fn take(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => self.left_out = true,
        }
        !self.left_out
    }

    fn value(&mut self, data: &Data) -> Value {
        if self.take(data.len()) { data.to_json() } else { Value::Null }
    }
}

impl Waits {
    pub fn of(loaded: &Loaded) -> Self {
        let execution = &loaded.execution;
        let mut room = Room { left: SHOWN_BYTES, left_out: false };
        // The compiled graph knows how to check forms, its document what they look like.
        let asks = execution.waits().next().is_some();
        let document = asks.then(|| serde_json::from_str::<Value>(&loaded.graph.canonical).ok()).flatten();
        let document = document.unwrap_or_default();
        let waits =
            execution.waits().filter_map(|(ordinal, run)| step(loaded, &document, ordinal, run, &mut room)).collect();
        let mut inbox = Vec::new();
        for (sequence, message) in execution.inbox() {
            if !room.take(message.payload().map_or(0, Data::len)) {
                break;
            }
            let mut message = message.to_json();
            message["sequence"] = json!(sequence);
            inbox.push(message);
        }
        let node = |ix: u32| loaded.graph.node(NodeIx(ix)).map(|node| node.name.clone());
        let signal = |kept: &stepstream_shared::execution::state::KeptSignal| KeptSignal {
            name: kept.name.clone(),
            correlation: kept.correlation.clone(),
        };
        Waits {
            execution_id: execution.id(),
            state: execution.state().name(),
            reason: execution.reason().map(str::to_owned),
            waiting_for: execution.waiting_for(),
            held: execution.is_held(),
            paused: execution.state() == stepstream_shared::execution::ExecutionState::Paused,
            quiescent: execution.is_quiescent(),
            waits,
            signals: execution.kept_signals().map(signal).collect(),
            inbox,
            inbox_total: execution.inbox().count(),
            breakpoints: execution.breakpoints().filter_map(node).collect(),
            left_out: room.left_out,
        }
    }
}

/// The step that asks about one in doubt, as far as it is; null where nobody asks.
fn reconciliation(loaded: &Loaded, of: u32, node: &str) -> Value {
    let execution = &loaded.execution;
    let Some((ordinal, step)) = execution.reconciliation_of(of).and_then(|asks| Some((asks, execution.step(asks)?)))
    else {
        return Value::Null;
    };
    json!({"step_id": execution.step_id(ordinal, node), "state": step.state().name(), "error": step.error()})
}

/// The form of a wait, in the graph's document.
fn form(document: &Value, node: &str) -> Value {
    let wait = &document["nodes"][node]["wait"];
    let forms =
        [&wait["approval"]["form"], &wait["input"]["form"], &wait["external"]["form"], &wait["signal"]["payload"]];
    forms.into_iter().find(|form| !form.is_null()).cloned().unwrap_or_default()
}

fn step(loaded: &Loaded, document: &Value, ordinal: u32, run: &WaitRun, room: &mut Room) -> Option<StepWait> {
    let execution = &loaded.execution;
    let step = execution.step(ordinal)?;
    let node = &loaded.graph.node(NodeIx(step.node()))?.name;
    let shown = execution.input_of(ordinal).unwrap_or_default();
    let decisions = run.decisions().iter().map(|decision| {
        json!({
            "by": decision.by,
            "approved": decision.approved,
            "comment": decision.comment,
            "form": room.value(&decision.form),
            "at": decision.at,
        })
    });
    let decisions = decisions.collect();
    let mut wait = wait_json(run.wait());
    match run.wait() {
        Wait::Doubt(_) => wait["reconciliation"] = reconciliation(loaded, ordinal, node),
        Wait::DeadLetter(_) => wait["error"] = json!(step.error()),
        _ => {}
    }
    Some(StepWait {
        step_id: execution.step_id(ordinal, node)?,
        node: node.clone(),
        iteration: step.iterations().to_vec(),
        reason: run.wait().reason(),
        wait,
        since: run.since(),
        due: execution.wait_due(ordinal),
        shown: room.value(&shown),
        form: form(document, node),
        decisions,
    })
}
