//! Random graphs, as documents that go through the compiler.
//!
//! Nodes stand in a row and edges lead forward in it. A loop is a stretch of the row: its nodes are chained, an edge
//! leads from its last node back to its first, and no edge leads into its midst. Stretches nest.

use std::fmt::Write;
use std::sync::Arc;

use proptest::test_runner::TestCaseError;

use super::choices::Choices;
use crate::graph::{CompiledGraph, Source, compile};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Task,
    Map,
    Wait,
    Graph,
    Inline,
    Transform,
    Route,
    Fail,
    End,
}

struct Node {
    kind: Kind,
    /// Target, and what stands beside `to`.
    edges: Vec<(usize, &'static str)>,
    bound: Option<usize>,
    join: String,
    first: bool,
}

pub(super) fn any_graph(choices: &mut Choices<'_>) -> Result<Arc<CompiledGraph>, TestCaseError> {
    let mut text = document(choices);
    // Whether a race can be lost is for the compiler to find out; where it cannot, the join is another.
    if let Err(problems) = compile(&Source { name: "random.yaml", text: &text }) {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for problem in problems.iter().filter(|problem| problem.code.starts_with("race-")) {
            let line = &mut lines[problem.place.line as usize - 1];
            *line = line.replace("join: race", "join: any");
        }
        text = lines.join("\n");
    }
    match compile(&Source { name: "random.yaml", text: &text }) {
        Ok(graph) => Ok(Arc::new(graph)),
        Err(problems) => Err(TestCaseError::fail(format!("the generator wrote a bad document: {problems}\n{text}"))),
    }
}

/// Loops as (first, last), outer ones before inner ones.
fn stretches(choices: &mut Choices<'_>, nodes: usize) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for _ in 0..choices.below(4) {
        let first = 1 + choices.below(nodes - 1);
        let last = first + choices.below((nodes - first).min(5));
        let fits = found.iter().all(|(a, b)| last < *a || first > *b || (*a < first && last <= *b));
        if fits {
            found.push((first, last));
        }
    }
    found
}

fn document(choices: &mut Choices<'_>) -> String {
    let count = 2 + choices.below(9);
    let loops = stretches(choices, count);
    // Into a loop leads nothing but an edge to its first node.
    let enters = |from: usize, to: usize| {
        loops.iter().any(|(first, last)| (first + 1..=*last).contains(&to) && !(*first..=*last).contains(&from))
    };
    let mut nodes: Vec<Node> = Vec::new();
    for at in 0..count {
        let chained = loops.iter().any(|(first, last)| (*first..*last).contains(&at) || at + 1 == *first);
        let closes = loops.iter().any(|(_, last)| *last == at);
        let last = at + 1 == count;
        let kinds = [
            Kind::Task,
            Kind::Task,
            Kind::Map,
            Kind::Transform,
            Kind::Task,
            Kind::Route,
            Kind::Wait,
            Kind::Graph,
            Kind::Inline,
        ];
        let mut kind = *choices.one(&kinds);
        let mut edges = Vec::new();
        if chained {
            edges.push((at + 1, edge(choices, kind)));
        }
        for _ in 0..choices.below(4) {
            let to = at + 1 + choices.below(count - at);
            if to < count && !enters(at, to) && edges.iter().all(|(other, _)| *other != to) {
                edges.push((to, edge(choices, kind)));
            }
        }
        for (first, _) in loops.iter().filter(|(_, last)| *last == at) {
            if edges.iter().all(|(to, _)| to != first) {
                edges.push((*first, edge(choices, kind)));
            }
        }
        if edges.is_empty() && !closes {
            kind = *choices.one(&[Kind::Task, Kind::Transform, Kind::Map, Kind::Fail, Kind::End]);
            if !last && !choices.rarely(2) && matches!(kind, Kind::Fail | Kind::End) {
                kind = Kind::Task;
            }
        }
        if kind == Kind::Route && edges.is_empty() {
            kind = Kind::Transform;
        }
        let first = choices.rarely(4) || (kind == Kind::Route && choices.rarely(2));
        if first {
            // Behind an edge that always holds no other is ever looked at.
            edges.sort_by_key(|(_, what)| what.is_empty());
            let plain = edges.iter().filter(|(_, what)| what.is_empty()).count();
            for (_, what) in edges.iter_mut().rev().skip(1).take(plain.saturating_sub(1)) {
                *what = ", when: true";
            }
        }
        let bound = loops.iter().any(|(first, _)| *first == at).then(|| 1 + choices.below(3));
        nodes.push(Node { kind, edges, bound, join: String::new(), first });
    }
    for at in 0..count {
        let from: std::collections::HashSet<usize> =
            (0..count).filter(|from| *from < at && nodes[*from].edges.iter().any(|(to, _)| *to == at)).collect();
        nodes[at].join = match choices.below(8) {
            1 => "any".to_owned(),
            4 | 5 => "race".to_owned(),
            2 => "all_settled".to_owned(),
            3 if !from.is_empty() => format!("{{ quorum: {} }}", 1 + choices.below(from.len())),
            _ => "all".to_owned(),
        };
    }
    write(choices, &nodes)
}

