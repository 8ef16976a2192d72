use std::sync::Arc;

use serde_json::json;
use stepstream_shared::data::Data;
use stepstream_shared::execution::StartRequest;
use stepstream_shared::graph::{Graphs, LimitOverrides, Source, compile};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::ClaimId;

use super::*;

const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

struct Run {
    execution: Execution,
    graph: Arc<CompiledGraph>,
}

impl Run {
    fn of(nodes: &str) -> Self {
        let text = format!("stepstream: 1\nname: test\nnodes:\n{nodes}");
        let graph = compile(&Source { name: "test.yaml", text: &text }).unwrap_or_else(|problems| panic!("{problems}"));
        let execution = Execution::empty(ExecutionId::from_bytes([7; 20]), TenantId::default_tenant());
        let mut run = Run { execution, graph: Arc::new(graph) };
        let request = StartRequest {
            graph: run.graph.digest,
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
        run.hears(Command::Create(Box::new(request)));
        run
    }

    /// What workers hear of a command.
    fn hears(&mut self, command: Command) -> Vec<Control> {
        let graphs = Graphs::one(self.graph.clone());
        let decided = self.execution.decide_in_place(&graphs, command, NOON).expect("accepted");
        controls(&self.execution, &self.graph, &decided.events, &Causation::Outcome)
    }

    fn step(&self, node: &str, index: Option<u32>) -> u32 {
        let node = self.graph.by_name[node].0;
        let mut steps = (0_u32..).zip(self.execution.steps());
        steps.find(|(_, step)| (step.node(), step.index()) == (node, index)).expect("a step").0
    }

    fn completed(&self, node: &str, index: Option<u32>) -> Command {
        let (worker, claim, output) = ("worker-1".to_owned(), ClaimId(1), Data::from_json(&json!(1)).expect("a value"));
        Command::Completed { step: self.step(node, index), attempt: 1, worker, claim, output, duration_us: 1 }
    }

    fn failed(&self, node: &str, index: Option<u32>) -> Command {
        let error = stepstream_shared::error::ExecutionError::new(
            stepstream_shared::error::ErrorCategory::ValidationError,
            "no",
        );
        let (worker, claim) = ("worker-1".to_owned(), ClaimId(1));
        Command::Failed { step: self.step(node, index), attempt: 1, worker, claim, error, duration_us: 1, chance: 0.0 }
    }

    fn abandons(&self, steps: &[(&str, Option<u32>)]) -> Vec<Control> {
        let abandon = |(node, index): &(&str, Option<u32>)| Control::Abandon {
            execution: self.execution.id(),
            ordinal: self.step(node, *index),
            attempt: 1,
        };
        steps.iter().map(abandon).collect()
    }

    fn over(&self) -> Vec<Control> {
        vec![Control::Cancel { execution: self.execution.id() }]
    }
}

#[test]
fn workers_hear_of_each_attempt_that_has_lost_its_race() {
    let mut run = Run::of(
        "  many: { map: { over: [1, 2] }, task: t, next: { to: z } }
  slow: { task: t, next: { to: z } }
  fast: { task: t, next: { to: z } }
  z: { join: race, task: t }",
    );
    let heard = run.hears(run.completed("fast", None));
    assert_eq!(heard, run.abandons(&[("many", Some(1)), ("many", Some(0)), ("slow", None)]));
}

#[test]
fn workers_hear_of_each_item_that_a_failed_map_gives_up() {
    let mut run =
        Run::of("  many: { map: { over: [1, 2, 3] }, task: t, next: { catch: any, to: z } }\n  z: { task: t }");
    let heard = run.hears(run.failed("many", Some(1)));
    assert_eq!(heard, run.abandons(&[("many", Some(0)), ("many", Some(2))]));
}

#[test]
fn workers_hear_that_an_execution_is_over() {
    let nodes =
        "  a: { task: t, next: { to: z } }\n  b: { task: t, next: { to: y } }\n  y: { end: true }\n  z: { task: t }";
    let mut run = Run::of(nodes);
    let heard = run.hears(run.completed("b", None));
    assert_eq!(heard, run.over(), "an `end` node leaves nothing that should run");
    let mut run = Run::of(nodes);
    assert_eq!(run.hears(Command::Cancel { reason: "no".to_owned() }), run.over());
    let mut run = Run::of(nodes);
    let heard = run.hears(run.failed("a", None));
    assert_eq!(heard, run.over());
    let mut run = Run::of("  a: { task: t }");
    let heard = run.hears(run.completed("a", None));
    assert_eq!(heard, [], "nothing was running");
}

#[test]
fn the_worker_that_undoes_is_not_told_to_stop() {
    let mut run = Run::of("  a: { task: t, undo: { task: u }, next: { to: z } }\n  b: { task: t }\n  z: { task: t }");
    run.hears(run.completed("a", None));
    let heard = run.hears(run.failed("z", None));
    assert_eq!(heard, run.abandons(&[("b", None)]));
}
