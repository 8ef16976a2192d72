//! How tenants share the slots of a worker.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use stepstream_runtime::bus::QueueId;
use stepstream_shared::fairness::Weight;
use stepstream_shared::id::TenantId;
use stepstream_shared::wire::Job;

use super::*;
use crate::{BuildError, Context, MAX_TENANTS};

fn tenant(name: &str) -> TenantId {
    format!("tenant_{name}").parse().unwrap()
}

fn job_of(tenant: &TenantId, number: u32) -> Job {
    Job { tenant: tenant.clone(), ..job(number, "work", json!(null)) }
}

/// Whose attempts began, in order.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<Vec<TenantId>>>);

impl Begun {
    fn all(&self) -> Vec<TenantId> {
        self.0.lock().unwrap().clone()
    }

    fn places_of(&self, tenant: &TenantId) -> Vec<usize> {
        self.all().iter().enumerate().filter(|(_, of)| *of == tenant).map(|(at, _)| at).collect()
    }
}

/// A worker of these tenants whose callable `work` takes so long.
fn start_working(
    bus: Arc<FakeBus>,
    slots: usize,
    tenants: &[(&TenantId, u32)],
    takes: impl Fn(&TenantId) -> Duration + Send + Sync + 'static,
) -> (Running, Begun) {
    let begun = Begun::default();
    let record = begun.clone();
    let takes = Arc::new(takes);
    let worker = start(bus, |builder| {
        let builder = tenants.iter().fold(builder.slots(slots), |builder, (tenant, weight)| {
            builder.tenant_with_weight((*tenant).clone(), Weight::new(*weight).unwrap())
        });
        builder.register("work", move |context: Context, (): ()| {
            record.0.lock().unwrap().push(context.tenant().clone());
            let takes = takes(context.tenant());
            async move {
                tokio::time::sleep(takes).await;
                Ok(())
            }
        })
    });
    (worker, begun)
}

#[tokio::test]
async fn one_tenants_flood_leaves_another_its_share() {
    let (many, few) = (tenant("many"), tenant("few"));
    let bus = FakeBus::new();
    (1..=300).for_each(|number| bus.offer(job_of(&many, number)));
    (1001..=1030).for_each(|number| bus.offer(job_of(&few, number)));
    let (worker, begun) = start_working(bus, 2, &[(&many, 1), (&few, 1)], |_| Duration::from_millis(3));
    worker.bus.until("all of it", |_| (worker.bus.acked.load(Ordering::Relaxed) == 330).then_some(())).await;
    let places = begun.places_of(&few);
    // Every other one; half as much again for a machine that is busy with something else.
    assert!(places[29] <= 90, "{places:?}");
    worker.stop().await;
}

/// Weights are those of time: who takes three times as long begins a third as often.
#[tokio::test]
async fn a_share_is_one_of_measured_time_and_weight() {
    let (long, short) = (tenant("long"), tenant("short"));
    let bus = FakeBus::new();
    (1..=200).for_each(|number| bus.offer(job_of(&long, number)));
    (1001..=1200).for_each(|number| bus.offer(job_of(&short, number)));
    let long_takes = long.clone();
    let (worker, begun) = start_working(bus, 1, &[(&long, 1), (&short, 2)], move |tenant| {
        Duration::from_millis(if *tenant == long_takes { 12 } else { 4 })
    });
    // Six short ones for each long one.
    worker.bus.until("a good part of it", |_| (begun.all().len() >= 140).then_some(())).await;
    let longs = begun.places_of(&long).iter().filter(|place| **place < 140).count();
    assert!((12..=32).contains(&longs), "{longs} of 140 instead of 20");
    worker.shutdown.request_now();
    worker.summary().await;
}

