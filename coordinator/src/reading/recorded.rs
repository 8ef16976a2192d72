//! A log for tests, made by real decisions and kept in memory.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stepstream_runtime::random;
use stepstream_shared::data::Data;
use stepstream_shared::event::{Actor, Causation, ChainHash, Envelope, codec};
use stepstream_shared::execution::{Command, Execution, StartRequest};
use stepstream_shared::graph::{CompiledGraph, Graphs, LimitOverrides, Source, compile};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::ClaimId;

use super::Reader;
use crate::ports::{Append, Appended, EventStore, Lineage, StoredGraph};
use crate::store::MemoryStore;

const PARTITIONS: u16 = 1;
const GRAPH: &str = "
stepstream: 1
name: fan
version: 1.0.0
nodes:
  each: { map: { over: '=inputs.items', max_concurrency: 10000 }, task: echo, with: '=item' }
";

/// An execution as an engine would drive it, and the store that has its log.
pub(super) struct Recorded {
    pub(super) store: Arc<MemoryStore>,
    pub(super) reader: Reader,
    pub(super) tenant: TenantId,
    pub(super) id: ExecutionId,
    pub(super) execution: Execution,
    graphs: Graphs,
    graph: Arc<CompiledGraph>,
    pub(super) head: ChainHash,
    pub(super) last_first_seq: u64,
    /// What the next append continues, if it is the first of a continuation.
    origin: Option<Lineage>,
}

impl Recorded {
    /// A map of so many items that has been started.
    pub(super) async fn fan(items: usize) -> Self {
        let graph = compile(&Source { name: "test", text: GRAPH }).map(Arc::new).unwrap();
        let store = Arc::new(MemoryStore::new(PARTITIONS));
        let tenant = TenantId::default_tenant();
        store.acquire(PartitionId(0), "a", Duration::from_secs(3600), true).await.unwrap();
        let registered = StoredGraph {
            digest: graph.digest,
            name: graph.name.clone(),
            version: graph.version.clone(),
            document: graph.canonical.clone(),
            registered_at: Timestamp::default(),
        };
        store.put_graph(&tenant, &registered).await.unwrap();
        let id = ExecutionId::from_bytes([7; 20]);
        let mut recorded = Recorded {
            reader: Reader::new(store.clone()),
            store,
            execution: Execution::empty(id, tenant.clone()),
            graphs: Graphs::one(graph.clone()),
            head: codec::genesis(&tenant, id),
            graph,
            tenant,
            id,
            last_first_seq: 0,
            origin: None,
        };
        let start = StartRequest {
            graph: recorded.graph.digest,
            inputs: Data::from_json(&json!({"items": vec![1; items]})).unwrap(),
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
        recorded.act(Command::Create(Box::new(start))).await;
        while recorded.execution.has_more() {
            recorded.act(Command::Tick { chance: 0.0 }).await;
        }
        recorded
    }

    /// One decision, and its append.
    pub(super) async fn act(&mut self, command: Command) {
        let now = self.execution.last_at().after(Duration::from_millis(1));
        let decided = self.execution.decide_in_place(&self.graphs, command, now).unwrap();
        let envelope = Envelope { at: decided.at, actor: Actor::System, causation: Causation::Outcome, trace: None };
        let count = decided.events.len() as u64;
        let encoded = codec::encode(&self.head, &envelope, decided.events, random::salt()).unwrap();
        let last_seq = self.execution.sequence();
        let append = Append {
            tenant: self.tenant.clone(),
            execution: self.id,
            partition: PartitionId(0),
            epoch: 1,
            first_seq: last_seq + 1 - count,
            last_seq,
            previous_first_seq: self.last_first_seq,
            origin: self.origin.take(),
            hash: encoded.hash,
            body: encoded.body,
            summary: None,
            agenda: None,
        };
        assert_eq!(self.store.append(std::slice::from_ref(&append)).await.unwrap(), [Appended::Committed]);
        self.head = append.hash;
        self.last_first_seq = append.first_seq;
    }

    /// An execution that continues this one's log behind the append that ends with this event, in the same store. Its
    /// log begins with its first decision.
    pub(super) async fn fork(&self, number: u8, at: u64) -> Self {
        let id = ExecutionId::from_bytes([number; 20]);
        let mut execution = Execution::empty(id, self.tenant.clone());
        let mut cursor = self.reader.cursor(&self.tenant, self.id);
        while cursor.read_to < at {
            for event in cursor.next().await.unwrap().expect("the log is longer").events {
                execution.apply(&self.graphs, &event).unwrap();
            }
        }
        assert_eq!(cursor.read_to, at, "no append ends there");
        Recorded {
            store: self.store.clone(),
            reader: self.reader.clone(),
            tenant: self.tenant.clone(),
            id,
            execution,
            graphs: self.graphs.clone(),
            graph: self.graph.clone(),
            head: cursor.head,
            last_first_seq: cursor.last_first_seq,
            origin: Some(Lineage { execution: self.id, sequence: at }),
        }
    }

    /// Completes steps until the log is at least this long.
    pub(super) async fn grow(&mut self, to: u64) {
        while self.execution.sequence() < to {
            let step = self
                .execution
                .open_steps()
                .find(|step| self.execution.job(&self.graph, *step).is_some())
                .expect("the fan is wide enough");
            let done = Command::Completed {
                step,
                attempt: 1,
                worker: "test".to_owned(),
                claim: ClaimId(u128::from(step)),
                output: Data::null(),
                duration_us: 1,
            };
            self.act(done).await;
        }
    }
}
