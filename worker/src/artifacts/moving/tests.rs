use std::sync::Arc;

use serde_json::json;
use stepstream_runtime::artifact::ArtifactStore;
use stepstream_shared::artifact::{ContentHash, MAX_ATTEMPT_ARTIFACTS, Reference};
use stepstream_shared::event::Note;
use stepstream_shared::event::note::MAX_NOTES;
use stepstream_shared::id::TenantId;

use super::*;
use crate::artifacts::Artifacts;
use crate::testing::job;

fn context_of(input: Value, store: &ArtifactStore) -> Context {
    let shelf = Arc::new(Artifacts::new(store.clone()));
    Context::new(job(1, "tested", input), TenantId::default_tenant(), "tested".into(), Some(shelf))
}

fn code(failure: &Failure) -> &str {
    failure.error().code.as_ref().map_or("", |code| code.as_str())
}

/// Puts a value away; answers what refers to it.
async fn put_away(store: &ArtifactStore, value: &Value) -> Reference {
    let context = context_of(json!(null), store);
    let output = output_of(&context, value.clone()).await.unwrap();
    Reference::of(&output.to_json()).expect("a large one")
}

#[tokio::test]
async fn a_value_counts_as_often_as_it_stands_there() {
    let store = ArtifactStore::in_memory();
    let of = put_away(&store, &json!("x".repeat(1 << 20))).await;
    let twice = context_of(json!([of.to_json(), {"again": of.to_json()}]), &store);
    assert_eq!(input_of(&twice).await.unwrap()[1]["again"].as_str().map(str::len), Some(1 << 20));
    // What references claim is no bound: these say that they stand for nothing.
    let lying = Reference { size: 0, ..of.clone() };
    for each in [of, lying] {
        let many = context_of(json!(vec![each.to_json(); 5000]), &store);
        let refused = input_of(&many).await.unwrap_err();
        assert_eq!(code(&refused), "input_too_large");
        assert!(!refused.error().is_retryable());
    }
}

#[tokio::test]
async fn different_values_that_claim_to_be_small_count_as_what_they_are() {
    let store = ArtifactStore::in_memory();
    let mut all = Vec::new();
    for at in 0..5 {
        let of = put_away(&store, &json!(format!("{at}{}", "x".repeat(7 << 20)))).await;
        all.push(Reference { size: 1, ..of }.to_json());
    }
    let some = context_of(json!(all[..4]), &store);
    assert_eq!(input_of(&some).await.unwrap().as_array().map(Vec::len), Some(4));
    let refused = input_of(&context_of(json!(all), &store)).await.unwrap_err();
    assert_eq!(code(&refused), "input_too_large");
}

#[tokio::test]
async fn a_large_output_has_its_place_beside_whatever_the_callable_put_on_record() {
    let context = context_of(json!(null), &ArtifactStore::in_memory());
    for at in 0..MAX_ATTEMPT_ARTIFACTS {
        context.store_text(&format!("n{at}"), "x").await.unwrap();
    }
    while context.checkpoint("c", "hash", false).is_ok() {}
    output_of(&context, json!("x".repeat(200_000))).await.unwrap();
    let notes = context.take_notes();
    assert_eq!(notes.len(), MAX_NOTES + 1);
    assert!(matches!(notes.last(), Some(Note::Artifact(artifact)) if artifact.name == OUTPUT_NAME));
}

#[tokio::test]
async fn a_worker_without_a_store_leaves_the_input_to_another_attempt() {
    let digest = ContentHash::of(b"x");
    let id = stepstream_shared::id::Id::from_bytes([1; 20]);
    let of = Reference { id, digest, size: 200_000, content_type: VALUE_CONTENT_TYPE.to_owned() };
    let context = Context::new(job(1, "tested", of.to_json()), TenantId::default_tenant(), "tested".into(), None);
    let failure = input_of(&context).await.unwrap_err();
    assert_eq!(code(&failure), "no_artifact_store");
    assert!(failure.error().is_retryable(), "another worker of the queue may have one");
}
