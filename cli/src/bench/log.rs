//! A log as a fleet would have written it, made here: what folding and replaying are timed on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use stepstream_coordinator::ports::{Append, EventStore, StoredGraph, Summary};
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_runtime::random;
use stepstream_shared::data::Data;
use stepstream_shared::event::{Actor, Causation, Envelope, EventData, codec};
use stepstream_shared::execution::{Command, Execution, StartRequest};
use stepstream_shared::graph::{CompiledGraph, Graphs, LimitOverrides, Source, compile};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::wire::ClaimId;

use super::{BenchArgs, Shape, graphs};

/// A log as it would have been written, with no store and no worker.
pub(super) struct Log {
    pub(super) id: ExecutionId,
    pub(super) graph: Arc<CompiledGraph>,
    pub(super) graphs: Graphs,
    pub(super) appends: Vec<(Envelope, Vec<EventData>)>,
}

pub(super) fn write(args: &BenchArgs) -> Result<Log> {
    let fan = BenchArgs { shape: Shape::Fan, ..args.clone() };
    let document = graphs::document(&fan);
    let graph = compile(&Source { name: "bench", text: &document })
        .map(Arc::new)
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let set = Graphs::one(graph.clone());
    let id = ExecutionId::from_bytes(random::bytes());
    let mut execution = Execution::empty(id, TenantId::default_tenant());
    let clock = SystemClock;
    let mut appends = Vec::new();
    let create = Command::Create(Box::new(StartRequest {
        graph: graph.digest,
        inputs: Data::from_json(&graphs::inputs(&fan))?,
        planning: false,
        parent: None,
        origin: None,
        request_hash: None,
        metadata: None,
        breakpoints: Vec::new(),
        limits: LimitOverrides::default(),
        background: None,
        governed: false,
    }));
    let mut take = |command: Command, execution: &mut Execution| -> Result<()> {
        let decided = execution.decide_in_place(&set, command, clock.now())?;
        let envelope = Envelope {
            at: decided.at,
            actor: Actor::Worker("bench".to_owned()),
            causation: Causation::Outcome,
            trace: None,
        };
        appends.push((envelope, decided.events));
        Ok(())
    };
    take(create, &mut execution)?;
    while execution.has_more() {
        take(Command::Tick { chance: 0.0 }, &mut execution)?;
    }
    loop {
        let Some(step) = execution.open_steps().find(|step| execution.job(&graph, *step).is_some()) else { break };
        let done = Command::Completed {
            step,
            attempt: 1,
            worker: "bench".to_owned(),
            claim: ClaimId(u128::from(step)),
            output: Data::null(),
            duration_us: 1,
        };
        take(done, &mut execution)?;
    }
    anyhow::ensure!(execution.state().is_terminal(), "the bench's own log does not end: {}", execution.state());
    Ok(Log { id, graph, graphs: set, appends })
}

pub(super) fn default_width(args: &BenchArgs) -> BenchArgs {
    // A width nobody chose is too small a log to time.
    BenchArgs { width: if args.width == 100 { 10_000 } else { args.width }, ..args.clone() }
}

impl Log {
    /// Appends it to a store that nobody else uses.
    pub(super) async fn store(self, store: &dyn EventStore) -> Result<ExecutionId> {
        let log = self;
        let tenant = TenantId::default_tenant();
        let stored = StoredGraph {
            digest: log.graph.digest,
            name: log.graph.name.clone(),
            version: log.graph.version.clone(),
            document: log.graph.canonical.clone(),
            registered_at: SystemClock.now(),
        };
        store.put_graph(&tenant, &stored).await?;
        let partition = PartitionId(0);
        let epoch = store
            .acquire(partition, "bench", Duration::from_secs(600), true)
            .await?
            .context("a new store has no owner")?;
        let mut head = codec::genesis(&tenant, log.id);
        let (mut sequence, mut previous) = (0_u64, 0_u64);
        for (envelope, events) in log.appends {
            let count = events.len() as u64;
            let encoded = codec::encode(&head, &envelope, events, random::salt())?;
            let summary = (sequence == 0).then(|| Summary {
                state: "Running".to_owned(),
                terminal: false,
                graph: log.graph.digest,
                graph_name: log.graph.name.clone(),
                created_at: envelope.at,
                updated_at: envelope.at,
                background: None,
                dead_letters: 0,
            });
            let append = Append {
                tenant: tenant.clone(),
                execution: log.id,
                partition,
                epoch,
                first_seq: sequence + 1,
                last_seq: sequence + count,
                previous_first_seq: previous,
                origin: None,
                hash: encoded.hash,
                body: encoded.body,
                summary,
                agenda: None,
            };
            head = encoded.hash;
            previous = sequence + 1;
            sequence += count;
            store.append(&[append]).await?;
        }
        Ok(log.id)
    }
}
