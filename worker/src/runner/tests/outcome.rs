//! What is reported for what user code did.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use stepstream_runtime::bus::QueueId;
use stepstream_shared::error::ErrorCategory;
use stepstream_shared::id::TenantId;

use super::*;

#[derive(Deserialize)]
struct Greet {
    name: String,
}

#[derive(Serialize)]
struct Greeting {
    text: String,
}

fn greeter(builder: WorkerBuilder) -> WorkerBuilder {
    builder
        .register("greet", async |_, input: Greet| Ok(Greeting { text: format!("Hello {}", input.name) }))
        .register("panics", async |_, (): ()| -> Result<(), Failure> { panic!("not {}", "today") })
        .register("bytes", async |_, length: usize| Ok("x".repeat(length)))
        .register("refuses", async |_, (): ()| -> Result<(), Failure> {
            Err(Failure::fatal(ErrorCategory::PolicyViolation, "no"))
        })
        .register("nests", async |_, depth: usize| Ok((0..depth).fold(json!(1), |inner, _| json!([inner]))))
}

/// Runs one job and answers its result.
async fn outcome_of(callable: &str, input: Value) -> OutcomeResult {
    let worker = start(FakeBus::new(), greeter);
    worker.bus.offer(job(1, callable, input));
    let result = worker.bus.result(1).await;
    worker.stop().await;
    result
}

#[tokio::test]
async fn a_typed_closure_answers() {
    match outcome_of("greet", json!({ "name": "Ada" })).await {
        OutcomeResult::Completed { output, .. } => assert_eq!(output.to_json(), json!({ "text": "Hello Ada" })),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_input_of_another_type_never_reaches_the_code() {
    let error = failed(outcome_of("greet", json!({ "nam": "Ada" })).await);
    assert_eq!((error.category, code(&error)), (ErrorCategory::ValidationError, "invalid_input"));
    assert!(error.message.contains("missing field `name`"), "{error}");
}

#[tokio::test]
async fn an_unknown_callable_is_answered_with_what_there_is() {
    let error = failed(outcome_of("great", json!(null)).await);
    assert_eq!((error.category, code(&error)), (ErrorCategory::ToolError, "not_found"));
    assert!(error.message.contains("bytes, greet, nests"), "{error}");
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_not_a_dead_worker() {
    let worker = start(FakeBus::new(), greeter);
    worker.bus.offer(job(1, "panics", json!(null)));
    let error = failed(worker.bus.result(1).await);
    assert_eq!((error.category, code(&error)), (ErrorCategory::ToolError, "panic"));
    assert!(error.message.ends_with("not today"), "{error}");
    worker.bus.offer(job(2, "greet", json!({ "name": "Bob" })));
    assert!(matches!(worker.bus.result(2).await, OutcomeResult::Completed { .. }));
    let summary = worker.stop().await;
    assert_eq!((summary.completed, summary.failed), (1, 1));
}

#[tokio::test]
async fn an_output_beyond_a_limit_is_refused_by_the_limits_name() {
    let error = failed(outcome_of("bytes", json!(5 * 1024 * 1024)).await);
    assert_eq!((error.category, code(&error)), (ErrorCategory::ValidationError, "output_invalid"));
    assert!(error.message.contains("payload limit"), "{error}");
    let error = failed(outcome_of("nests", json!(80)).await);
    assert!(error.message.contains("depth limit"), "{error}");
}

#[tokio::test]
async fn an_outcome_that_the_bus_does_not_carry_becomes_a_failure_that_it_does() {
    let bus = FakeBus::new();
    bus.max_bytes.store(4096, Ordering::SeqCst);
    let worker = start(bus, greeter);
    worker.bus.offer(job(1, "bytes", json!(100_000)));
    let error = failed(worker.bus.result(1).await);
    assert_eq!(code(&error), "output_invalid");
    assert!(error.message.contains("the bus carries 4096"), "{error}");
    worker.stop().await;
}

#[tokio::test]
async fn a_failure_keeps_its_category() {
    let error = failed(outcome_of("refuses", json!(null)).await);
    assert_eq!((error.category, error.message.as_str()), (ErrorCategory::PolicyViolation, "no"));
}

#[tokio::test]
async fn a_job_that_claims_another_tenant_is_not_run() {
    let worker = start(FakeBus::new(), greeter);
    let mut forged = job(1, "greet", json!({ "name": "Eve" }));
    forged.tenant = "tenant_other".parse().unwrap();
    let queue = QueueId { tenant: TenantId::default_tenant(), name: "default".to_owned() };
    worker.bus.offer_in(queue, forged);
    let error = failed(worker.bus.result(1).await);
    assert_eq!((error.category, code(&error)), (ErrorCategory::PolicyViolation, "permission_denied"));
    worker.stop().await;
}

#[tokio::test]
async fn an_outcome_is_repeated_until_it_is_taken_and_only_then_is_the_job_acknowledged() {
    let bus = FakeBus::new();
    bus.refusals.store(3, Ordering::SeqCst);
    let worker = start(bus, greeter);
    worker.bus.offer(job(1, "greet", json!({ "name": "Ada" })));
    worker.bus.until("the ack", |told| told.contains(&Told::Acked(1)).then_some(())).await;
    let told = worker.bus.told();
    let reported = told.iter().position(|told| matches!(told, Told::Reported(_))).unwrap();
    let acked = told.iter().position(|told| *told == Told::Acked(1)).unwrap();
    assert!(reported < acked, "{told:#?}");
    assert_eq!(worker.bus.refusals.load(Ordering::SeqCst), 0);
    worker.stop().await;
}

#[tokio::test]
async fn each_delivery_has_a_claim_of_its_own() {
    let worker = start(FakeBus::new(), greeter);
    for _ in 0..2 {
        worker.bus.offer(job(1, "greet", json!({ "name": "Ada" })));
    }
    let claims = worker
        .bus
        .until("two outcomes", |told| {
            let claims: Vec<_> = told
                .iter()
                .filter_map(|told| match told {
                    Told::Reported(outcome) => Some(outcome.claim),
                    _ => None,
                })
                .collect();
            (claims.len() == 2).then_some(claims)
        })
        .await;
    assert_ne!(claims[0], claims[1]);
    worker.stop().await;
}

#[tokio::test]
async fn a_job_that_its_workers_do_not_survive_fails_in_the_end() {
    let ran = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&ran);
    let worker = start(FakeBus::new(), |builder| {
        builder.register("counted", move |_, (): ()| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, Failure>(()) }
        })
    });
    worker.bus.deliveries.store(MOST_DELIVERIES, Ordering::SeqCst);
    worker.bus.offer(job(1, "counted", json!(null)));
    assert!(matches!(worker.bus.result(1).await, OutcomeResult::Completed { .. }), "the last chance is a chance");
    worker.bus.deliveries.store(MOST_DELIVERIES + 1, Ordering::SeqCst);
    worker.bus.offer(job(2, "counted", json!(null)));
    let error = failed(worker.bus.result(2).await);
    assert_eq!((error.category, code(&error)), (ErrorCategory::KernelInternal, "poison"));
    assert!(!error.is_retryable());
    assert_eq!(ran.load(Ordering::SeqCst), 1, "it was not run again");
    worker.stop().await;
}
