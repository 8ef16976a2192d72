//! Events as people and programs outside read them: one JSON object each, under full names.

use serde_json::{Map, Value, json};

use super::decision::decision_id;
use super::{
    Actor, ApprovalPolicy, Causation, ChainHash, Ending, Envelope, Event, EventData, Input, Share, Spent, Undone, Wait,
    event_id,
};
use crate::background::Background;
use crate::execution::Execution;
use crate::graph::{CompiledGraph, NodeIx};

/// An event as one object: `sequence`, `event_id`, `timestamp`, `type`, then `step_id`, `node`, `attempt` and the rest
/// where they apply. `execution` has the event applied already, so that it knows the step.
pub fn event_json(
    event: &Event,
    index: u32,
    hash: &ChainHash,
    envelope: &Envelope,
    execution: &Execution,
    graph: &CompiledGraph,
) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            out.insert(key.to_owned(), value);
        }
    };
    put("sequence", json!(event.sequence));
    put("event_id", json!(event_id(hash, index)));
    put("timestamp", json!(event.at));
    put("type", json!(event.data.name()));
    put("execution_id", json!(execution.id()));
    if matches!(event.data, EventData::DecisionRecorded { .. }) {
        put("decision_id", json!(decision_id(execution.id(), event.sequence)));
    }
    if let Some(ordinal) = event.data.step()
        && let Some(step) = execution.step(ordinal)
        && let Some(node) = graph.node(NodeIx(step.node()))
    {
        put("step_id", json!(execution.step_id(ordinal, &node.name)));
        put("node", json!(node.name));
        if !step.iterations().is_empty() {
            put("iteration", json!(step.iterations()));
        }
        put("index", json!(step.index()));
        put("undoes", json!(step.undoes().and_then(|undone| execution.step_id(undone, &node.name))));
        put("reconciles", json!(step.reconciles().and_then(|doubted| execution.step_id(doubted, &node.name))));
    }
    match &envelope.actor {
        Actor::System => put("actor", json!("system")),
        Actor::User(name) => put("actor", json!(format!("user:{name}"))),
        Actor::Worker(name) => put("actor", json!(format!("worker:{name}"))),
    }
    match &envelope.causation {
        Causation::Outcome => put("causation", json!("outcome")),
        Causation::Deadline => put("causation", json!("deadline")),
        Causation::Command { name, key } => {
            put("causation", json!(format!("command:{name}")));
            put("idempotency_key", json!(key));
        }
    }
    if let Some(trace) = &envelope.trace {
        put("traceparent", json!(trace.traceparent));
    }
    details(&event.data, execution, graph, &mut put);
    Value::Object(out)
}

/// What a step waits for, under full names.
pub fn wait_json(wait: &Wait) -> Value {
    let mut out = match wait {
        Wait::Timer { for_us } => json!({"for_us": for_us}),
        Wait::Until { at } => json!({"until": at}),
        Wait::Signal { name, correlation } => json!({"signal": name, "correlation": correlation}),
        Wait::Approval { assignees, policy } => {
            let (policy, quorum) = match policy {
                ApprovalPolicy::Any => ("any", None),
                ApprovalPolicy::All => ("all", None),
                ApprovalPolicy::Quorum(quorum) => ("quorum", Some(quorum)),
            };
            json!({"assignees": assignees, "policy": policy, "quorum": quorum})
        }
        Wait::UserInput { from } => json!({"from": from}),
        Wait::Child { execution } => json!({"execution_id": execution}),
        Wait::External {} => json!({}),
        Wait::Permit(ask) => json!({
            "concurrency": ask.place.as_ref().map(|place| json!({"key": place.key, "max": place.max})),
            "rate": ask.pace.as_ref().map(|pace| {
                json!({"key": pace.key, "max": pace.max, "per_us": pace.per_us, "burst": pace.burst})
            }),
            "budget": ask.need.map(|need| json!({"cost_usd": need.cost, "tokens": need.tokens})),
            "priority": ask.priority,
        }),
        Wait::Doubt(doubt) => json!({"cause": doubt.cause.name(), "worker": doubt.worker, "claim": doubt.claim}),
        Wait::DeadLetter(letter) => json!({"dead_letter": letter.reason.name()}),
    };
    if let Some(out) = out.as_object_mut() {
        out.retain(|_, value| !value.is_null());
        out.insert("reason".to_owned(), json!(wait.reason()));
    }
    out
}

