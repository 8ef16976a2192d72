//! What the log says of bytes outside it.

use serde_json::json;

use super::scenario::*;
use crate::artifact::{
    Artifact, ArtifactType, Compression, ContentHash, MAX_ARTIFACT_BYTES, MAX_ATTEMPT_ARTIFACTS, MAX_EXECUTION_BYTES,
    Reference, VALUE_CONTENT_TYPE, artifact_id,
};
use crate::data::Data;
use crate::error::ErrorCategory;
use crate::event::{EventData, Note};
use crate::execution::{Command, ExecutionState};

fn artifact(name: &str, content: &[u8]) -> Artifact {
    Artifact {
        name: name.to_owned(),
        artifact_type: ArtifactType::Text,
        content_type: "text/plain".to_owned(),
        digest: ContentHash::of(content),
        size: content.len() as u64,
        stored_size: 40,
        compression: Compression::Zstd,
        metadata: data(&json!({"page": 1})),
    }
}

fn noted(notes: Vec<Note>, result: Command) -> Command {
    Command::Noted { notes, result: Box::new(result) }
}

#[test]
fn d46_what_an_attempt_stores_is_on_record_with_hash_and_size() {
    let mut scenario = given("nodes: { a: { task: t } }");
    scenario.starts(json!({}));
    let stored = artifact("report", b"tulips");
    scenario.when(noted(vec![Note::Artifact(Box::new(stored.clone()))], completed(0, 1, &json!(1))));
    let kept = scenario.execution.artifacts();
    let [kept] = kept[..] else { panic!("{kept:?}") };
    let step = scenario.execution.step_id(0, "a").unwrap();
    assert_eq!(kept.id(), artifact_id(scenario.execution.id(), Some(step), "report", &stored.digest));
    assert_eq!((kept.name(), kept.size(), kept.step()), ("report", 6, Some(0)));
    assert_eq!(kept.content_hash(), stored.digest.to_string());
    assert_eq!(kept.metadata().to_json(), json!({"page": 1}), "what the caller said of it is kept");
    assert_eq!((scenario.execution.artifact_count(), scenario.execution.artifact_bytes()), (1, 6));
    assert_eq!(scenario.execution.state(), ExecutionState::Completed);
}

#[test]
fn d50_another_attempt_that_stores_the_same_stores_nothing_new() {
    let mut scenario = given("nodes: { a: { task: t, retry: { max_attempts: 3, base: 0s, max: 0s } } }");
    scenario.starts(json!({}));
    let same = || Note::Artifact(Box::new(artifact("report", b"tulips")));
    scenario.when(noted(vec![same()], failed(0, 1, error(ErrorCategory::ToolError))));
    let other = Note::Artifact(Box::new(artifact("report", b"roses")));
    scenario.when(noted(vec![same(), other], completed(0, 2, &json!(1))));
    let decided = scenario.log.last().unwrap();
    let recorded = decided.events.iter().filter(|event| matches!(event, EventData::ArtifactStored { .. })).count();
    assert_eq!(recorded, 1, "of the second attempt only what is new");
    assert_eq!((scenario.execution.artifact_count(), scenario.execution.artifact_bytes()), (2, 11));
}

