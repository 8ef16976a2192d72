//! What the rules are tried on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use stepstream_coordinator::ports::{Append, EventStore, StoredGraph, Summary};
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;

/// Partitions of the stores under test.
pub const PARTITIONS: u16 = 8;

/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(3600);

pub type SharedStore = Arc<dyn EventStore>;

pub fn tenant(name: &str) -> TenantId {
    format!("tenant_{name}").parse().expect("the tests use plain names")
}

/// The same number is the same execution.
pub fn execution(number: u64) -> ExecutionId {
    ExecutionId::derived("stepstream tests 2026 execution", &[&number.to_le_bytes()])
}

pub fn graph(number: u64) -> GraphDigest {
    GraphDigest::derived("stepstream tests 2026 graph", &[&number.to_le_bytes()])
}

/// A graph of this number and name; the higher the number, the earlier its clock, because the order of registration
/// is the store's and not a clock's.
pub fn stored_graph(number: u32, name: &str, version: &str) -> StoredGraph {
    StoredGraph {
        digest: graph(number.into()),
        name: name.to_owned(),
        version: version.to_owned(),
        document: format!(r#"{{"name":"{name}","number":{number},"text":"Grüße, 世界"}}"#),
        registered_at: Timestamp::from_micros(1_000_000 - i64::from(number)),
    }
}

/// The first append of an execution: `size` events. Each call makes another one, with another hash.
pub fn append(tenant: &TenantId, execution: ExecutionId, epoch: u64, size: u64) -> Append {
    Append {
        tenant: tenant.clone(),
        execution,
        partition: PartitionId::of(execution, PARTITIONS),
        epoch,
        first_seq: 1,
        last_seq: size,
        previous_first_seq: 0,
        origin: None,
        hash: fresh_hash(),
        body: Bytes::from(format!("1 to {size} of {execution}")),
        summary: None,
        agenda: None,
    }
}

/// The append of `size` events that follows another.
pub fn following(previous: &Append, size: u64) -> Append {
    let first_seq = previous.last_seq + 1;
    Append {
        first_seq,
        last_seq: previous.last_seq + size,
        previous_first_seq: previous.first_seq,
        origin: None,
        hash: fresh_hash(),
        body: Bytes::from(format!("{first_seq} and on of {}", previous.execution)),
        summary: None,
        agenda: None,
        ..previous.clone()
    }
}

fn fresh_hash() -> [u8; 32] {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    hash
}

pub fn summary(state: &str, created_at: u64, updated_at: u64) -> Summary {
    let micros = |number| Timestamp::from_micros(i64::try_from(number).unwrap_or(i64::MAX));
    Summary {
        state: state.to_owned(),
        terminal: matches!(state, "Completed" | "Failed" | "Cancelled"),
        graph: graph(1),
        graph_name: "sample".to_owned(),
        created_at: micros(created_at),
        updated_at: micros(updated_at),
        background: None,
        dead_letters: 0,
    }
}

/// Takes all partitions of a fresh store: each has epoch 1 afterwards.
pub async fn own(store: &SharedStore, member: &str) {
    for partition in 0..PARTITIONS {
        let epoch = store.acquire(PartitionId(partition), member, LONG, false).await.unwrap();
        assert_eq!(epoch, Some(1), "a fresh store's partition {partition}");
    }
}
