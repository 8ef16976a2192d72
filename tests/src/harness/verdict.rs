//! What must be true of the log after anything that can happen, written once.

use std::collections::HashMap;
use std::time::Duration;

use stepstream_coordinator::reading::{LogCursor, Reader};
use stepstream_shared::event::{Event, EventData};
use stepstream_shared::execution::{ExecutionState, StepState};
use stepstream_shared::graph::{CompiledGraph, EdgeKind, Join, NodeIx, NodeKind};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::time::Timestamp;

use crate::poll;

/// What the caller knows beforehand.
#[derive(Debug, Clone)]
pub struct Expected {
    pub state: ExecutionState,
    /// Names of processes that may run steps begin so. No coordinator's does.
    pub workers: &'static str,
}

/// All complete, by workers of a fleet.
pub const BY_WORKERS: Expected = Expected { state: ExecutionState::Completed, workers: "worker-" };
/// All complete, by the worker inside an embedded run.
pub const BY_EMBEDDED: Expected = Expected { state: ExecutionState::Completed, workers: "embedded-" };

/// A step as the log tells of it.
#[derive(Debug, Clone)]
pub struct StepFacts {
    pub node: String,
    pub index: Option<u32>,
    /// The step that it undoes.
    pub undoes: Option<u32>,
    pub is_task: bool,
    pub scheduled_at: Timestamp,
    /// Sequence of its schedule.
    pub scheduled: u64,
    /// Sequence of its completion or failure.
    pub settled: Option<u64>,
    completed_at: Option<Timestamp>,
    completions: u32,
    taken: Option<Vec<u32>>,
    failed: bool,
    pub attempt: u32,
    pub worker: Option<String>,
}

/// An execution as its log tells of it.
#[derive(Debug)]
pub struct Facts {
    pub id: String,
    pub events: u64,
    pub steps: Vec<StepFacts>,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    /// When each event happened, in order.
    pub times: Vec<Timestamp>,
    /// Sub-steps of one map that were scheduled and not settled, at most.
    pub most_in_flight: HashMap<String, usize>,
}

/// The facts of executions that passed.
#[derive(Debug)]
pub struct Verdict {
    pub executions: Vec<Facts>,
}

impl Verdict {
    /// Waits for the end of all, then checks each.
    ///
    /// # Panics
    /// When anything is not as it must be.
    pub async fn of(reader: &Reader, ids: &[String], expected: Expected) -> Self {
        let tenant = TenantId::default_tenant();
        let mut executions = Vec::new();
        for text in ids {
            let id: ExecutionId = text.parse().expect("an id");
            let (mut log, mut appends) = (reader.cursor(&tenant, id), 0);
            poll::until_the_end(&format!("{id} ends"), async || {
                let found = reader.store().find(&tenant, id).await.ok().flatten();
                if found.is_some_and(|found| found.summary.terminal) {
                    return Ok(());
                }
                while let Ok(Some(_)) = log.next().await {
                    appends += 1;
                }
                Err(appends)
            })
            .await;
            let verified =
                reader.verify(&tenant, id).await.unwrap_or_else(|error| panic!("{id} does not verify: {error}"));
            assert_eq!(verified.execution.state(), expected.state, "{id}: {:?}", verified.execution.error());
            let facts = facts(reader.cursor(&tenant, id), text).await;
            facts.check(&verified.graph, &expected);
            executions.push(facts);
        }
        Verdict { executions }
    }

    /// Steps that a worker completed.
    pub fn steps_by_workers(&self) -> usize {
        let steps = self.executions.iter().flat_map(|execution| &execution.steps);
        steps.filter(|step| step.is_task && step.completions > 0).count()
    }

    /// Those of nodes whose name begins so.
    pub fn steps_named(&self, prefix: &str) -> usize {
        let steps = self.executions.iter().flat_map(|execution| &execution.steps);
        steps.filter(|step| step.node.starts_with(prefix) && step.is_task && step.completions > 0).count()
    }

    pub fn workers(&self) -> std::collections::BTreeSet<String> {
        let steps = self.executions.iter().flat_map(|execution| &execution.steps);
        steps.filter_map(|step| step.worker.clone()).collect()
    }

    /// The longest that nothing happened in any of these executions between this moment and its end.
    pub fn longest_silence_after(&self, moment: Timestamp) -> Duration {
        let silence = |facts: &Facts| {
            let pairs = facts.times.iter().zip(facts.times.iter().skip(1));
            pairs.filter(|(_, next)| **next > moment).map(|(at, next)| next.since((*at).max(moment))).max()
        };
        self.executions.iter().filter_map(silence).max().unwrap_or_default()
    }
}

impl Facts {
    /// From the first step being scheduled to the end.
    pub fn makespan(&self) -> Duration {
        self.ended_at.since(self.started_at)
    }

    fn check(&self, graph: &CompiledGraph, expected: &Expected) {
        let id = &self.id;
        if expected.state == ExecutionState::Completed {
            for (ordinal, step) in self.steps.iter().enumerate() {
                assert!(
                    step.completions <= 1,
                    "{id}: step {ordinal} ({}) completed {} times",
                    step.node,
                    step.completions
                );
                assert!(step.settled.is_some(), "{id}: step {ordinal} ({}) is not settled", step.node);
                if step.is_task && step.completions == 1 {
                    let worker = step.worker.as_deref().unwrap_or("nobody");
                    assert!(
                        worker.starts_with(expected.workers),
                        "{id}: step {ordinal} ({}) was run by {worker}",
                        step.node
                    );
                }
            }
        }
        self.check_order(graph);
        for (node, most) in &self.most_in_flight {
            let node = graph.node(graph.by_name[node]).expect("named by the graph");
            if let NodeKind::Map(map) = &node.kind {
                assert!(*most <= map.max_concurrency as usize, "{id}: {most} steps of {} were in flight", node.name);
            }
        }
    }

