//! The documents that a bench runs: steps that do nothing, with inputs of a hundred bytes.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{BenchArgs, Shape};

/// The callable of every step: gives null, whatever it is given.
pub(crate) const NO_OP: &str = "noop";

/// A value of a hundred bytes as stored, and, for a fan, how wide it is.
pub(super) fn inputs(args: &BenchArgs) -> Value {
    match args.shape {
        Shape::Fan => json!({"list": (0..args.width).collect::<Vec<_>>()}),
        // A map of one key: one byte for the map, two for the key, two for the length of the text.
        _ => json!({"x": "x".repeat(95)}),
    }
}

pub(super) fn document(args: &BenchArgs) -> String {
    let mut text = String::from("stepstream: 1\nname: bench\nversion: 1.0.0\nnodes:\n");
    match args.shape {
        Shape::Fan => {
            let width = args.width;
            let _ = write!(
                text,
                "  fan: {{ map: {{ over: '=inputs.list', max_concurrency: {width} }}, task: {NO_OP}, next: [ {{ to: join }} ] }}\n  join: {{ transform: null }}\n"
            );
        }
        _ => {
            let length = args.steps_per_execution();
            for step in 0..length {
                let next =
                    if step + 1 < length { format!(", next: [ {{ to: s{} }} ]", step + 1) } else { String::new() };
                let _ = writeln!(text, "  s{step}: {{ task: {NO_OP}, with: '=inputs'{next} }}");
            }
        }
    }
    text.push_str("output: null\n");
    text
}
