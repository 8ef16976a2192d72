//! What attempts put on record beside their results.

use std::sync::atomic::Ordering;

use stepstream_shared::error::ErrorCategory;
use stepstream_shared::event::{GoalStatus, Note};

use super::*;
use crate::Context;

fn noting(builder: WorkerBuilder) -> WorkerBuilder {
    builder
        .register("finds", async |context: Context, name: String| {
            context
                .discover(&name, json!({"page": 2}), "it was mentioned")
                .map_err(|error| Failure::retryable(error.to_string()))?;
            context.usage("some-model", 100, 20, None).map_err(|error| Failure::retryable(error.to_string()))?;
            context
                .goal("answer", GoalStatus::Progressing, Some(0.5), "")
                .map_err(|error| Failure::retryable(error.to_string()))?;
            Ok(name)
        })
        .register("spends", async |context: Context, (): ()| -> Result<(), Failure> {
            context.usage("some-model", 100, 20, None).map_err(|error| Failure::retryable(error.to_string()))?;
            Err(Failure::fatal(ErrorCategory::PolicyViolation, "no"))
        })
        .register("talks", async |context: Context, bytes: usize| {
            let talk = "x".repeat(bytes);
            context.tool_call("1", "say", &talk, &talk).map_err(|error| Failure::retryable(error.to_string()))?;
            context.usage("some-model", 100, 20, None).map_err(|error| Failure::retryable(error.to_string()))?;
            Ok(())
        })
        .register("floods", async |context: Context, (): ()| {
            let kept = (0..300).filter(|n| context.discover("more", n, "").is_ok()).count();
            let refused = context.goal("", GoalStatus::Met, Some(2.0), "").is_err();
            Ok((kept, refused))
        })
}

async fn reported(bus: &FakeBus, number: u32) -> stepstream_shared::wire::Outcome {
    bus.until("a final outcome", |told| {
        told.iter().find_map(|told| match told {
            Told::Reported(outcome) if outcome.token.ordinal == number && crate::testing::is_final(&outcome.result) => {
                Some(outcome.clone())
            }
            _ => None,
        })
    })
    .await
}

#[tokio::test]
async fn notes_travel_with_the_result_whatever_that_is() {
    let worker = start(FakeBus::new(), noting);
    worker.bus.offer(job(1, "finds", json!("the appendix")));
    let outcome = reported(&worker.bus, 1).await;
    assert!(matches!(&outcome.notes[0], Note::Discovered { name, .. } if name == "the appendix"));
    assert_eq!(outcome.notes.len(), 3);
    let again = stepstream_shared::wire::Outcome::decode(&outcome.encode().unwrap()).unwrap();
    assert_eq!(again.notes, outcome.notes);
    worker.bus.offer(job(2, "spends", json!(null)));
    let outcome = reported(&worker.bus, 2).await;
    assert!(matches!(outcome.result, OutcomeResult::Failed { .. }));
    assert!(matches!(outcome.notes[..], [Note::Usage { prompt_tokens: 100, .. }]), "what was spent is spent");
    worker.stop().await;
}

#[tokio::test]
async fn of_notes_that_the_bus_cannot_carry_what_was_spent_is_left() {
    let worker = start(FakeBus::new(), noting);
    worker.bus.max_bytes.store(20_000, Ordering::SeqCst);
    worker.bus.offer(job(1, "talks", json!(30_000)));
    let outcome = reported(&worker.bus, 1).await;
    assert!(matches!(outcome.result, OutcomeResult::Failed { .. }));
    assert!(matches!(outcome.notes[..], [Note::Usage { .. }]), "{:?}", outcome.notes.len());
    worker.stop().await;
}

#[tokio::test]
async fn an_attempt_has_so_many_notes_and_no_more_and_none_that_makes_no_sense() {
    let worker = start(FakeBus::new(), noting);
    worker.bus.offer(job(1, "floods", json!(null)));
    let outcome = reported(&worker.bus, 1).await;
    assert_eq!(outcome.notes.len(), 256);
    match outcome.result {
        OutcomeResult::Completed { output, .. } => assert_eq!(output.to_json(), json!([256, true])),
        other => panic!("{other:?}"),
    }
    worker.stop().await;
}
