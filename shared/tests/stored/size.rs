//! What a step costs in the log.

use std::sync::Arc;

use serde_json::json;
use stepstream_shared::data::Data;
use stepstream_shared::event::{Actor, Causation, Envelope, codec};
use stepstream_shared::execution::{Command, Execution, StartRequest};
use stepstream_shared::graph::{Graphs, LimitOverrides, Source, compile};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::ClaimId;

/// The columns of a row beside its body: tenant, execution, first and last sequence, epoch, hash.
const KEY_BYTES: usize = 14 + 20 + 8 + 8 + 8 + 32;
const STEPS: usize = 10;

#[test]
fn a_no_op_step_costs_at_most_300_stored_bytes() {
    let mut text = "stepstream: 1\nname: chain\nnodes:\n".to_owned();
    for n in 0..STEPS {
        let next = if n + 1 < STEPS { format!(", next: {{ to: n{} }}", n + 1) } else { String::new() };
        text.push_str(&format!("  n{n}: {{ task: echo{next} }}\n"));
    }
    let graph =
        Arc::new(compile(&Source { name: "chain.yaml", text: &text }).unwrap_or_else(|error| panic!("{error}")));
    let graphs = Graphs::one(graph.clone());
    let (id, tenant) = (ExecutionId::from_bytes([7; 20]), TenantId::default_tenant());
    let mut execution = Execution::empty(id, tenant.clone());
    let inputs = Data::from_json(&json!({"text": "x".repeat(92)})).unwrap();
    assert_eq!(inputs.len(), 100);
    let mut head = codec::genesis(&tenant, id);
    let mut row = |execution: &mut Execution, command| {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let decided = execution.decide_in_place(&graphs, command, now).unwrap();
        let worker = Actor::Worker("worker-000000000".to_owned());
        let envelope = Envelope { at: decided.at, actor: worker, causation: Causation::Outcome, trace: None };
        let encoded = codec::encode(&head, &envelope, decided.events, [0xa5; 16]).unwrap();
        head = encoded.hash;
        KEY_BYTES + encoded.body.len()
    };
    let request = StartRequest {
        graph: graph.digest,
        inputs: inputs.clone(),
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
    let start = row(&mut execution, Command::Create(Box::new(request)));
    let completed = |step, output| Command::Completed {
        step,
        attempt: 1,
        worker: "worker-000000000".to_owned(),
        claim: ClaimId(u128::MAX),
        output,
        duration_us: 1_000_000,
    };
    // A no-op gives nothing; one that echoes its 100 bytes of input has those to store.
    let mut largest = 0;
    for step in 0..STEPS as u32 {
        largest = largest.max(row(&mut execution, completed(step, Data::null())));
    }
    assert!(execution.state().is_terminal());
    println!("start {start} bytes, a step at most {largest} bytes, of which {KEY_BYTES} are key columns");
    assert!(largest <= 300, "{largest} bytes");
}
