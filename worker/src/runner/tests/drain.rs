//! How a worker ends.

use std::sync::atomic::Ordering;

use super::*;

#[tokio::test]
async fn a_stopping_worker_takes_nothing_more_and_finishes_what_it_has() {
    let (worker, mut begun, gate) = start_gated(FakeBus::new(), |builder| builder.slots(1));
    worker.bus.offer(job(1, "gated", json!(1)));
    begun.recv().await.unwrap();
    worker.shutdown.request();
    worker.bus.offer(job(2, "gated", json!(2)));
    gate.add_permits(2);
    let bus = Arc::clone(&worker.bus);
    let summary = worker.summary().await;
    assert_eq!(summary, Summary { completed: 1, ..Summary::default() });
    assert_eq!(bus.waiting(), 1, "the second job is for somebody else");
    assert!(bus.told().contains(&Told::Acked(1)));
}

#[tokio::test]
async fn what_does_not_finish_in_its_grace_is_handed_back_at_once() {
    let (worker, mut begun, _gate) = start_gated(FakeBus::new(), |builder| builder.grace(Duration::from_millis(50)));
    worker.bus.offer(job(1, "gated", json!(1)));
    begun.recv().await.unwrap();
    let bus = Arc::clone(&worker.bus);
    let summary = worker.stop().await;
    assert_eq!(summary, Summary { handed_back: 1, ..Summary::default() });
    assert!(bus.told().contains(&Told::Nacked(1, None)), "{:#?}", bus.told());
    assert!(
        !bus.told()
            .iter()
            .any(|told| matches!(told, Told::Reported(outcome) if crate::testing::is_final(&outcome.result)))
    );
}

#[tokio::test]
async fn an_attempt_that_finishes_when_told_to_stop_is_finished() {
    let worker = start(FakeBus::new(), |builder| {
        builder.grace(Duration::from_millis(10)).register("tidy", async |context: crate::Context, (): ()| {
            context.cancelled().await;
            Ok("saved")
        })
    });
    worker.bus.offer(job(1, "tidy", json!(null)));
    worker.bus.until("the job is taken", |_| (worker.bus.waiting() == 0).then_some(())).await;
    let summary = worker.stop().await;
    assert_eq!((summary.completed, summary.handed_back), (1, 0));
}

#[tokio::test]
async fn patience_that_has_run_out_ends_the_worker_now() {
    let worker = start(FakeBus::new(), |builder| {
        builder
            .grace(Duration::from_secs(3600))
            .register("stubborn", async |_, (): ()| std::future::pending::<Result<(), Failure>>().await)
    });
    worker.bus.offer(job(1, "stubborn", json!(null)));
    worker.bus.until("the job is taken", |_| (worker.bus.waiting() == 0).then_some(())).await;
    worker.shutdown.request_now();
    assert_eq!(worker.summary().await.handed_back, 1);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_reported_does_not_keep_the_worker() {
    let bus = FakeBus::new();
    bus.refusals.store(usize::MAX, Ordering::SeqCst);
    let worker =
        start(bus, |builder| builder.grace(Duration::from_millis(50)).register("done", async |_, (): ()| Ok(())));
    worker.bus.offer(job(1, "done", json!(null)));
    worker.bus.until("a try", |_| (worker.bus.refusals.load(Ordering::SeqCst) < usize::MAX).then_some(())).await;
    let bus = Arc::clone(&worker.bus);
    let summary = worker.stop().await;
    assert_eq!(summary, Summary { handed_back: 1, ..Summary::default() });
    assert!(!bus.told().contains(&Told::Acked(1)), "an unreported job is never acknowledged");
}
