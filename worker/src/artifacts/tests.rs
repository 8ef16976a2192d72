use std::sync::Arc;

use serde_json::{Value, json};
use stepstream_runtime::artifact::ArtifactStore;
use stepstream_shared::data::Data;
use stepstream_shared::event::Note;
use stepstream_shared::id::TenantId;

use super::*;
use crate::testing::job;

fn context_of(input: Value, inline: bool, artifacts: Option<Artifacts>) -> Context {
    let mut job = job(1, "tested", input);
    job.inline = inline;
    Context::new(job, TenantId::default_tenant(), "tested".into(), artifacts.map(Arc::new))
}

fn shelf() -> Artifacts {
    Artifacts::new(ArtifactStore::in_memory())
}

fn code(failure: &Failure) -> &str {
    failure.error().code.as_ref().map_or("", |code| code.as_str())
}

#[tokio::test]
async fn d46_a_put_that_fails_is_an_error_to_the_callable_and_leaves_no_record() {
    let none = context_of(json!(null), false, None);
    let refused = none.store_text("a", "b").await;
    assert!(matches!(refused, Err(ArtifactFailure::NoStore)));
    assert_eq!(code(&Failure::from(refused.unwrap_err())), "no_artifact_store");

    // A folder that is a file by now.
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("artifacts");
    let context = context_of(json!(null), false, Some(Artifacts::new(ArtifactStore::in_folder(&folder).unwrap())));
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    let refused = context.store_text("a", "b").await;
    assert!(matches!(refused, Err(ArtifactFailure::Store(_))), "{refused:?}");
    assert_eq!(context.take_notes(), []);
    let failure = output_of(&context, json!("x".repeat(200_000))).await.unwrap_err();
    assert_eq!(code(&failure), "artifact_store_unavailable");
    assert!(failure.error().is_retryable());
}

#[tokio::test]
async fn d49_no_name_leads_out_of_the_folder_and_d50_metadata_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("artifacts");
    let context = context_of(json!(null), false, Some(Artifacts::new(ArtifactStore::in_folder(&folder).unwrap())));
    for name in ["../../x", "/etc/passwd", "a/../../b", "..", "C:\\x", "%2e%2e/x"] {
        let artifact = NewArtifact::new(name, ArtifactType::Text).metadata(json!({"page": 1}));
        context.store_artifact(artifact, name.as_bytes().to_vec()).await.unwrap();
    }
    let beside: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["artifacts"]);
    let tenants: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(tenants, ["tenant_default"]);
    let notes = context.take_notes();
    assert_eq!(notes.len(), 6);
    assert!(
        notes.iter().all(|note| {
            matches!(note, Note::Artifact(artifact) if artifact.metadata.to_json() == json!({"page": 1}))
        })
    );
}

#[tokio::test]
async fn what_is_stored_is_noted_once_and_read_again() {
    let context = context_of(json!(null), false, Some(shelf()));
    let first = context.store_json("plan", &json!({"a": 1})).await.unwrap();
    assert_eq!(context.store_json("plan", &json!({"a": 1})).await.unwrap(), first);
    assert_eq!(first.content_type, "application/json");
    let read: Value = serde_json::from_slice(&context.read_artifact(&first).await.unwrap()).unwrap();
    assert_eq!(read, json!({"a": 1}));
    assert_eq!(context.take_notes().len(), 1);
    for at in 0..MAX_ATTEMPT_ARTIFACTS {
        context.store_text(&format!("n{at}"), "x").await.unwrap();
    }
    assert!(matches!(context.store_text("one more", "x").await, Err(ArtifactFailure::TooMany)));
    let bad = NewArtifact::new("a", ArtifactType::Text).content_type("no type");
    assert!(matches!(context.store_artifact(bad, "x").await, Err(ArtifactFailure::Note(_))));
}

#[tokio::test]
async fn large_outputs_are_put_away_and_come_back_as_inputs() {
    let shelf = shelf();
    let large = json!({"text": "x".repeat(6 << 20), "n": 1.5});
    let giver = context_of(json!(null), false, Some(shelf.clone()));
    let output = output_of(&giver, large.clone()).await.unwrap();
    assert!(output.len() < 400);
    let reference = Reference::of(&output.to_json()).expect("a reference");
    assert!(matches!(&giver.take_notes()[..], [Note::Artifact(artifact)] if artifact.name == "output"));

    let given = json!({"of": reference.to_json(), "twice": [reference.to_json()], "n": 1});
    let taker = context_of(given.clone(), false, Some(shelf));
    assert!(input_of(&taker).await.unwrap() == json!({"of": large, "twice": [large], "n": 1}));
    let without = context_of(given, false, None);
    assert_eq!(code(&input_of(&without).await.unwrap_err()), "no_artifact_store");
}

#[tokio::test]
async fn small_outputs_and_those_that_are_looked_into_stay() {
    let small = json!("x".repeat(1000));
    let context = context_of(json!(null), false, Some(shelf()));
    assert_eq!(output_of(&context, small.clone()).await.unwrap(), Data::from_json(&small).unwrap());
    let large = json!("x".repeat(1 << 20));
    let inline = context_of(json!(null), true, Some(shelf()));
    assert_eq!(output_of(&inline, large.clone()).await.unwrap().to_json(), large);
    let refused = output_of(&inline, json!("x".repeat(5 << 20))).await.unwrap_err();
    assert!(refused.error().message.contains("look into it"), "{refused}");
    let none = context_of(json!(null), false, None);
    assert_eq!(output_of(&none, large.clone()).await.unwrap().to_json(), large);
    assert_eq!(code(&output_of(&none, json!("x".repeat(5 << 20))).await.unwrap_err()), "output_invalid");
}

#[tokio::test]
async fn what_is_referred_to_is_bounded_and_checked() {
    let shelf = shelf();
    let missing = Reference {
        id: stepstream_shared::id::Id::from_bytes([1; 20]),
        digest: stepstream_shared::artifact::ContentHash::of(b"gone"),
        size: 4,
        content_type: stepstream_shared::artifact::VALUE_CONTENT_TYPE.to_owned(),
    };
    let gone = context_of(missing.to_json(), false, Some(shelf.clone()));
    assert_eq!(code(&input_of(&gone).await.unwrap_err()), "artifact_not_found");
    let huge = Reference { size: MAX_MOVED_BYTES + 1, ..missing.clone() };
    let huge = context_of(huge.to_json(), false, Some(shelf.clone()));
    assert_eq!(code(&input_of(&huge).await.unwrap_err()), "input_too_large");
    // What a callable has stored under a type of its own is its own affair.
    let picture = Reference { content_type: "image/png".to_owned(), ..missing };
    let given = context_of(picture.to_json(), false, Some(shelf));
    assert_eq!(input_of(&given).await.unwrap(), picture.to_json());
}