    /// A step is scheduled only after its predecessors whose edge to it was taken; for a join that does not wait for
    /// all of them, after one. Steps in loops have many predecessors of one name, and are left to the fold.
    fn check_order(&self, graph: &CompiledGraph) {
        let mut by_node: HashMap<&str, &StepFacts> = HashMap::new();
        for step in self.steps.iter().filter(|step| step.index.is_none() && step.undoes.is_none()) {
            by_node.insert(&step.node, step);
        }
        for (ix, node) in graph.nodes.iter().enumerate() {
            let Some(step) = by_node.get(node.name.as_str()) else { continue };
            if node.in_loop.is_some() {
                continue;
            }
            let to = NodeIx(u32::try_from(ix).expect("few nodes"));
            let mut edges = 0;
            let mut before = 0;
            for edge in graph.edges.iter().filter(|edge| edge.to == to) {
                let from = graph.node(edge.from).expect("edges join nodes");
                if from.in_loop.is_some() {
                    continue;
                }
                let Some(predecessor) = by_node.get(from.name.as_str()) else { continue };
                if !predecessor.took(from, edge, graph) {
                    continue;
                }
                edges += 1;
                if predecessor.settled.is_some_and(|settled| settled < step.scheduled) {
                    before += 1;
                } else if matches!(node.join, Join::All | Join::AllSettled) {
                    panic!("{}: {} was scheduled before {} had ended", self.id, node.name, from.name);
                }
            }
            assert!(
                edges == 0 || before > 0,
                "{}: {} was scheduled before any predecessor had ended",
                self.id,
                node.name
            );
        }
    }
}

impl StepFacts {
    /// Whether the step's end took this edge.
    fn took(
        &self,
        node: &stepstream_shared::graph::Node,
        edge: &stepstream_shared::graph::Edge,
        graph: &CompiledGraph,
    ) -> bool {
        let place = node.out.iter().position(|out| graph.edge(*out).is_some_and(|found| std::ptr::eq(found, edge)));
        match (&self.taken, place.and_then(|place| u32::try_from(place).ok())) {
            (Some(taken), Some(place)) => taken.contains(&place),
            (None, Some(_)) => self.completions > 0 && matches!(edge.kind, EdgeKind::Plain),
            (_, None) => false,
        }
    }
}

/// Walks the log. The sequence is checked here too, independent of the reader.
async fn facts(mut cursor: LogCursor, id: &str) -> Facts {
    let mut facts = Facts {
        id: id.to_owned(),
        events: 0,
        steps: Vec::new(),
        started_at: Timestamp::default(),
        ended_at: Timestamp::default(),
        times: Vec::new(),
        most_in_flight: HashMap::new(),
    };
    let mut in_flight: HashMap<String, usize> = HashMap::new();
    while let Some(appended) = cursor.next().await.expect("the log is readable") {
        for event in &appended.events {
            cursor.apply(event).expect("the log folds");
            assert_eq!(event.sequence, facts.events + 1, "{id}: the sequence has a gap");
            facts.events = event.sequence;
            facts.times.push(event.at);
            let graph = cursor.graph().expect("the first event names it").clone();
            take(&mut facts, &mut in_flight, event, &graph);
        }
    }
    // The worker stands with the step in the state, whichever event brought it.
    for (facts, step) in facts.steps.iter_mut().zip(cursor.execution().steps()) {
        facts.worker = step.worker().map(str::to_owned);
        facts.attempt = step.attempt();
        if step.state() == StepState::Skipped && facts.settled.is_none() {
            facts.settled = Some(u64::MAX);
        }
    }
    facts
}

fn take(facts: &mut Facts, in_flight: &mut HashMap<String, usize>, event: &Event, graph: &CompiledGraph) {
    match &event.data {
        EventData::ExecutionStarted {} => facts.started_at = event.at,
        EventData::StepScheduled { step, node, index, undoes, .. } => {
            assert_eq!(*step as usize, facts.steps.len(), "{}: steps are numbered in order", facts.id);
            let node = graph.node(NodeIx(*node)).expect("named by the graph");
            if index.is_some() {
                let count = in_flight.entry(node.name.clone()).or_default();
                *count += 1;
                let most = facts.most_in_flight.entry(node.name.clone()).or_default();
                *most = (*most).max(*count);
            }
            facts.steps.push(StepFacts {
                node: node.name.clone(),
                index: *index,
                undoes: *undoes,
                is_task: matches!(node.kind, NodeKind::Task(_)) || index.is_some(),
                scheduled_at: event.at,
                scheduled: event.sequence,
                settled: None,
                completed_at: None,
                completions: 0,
                taken: None,
                failed: false,
                attempt: 0,
                worker: None,
            });
        }
        EventData::StepCompleted { step, taken, .. } => {
            let step = settle(facts, in_flight, *step, event);
            step.completions += 1;
            step.completed_at = Some(event.at);
            step.taken.clone_from(taken);
        }
        EventData::StepFailed { step, taken, .. } => {
            let step = settle(facts, in_flight, *step, event);
            step.failed = true;
            step.taken = Some(taken.clone().unwrap_or_default());
        }
        _ => {}
    }
    facts.ended_at = event.at;
}

fn settle<'a>(
    facts: &'a mut Facts,
    in_flight: &mut HashMap<String, usize>,
    step: u32,
    event: &Event,
) -> &'a mut StepFacts {
    let step = &mut facts.steps[step as usize];
    if step.index.is_some()
        && let Some(count) = in_flight.get_mut(&step.node)
    {
        *count -= 1;
    }
    step.settled = Some(event.sequence);
    step
}