#[test]
fn more_than_may_be_stored_fails_the_step() {
    let stored = |name: &str, size: u64| Note::Artifact(Box::new(Artifact { size, ..artifact(name, name.as_bytes()) }));
    let fails = |scenario: &Scenario, why: &str| {
        let error = scenario.execution.error().expect("it failed");
        assert_eq!(error.code.as_ref().map(|code| code.as_str()), Some("artifact_limit"));
        assert!(error.message.contains(why), "{}", error.message);
    };
    let mut scenario = given("nodes: { a: { task: t } }");
    scenario.starts(json!({}));
    let notes = (0..MAX_ATTEMPT_ARTIFACTS + 2).map(|at| stored(&format!("n{at}"), 1)).collect();
    scenario.when(noted(notes, completed(0, 1, &json!(1))));
    fails(&scenario, "an attempt has stored 66");
    assert_eq!(scenario.execution.artifact_count(), 0);

    let mut scenario = given("nodes: { a: { task: t } }");
    scenario.starts(json!({}));
    let own = (0..MAX_ATTEMPT_ARTIFACTS).map(|at| stored(&format!("n{at}"), 1)).chain([stored("output", 1)]).collect();
    scenario.when(noted(own, completed(0, 1, &json!(1))));
    assert_eq!(
        scenario.execution.state(),
        ExecutionState::Completed,
        "an output that was put away has a place of its own"
    );

    let mut scenario = given("nodes: { a: { task: t, retry: { max_attempts: 3, base: 0s, max: 0s } } }");
    scenario.starts(json!({}));
    let most = (0..MAX_EXECUTION_BYTES / MAX_ARTIFACT_BYTES).map(|at| stored(&format!("n{at}"), MAX_ARTIFACT_BYTES));
    scenario.when(noted(most.collect(), failed(0, 1, error(ErrorCategory::ToolError))));
    assert_eq!(scenario.execution.artifact_bytes(), MAX_EXECUTION_BYTES);
    scenario.when(noted(vec![stored("one more", 1)], completed(0, 2, &json!(1))));
    fails(&scenario, "would have");
}

#[test]
fn a_record_that_is_none_fails_the_step_as_any_bad_note() {
    for bad in [
        Artifact { name: String::new(), ..artifact("x", b"x") },
        Artifact { name: "a\nb".to_owned(), ..artifact("x", b"x") },
        Artifact { content_type: "text/plain\r\nx: y".to_owned(), ..artifact("x", b"x") },
        Artifact { metadata: data(&json!("m".repeat(5000))), ..artifact("x", b"x") },
        Artifact { size: u64::MAX, ..artifact("x", b"x") },
    ] {
        let mut scenario = given("nodes: { a: { task: t } }");
        scenario.starts(json!({}));
        scenario.when(noted(vec![Note::Artifact(Box::new(bad))], completed(0, 1, &json!(1))));
        let error = scenario.execution.error().expect("it failed");
        assert_eq!(error.code.as_ref().map(|code| code.as_str()), Some("bad_notes"));
    }
}

#[test]
fn inputs_that_were_put_away_are_on_record_and_not_judged_again() {
    let mut scenario = given(
        "inputs: { type: object, properties: { doc: { type: string }, n: { type: number } } }
nodes: { a: { task: t, with: { doc: '=inputs.doc' } } }",
    );
    let digest = ContentHash::of(b"\"long\"");
    let id = artifact_id(scenario.execution.id(), None, "inputs.doc", &digest);
    let reference = Reference { id, digest, size: 6, content_type: VALUE_CONTENT_TYPE.to_owned() };
    scenario.starts(json!({"doc": reference.to_json(), "n": 1}));
    let kept = scenario.execution.artifacts();
    assert_eq!(
        kept.iter().map(|kept| (kept.id(), kept.step(), kept.name())).collect::<Vec<_>>(),
        [(id, None, "inputs.doc")]
    );
    assert_eq!(scenario.execution.input_of(0).unwrap().to_json(), json!({"doc": reference.to_json()}));
    let graph = scenario.graph.clone();
    assert_eq!(graph.input_problems(&json!({"doc": reference.to_json(), "n": "x"})).len(), 1);
    assert_eq!(graph.input_problems(&json!({"doc": 5, "n": 1})).len(), 1);
}

