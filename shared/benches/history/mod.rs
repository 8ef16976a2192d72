//! Histories to measure with: real ones, decided by the core itself.

// Each benchmark is a program of its own and uses its part of this.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;

use serde_json::json;
use stepstream_shared::data::Data;
use stepstream_shared::event::{Actor, Causation, Envelope, Event};
use stepstream_shared::execution::{Command, Decided, Execution, StartRequest};
use stepstream_shared::graph::{Graphs, LimitOverrides, Source, compile};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::ClaimId;

pub struct History {
    pub graphs: Graphs,
    pub appends: Vec<Decided>,
    pub execution: Execution,
}

pub fn empty() -> Execution {
    Execution::empty(ExecutionId::from_bytes([7; 20]), TenantId::default_tenant())
}

pub fn begin(document: &str, inputs: &serde_json::Value) -> History {
    let text = format!("stepstream: 1\nname: bench\n{document}");
    let graph = Arc::new(compile(&Source { name: "bench.yaml", text: &text }).expect("a good document"));
    let graphs = Graphs::one(graph.clone());
    let request = StartRequest {
        graph: graph.digest,
        inputs: Data::from_json(inputs).expect("small inputs"),
        planning: false,
        parent: None,
        origin: None,
        request_hash: None,
        metadata: None,
        breakpoints: Vec::new(),
        limits: LimitOverrides::default(),
        background: None,
        governed: false,
    };
    let mut history = History { graphs, appends: Vec::new(), execution: empty() };
    history.take(Command::Create(Box::new(request)));
    history
}

impl History {
    pub fn take(&mut self, command: Command) {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let decided = self.execution.decide_in_place(&self.graphs, command, now).expect("a legal command");
        self.appends.push(decided);
    }

    pub fn run(mut self) -> Self {
        while !self.execution.state().is_terminal() {
            if self.execution.has_more() {
                self.take(Command::Tick { chance: 0.0 });
            }
            let graph = self.graphs.get(&self.execution.graph()).expect("the graph").clone();
            for job in self.execution.owed(&graph) {
                self.take(completed(job.ordinal));
            }
        }
        self
    }

    pub fn events(&self) -> Vec<Event> {
        let all = self.appends.iter().flat_map(|append| append.events.iter().map(|data| (append.at, data.clone())));
        (1_u64..).zip(all).map(|(sequence, (at, data))| Event { sequence, at, data }).collect()
    }
}

pub fn completed(step: u32) -> Command {
    Command::Completed {
        step,
        attempt: 1,
        worker: "worker-000000000".to_owned(),
        claim: ClaimId(0x1234_5678_9abc_def0_1234_5678_9abc_def0),
        output: Data::of(&json!({"ok": true})).expect("a small value"),
        duration_us: 120,
    }
}

/// So many branches between a start and a join.
pub fn fan_out(width: usize) -> History {
    let mut nodes = String::from("nodes:\n  begin: { task: t, next: [ ");
    nodes.push_str(&(0..width).map(|n| format!("{{ to: n{n} }}")).collect::<Vec<_>>().join(", "));
    nodes.push_str(" ] }\n  join: { task: t }\n");
    for n in 0..width {
        nodes.push_str(&format!("  n{n}: {{ task: t, next: {{ to: join }} }}\n"));
    }
    begin(&nodes, &json!({"text": "x".repeat(90)})).run()
}

pub fn map(items: usize) -> History {
    let list: Vec<usize> = (0..items).collect();
    begin("nodes: { m: { map: { over: '=inputs', max_concurrency: 50 }, task: t } }", &json!(list)).run()
}

pub fn chain_document(length: usize) -> String {
    let mut nodes = String::from("nodes:\n");
    for n in 0..length {
        let next = if n + 1 < length { format!(", next: {{ to: n{} }}", n + 1) } else { String::new() };
        nodes.push_str(&format!("  n{n}: {{ task: t{next} }}\n"));
    }
    nodes
}

pub fn chain(length: usize) -> History {
    begin(&chain_document(length), &json!({"text": "x".repeat(90)})).run()
}

pub fn envelope(at: Timestamp) -> Envelope {
    Envelope { at, actor: Actor::Worker("worker-000000000".to_owned()), causation: Causation::Outcome, trace: None }
}