fn details(data: &EventData, execution: &Execution, graph: &CompiledGraph, put: &mut dyn FnMut(&str, Value)) {
    let edges = |ordinal: u32, taken: &Option<Vec<u32>>| -> Value {
        let Some(node) = execution.step(ordinal).and_then(|step| graph.node(NodeIx(step.node()))) else {
            return Value::Null;
        };
        let Some(taken) = taken else { return Value::Null };
        let names = taken.iter().filter_map(|place| {
            let edge = graph.edge(*node.out.get(*place as usize)?)?;
            graph.node(edge.to).map(|target| target.name.as_str())
        });
        json!(names.collect::<Vec<_>>())
    };
    match data {
        EventData::ExecutionCreated {
            graph,
            graph_name,
            inputs,
            planning,
            parent,
            origin,
            metadata,
            limits,
            background,
            ..
        } => {
            put("graph", json!(graph_name));
            put("graph_id", json!(graph));
            put("inputs", json!(inputs));
            if *planning {
                put("planning", json!(true));
            }
            if let Some(parent) = parent {
                put(
                    "parent",
                    json!({"parent_id": parent.parent_id, "parent_type": parent.parent_type, "execution_id": parent.execution, "depth": parent.depth}),
                );
                put("share", share(parent.share));
            }
            put("limits", if limits.is_none() { Value::Null } else { limits.to_json() });
            if let Some(origin) = origin {
                put("origin", json!({"execution_id": origin.execution, "sequence": origin.sequence}));
            }
            put("metadata", json!(metadata));
            put("background", background.as_deref().map_or(Value::Null, Background::to_json));
        }
        EventData::BackgroundQueued {} | EventData::BackgroundRetryStarted {} | EventData::ParentTold {} => {}
        EventData::TargetBindingApplied { target, path, value, error } => {
            put("target_type", json!(target.name()));
            put("target_path", json!(path));
            put("success", json!(error.is_none()));
            put("applied_value", json!(value));
            put("error", json!(error));
        }
        EventData::BackgroundRetryScheduled { next, due } => {
            put("next_execution_id", json!(next));
            put("due", json!(due));
        }
        EventData::CallbackAttempted { attempt, status, error, due } => {
            put("callback_attempt", json!(attempt));
            put("http_status", json!(status));
            put("error", json!(error));
            put("due", json!(due));
        }
        EventData::CallbackDelivered { attempt, status } => {
            put("callback_attempt", json!(attempt));
            put("http_status", json!(status));
        }
        EventData::CallbackGivenUp { attempt, status, error } => {
            put("callback_attempt", json!(attempt));
            put("http_status", json!(status));
            put("error", json!(error));
        }
        EventData::CallbackRenewed { control } => put("control_id", json!(control)),
        EventData::ExecutionStarted {} | EventData::ExecutionResumed {} => {}
        EventData::ExecutionPaused { reason, .. } => put("reason", json!(reason)),
        EventData::ExecutionCancelled { reason, undone } => {
            put("reason", json!(reason));
            put("compensation", compensation(undone));
        }
        EventData::CompensationStarted { ending } => {
            put("ending", json!(ending.name()));
            match ending {
                Ending::Failed { error, .. } => put("error", json!(error)),
                Ending::Cancelled { reason } => put("reason", json!(reason)),
            }
        }
        EventData::ExecutionWaiting { reason, control, .. } => {
            put("reason", json!(reason));
            put("control_id", json!(control));
        }
        EventData::InputReceived { input, control, .. } => {
            put("input", json!(input));
            put("control_id", json!(control));
        }
        EventData::ExecutionQuiescent {} => {}
        EventData::StoreRestored { incarnation } => put("incarnation", json!(incarnation)),
        EventData::ControlRecorded { control, action, outcome, reason } => {
            put("control_id", json!(control));
            put("action", json!(action));
            put("outcome", json!(outcome));
            put("reason", json!(reason));
        }
        EventData::BreakpointSet { node, on, control } => {
            put("control_id", json!(control));
            put("node", json!(graph.node(NodeIx(*node)).map(|node| node.name.as_str())));
            put("on", json!(on));
        }
        EventData::StepWaiting { wait, .. } => put("wait", wait_json(wait)),
        EventData::PermitGranted { attempt, from, .. } => {
            put("attempt", json!(attempt));
            put("from", json!(from));
        }
        EventData::ChildSpawned { child, graph, background, on_cancel, inherit_inbox, share: given, .. } => {
            put("child_execution_id", json!(child));
            put("graph", json!(graph));
            put("background", json!(background));
            put("on_cancel", json!(on_cancel));
            put("inherit_inbox", if *inherit_inbox { json!(true) } else { Value::Null });
            put("share", share(*given));
        }
        EventData::ChildStarted { step } => {
            put("child_execution_id", json!(execution.child_of(*step)));
        }
        EventData::ChildFinished { step, state, used } => {
            put("child_execution_id", json!(execution.child_of(*step)));
            put("state", json!(state.name()));
            if *used != Spent::default() {
                put("prompt_tokens", json!(used.prompt_tokens));
                put("completion_tokens", json!(used.completion_tokens));
                put("cost_usd", json!(used.cost));
            }
        }
        EventData::SignalReceived { control, name, correlation, payload } => {
            put("control_id", json!(control));
            put("signal", json!(name));
            put("correlation", json!(correlation));
            put("payload", json!(payload));
        }
        EventData::SignalDelivered { signal, .. } => put("signal_sequence", json!(signal)),
        EventData::ApprovalDecided { control, by, approved, comment, form, .. } => {
            put("control_id", json!(control));
            put("by", json!(by));
            put("approved", json!(approved));
            put("comment", json!(comment));
            put("form", json!(form));
        }
        EventData::InboxReceived { control, message, inherited } => {
            put("message_id", json!(control));
            put("message", message.to_json());
            if let Some(sequence) = inherited {
                let parent = execution.parent().and_then(|parent| parent.execution);
                put("inherited_from", json!({"execution_id": parent, "sequence": sequence}));
            }
        }
        EventData::InboxForwarded { step, messages } => {
            put("child_execution_id", json!(execution.child_of(*step)));
            put("message_sequences", json!(messages));
        }
        EventData::InboxDelivered { messages, .. } => put("message_sequences", json!(messages)),
        EventData::ExecutionCompleted { output } => put("output", json!(output)),
        EventData::ExecutionFailed { error, undone, .. } => {
            put("error", json!(error));
            put("compensation", compensation(undone));
        }
        EventData::StepScheduled { input, .. } => {
            put("attempt", json!(1));
            match input {
                Input::None => {}
                Input::Value(value) => put("input", json!(value)),
                Input::Inputs => put("input_from", json!("inputs")),
                Input::Output(of) => {
                    let node = execution.step(*of).and_then(|step| graph.node(NodeIx(step.node())));
                    put("input_from", json!(node.map(|node| format!("steps.{}.output", node.name))));
                }
                Input::Item => put("input_from", json!("item")),
                Input::Undone => put("input_from", json!("undoes")),
                Input::Doubted(_) => put("input_from", json!("reconciles")),
                Input::Given(of) => {
                    let node = execution.step(*of).map(|step| graph.shown_name(NodeIx(step.node())));
                    put("input_from", json!(node.map(|node| format!("inputs of {node}"))));
                }
            }
        }
        EventData::StepStarted { attempt, worker, claim, .. } => {
            put("attempt", json!(attempt));
            put("worker", json!(worker));
            put("claim", json!(claim));
        }
        EventData::StepClaimed { attempt, worker, claim, lease_ms, .. } => {
            put("attempt", json!(attempt));
            put("worker", json!(worker));
            put("claim", json!(claim));
            put("lease_ms", json!(lease_ms));
        }
        EventData::StepInDoubt { attempt, cause, .. } => {
            put("attempt", json!(attempt));
            put("cause", json!(cause.name()));
        }
        EventData::ReconciliationScheduled { key, .. } => {
            put("attempt", json!(1));
            put("idempotency_key_asked", json!(key));
        }
        EventData::StepResolved { attempt, resolution, control, reconciliation, step } => {
            put("attempt", json!(attempt));
            put("resolution", json!(resolution.name()));
            put("control_id", json!(control));
            let node = execution.step(*step).and_then(|step| graph.node(NodeIx(step.node())));
            let by = reconciliation.zip(node).and_then(|(by, node)| execution.step_id(by, &node.name));
            put("reconciled_by", json!(by));
        }
        EventData::StepDeadLettered { attempt, reason, error, duration_us, .. } => {
            put("attempt", json!(attempt));
            put("reason", json!(reason.name()));
            put("error", json!(error));
            put("duration_us", json!(duration_us));
        }
        EventData::StepCompleted { step, attempt, output, duration_us, taken, routing_error } => {
            put("attempt", json!(attempt));
            put("worker", json!(execution.step(*step).and_then(|step| step.worker())));
            put("output", json!(output));
            put("duration_us", json!(duration_us));
            put("taken", edges(*step, taken));
            put("routing_error", json!(routing_error));
        }
        EventData::StepFailed { step, attempt, error, duration_us, taken, given_up: _ } => {
            put("attempt", json!(attempt));
            put("error", json!(error));
            put("duration_us", json!(duration_us));
            put("taken", edges(*step, taken));
        }
        EventData::StepRetryScheduled { attempt, error, duration_us, due, .. } => {
            put("attempt", json!(attempt));
            put("error", json!(error));
            put("duration_us", json!(duration_us));
            put("due", json!(due));
        }
        EventData::StepRescheduled { attempt, .. } => put("attempt", json!(attempt)),
        EventData::StepSkipped { reason, .. } => put("reason", json!(reason.name())),
        EventData::MapExpanded { items, .. } => put("items", json!(items.elements().map(|items| items.len()))),
        EventData::ArtifactStored { artifact, content_hash, size_bytes, record, .. } => {
            put("artifact_id", json!(artifact));
            put("content_hash", json!(content_hash));
            put("size_bytes", json!(size_bytes));
            if let Some(record) = record {
                put("name", json!(record.name));
                put("artifact_type", json!(record.artifact_type));
                put("content_type", json!(record.content_type));
                put("stored_bytes", json!(record.stored_bytes));
                put("compression", json!(record.compression));
                put("metadata", json!(record.metadata));
            }
        }
        EventData::UsageRecorded { model, prompt_tokens, completion_tokens, cost, attempt, .. } => {
            if let Some(attempt) = attempt {
                put("attempt", json!(attempt));
            }
            put("model", json!(model));
            put("prompt_tokens", json!(prompt_tokens));
            put("completion_tokens", json!(completion_tokens));
            put("cost_usd", json!(cost));
        }
        EventData::LimitWarned { limit, current, max, day } => {
            if let Some(day) = day {
                put("of", json!("tenant"));
                put("day", json!(crate::time::day_name(*day)));
            }
            put("limit", json!(limit));
            put("current", json!(current));
            put("max", json!(max));
        }
        EventData::LimitReached { limit, current, max, held, tenant } => {
            if *tenant {
                put("of", json!("tenant"));
            }
            put("limit", json!(limit));
            put("current", json!(current));
            put("max", json!(max));
            put("held", json!(held));
        }
        EventData::BudgetSet { control, max_cost, max_tokens } => {
            put("control_id", json!(control));
            put("cost_usd", json!(max_cost));
            put("max_tokens", json!(max_tokens));
        }
        EventData::StepDiscovered { name, source_type, reason, depth, input, .. } => {
            put("input", json!(input));
            put("name", json!(name));
            put("source_type", json!(source_type));
            put("reason", json!(reason));
            put("depth", json!(depth));
        }
        EventData::ToolCallStarted { tool_call_id, tool_name, input, .. } => {
            put("tool_call_id", json!(tool_call_id));
            put("tool_name", json!(tool_name));
            put("input", json!(input));
        }
        EventData::ToolCallCompleted { tool_call_id, output, error, .. } => {
            put("tool_call_id", json!(tool_call_id));
            put("output", json!(output));
            put("error", json!(error));
        }
        EventData::DecisionRecorded { record, .. } => {
            put("decision_type", json!(record.decision_type));
            put("outcome", json!(record.outcome));
            put("confidence", json!(record.confidence));
            put("inputs", json!(record.inputs));
            if !record.alternatives.is_empty() {
                put("alternatives", json!(record.alternatives));
            }
            put("model_context", json!(record.model_context));
            put("reasoning", json!(record.reasoning));
        }
        EventData::CheckpointSaved { checkpoint_id, state_hash, .. } => {
            put("checkpoint_id", json!(checkpoint_id));
            put("state_hash", json!(state_hash));
        }
        EventData::GoalEvaluated { goal_id, status, score, reason, .. } => {
            put("goal_id", json!(goal_id));
            put("status", json!(status));
            put("score", json!(score));
            put("reason", json!(reason));
        }
        EventData::Custom { event_type, data, .. } => {
            put("event_type", json!(event_type));
            put("data", json!(data));
        }
    }
}

/// What a child may spend; null where nothing bounds it from there.
fn share(share: Share) -> Value {
    if share == Share::default() {
        return Value::Null;
    }
    json!({"cost_usd": share.cost, "tokens": share.tokens})
}

fn compensation(undone: &Option<Undone>) -> Value {
    undone.map_or(Value::Null, |Undone { done, failed }| json!({"done": done, "failed": failed}))
}
