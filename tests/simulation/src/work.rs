//! What the executions of a run are made of: small random graphs, and the one callable that their tasks name.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value, json};
use stepstream_shared::graph::{CompiledGraph, Source, compile};
use stepstream_worker::{Context, Failure};

use crate::chance::Chance;

/// Graphs that runs choose from. Compiling takes longer than a run, so all runs of a process share them.
const GRAPHS: usize = 160;
/// The graph that others start as a child.
const CHILD: &str = "child";

/// One of the pool.
pub struct Work {
    pub graph: Arc<CompiledGraph>,
    pub document: String,
    /// Takes signals by the name of `go`.
    pub waits: bool,
}

/// The pool: the same in every process.
pub fn pool() -> &'static [Work] {
    static POOL: OnceLock<Vec<Work>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut pool = vec![
            compiled(json!({
                "stepstream": 1,
                "name": CHILD,
                "nodes": {
                    "a": task(400, 1, json!({})),
                    "b": { "wait": { "timer": "2s" } },
                },
                "output": "=steps.a.output",
            }))
            .unwrap_or_else(|| unreachable!("the child's document is fixed, and compiles")),
        ];
        let mut chance = Chance::new(2026);
        while pool.len() < GRAPHS {
            // One that the compiler refuses (a race that cannot be, say) is no loss.
            let number = pool.len();
            pool.extend(compiled(document(&mut chance, number)));
        }
        pool
    })
}

fn compiled(document: Value) -> Option<Work> {
    let waits = document.to_string().contains("\"signal\"");
    let text = document.to_string();
    let graph = compile(&Source { name: "simulated.json", text: &text }).ok()?;
    Some(Work { document: graph.canonical.clone(), graph: Arc::new(graph), waits })
}

fn task(ms: u64, fails: u64, more: Value) -> Value {
    let mut node = json!({
        "task": "work",
        "with": { "ms": ms, "fails": fails },
        "retry": { "max_attempts": 3, "backoff": "constant", "base": "400ms" },
    });
    merge(&mut node, more);
    node
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// A graph of a few nodes: edges lead from earlier nodes to later ones.
fn document(chance: &mut Chance, number: usize) -> Value {
    let count = chance.between(1, 6);
    let mut nodes = Map::new();
    for place in 0..count {
        let mut node = node(chance);
        let next = edges(chance, place, count, &node);
        if !next.is_empty() {
            merge(&mut node, json!({ "next": next }));
        }
        let join = *chance.pick(&["all", "all", "all", "any", "race", "all_settled"]).unwrap_or(&"all");
        if join != "all" && place > 0 {
            merge(&mut node, json!({ "join": join }));
        }
        nodes.insert(format!("n{place}"), node);
    }
    let mut document = json!({ "stepstream": 1, "name": format!("random-{number}"), "nodes": nodes });
    if chance.percent(10) {
        merge(&mut document, json!({ "limits": { "pause_after_failures": 2 } }));
    }
    if chance.percent(10) {
        merge(&mut document, json!({ "limits": { "wall_time": "9s" } }));
    }
    document
}

fn edges(chance: &mut Chance, place: u64, count: u64, node: &Value) -> Vec<Value> {
    let mut edges = Vec::new();
    for later in place + 1..count {
        let near = later == place + 1;
        if chance.percent(if near { 70 } else { 20 }) {
            edges.push(json!({ "to": format!("n{later}") }));
        }
    }
    let can_fail = node.get("task").or_else(|| node.get("wait")).or_else(|| node.get("graph")).is_some();
    if can_fail && place + 1 < count && chance.percent(30) {
        let to = chance.between(place + 1, count - 1);
        edges.push(json!({ "catch": "any", "to": format!("n{to}") }));
    }
    edges
}

fn node(chance: &mut Chance) -> Value {
    // Some end at once, some outlive a lease, some never end and are timed out.
    let ms = *chance.pick(&[0, 0, 20, 300, 1_500, 5_000, 60_000]).unwrap_or(&0);
    let fails = *chance.pick(&[0, 0, 0, 1, 2, 9]).unwrap_or(&0);
    let timeout = match ms {
        60_000 => json!({ "start_to_close": "1500ms" }),
        1_500 | 5_000 if chance.percent(60) => json!({ "heartbeat": "1s" }),
        _ => json!({}),
    };
    let timed = |node: Value| {
        let mut node = node;
        if timeout.as_object().is_some_and(|timeout| !timeout.is_empty()) {
            merge(&mut node, json!({ "timeout": timeout }));
        }
        node
    };
    match chance.below(23) {
        0..=8 => timed(task(ms, fails, json!({}))),
        9 | 10 => timed(task(ms, fails, json!({ "undo": { "task": "work", "with": { "ms": 50, "fails": 0 } } }))),
        11 | 12 => {
            timed(task(ms.min(1_500), fails.min(1), json!({ "map": { "over": [1, 2, 3], "max_concurrency": 2 } })))
        }
        13 | 14 => json!({ "wait": { "timer": *chance.pick(&["200ms", "3s", "12s"]).unwrap_or(&"3s") } }),
        15 | 16 => json!({ "wait": { "signal": "go", "timeout": "10s" } }),
        17 => json!({ "graph": CHILD, "spawn": { "mode": "child" } }),
        18 => json!({ "graph": CHILD, "spawn": { "mode": "child", "on_cancel": "wait_for_children" } }),
        // Shared by all executions of a run.
        19 | 20 => timed(task(ms.min(1_500), fails, json!({ "concurrency": { "key": "place", "max": 1 } }))),
        21 => timed(task(ms.min(1_500), fails, json!({ "rate": { "key": "pace", "max": 120, "per": "1m" } }))),
        _ => json!({ "transform": { "ok": true } }),
    }
}

/// Takes so many milliseconds, after failing in the first so many attempts.
pub async fn work(context: Context, input: Value) -> Result<Value, Failure> {
    let number = |name: &str| input.get(name).and_then(Value::as_u64).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(number("ms"))).await;
    let attempt = u64::from(context.attempt());
    if attempt <= number("fails") {
        return Err(Failure::retryable(format!("attempt {attempt} is to fail")));
    }
    Ok(json!({ "attempt": attempt }))
}