#[test]
fn outputs_that_expressions_look_into_stay_where_they_are() {
    let scenario = given(
        "nodes:
  passed: { task: t, next: { to: looked } }
  looked: { task: t, with: '=steps.passed.output', next: [ { when: '=output.ok', to: list } ] }
  list: { task: t, next: { to: many } }
  many: { map: { over: '=steps.list.output' }, task: t, with: { a: '=item', b: '=steps.passed.output' }, next: { to: sum } }
  sum: { transform: \"={'size': size(steps.many.output), 'all': steps.passed.output}\", next: { to: last } }
  last: { task: t, with: { doc: '=inputs.doc', n: '=inputs.n + 1', all: '=[steps.sum.output]' }, undo: { task: u, with: '=output' } }
output: { last: '=steps.last.output' }",
    );
    let graph = &scenario.graph;
    let names: Vec<&str> = graph.looked_into.outputs.iter().map(|ix| graph.node(*ix).unwrap().name.as_str()).collect();
    assert_eq!(names, ["list", "looked", "many"]);
    assert!(!graph.looked_into.inputs);
    assert_eq!(graph.looked_into.fields.iter().collect::<Vec<_>>(), ["n"]);
    let undone = given("nodes: { a: { task: t, undo: { task: u, with: { id: '=output.id' } } } }");
    assert_eq!(undone.graph.looked_into.outputs.len(), 1, "what undoes it looks into it");
    let child = given("nodes: { a: { graph: other } }");
    assert!(child.graph.looked_into.inputs, "another graph may look into what it is given");
}

fn names(graph: &crate::graph::CompiledGraph, of: &std::collections::BTreeSet<crate::graph::NodeIx>) -> Vec<String> {
    of.iter().map(|ix| graph.node(*ix).unwrap().name.clone()).collect()
}

#[test]
fn whoever_looks_into_a_transform_looks_into_what_it_passes_on() {
    let scenario = given(
        "nodes:
  a: { task: t, next: { to: shaped } }
  b: { task: t, next: { to: shaped } }
  shaped: { transform: { x: '=steps.a.output', doc: '=inputs.doc' }, join: all, next: { to: whole } }
  whole: { transform: '=steps.shaped.output', next: { to: kept } }
  kept: { transform: '=steps.b.output', next: [ { when: '=has(steps.whole.output.x.total)', to: last } ] }
  last: { task: t, with: '=steps.kept.output' }
output: '=steps.kept.output'",
    );
    let graph = &scenario.graph;
    assert_eq!(names(graph, &graph.looked_into.outputs), ["a", "shaped", "whole"]);
    assert_eq!(graph.looked_into.fields.iter().collect::<Vec<_>>(), ["doc"]);
    assert_eq!(names(graph, &graph.looked_into.returned), ["b", "kept"]);
}

#[test]
fn what_a_child_gives_stays_in_the_log_because_its_parent_may_look_into_it() {
    use crate::event::ParentLink;
    use crate::event::child::Share;
    use crate::id::Id;
    let document = "nodes: { a: { task: t, next: { to: b } }, b: { task: t, with: '=steps.a.output' } }";
    let mut alone = given(document);
    alone.starts(json!({}));
    assert!(!alone.execution.keeps_inline(&alone.graph, crate::graph::NodeIx(1)));
    let mut child = given(document);
    let link = ParentLink::of_step(Id::from_bytes([9; 20]), Id::from_bytes([8; 20]), 1, Share::default());
    let request = crate::execution::StartRequest { parent: Some(link), ..child.request(&json!({})) };
    child.when(Command::Create(Box::new(request)));
    let kept = |node| child.execution.keeps_inline(&child.graph, crate::graph::NodeIx(node));
    assert_eq!((kept(0), kept(1)), (false, true));
}

#[test]
fn a_reference_that_is_looked_into_says_what_it_is() {
    let mut scenario = given(
        "nodes: { a: { task: t, next: { to: b } }, b: { transform: '={\"x\": steps.a.output}', next: { to: c } },
  c: { transform: '=steps.b.output.x.total' } }",
    );
    scenario.starts(json!({}));
    let digest = ContentHash::of(b"{}");
    let id = artifact_id(scenario.execution.id(), None, "output", &digest);
    let reference = Reference { id, digest, size: 2, content_type: VALUE_CONTENT_TYPE.to_owned() };
    scenario.when(completed(0, 1, &reference.to_json()));
    let error = scenario.execution.error().expect("it failed");
    assert!(error.message.contains("artifact store"), "{}", error.message);
    let mentions = crate::artifact::mentions_references(&Data::from_json(&reference.to_json()).unwrap());
    assert!(mentions);
}
