//! Attempts that are asked for before they are run.

use std::sync::atomic::{AtomicU32, Ordering};

use stepstream_shared::error::ErrorCategory;
use stepstream_shared::wire::{Job, Judgement, Outcome};

use super::*;

fn claimed(number: u32, callable: &str, input: Value) -> Job {
    Job { claim: true, position: 5, heartbeat_ms: Some(60_000), ..job(number, callable, input) }
}

fn no(position: u64) -> Option<Judgement> {
    Some(Judgement::new(1, position, false))
}

fn asked(told: &[Told]) -> Vec<Outcome> {
    let asked = told.iter().filter_map(|told| match told {
        Told::Asked(outcome) => Some(outcome.clone()),
        _ => None,
    });
    asked.collect()
}

async fn acked(bus: &FakeBus, number: u32) {
    bus.until("an acknowledgement", |told| told.contains(&Told::Acked(number)).then_some(())).await;
}

/// A worker that counts how often its callable `count` runs.
fn counting(bus: &Arc<FakeBus>, runs: &Arc<AtomicU32>) -> Running {
    let runs = Arc::clone(runs);
    start(Arc::clone(bus), |builder| {
        builder.register("count", move |_, _: u32| {
            let runs = Arc::clone(&runs);
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                Ok("done")
            }
        })
    })
}

#[tokio::test]
async fn an_attempt_runs_once_it_is_granted_and_its_end_is_answered_before_the_job_is_acknowledged() {
    let (bus, runs) = (FakeBus::new(), Arc::new(AtomicU32::new(0)));
    // No answer, an old view of the log, then yes; the end is not answered at once either.
    bus.answers.lock().unwrap().extend([None, no(4), Some(Judgement::new(1, 7, true)), None, no(6)]);
    bus.offer(claimed(1, "count", json!(1)));
    let worker = counting(&bus, &runs);
    acked(&bus, 1).await;
    worker.stop().await;
    let told = bus.told();
    let asked = asked(&told);
    let kinds: Vec<&str> = asked.iter().map(|outcome| kind(&outcome.result)).collect();
    assert_eq!(kinds, ["claim", "claim", "claim", "completed", "completed", "completed"]);
    assert!(asked.iter().all(|outcome| outcome.claim == asked[0].claim), "one claim for one delivery");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let (last, ack) = (
        told.iter().rposition(|told| matches!(told, Told::Asked(_))).unwrap(),
        told.iter().position(|told| *told == Told::Acked(1)).unwrap(),
    );
    assert!(last < ack, "{told:?}");
    // While nobody answered, the bus was given the report as well.
    assert!(told.iter().any(|told| matches!(told, Told::Reported(outcome) if kind(&outcome.result) == "completed")));
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_run() {
    let (bus, runs) = (FakeBus::new(), Arc::new(AtomicU32::new(0)));
    bus.answers.lock().unwrap().push_back(no(5));
    bus.offer(claimed(1, "count", json!(1)));
    let worker = counting(&bus, &runs);
    acked(&bus, 1).await;
    worker.stop().await;
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    assert_eq!(asked(&bus.told()).len(), 1);
}

#[tokio::test]
async fn a_grant_that_comes_after_its_lease_is_given_back_unused() {
    let (bus, runs) = (FakeBus::new(), Arc::new(AtomicU32::new(0)));
    bus.offer(Job { heartbeat_ms: Some(0), ..claimed(1, "count", json!(1)) });
    let worker = counting(&bus, &runs);
    bus.until("it is handed back", |told| told.iter().any(|told| matches!(told, Told::Nacked(1, _))).then_some(()))
        .await;
    worker.stop().await;
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    let kinds: Vec<&str> = asked(&bus.told()).iter().take(2).map(|outcome| kind(&outcome.result)).collect();
    assert_eq!(kinds, ["claim", "released"]);
}

#[tokio::test]
async fn a_worker_that_is_fenced_lets_go() {
    let (bus, runs) = (FakeBus::new(), Arc::new(AtomicU32::new(0)));
    bus.answers.lock().unwrap().extend([Some(Judgement::new(1, 7, true)), no(9)]);
    bus.offer(claimed(1, "count", json!(1)));
    let worker = counting(&bus, &runs);
    acked(&bus, 1).await;
    let summary = worker.stop().await;
    assert_eq!((runs.load(Ordering::SeqCst), summary.completed, summary.unwanted), (1, 0, 1));
}

#[tokio::test]
async fn a_failure_says_whether_anything_had_begun() {
    let bus = FakeBus::new();
    bus.offer(claimed(1, "early", json!(1)));
    bus.offer(claimed(2, "late", json!(1)));
    bus.offer(Job { start_to_close_ms: Some(20), ..claimed(3, "slow", json!(1)) });
    let worker = start(Arc::clone(&bus), |builder| {
        builder
            .register("early", async |_, _: u32| -> Result<(), Failure> {
                Err(Failure::not_started(ErrorCategory::NetworkError, "no connection"))
            })
            .register("late", async |_, _: u32| -> Result<(), Failure> { Err(Failure::network("lost in the middle")) })
            .register("slow", |context: crate::Context, _: u32| async move {
                context.cancelled().await;
                Err::<(), _>(Failure::cancelled())
            })
    });
    for number in 1..=3 {
        acked(&bus, number).await;
    }
    worker.stop().await;
    let of = |number| {
        let ends = asked(&bus.told()).into_iter().filter(|outcome| outcome.token.ordinal == number);
        ends.map(|outcome| kind(&outcome.result)).next_back().unwrap()
    };
    assert_eq!((of(1), of(2), of(3)), ("not_started", "failed", "stopped"));
}

fn kind(result: &OutcomeResult) -> &'static str {
    match result {
        OutcomeResult::Claim => "claim",
        OutcomeResult::Released => "released",
        OutcomeResult::Completed { .. } => "completed",
        OutcomeResult::Failed { .. } => "failed",
        OutcomeResult::NotStarted { .. } => "not_started",
        OutcomeResult::Stopped => "stopped",
        OutcomeResult::Started | OutcomeResult::Progress { .. } => "a sign of life",
    }
}
