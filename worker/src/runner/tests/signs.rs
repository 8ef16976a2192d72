//! What is heard of an attempt while it runs, and what it hears.

use std::time::Instant;

use stepstream_shared::error::ErrorCategory;
use stepstream_shared::id::TenantId;
use stepstream_shared::wire::Control;

use super::*;
use crate::testing::execution;

fn reports(told: &[Told]) -> Vec<OutcomeResult> {
    told.iter()
        .filter_map(|told| match told {
            Told::Reported(outcome) => Some(outcome.result.clone()),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn an_attempt_longer_than_a_second_says_once_that_it_has_started() {
    let (worker, mut begun, gate) = start_gated(FakeBus::new(), |builder| builder);
    let began = Instant::now();
    worker.bus.offer(job(1, "gated", json!(1)));
    begun.recv().await.unwrap();
    worker.bus.until("a start", |told| (reports(told) == [OutcomeResult::Started]).then_some(())).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    gate.add_permits(1);
    worker.bus.result(1).await;
    assert_eq!(reports(&worker.bus.told()).len(), 2);
    let numbers: Vec<u32> = worker
        .bus
        .told()
        .iter()
        .filter_map(|told| match told {
            Told::Reported(outcome) => Some(outcome.report),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [0, 1], "each report has a deduplication id of its own");
    worker.stop().await;
}

#[tokio::test]
async fn a_short_attempt_costs_one_report() {
    let worker = start(FakeBus::new(), |builder| builder.register("done", async |_, (): ()| Ok(())));
    worker.bus.offer(job(1, "done", json!(null)));
    worker.bus.result(1).await;
    let bus = Arc::clone(&worker.bus);
    worker.stop().await;
    assert_eq!(reports(&bus.told()).len(), 1);
}

#[tokio::test]
async fn heartbeats_go_on_while_the_job_asks_for_them() {
    let (worker, mut begun, gate) = start_gated(FakeBus::new(), |builder| builder);
    let mut asking = job(1, "gated", json!(1));
    asking.heartbeat_ms = Some(150);
    worker.bus.offer(asking);
    begun.recv().await.unwrap();
    let is_sign = |result: &OutcomeResult| *result == OutcomeResult::Progress { note: None };
    worker
        .bus
        .until("three heartbeats", |told| (reports(told).iter().filter(|r| is_sign(r)).count() >= 3).then_some(()))
        .await;
    gate.add_permits(1);
    worker.bus.result(1).await;
    worker.stop().await;
}

#[tokio::test]
async fn an_attempt_whose_job_asks_for_no_heartbeat_is_heard_of_all_the_same() {
    let (worker, mut begun, gate) = start_gated(FakeBus::with_ack_wait(Duration::from_millis(300)), |builder| builder);
    worker.bus.offer(job(1, "gated", json!(1)));
    begun.recv().await.unwrap();
    let is_sign = |result: &OutcomeResult| *result == OutcomeResult::Progress { note: None };
    worker
        .bus
        .until("three signs", |told| (reports(told).iter().filter(|r| is_sign(r)).count() >= 3).then_some(()))
        .await;
    gate.add_permits(1);
    worker.bus.result(1).await;
    worker.stop().await;
}

#[tokio::test]
async fn the_bus_is_told_in_time_that_a_job_is_being_worked_on() {
    let (worker, mut begun, gate) = start_gated(FakeBus::with_ack_wait(Duration::from_millis(120)), |builder| builder);
    worker.bus.offer(job(1, "gated", json!(1)));
    begun.recv().await.unwrap();
    worker
        .bus
        .until("progress acks", |told| (told.iter().filter(|t| **t == Told::Progressed(1)).count() >= 3).then_some(()))
        .await;
    gate.add_permits(1);
    worker.bus.result(1).await;
    worker.stop().await;
}

#[tokio::test]
async fn of_many_notes_the_latest_is_sent() {
    let worker = start(FakeBus::new(), |builder| {
        builder.register("noted", async |context: crate::Context, (): ()| {
            for percent in 0..=1000 {
                context.progress(json!({ "permille": percent }));
            }
            context.cancelled().await;
            Ok(())
        })
    });
    worker.bus.offer(job(1, "noted", json!(null)));
    let notes = worker
        .bus
        .until("a note", |told| {
            let notes: Vec<Value> = reports(told)
                .into_iter()
                .filter_map(|report| match report {
                    OutcomeResult::Progress { note } => note.map(|note| note.to_json()),
                    _ => None,
                })
                .collect();
            (!notes.is_empty()).then_some(notes)
        })
        .await;
    assert_eq!(notes, [json!({ "permille": 1000 })]);
    worker.shutdown.request_now();
    worker.summary().await;
}

/// Waits for its cancellation and answers whether its deadline was known.
fn waits(builder: WorkerBuilder) -> WorkerBuilder {
    builder.register("waits", async |context: crate::Context, (): ()| {
        context.cancelled().await;
        Err::<(), _>(Failure::cancelled())
    })
}

#[tokio::test]
async fn an_attempt_past_its_time_is_a_timeout() {
    let worker = start(FakeBus::new(), waits);
    let mut limited = job(1, "waits", json!(null));
    limited.start_to_close_ms = Some(50);
    worker.bus.offer(limited);
    let error = failed(worker.bus.result(1).await);
    assert_eq!((error.category, code(&error)), (ErrorCategory::Timeout, "timeout"));
    worker.stop().await;
}

#[tokio::test]
async fn code_that_ignores_its_deadline_is_dropped_after_its_cleanup() {
    let worker = start(FakeBus::new(), |builder| {
        builder.register("stubborn", async |_, (): ()| std::future::pending::<Result<(), Failure>>().await)
    });
    let mut limited = job(1, "stubborn", json!(null));
    limited.start_to_close_ms = Some(50);
    worker.bus.offer(limited);
    assert_eq!(failed(worker.bus.result(1).await).category, ErrorCategory::Timeout);
    assert_eq!(worker.stop().await.failed, 1);
}

async fn hinted(control: Control) -> Vec<u32> {
    let worker = start(FakeBus::new(), waits);
    for number in [1, 2] {
        worker.bus.offer(job(number, "waits", json!(null)));
    }
    let bus = Arc::clone(&worker.bus);
    // The listener subscribes on its own time, and hints before that are nobody's.
    let stopped = tokio::time::timeout(crate::testing::FAR, async {
        loop {
            if bus.listeners() > 0 && bus.waiting() == 0 {
                bus.control(control.clone());
            }
            if let Some(number) = bus.told().iter().find_map(|told| match told {
                Told::Acked(number) => Some(*number),
                _ => None,
            }) {
                return number;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a hint stops an attempt");
    assert_eq!(bus.result(stopped).await, OutcomeResult::Released);
    worker.shutdown.request_now();
    worker.summary().await;
    let told = bus.told();
    told.iter()
        .filter_map(|told| match told {
            Told::Acked(number) => Some(*number),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_cancelled_execution_stops_its_attempts_and_no_others() {
    assert_eq!(hinted(Control::Cancel { execution: execution(1) }).await, [1]);
}

#[tokio::test]
async fn an_abandoned_attempt_stops_and_a_newer_one_would_not() {
    assert_eq!(hinted(Control::Abandon { execution: execution(2), ordinal: 2, attempt: 1 }).await, [2]);
    let worker = start(FakeBus::new(), waits);
    let mut newer = job(1, "waits", json!(null));
    newer.token.attempt = 2;
    let (tenant, other) = (TenantId::default_tenant(), "tenant_other".parse().unwrap());
    let context = crate::Context::new(newer, tenant.clone(), "tested".into(), None);
    let running = crate::running::Running::default();
    let _entry = running.enter(stepstream_shared::wire::ClaimId(1), &context);
    running.hint(&tenant, &Control::Abandon { execution: execution(1), ordinal: 1, attempt: 1 });
    assert!(!context.cancellation().is_cancelled());
    running.hint(&other, &Control::Abandon { execution: execution(1), ordinal: 1, attempt: 2 });
    assert!(!context.cancellation().is_cancelled(), "another tenant has no say");
    running.hint(&tenant, &Control::Abandon { execution: execution(1), ordinal: 1, attempt: 2 });
    assert!(context.cancellation().is_cancelled());
    worker.stop().await;
}
