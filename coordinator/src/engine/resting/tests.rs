//! What may leave memory.

use stepstream_shared::data::Data;
use stepstream_shared::execution::{Command, Execution, StartRequest};
use stepstream_shared::graph::{Graphs, LimitOverrides, Source, compile};
use stepstream_shared::id::TenantId;

use super::super::permits::AskedPermit;
use super::*;
use crate::permits::Kept;
use crate::reading::Loaded;

const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const GRAPH: &str = "
stepstream: 1
name: one
nodes: { a: { task: t, concurrency: { key: k, max: 1 } } }
";

/// An execution that waits for its place.
fn waiting() -> Live {
    let graph = compile(&Source { name: "test.yaml", text: GRAPH }).unwrap_or_else(|problems| panic!("{problems}"));
    let graph = std::sync::Arc::new(graph);
    let graphs = Graphs::one(graph.clone());
    let mut execution = Execution::empty(ExecutionId::from_bytes([7; 20]), TenantId::default_tenant());
    let request = StartRequest {
        graph: graph.digest,
        inputs: Data::null(),
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
    execution.decide_in_place(&graphs, Command::Create(Box::new(request)), NOON).expect("accepted");
    let agenda = Some(Agenda::from(execution.rest()));
    let loaded = Loaded { execution, graph, graphs, head: [0; 32], last_first_seq: 1, last_epoch: 1, snapshot: 0 };
    Live::from_log(loaded, agenda, PartitionId(0), 1, NOON)
}

#[test]
fn who_waits_for_a_permit_stays_until_the_store_knows_that_it_waits() {
    let mut live = waiting();
    assert_eq!(live.execution.owed_permits().len(), 1);
    assert!(!live.may_leave(NOON), "nobody has asked");
    let kept = Kept::default();
    live.asked.insert(0, AskedPermit { attempt: 1, at: NOON, kept: kept.clone() });
    assert!(!live.may_leave(NOON), "the question is on its way, and may be lost");
    kept.set();
    assert!(live.may_leave(NOON), "it is brought to it");
    live.asked.insert(0, AskedPermit { attempt: 2, at: NOON, kept });
    assert!(!live.may_leave(NOON), "another attempt has asked");
}
