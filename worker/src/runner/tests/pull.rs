//! How many jobs a worker takes, and from where.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::*;

fn pulled(told: &[Told]) -> Vec<(&str, usize)> {
    told.iter()
        .filter_map(|told| match told {
            Told::Pulled { queue, max } => Some((queue.as_str(), *max)),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_pull_asks_for_exactly_the_free_slots() {
    let bus = FakeBus::new();
    for number in 1..=6 {
        bus.offer(job(number, "gated", json!(number)));
    }
    let (worker, mut begun, gate) = start_gated(bus, |builder| builder.slots(4));
    for _ in 0..4 {
        begun.recv().await.unwrap();
    }
    assert_eq!(worker.bus.waiting(), 2);
    assert_eq!(pulled(&worker.bus.told()), [("default", 4)]);
    gate.add_permits(1);
    begun.recv().await.unwrap();
    assert_eq!(worker.bus.waiting(), 1);
    assert_eq!(pulled(&worker.bus.told()), [("default", 4), ("default", 1)]);
    gate.add_permits(10);
    begun.recv().await.unwrap();
    assert_eq!(worker.stop().await.completed, 6);
}

#[tokio::test]
async fn waiting_for_the_bus_takes_no_slot() {
    let bus = FakeBus::new();
    bus.refusals.store(usize::MAX, Ordering::SeqCst);
    let (worker, mut begun, gate) = start_gated(bus, |builder| builder.slots(1).grace(Duration::ZERO));
    gate.add_permits(1);
    for number in [1, 2] {
        worker.bus.offer(job(number, "gated", json!(number)));
        assert_eq!(tokio::time::timeout(FAR, begun.recv()).await, Ok(Some(number)));
    }
    assert_eq!(worker.stop().await.handed_back, 2);
}

#[tokio::test]
async fn a_quiet_queue_neither_starves_a_busy_one_nor_is_starved() {
    let bus = FakeBus::new();
    for number in 1..=40 {
        let mut job = job(number, "done", json!(null));
        job.queue = "busy".into();
        bus.offer(job);
    }
    let worker =
        start(bus, |builder| builder.queues(["busy", "quiet"]).slots(2).register("done", async |_, (): ()| Ok(())));
    worker.bus.until("all of the busy queue", |told| (acked(told).len() == 40).then_some(())).await;
    let mut late = job(41, "done", json!(null));
    late.queue = "quiet".into();
    worker.bus.offer(late);
    worker.bus.result(41).await;
    worker.stop().await;
}

#[tokio::test]
async fn one_slot_serves_two_queues_in_turn() {
    let worker =
        start(FakeBus::new(), |builder| builder.queues(["a", "b"]).slots(1).register("done", async |_, (): ()| Ok(())));
    for (number, queue) in [(1, "a"), (2, "b"), (3, "a"), (4, "b")] {
        let mut job = job(number, "done", json!(null));
        job.queue = queue.into();
        worker.bus.offer(job);
        worker.bus.result(number).await;
    }
    assert_eq!(worker.stop().await.completed, 4);
}

fn acked(told: &[Told]) -> HashSet<u32> {
    told.iter()
        .filter_map(|told| match told {
            Told::Acked(number) => Some(*number),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_worker_that_cannot_work_is_not_built() {
    use crate::{BuildError, RegistryError};
    let builder = || Worker::builder().bus(Arc::new(Side(FakeBus::new())));
    let refused = |builder: WorkerBuilder| builder.build().err();
    assert_eq!(refused(Worker::builder()), Some(BuildError::NoBus));
    assert_eq!(refused(builder().queues(["a.b"])), Some(BuildError::Queue("a.b".into())));
    assert_eq!(refused(builder().queues([""])), Some(BuildError::Queue(String::new())));
    assert_eq!(refused(builder().slots(0)), Some(BuildError::Slots(0)));
    let twice = builder().register("a", async |_, (): ()| Ok(())).register("a", async |_, (): ()| Ok(()));
    assert_eq!(refused(twice), Some(BuildError::Registry(RegistryError::Duplicate("a".into()))));
}

/// Not a benchmark: an order of magnitude, so that a timer or a lock per attempt does not come in unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_op_attempts_are_cheap() {
    const JOBS: u32 = 20_000;
    let bus = FakeBus::new();
    bus.forgetful.store(true, Ordering::Relaxed);
    let one = job(1, "done", json!(null));
    for _ in 0..JOBS {
        bus.offer(one.clone());
    }
    let began = std::time::Instant::now();
    let worker = start(bus, |builder| builder.slots(256).register("done", async |_, (): ()| Ok(())));
    let acked = Arc::clone(&worker.bus);
    acked.until("all jobs", |_| (acked.acked.load(Ordering::Relaxed) == u64::from(JOBS)).then_some(())).await;
    let rate = f64::from(JOBS) / began.elapsed().as_secs_f64();
    println!("{rate:.0} attempts/s, unoptimised");
    assert!(rate > 2_000.0, "{rate:.0} attempts/s");
    worker.stop().await;
}
