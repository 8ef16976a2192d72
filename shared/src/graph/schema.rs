//! The published JSON Schema of the document, for editors. The compiler sees more; whatever the schema refuses, the
//! compiler refuses too.

use serde_json::{Map, Value as Json, json};

use super::compiled::{Allocation, DeadLettering, Guarantee, Priority};
use super::document::{MAX_CONCURRENCY, MAX_ITERATIONS, MAX_MEMORY_MB, MAX_PERMITS, MAX_STEPS};
use super::policy::{MAX_DEPTH, MAX_FOUND};
use crate::error::ErrorCategory;
use crate::error::retry::MAX_ATTEMPTS;

/// JSON Schema 2020-12 of a graph document.
pub fn json_schema() -> Json {
    let categories: Vec<&str> = ErrorCategory::ALL.iter().map(|category| category.name()).collect();
    let caught: Vec<&str> = categories.iter().copied().chain(["any"]).collect();
    let priorities: Vec<&str> = Priority::ALL.iter().map(|priority| priority.name()).collect();
    let common = json!({
        "label": { "type": "string", "maxLength": 512, "description": "A name for people." },
        "join": { "$ref": "#/$defs/join" },
        "route": { "enum": ["first", "all"], "description": "Which edges are taken: the first that holds, or every one (the default)." },
        "max_iterations": { "type": "integer", "minimum": 1, "maximum": MAX_ITERATIONS, "description": "Makes this node the header of a loop; iterations in all." },
        "next": { "$ref": "#/$defs/next" },
    });
    let task = json!({
        "task": { "$ref": "#/$defs/callable" },
        "queue": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$", "description": "Which workers may take it." },
        "with": { "description": "The input; strings that start with `=` are CEL. Without it: the inputs, or the item of a map." },
        "retry": { "$ref": "#/$defs/retry" },
        "timeout": { "$ref": "#/$defs/timeout" },
        "priority": { "enum": priorities },
        "reserve": { "$ref": "#/$defs/reserve", "description": "What it may need at most, set aside before it is scheduled." },
        "undo": { "$ref": "#/$defs/undo" },
        "concurrency": { "$ref": "#/$defs/concurrency", "description": "At most so many attempts under a key at the same time, whichever executions they are of." },
        "rate": { "$ref": "#/$defs/rate", "description": "At most so many attempts under a key in a time, whichever executions they are of." },
        "delivery": { "enum": Guarantee::ALL.map(Guarantee::name), "default": "at_least_once", "description": "How often it runs whatever dies: an attempt whose worker is lost is tried again, or is in doubt." },
        "claim": { "type": "boolean", "description": "A worker asks for the attempt before it runs it; always so with `delivery: at_most_once`." },
        "reconcile": { "$ref": "#/$defs/reconcile" },
        "dead_letter": { "enum": DeadLettering::ALL.map(DeadLettering::name), "default": "poison", "description": "Which failures are held for somebody to redrive instead of failing the step: jobs that kill their workers, whatever is not tried again, none." },
    });
    let inbox = json!({ "inbox": { "type": "boolean", "description": "It is given the messages that have come for the execution." } });
    let subgraph = json!({
        "graph": { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}(@[A-Za-z0-9_.+-]{1,64})?$", "description": "`name` or `name@version` of a registered graph." },
        "with": { "description": "The inputs of the child; strings that start with `=` are CEL. Without it: the inputs." },
        "spawn": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "mode": { "const": "child" },
                "background": { "type": "boolean", "description": "The step does not wait for the child." },
                "on_cancel": { "enum": ["cascade_cancel", "wait_for_children", "detach"], "default": "cascade_cancel" },
                "inherit_inbox": { "type": "boolean", "description": "What comes for this execution comes for the child, too." },
                "policies": { "$ref": "#/$defs/limits", "description": "In the place of the limits of the child's graph." },
                "budget": { "$ref": "#/$defs/reserve", "description": "What the child is given of the purse of this execution." },
                "allocation": { "enum": Allocation::ALL.map(Allocation::name), "default": "equal_split", "description": "How much of what is left it is given where `budget` says nothing: half, four fifths, all." },
            },
        },
    });
    let inline = json!({
        "graph": { "oneOf": [{ "$ref": "#/$defs/document" }, { "type": "string" }], "description": "A document in place, or with `mode: inline` a registered graph." },
        "with": { "description": "The inputs of the graph; strings that start with `=` are CEL. Without it: the inputs of the graph around it." },
        "spawn": {
            "type": "object",
            "additionalProperties": false,
            "required": ["mode"],
            "properties": { "mode": { "const": "inline" } },
        },
    });
    let wait = json!({
        "wait": { "$ref": "#/$defs/wait" },
        "with": { "description": "What is shown to whoever decides or answers; strings that start with `=` are CEL." },
    });
    let map = json!({ "map": { "$ref": "#/$defs/map" } });
    let end = json!({ "label": common["label"], "join": common["join"] });
    let nodes = [
        node("A step that a worker runs.", &["task"], &[&task, &inbox, &common]),
        node("A step for each item of a list.", &["map", "task"], &[&map, &task, &common]),
        node("Waits for time, a signal, a person or a program.", &["wait"], &[&wait, &common]),
        node("Another graph, as an execution of its own.", &["graph"], &[&subgraph, &common]),
        // A name without `mode: inline` is a child's.
        taken_in(node("Another graph, whose steps are steps of the same execution.", &["graph"], &[&inline, &common])),
        node("Only chooses edges.", &["route", "next"], &[&common]),
        node("An expression.", &["transform"], &[&json!({ "transform": {} }), &common]),
        node("Ends the execution as failed.", &["fail"], &[&json!({ "fail": { "$ref": "#/$defs/fail" } }), &end]),
        node("Ends the execution as completed.", &["end"], &[&json!({ "end": { "$ref": "#/$defs/end" } }), &end]),
    ];
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stepstream graph document, format 1",
        "type": "object",
        "required": ["stepstream", "name", "nodes"],
        "additionalProperties": false,
        "properties": {
            "stepstream": { "const": 1, "description": "The version of the document format." },
            "name": { "$ref": "#/$defs/callable" },
            "version": { "type": "string", "pattern": "^[A-Za-z0-9_.+-]{1,64}$", "default": "1" },
            "inputs": { "type": ["object", "boolean"], "description": "A JSON Schema that inputs must match." },
            "limits": { "$ref": "#/$defs/limits" },
            "nodes": { "$ref": "#/$defs/nodes" },
            "output": { "description": "The output of the execution; strings that start with `=` are CEL." },
        },
        "$defs": {
            "nodes": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$" },
                "additionalProperties": { "oneOf": nodes },
            },
            "document": {
                "description": "A graph that is taken in: what it is called need not be said.",
                "type": "object",
                "required": ["nodes"],
                "additionalProperties": false,
                "properties": {
                    "stepstream": { "const": 1 },
                    "name": { "$ref": "#/$defs/callable" },
                    "version": { "type": "string", "pattern": "^[A-Za-z0-9_.+-]{1,64}$" },
                    "inputs": { "type": ["object", "boolean"], "description": "A JSON Schema that its inputs must match." },
                    "nodes": { "$ref": "#/$defs/nodes" },
                    "output": { "description": "The output of the node that takes it in; strings that start with `=` are CEL." },
                },
            },
            "callable": { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$" },
            "limits": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "max_steps": { "type": "integer", "minimum": 1, "maximum": MAX_STEPS },
                    "wall_time": { "$ref": "#/$defs/duration" },
                    "max_tokens": { "type": "integer", "minimum": 1 },
                    "cost_usd": { "$ref": "#/$defs/money" },
                    "policy": { "enum": ["standard", "extended", "unlimited", "disabled"], "description": "What cost_alert_usd, idle_timeout and `discover` are where they are not said." },
                    "idle_timeout": { "$ref": "#/$defs/duration", "description": "Nothing may happen for so long while it runs." },
                    "cost_alert_usd": { "$ref": "#/$defs/money", "description": "Somebody is asked once this much is spent." },
                    "warn_at": { "type": "integer", "minimum": 1, "maximum": 100, "default": 80, "description": "Percent of a limit at which a warning is recorded." },
                    "on_limit": { "enum": ["stop", "pause", "approve", "fail_step"], "default": "stop" },
                    "pause_after_failures": { "type": "integer", "minimum": 1, "maximum": MAX_STEPS, "description": "So many attempts that fail in a row pause the execution." },
                    "max_memory_mb": { "type": "integer", "minimum": 1, "maximum": MAX_MEMORY_MB, "description": "Mebibytes that the programs of a `process` step may have in memory together." },
                },
            },
            "expression": { "type": "string", "pattern": "^=[^=]", "description": "CEL after `=`." },
            "duration": { "type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength": 2 },
            "join": { "oneOf": [
                { "enum": ["all", "any", "race", "all_settled"] },
                { "type": "object", "required": ["quorum"], "additionalProperties": false, "properties": { "quorum": { "type": "integer", "minimum": 1 } } },
            ] },
            "next": { "oneOf": [{ "type": "array", "items": { "$ref": "#/$defs/edge" } }, { "$ref": "#/$defs/edge" }] },
            "edge": {
                "type": "object",
                "required": ["to"],
                "additionalProperties": false,
                "not": { "required": ["when", "catch"] },
                "properties": {
                    "to": { "type": "string" },
                    "when": { "oneOf": [{ "$ref": "#/$defs/expression" }, { "type": "boolean" }] },
                    "catch": { "oneOf": [
                        { "enum": caught },
                        { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "enum": caught } },
                    ] },
                },
            },
            "map": {
                "type": "object",
                "required": ["over"],
                "additionalProperties": false,
                "properties": {
                    "over": { "oneOf": [{ "$ref": "#/$defs/expression" }, { "type": "array" }] },
                    "max_concurrency": { "type": "integer", "minimum": 1, "maximum": MAX_CONCURRENCY },
                    "collect": { "enum": ["all", "all_settled"] },
                    "discover": { "$ref": "#/$defs/discover", "description": "Its items may find more items." },
                },
            },
            "wait": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "timer": { "oneOf": [{ "$ref": "#/$defs/duration" }, { "$ref": "#/$defs/expression" }] },
                    "until": { "type": "string", "description": "A time in RFC 3339, or an expression that gives one." },
                    "signal": { "oneOf": [{ "$ref": "#/$defs/signal" }, {
                        "type": "object",
                        "required": ["name"],
                        "additionalProperties": false,
                        "properties": {
                            "name": { "$ref": "#/$defs/signal" },
                            "correlation": { "description": "The signal must bring the same key." },
                            "payload": { "type": ["object", "boolean"], "description": "A JSON Schema." },
                        },
                    }] },
                    "approval": { "oneOf": [{ "const": true }, {
                        "type": "object",
                        "additionalProperties": false,
                        "not": { "required": ["policy", "quorum"] },
                        "properties": {
                            "form": { "type": ["object", "boolean"], "description": "A JSON Schema." },
                            "assignees": { "description": "Who may decide: names, or an expression that gives them." },
                            "policy": { "enum": ["any", "all"] },
                            "quorum": { "type": "integer", "minimum": 1, "maximum": 1000 },
                        },
                    }] },
                    "input": { "oneOf": [{ "const": true }, {
                        "type": "object",
                        "additionalProperties": false,
                        "properties": { "form": { "type": ["object", "boolean"] }, "from": {} },
                    }] },
                    "external": { "oneOf": [{ "const": true }, {
                        "type": "object",
                        "additionalProperties": false,
                        "properties": { "form": { "type": ["object", "boolean"] } },
                    }] },
                    "timeout": { "$ref": "#/$defs/duration" },
                },
                "oneOf": [
                    { "required": ["timer"], "not": { "required": ["timeout"] } },
                    { "required": ["until"], "not": { "required": ["timeout"] } },
                    { "required": ["signal"] },
                    { "required": ["approval"] },
                    { "required": ["input"] },
                    { "required": ["external"] },
                ],
            },
            "money": { "oneOf": [{ "type": "string", "pattern": "^[0-9]{1,9}([.][0-9]{1,6})?$" }, { "type": "integer", "minimum": 0, "maximum": 999_999_999 }] },
            "discover": { "oneOf": [{ "enum": ["standard", "extended", "unlimited", "disabled"] }, {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "policy": { "enum": ["standard", "extended", "unlimited", "disabled"], "description": "Instead of that of `limits`." },
                    "max_steps": { "type": "integer", "minimum": 1, "maximum": MAX_FOUND },
                    "max_depth": { "type": "integer", "minimum": 1, "maximum": MAX_DEPTH },
                    "same_step_repeats": { "type": "integer", "minimum": 1, "maximum": MAX_FOUND },
                },
            }] },
            "reserve": {
                "type": "object",
                "additionalProperties": false,
                "properties": { "cost_usd": { "$ref": "#/$defs/money" }, "tokens": { "type": "integer", "minimum": 1 } },
            },
            "concurrency": {
                "type": "object",
                "required": ["key", "max"],
                "additionalProperties": false,
                "properties": {
                    "key": { "type": "string", "minLength": 1, "description": "A name, or an expression that gives one." },
                    "max": { "type": "integer", "minimum": 1, "maximum": MAX_PERMITS },
                    "timeout": { "$ref": "#/$defs/duration", "description": "How long an attempt may wait for its place." },
                },
            },
            "rate": {
                "type": "object",
                "required": ["key", "max", "per"],
                "additionalProperties": false,
                "properties": {
                    "key": { "type": "string", "minLength": 1, "description": "A name, or an expression that gives one." },
                    "max": { "type": "integer", "minimum": 1, "maximum": MAX_PERMITS },
                    "per": { "$ref": "#/$defs/duration" },
                    "burst": { "type": "integer", "minimum": 1, "maximum": MAX_PERMITS, "default": 1, "description": "So many may begin at once after a quiet time." },
                    "timeout": { "$ref": "#/$defs/duration", "description": "How long an attempt may wait for its moment." },
                },
            },
            "signal": { "type": "string", "pattern": "^[A-Za-z0-9_.:/-]{1,128}$" },
            "retry": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "max_attempts": { "type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS },
                    "backoff": { "enum": ["none", "constant", "linear", "exponential"] },
                    "base": { "$ref": "#/$defs/duration" },
                    "max": { "$ref": "#/$defs/duration" },
                    "jitter": { "enum": ["none", "full"] },
                },
            },
            "timeout": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "schedule_to_start": { "$ref": "#/$defs/duration" },
                    "start_to_close": { "$ref": "#/$defs/duration" },
                    "heartbeat": { "$ref": "#/$defs/duration" },
                },
            },
            "undo": {
                "description": "Undoes a completed step when the execution fails or is cancelled.",
                "type": "object",
                "required": ["task"],
                "additionalProperties": false,
                "properties": {
                    "task": { "$ref": "#/$defs/callable" },
                    "queue": task["queue"],
                    "with": { "description": "The input; strings that start with `=` are CEL, `output` is what the step gave. Without it: `{input, output}` of the step." },
                    "retry": { "$ref": "#/$defs/retry" },
                    "timeout": { "$ref": "#/$defs/timeout" },
                },
            },
            "reconcile": {
                "description": "Asks the target what became of an attempt whose worker is lost, by the idempotency key: gives `{happened, output}`.",
                "type": "object",
                "required": ["task"],
                "additionalProperties": false,
                "properties": {
                    "task": { "$ref": "#/$defs/callable" },
                    "queue": task["queue"],
                    "retry": { "$ref": "#/$defs/retry" },
                    "timeout": { "$ref": "#/$defs/timeout" },
                },
            },
            "fail": {
                "type": "object",
                "required": ["category"],
                "additionalProperties": false,
                "properties": { "category": { "enum": categories }, "message": { "type": "string" } },
            },
            "end": { "oneOf": [{ "const": true }, { "type": "object", "additionalProperties": false, "properties": { "output": {} } }] },
        },
    })
}

/// One that takes a graph in by name says so.
fn taken_in(mut node: Json) -> Json {
    node["anyOf"] = json!([{ "required": ["spawn"] }, { "properties": { "graph": { "type": "object" } } }]);
    node
}

fn node(description: &str, required: &[&str], parts: &[&Json]) -> Json {
    let mut properties = Map::new();
    for part in parts.iter().filter_map(|part| part.as_object()) {
        properties.extend(part.clone());
    }
    json!({
        "description": description,
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    })
}
