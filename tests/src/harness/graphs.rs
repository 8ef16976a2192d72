//! Graphs whose steps leave marks outside: each appends one line to a file.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

/// A step that appends its own name to the file in the inputs. `tee` opens it for appending and writes the line at
/// once, so lines of different steps never mix.
fn mark() -> &'static str {
    "task: process, with: { argv: [tee, -a, '=inputs.file'], stdin: \"=execution.id + ' step\\\\n'\" }"
}

/// `length` steps one after the other, each leaving a mark; before each a rest of so many seconds in a worker's slot
/// when `rest` is above 0 (those steps leave none).
pub fn chain(length: usize, rest: f64) -> Value {
    let mut text = String::from("stepstream: 1\nname: chain\nversion: 1.0.0\nnodes:\n");
    for n in 0..length {
        let next = if n + 1 < length {
            format!(", next: [ {{ to: {} }} ]", if rest > 0.0 { format!("r{}", n + 1) } else { format!("s{}", n + 1) })
        } else {
            String::new()
        };
        if rest > 0.0 {
            writeln!(text, "  r{n}: {{ task: sleep, with: {{ seconds: {rest} }}, next: [ {{ to: s{n} }} ] }}")
                .expect("text");
        }
        writeln!(text, "  s{n}: {{ {}{next} }}", mark()).expect("text");
    }
    document(&text)
}

/// A step, a bounded fan of so many items, and a step: `width + 2` marks.
pub fn fan(width: usize, at_once: usize) -> Value {
    document(&format!(
        "
stepstream: 1
name: fan
version: 1.0.0
nodes:
  first: {{ {mark}, next: [ {{ to: each }} ] }}
  each:
    map: {{ over: '=inputs.items', max_concurrency: {at_once} }}
    {each}
    next: [ {{ to: last }} ]
  last: {{ {mark} }}
inputs: {{ type: object, required: [file, items], properties: {{ items: {{ maxItems: {width} }} }} }}
",
        mark = mark(),
        each = mark().replace(", with:", "\n    with:"),
    ))
}

/// What the graphs above take.
pub fn inputs(file: &Path, items: usize) -> Value {
    json!({"file": file, "items": (0..items).collect::<Vec<_>>()})
}

/// Documents travel as text to `run` and as objects to the API; one parser reads both.
fn document(text: &str) -> Value {
    let source = stepstream_shared::graph::Source { name: "test.yaml", text };
    let graph = stepstream_shared::graph::compile(&source).unwrap_or_else(|problems| panic!("{problems}"));
    serde_json::from_str(&graph.canonical).expect("the canonical form is JSON")
}

/// Lines in a file; none when it is not there.
pub fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}
