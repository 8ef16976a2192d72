//! Tenants that share one worker, over a real server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stepstream_runtime::bus::jetstream::{JetStreamBus, JetStreamOptions};
use stepstream_runtime::bus::{CoordinatorBus, QueueId};
use stepstream_runtime::servers::NatsServer;
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::data::Data;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::TenantId;
use stepstream_shared::wire::Job;
use stepstream_tests::contract::bus::job;
use stepstream_tests::poll::until;
use stepstream_tests::servers;
use stepstream_worker::{Context, RunError, Summary, Weight, Worker};
use tokio::task::JoinHandle;

/// How long an attempt takes.
const WORK: Duration = Duration::from_millis(8);

struct House {
    bus: JetStreamBus,
    tenants: Vec<TenantId>,
    /// Whose attempts have begun, in order, and the numbers of their jobs.
    begun: Arc<Mutex<Vec<(TenantId, u32)>>>,
    shutdown: Shutdown,
    worker: Option<JoinHandle<Result<Summary, RunError>>>,
    _server: NatsServer,
}

impl House {
    async fn new(tenants: &[&str]) -> Self {
        let server = servers::nats().await.unwrap();
        let bus = JetStreamBus::connect(&server.url(), JetStreamOptions::default()).await.unwrap();
        bus.setup().await.unwrap();
        let tenants: Vec<TenantId> = tenants.iter().map(|name| format!("tenant_{name}").parse().unwrap()).collect();
        for tenant in &tenants {
            let queue = QueueId { tenant: tenant.clone(), name: "default".to_owned() };
            bus.declare_queue(&queue).await.unwrap();
        }
        let (begun, shutdown) = (Arc::default(), Shutdown::new());
        House { bus, tenants, begun, shutdown, worker: None, _server: server }
    }

    /// A worker with these weights.
    fn work(&mut self, slots: usize, weights: &[u32]) {
        let begun = Arc::clone(&self.begun);
        let mut worker = Worker::builder().bus(Arc::new(self.bus.clone())).slots(slots);
        for (tenant, weight) in self.tenants.iter().zip(weights) {
            worker = worker.tenant_with_weight(tenant.clone(), Weight::new(*weight).unwrap());
        }
        let worker = worker.register("work", move |context: Context, number: u32| {
            begun.lock().unwrap().push((context.tenant().clone(), number));
            async {
                tokio::time::sleep(WORK).await;
                Ok(())
            }
        });
        self.worker = Some(tokio::spawn(worker.build().unwrap().run(self.shutdown.clone())));
    }

    /// So many jobs are on the bus when this returns.
    async fn publish(&self, tenant: usize, numbers: std::ops::Range<u32>) {
        let of = |number| Job {
            tenant: self.tenants[tenant].clone(),
            callable: "work".to_owned(),
            queue: "default".to_owned(),
            input: Data::of(&number).unwrap(),
            ..job(number, Priority::Normal)
        };
        for published in self.bus.publish_jobs(&numbers.map(of).collect::<Vec<_>>()).await {
            published.unwrap();
        }
    }

    fn begun(&self) -> usize {
        self.begun.lock().unwrap().len()
    }

    /// At which places the attempts of a tenant have begun.
    fn places(&self, tenant: usize) -> Vec<usize> {
        let begun = self.begun.lock().unwrap();
        begun.iter().enumerate().filter(|(_, (of, _))| *of == self.tenants[tenant]).map(|(at, _)| at).collect()
    }

    async fn until_begun(&self, count: usize) {
        until("so many attempts have begun", async || (self.begun() >= count).then_some(())).await;
    }

    async fn end(self) {
        self.shutdown.request_now();
        let _ = self.worker.unwrap().await.unwrap().unwrap();
    }
}

/// One tenant has ten times as much as it could have served, the other a little: half of what begins is its own, until it
/// has no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_does_not_delay_another_tenant_beyond_its_share() {
    let mut house = House::new(&["flood", "calm"]).await;
    house.publish(0, 0..400).await;
    house.publish(1, 1000..1040).await;
    house.work(4, &[1, 1]);
    house.until_begun(140).await;
    let places = house.places(1);
    // Alternating, they would begin at 0 to 79. What is measured includes what the machine does besides.
    assert!(places.len() == 40 && places[39] <= 120, "{places:?}");
    assert!(house.begun() <= 300, "the flood is not over, so this says something");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_say_what_each_has_in_proportion() {
    let mut house = House::new(&["single", "triple"]).await;
    house.publish(0, 0..300).await;
    house.publish(1, 1000..1300).await;
    house.work(4, &[1, 3]);
    house.until_begun(200).await;
    let triple = house.places(1).iter().filter(|place| **place < 200).count();
    assert!((130..=170).contains(&triple), "{triple} of 200 instead of 150");
    house.end().await;
}

/// Whoever comes now and then is served next, not behind what has been there for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_tenant_that_has_few_have_bounded_places_in_a_flood() {
    const ROUNDS: u32 = 20;
    const FIRST: u32 = 5000;
    let mut house = House::new(&["flood", "calm"]).await;
    house.publish(0, 0..3000).await;
    house.work(2, &[1, 1]);
    house.until_begun(10).await;
    let mut passed = Vec::new();
    // The bus takes what has a number of the flood for a copy.
    for number in FIRST..FIRST + ROUNDS {
        house.publish(1, number..number + 1).await;
        // From here on it is on the bus.
        let there = house.begun();
        let count = (number - FIRST) as usize;
        until("it has begun", async || (house.places(1).len() > count).then_some(())).await;
        passed.push(house.places(1)[count].saturating_sub(there));
    }
    passed.sort_unstable();
    // What is looked for is found when a slot becomes free, or within the time for which it was away.
    assert!(passed[passed.len() / 2] <= 8, "{passed:?}");
    assert!(passed[passed.len() - 1] <= 40, "{passed:?}");
    house.end().await;
}

/// A job that arrives at a worker which has become busy goes to another, and requests that nobody waits for are withdrawn:
/// it is not delivered from one busy worker to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_worker_leaves_no_request_standing() {
    let house = House::new(&["one"]).await;
    let client = async_nats::connect(house._server.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("JOBS").await.unwrap();
    let waiting = async || {
        let mut names = stream.consumer_names();
        let mut waiting = 0;
        while let Some(name) = futures::StreamExt::next(&mut names).await {
            waiting += stream.consumer_info(name.unwrap()).await.unwrap().num_waiting;
        }
        waiting
    };
    let worker: Arc<dyn stepstream_runtime::bus::WorkerBus> = Arc::new(house.bus.clone());
    let queue = QueueId { tenant: house.tenants[0].clone(), name: "default".to_owned() };
    let call = tokio::spawn({
        let (worker, queue) = (worker.clone(), queue.clone());
        async move { worker.jobs(&queue, 1).await.map(|jobs| jobs.len()) }
    });
    until("a request stands at each priority", async || (waiting().await == Priority::ALL.len()).then_some(())).await;
    call.abort();
    until("none does", async || (waiting().await == 0).then_some(())).await;
    // And who asks again is served.
    house.publish(0, 0..1).await;
    let taken = worker.jobs(&queue, 1).await.unwrap();
    assert_eq!((taken.len(), taken[0].deliveries), (1, 1));
}