#[tokio::test]
async fn who_comes_back_waits_for_no_more_than_a_few_others() {
    let (many, now_and_then) = (tenant("many"), tenant("now-and-then"));
    let bus = FakeBus::new();
    (1..=200).for_each(|number| bus.offer(job_of(&many, number)));
    let (worker, begun) = start_working(bus, 1, &[(&many, 1), (&now_and_then, 1)], |_| Duration::from_millis(10));
    for number in 1001..=1015 {
        worker.bus.offer(job_of(&now_and_then, number));
        worker.bus.result(number).await;
    }
    let places = begun.places_of(&now_and_then);
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] <= 6), "{places:?}");
    worker.shutdown.request_now();
    worker.summary().await;
}

#[tokio::test]
async fn no_slot_is_kept_for_a_tenant_that_is_idle() {
    let (busy, idle) = (tenant("busy"), tenant("idle"));
    let bus = FakeBus::new();
    let (worker, mut begun, gate) = start_gated(bus, |builder| {
        builder.slots(4).tenant(busy.clone()).tenant_with_weight(idle, Weight::new(9).unwrap())
    });
    for number in 1..=4 {
        worker.bus.offer(Job { tenant: busy.clone(), ..job(number, "gated", json!(number)) });
    }
    for _ in 0..4 {
        tokio::time::timeout(FAR, begun.recv()).await.unwrap().unwrap();
    }
    gate.add_permits(4);
    assert_eq!(worker.stop().await.completed, 4);
}

/// Idle tenants are not asked at each slot that becomes free.
#[tokio::test]
async fn idle_tenants_cost_little() {
    const IDLE: u32 = 20;
    const JOBS: u32 = 400;
    let busy = tenant("busy");
    let idle: Vec<TenantId> = (0..IDLE).map(|number| tenant(&format!("idle-{number}"))).collect();
    let bus = FakeBus::new();
    (1..=JOBS).for_each(|number| bus.offer(job_of(&busy, number)));
    let tenants: Vec<(&TenantId, u32)> = idle.iter().chain([&busy]).map(|tenant| (tenant, 1)).collect();
    let began = std::time::Instant::now();
    let (worker, _) = start_working(bus, 1, &tenants, |_| Duration::from_millis(1));
    worker
        .bus
        .until("all of it", |_| (worker.bus.acked.load(Ordering::Relaxed) == u64::from(JOBS)).then_some(()))
        .await;
    let looks = worker.bus.looks.load(Ordering::Relaxed);
    // At 5, 10, 20 … 250 ms, and from then on four times a second.
    let each = 8 + began.elapsed().as_millis() as u64 / 250;
    assert!(looks <= u64::from(JOBS) * 2 + u64::from(IDLE) * each, "{looks} looks");
    worker.stop().await;
}

#[tokio::test]
async fn a_job_that_comes_over_the_queue_of_another_tenant_is_not_run() {
    let (one, other) = (tenant("one"), tenant("other"));
    let (worker, begun) = start_working(FakeBus::new(), 4, &[(&one, 1), (&other, 1)], |_| Duration::ZERO);
    let queue = QueueId { tenant: other, name: "default".to_owned() };
    worker.bus.offer_in(queue, job_of(&one, 1));
    assert_eq!(code(&failed(worker.bus.result(1).await)), "permission_denied");
    assert!(begun.all().is_empty());
    worker.stop().await;
}

#[tokio::test]
async fn tenants_that_cannot_be_served_are_refused() {
    let builder = || Worker::builder().bus(Arc::new(Side(FakeBus::new())));
    let refused = |builder: WorkerBuilder| builder.build().err();
    let twice = builder().tenant(tenant("a")).tenant(tenant("b")).tenant(tenant("a"));
    assert_eq!(refused(twice), Some(BuildError::TenantTwice(tenant("a"))));
    let many = (0..=MAX_TENANTS).fold(builder(), |builder, number| builder.tenant(tenant(&number.to_string())));
    assert_eq!(refused(many), Some(BuildError::Tenants(MAX_TENANTS + 1)));
    let queues = (0..600).map(|number| format!("q{number}"));
    let many = builder().tenant(tenant("a")).tenant(tenant("b")).queues(queues);
    assert_eq!(refused(many), Some(BuildError::Queues(1200)));
}