fn edge(choices: &mut Choices<'_>, kind: Kind) -> &'static str {
    let texts: &[&'static str] = match kind {
        // Mostly what lets the execution go on: one that fails at once shows little.
        Kind::Task => &[
            "",
            "",
            "",
            ", when: '=output > 1'",
            ", when: '=output > 1'",
            ", when: '=output <= 1'",
            ", when: '=output <= 1'",
            ", when: '=output.deep'",
            ", catch: any",
            ", catch: [Timeout, QuotaExceeded]",
        ],
        Kind::Map => &["", "", ", when: '=size(output) > 1'", ", catch: any"],
        _ => &["", "", ", when: '=inputs.n > 1'", ", when: '=inputs.n <= 1'", ", catch: [ValidationError]"],
    };
    choices.one::<&'static str>(texts)
}

fn write(choices: &mut Choices<'_>, nodes: &[Node]) -> String {
    let mut text = "stepstream: 1\nname: random\n".to_owned();
    if choices.rarely(6) {
        let on_limit = choices.one::<&str>(&["stop", "pause", "approve", "fail_step"]);
        let _ = writeln!(
            text,
            "limits: {{ cost_usd: \"0.0005\", cost_alert_usd: \"0.0003\", max_tokens: 400, on_limit: {on_limit} }}"
        );
    } else if choices.rarely(8) {
        let _ = writeln!(
            text,
            "limits: {{ max_steps: {}, wall_time: 1h, pause_after_failures: 3 }}",
            1 + choices.below(60)
        );
    } else if choices.rarely(8) {
        let on_limit = choices.one::<&str>(&["stop", "pause", "approve", "fail_step"]);
        let _ = writeln!(text, "limits: {{ idle_timeout: 20s, on_limit: {on_limit} }}");
    }
    text.push_str("nodes:\n");
    for (at, node) in nodes.iter().enumerate() {
        let work = *choices.one::<&str>(&[
            "",
            ", with: '=inputs'",
            ", with: { n: '=inputs.n + 1' }",
            ", with: '=steps.n0.output'",
            ", inbox: true, with: { heard: '=size(inbox.guidance)' }",
            ", reserve: { cost_usd: '0.0002' }",
            ", concurrency: { key: k, max: 2 }",
            ", rate: { key: '=inputs.n', max: 2, per: 1m, timeout: 30s }, retry: { max_attempts: 2, backoff: none }",
            ", retry: { max_attempts: 2, backoff: none }",
            ", delivery: at_most_once, retry: { max_attempts: 2, backoff: none }",
            ", delivery: at_most_once, reconcile: { task: ask, retry: { max_attempts: 1 } }, timeout: { start_to_close: 40s }",
            ", claim: true, timeout: { heartbeat: 5s }, dead_letter: exhausted",
            ", delivery: at_most_once, reconcile: { task: ask }, dead_letter: exhausted, concurrency: { key: k, max: 1 }",
            ", retry: { max_attempts: 3, base: 1s }, timeout: { schedule_to_start: 1m, start_to_close: 10s }",
        ]);
        let kind = match node.kind {
            Kind::Task => format!("task: t{work}"),
            Kind::Map => {
                let over = *choices.one::<&str>(&[
                    "'=inputs.list'",
                    "'=inputs.list'",
                    "[]",
                    "[7]",
                    "[1, 2]",
                    "'=steps.n0.output'",
                ]);
                let collect = *choices.one::<&str>(&["all", "all_settled"]);
                let width = 1 + choices.below(3);
                let with = *choices.one::<&str>(&[
                    "",
                    "",
                    ", with: '=item'",
                    ", with: '=index'",
                    ", concurrency: { key: '=item', max: 1, timeout: 50s }",
                    ", with: '=10 / (item - 2)'",
                ]);
                let discover =
                    *choices.one::<&str>(&["", "", ", discover: { max_steps: 3, max_depth: 2, same_step_repeats: 2 }"]);
                let with = if choices.rarely(4) { ", reserve: { cost_usd: '0.0002', tokens: 100 }" } else { with };
                format!(
                    "map: {{ over: {over}, max_concurrency: {width}, collect: {collect}{discover} }}, task: t{with}"
                )
            }
            Kind::Graph => {
                let spawn = *choices.one::<&str>(&[
                    "",
                    ", spawn: { background: true }",
                    ", spawn: { on_cancel: wait_for_children }",
                    ", spawn: { on_cancel: detach }",
                    ", spawn: { background: true, on_cancel: detach }",
                    ", spawn: { inherit_inbox: true, allocation: rest }",
                    ", spawn: { background: true, inherit_inbox: true, budget: { cost_usd: '0.0001' } }",
                ]);
                format!("graph: below{spawn}")
            }
            Kind::Inline => {
                let inside = *choices.one::<&str>(&[
                    "nodes: { a: { task: t, next: { to: b } }, b: { transform: '=steps.a.output' } }",
                    "nodes: { a: { task: t }, b: { task: t, next: [ { catch: any, to: c } ] }, c: { transform: 1 } }, output: '=inputs'",
                    "nodes: { a: { task: t, max_iterations: 2, next: [ { to: a, when: '=output > 1' }, { to: b } ] }, b: { wait: { signal: go } } }",
                    "nodes: { a: { task: t, next: { to: e } }, m: { map: { over: [1, 2], collect: all_settled }, task: t }, e: { end: { output: 2 } } }",
                    "nodes: { a: { task: t, next: { to: j } }, b: { task: t, undo: { task: u }, next: { to: j } }, j: { join: race, task: t } }",
                    "inputs: { type: object, required: [n] }, nodes: { g: { graph: below }, d: { graph: { nodes: { a: { task: t }, f: { task: t, next: { to: x, when: '=output.deep' } }, x: { fail: { category: ToolError } } } }, next: { catch: [Timeout], to: z } }, z: { transform: 3 } }",
                ]);
                let with = *choices.one::<&str>(&["", ", with: { n: 1 }", ", with: '=steps.n0.output'"]);
                format!("graph: {{ {inside} }}{with}")
            }
            Kind::Wait => {
                let what = *choices.one::<&str>(&[
                    "timer: 5s",
                    "timer: '=inputs.n'",
                    "until: '2023-11-15T00:00:00Z'",
                    "signal: go",
                    "signal: { name: go, correlation: '=inputs.n', payload: { type: integer } }, timeout: 1m",
                    "approval: true",
                    "approval: { assignees: [ada, bob], policy: all }, timeout: 1m",
                    "approval: { quorum: 2 }",
                    "input: { from: [ada] }",
                    "external: true, timeout: 10s",
                ]);
                format!("wait: {{ {what} }}")
            }
            Kind::Transform => {
                format!("transform: {}", choices.one::<&str>(&["'=inputs.n'", "1", "2", "'=steps.n0.output'"]))
            }
            Kind::Route => format!("route: {}", if node.first { "first" } else { "all" }),
            Kind::Fail => "fail: { category: ToolError }".to_owned(),
            Kind::End => "end: { output: 'early' }".to_owned(),
        };
        let _ = write!(text, "  n{at}: {{ {kind}, join: {}", node.join);
        if matches!(node.kind, Kind::Task | Kind::Map) && choices.rarely(3) {
            let texts =
                ["", ", with: '=output'", ", with: '=output.deep'", ", with: { n: '=inputs.n' }, retry: { base: 1s }"];
            let _ = write!(text, ", undo: {{ task: u{} }}", choices.one::<&str>(&texts));
        }
        if node.first && node.kind != Kind::Route && !node.edges.is_empty() {
            text.push_str(", route: first");
        }
        if let Some(bound) = node.bound {
            let _ = write!(text, ", max_iterations: {bound}");
        }
        if !node.edges.is_empty() {
            let edges: Vec<String> = node.edges.iter().map(|(to, what)| format!("{{ to: n{to}{what} }}")).collect();
            let _ = write!(text, ", next: [ {} ]", edges.join(", "));
        }
        text.push_str(" }\n");
    }
    if choices.rarely(3) {
        text.push_str("output: { of: '=inputs', n0: '=steps.n0.output' }\n");
    }
    text
}
