//! How fast the buses are here: `bus_rate` for the one inside the process, `bus_rate nats://host:4222` for JetStream.
//!
//! The server should be one that nobody else uses: the streams of Stepstream are made on it and filled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::bus::jetstream::{JetStreamBus, JetStreamOptions};
use stepstream_runtime::bus::{BusError, CoordinatorBus, QueueId, WorkerBus};
use stepstream_shared::data::Data;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::{Id, PartitionId, TenantId};
use stepstream_shared::wire::{ClaimId, Job, MacKey, Outcome, OutcomeResult, PROTOCOL};

const JOBS: u32 = 100_000;
const BATCH: usize = 500;
/// As many as a store has unless told otherwise.
const PARTITIONS: u16 = 64;
const WORKERS: u32 = 4;
const HOPS: u32 = 2_000;

#[tokio::main]
async fn main() -> Result<(), BusError> {
    match std::env::args().nth(1) {
        None => {
            let options = InProcessOptions { jobs_per_queue: JOBS as usize, ..InProcessOptions::default() };
            let bus = Arc::new(InProcessBus::new(options));
            measure(bus.clone(), bus).await
        }
        Some(url) => {
            let coordinator = JetStreamBus::connect(&url, JetStreamOptions::default()).await?;
            coordinator.setup().await?;
            let worker = JetStreamBus::connect(&url, JetStreamOptions::default()).await?;
            println!("nats-server {}", worker.server_version());
            measure(Arc::new(coordinator), Arc::new(worker)).await
        }
    }
}

async fn measure(coordinator: Arc<dyn CoordinatorBus>, worker: Arc<dyn WorkerBus>) -> Result<(), BusError> {
    let tenant = TenantId::default_tenant();
    let queue = QueueId { tenant: tenant.clone(), name: "default".into() };
    // Ids of an earlier run would be copies.
    let run = std::process::id();
    coordinator.declare_queue(&queue).await?;

    let all: Vec<Job> = (0..JOBS).map(|number| job(&tenant, run, number)).collect();
    let began = Instant::now();
    for batch in all.chunks(BATCH) {
        for result in coordinator.publish_jobs(batch).await {
            result?;
        }
    }
    told("jobs published", JOBS, began);

    let began = Instant::now();
    let taking = (0..WORKERS).map(|_| {
        let (worker, queue) = (worker.clone(), queue.clone());
        tokio::spawn(async move {
            let mut taken = 0;
            while taken < JOBS / WORKERS {
                let jobs = worker.jobs(&queue, 50.min((JOBS / WORKERS - taken) as usize)).await?;
                taken += jobs.len() as u32;
                for job in &jobs {
                    job.settle.ack().await?;
                }
            }
            Ok::<_, BusError>(())
        })
    });
    finished(taking).await?;
    told("jobs taken 50 at a time and acknowledged", JOBS, began);

    let began = Instant::now();
    let owning = (0..PARTITIONS).map(|partition| {
        let coordinator = coordinator.clone();
        tokio::spawn(async move {
            let mut left = JOBS / u32::from(PARTITIONS);
            while left > 0 {
                for (_, outcome) in coordinator.outcomes(PartitionId(partition), left as usize).await? {
                    outcome.settle.ack().await?;
                    left -= 1;
                }
            }
            Ok::<_, BusError>(())
        })
    });
    let owning: Vec<_> = owning.collect();
    const REPORTERS: u32 = 256;
    let reporting = (0..REPORTERS).map(|reporter| {
        let (worker, tenant) = (worker.clone(), tenant.clone());
        tokio::spawn(async move {
            for number in (reporter..JOBS).step_by(REPORTERS as usize) {
                let partition = PartitionId((number % u32::from(PARTITIONS)) as u16);
                worker.report(&tenant, partition, &outcome(&tenant, run, number)).await?;
            }
            Ok::<_, BusError>(())
        })
    });
    finished(reporting.collect::<Vec<_>>()).await?;
    told("outcomes reported by 256 slots", JOBS, began);
    // The division leaves a rest that nobody waits for.
    finished(owning).await?;
    told("and taken and acknowledged over 64 partitions", JOBS, began);

    let mut hops = Vec::new();
    let partition = PartitionId(999);
    for number in JOBS..JOBS + HOPS {
        let began = Instant::now();
        coordinator.publish_jobs(&[job(&tenant, run, number)]).await.remove(0)?;
        for job in worker.jobs(&queue, 8).await? {
            worker.report(&tenant, partition, &outcome(&tenant, run, number)).await?;
            job.settle.ack().await?;
        }
        for (_, outcome) in coordinator.outcomes(partition, 100).await? {
            outcome.settle.ack().await?;
        }
        hops.push(began.elapsed());
    }
    hops.sort();
    let at = |part: f64| hops[(hops.len() as f64 * part) as usize];
    println!("one job and its outcome, one at a time: p50 {:?}, p99 {:?}", at(0.5), at(0.99));
    Ok(())
}

async fn finished(
    tasks: impl IntoIterator<Item = tokio::task::JoinHandle<Result<(), BusError>>>,
) -> Result<(), BusError> {
    for task in tasks.into_iter().collect::<Vec<_>>() {
        task.await.map_err(|error| BusError::Unavailable(error.to_string()))??;
    }
    Ok(())
}

fn told(what: &str, count: u32, began: Instant) {
    let seconds = began.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
    println!("{what}: {:.0}/s", f64::from(count) / seconds);
}

fn numbered<K>(run: u32, number: u32) -> Id<K> {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&run.to_be_bytes());
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    Id::from_bytes(bytes)
}

fn job(tenant: &TenantId, run: u32, number: u32) -> Job {
    Job {
        protocol: PROTOCOL,
        token: MacKey([0; 32]).token(tenant, 1, numbered(run, number), numbered(run, number), number, 1),
        dispatch: 0,
        tenant: tenant.clone(),
        partition: PartitionId(0),
        position: 1,
        graph: "graph_000000000000000000000000000".into(),
        node: "node".into(),
        callable: "echo".into(),
        queue: "default".into(),
        priority: Priority::Normal,
        input: Data::null(),
        inbox: Data::null(),
        scheduled_at: 0,
        start_to_close_ms: None,
        heartbeat_ms: None,
        inline: false,
        max_memory_mb: None,
        claim: false,
        trace: None,
    }
}

fn outcome(tenant: &TenantId, run: u32, number: u32) -> Outcome {
    Outcome {
        protocol: PROTOCOL,
        token: job(tenant, run, number).token,
        claim: ClaimId(u128::from(run) << 32 | u128::from(number)),
        worker: "worker".into(),
        report: 1,
        result: OutcomeResult::Completed { output: Data::null(), duration_us: 1 },
        notes: Vec::new(),
    }
}
