//! How executions begin, what their steps are given, and what they give.

use serde_json::json;

use super::scenario::*;
use crate::event::{EventData, Input, Origin, ParentLink, ParentType, Share};
use crate::execution::{Command, ExecutionState, Rejection};
use crate::graph::{GraphDigest, Graphs};
use crate::id::ExecutionId;

#[test]
fn starting_schedules_every_start_node_in_one_append() {
    given("nodes: { a: { task: t, next: { to: c } }, b: { task: t, next: { to: c } }, c: { task: t } }")
        .starts(json!({}))
        .records("execution_created execution_started step_scheduled step_scheduled")
        .then("a due, b due")
        .owes("a b");
}

#[test]
fn what_is_planned_waits_for_its_start() {
    let mut planned = given("nodes: { a: { task: t } }");
    let request = planned.request(&json!({"n": 1}));
    planned
        .when(Command::Create(Box::new(crate::execution::StartRequest { planning: true, ..request })))
        .records("execution_created")
        .is(ExecutionState::Planning)
        .owes("");
    assert!(matches!(planned.refused(Command::Pause { reason: "x".to_owned() }), Rejection::Illegal(_)));
    planned.when(Command::Start).records("execution_started step_scheduled").owes("a");
    assert!(matches!(planned.refused(Command::Start), Rejection::Illegal(_)));
}

#[test]
fn an_execution_is_created_once() {
    let mut scenario = given("nodes: { a: { task: t } }");
    assert_eq!(scenario.refused(Command::Start), Rejection::Missing);
    assert_eq!(scenario.refused(tick()), Rejection::Missing);
    scenario.starts(json!({}));
    let again = Command::Create(Box::new(scenario.request(&json!({}))));
    assert_eq!(scenario.refused(again), Rejection::Exists);
}

#[test]
fn a_graph_that_is_not_loaded_is_named() {
    let mut scenario = given("nodes: { a: { task: t } }");
    let digest = GraphDigest::from_bytes([9; 20]);
    let request = crate::execution::StartRequest { graph: digest, ..scenario.request(&json!({})) };
    assert_eq!(scenario.refused(Command::Create(Box::new(request))), Rejection::UnknownGraph(digest));
    scenario.starts(json!({}));
    let missing = scenario.execution.decide(&Graphs::default(), tick(), scenario.now);
    assert_eq!(missing, Err(Rejection::UnknownGraph(scenario.graph.digest)));
}

#[test]
fn inputs_that_do_not_fit_the_schema_are_refused_with_every_reason() {
    let document = "
inputs: { type: object, required: [url], properties: { url: { type: string }, n: { type: integer } } }
nodes: { a: { task: t } }";
    let mut scenario = given(document);
    let create = Command::Create(Box::new(scenario.request(&json!({"n": "many"}))));
    let Rejection::InvalidInputs(reasons) = scenario.refused(create) else { panic!("another rejection") };
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("url")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("/n")), "{reasons:?}");
    scenario.starts(json!({"url": "x"}));
}

#[test]
fn a_refusal_of_huge_inputs_does_not_repeat_them() {
    let mut scenario = given("inputs: { type: object }\nnodes: { a: { task: t } }");
    let create = Command::Create(Box::new(scenario.request(&json!("x".repeat(1_000_000)))));
    assert!(scenario.refused(create).to_string().len() < 2000);
}

#[test]
fn what_started_an_execution_stands_in_its_first_event_and_in_its_state() {
    let mut scenario = given("nodes: { a: { task: t } }");
    let parent = ParentLink {
        parent_id: "step_1".to_owned(),
        parent_type: ParentType::StepExecution,
        execution: None,
        depth: 0,
        share: Share::default(),
    };
    let origin = Origin { execution: ExecutionId::from_bytes([1; 20]), sequence: 9, hash: vec![1; 32] };
    let request = crate::execution::StartRequest {
        parent: Some(parent.clone()),
        origin: Some(origin.clone()),
        request_hash: Some(vec![2; 32]),
        metadata: Some(data(&json!({"team": "x"}))),
        ..scenario.request(&json!({}))
    };
    scenario.when(Command::Create(Box::new(request)));
    let Some(EventData::ExecutionCreated { parent: recorded, origin: continued, metadata, .. }) =
        scenario.log[0].events.first()
    else {
        panic!("the first event")
    };
    assert_eq!((recorded.as_deref(), continued), (Some(&parent), &Some(origin)));
    assert_eq!(metadata, &Some(data(&json!({"team": "x"}))));
    assert_eq!(scenario.execution.parent(), Some(&parent));
    assert_eq!(scenario.execution.request_hash(), Some(&[2; 32][..]));
}

#[test]
fn inputs_that_the_log_holds_already_are_named_not_copied() {
    let document = "
nodes:
  a: { task: t, next: { to: b } }
  b: { task: t, with: '=steps.a.output', next: { to: c } }
  c: { map: { over: '=inputs.list' }, task: t, next: { to: d } }
  d: { map: { over: '=inputs.list' }, task: t, with: '=item', next: { to: e } }
  e: { task: t, with: '=inputs', next: { to: f } }
  f: { task: t, with: { of: '=steps.a.output', plain: 1 } }";
    let mut scenario = given(document);
    let inputs = json!({"list": [[10]]});
    scenario.starts(inputs.clone());
    assert_eq!(scenario.input("a"), inputs);
    scenario.gives("a", json!({"x": 5}));
    assert_eq!(scenario.input("b"), json!({"x": 5}));
    scenario.completes("b");
    assert_eq!(scenario.input("c[0]"), json!([10]));
    scenario.completes("c[0]");
    assert_eq!(scenario.input("d[0]"), json!([10]));
    scenario.completes("d[0]");
    assert_eq!(scenario.input("e"), inputs);
    scenario.completes("e");
    assert_eq!(scenario.input("f"), json!({"of": {"x": 5}, "plain": 1}));
    let recorded: Vec<Input> = scenario
        .events()
        .into_iter()
        .filter_map(|event| match event.data {
            EventData::StepScheduled { input, .. } => Some(input),
            _ => None,
        })
        .collect();
    let value = Input::Value(data(&json!({"of": {"x": 5}, "plain": 1})));
    let a = Input::Output(scenario.find("a"));
    assert_eq!(recorded, [Input::Inputs, a, Input::None, Input::Item, Input::None, Input::Item, Input::Inputs, value]);
}

#[test]
fn an_output_that_is_not_there_fails_the_step_that_needs_it() {
    given(
        "
nodes:
  a: { task: t, next: [ { when: false, to: b }, { to: c } ] }
  b: { task: t }
  c: { task: t, with: '=steps.b.output' }",
    )
    .starts(json!({}))
    .completes("a")
    .then("a ok, b skipped, c failed")
    .then_fails_with("expression_failed");
}

#[test]
fn the_declared_output_is_evaluated_at_the_end() {
    given("nodes: { a: { task: t } }\noutput: { got: '=steps.a.output', of: '=execution.id' }")
        .starts(json!({}))
        .gives("a", json!(3))
        .then_gives(json!({"got": 3, "of": ExecutionId::from_bytes([7; 20]).to_string()}));
}

#[test]
fn without_a_declared_output_the_only_last_node_gives_it() {
    given("nodes: { a: { task: t, next: { to: b } }, b: { task: t } }")
        .starts(json!({}))
        .gives("a", json!(1))
        .gives("b", json!([2]))
        .then_gives(json!([2]));
    given("nodes: { a: { task: t }, b: { task: t } }")
        .starts(json!({}))
        .gives("a", json!(1))
        .gives("b", json!(2))
        .then_gives(json!(null));
}

#[test]
fn an_output_that_cannot_be_evaluated_fails_the_execution() {
    given("nodes: { a: { task: t } }\noutput: '=steps.a.output.missing'")
        .starts(json!({}))
        .gives("a", json!({}))
        .then_fails_with("expression_failed");
}

#[test]
fn a_graph_without_tasks_is_over_at_once() {
    given("nodes: { a: { transform: '=inputs.n * 2', next: { to: b } }, b: { transform: '=steps.a.output + 1' } }")
        .starts(json!({"n": 4}))
        .then("a ok, b ok")
        .then_gives(json!(9));
}

#[test]
fn step_ids_follow_from_execution_node_and_scope_and_never_repeat() {
    let mut scenario = given(
        "
nodes:
  a: { map: { over: '=inputs' }, task: t, max_iterations: 2, next: [ { when: '=iteration < 2', to: a } ] }",
    );
    scenario.starts(json!([1, 2])).runs_out(|_| json!(null));
    let ids: Vec<_> = (0..scenario.execution.steps().len() as u32)
        .map(|step| scenario.execution.step_id(step, "a").unwrap())
        .collect();
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (6, 6), "two rounds of a map and its two items");
    let again = scenario.refold();
    assert_eq!(again.step_id(3, "a"), Some(ids[3]));
}

#[test]
fn a_start_that_is_refused_for_its_breakpoint_leaves_nothing_behind() {
    let mut scenario = given("nodes: { a: { task: t } }");
    let request = crate::execution::StartRequest {
        breakpoints: vec!["a".to_owned(), "nowhere".to_owned()],
        ..scenario.request(&json!({}))
    };
    scenario.refused(crate::execution::Command::Create(Box::new(request)));
    assert_eq!(scenario.execution.sequence(), 0);
    scenario.starts(json!({}));
}
