//! What this machine allows, bare of us.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stepstream_coordinator::ports::{Append, Appended, EventStore};
use stepstream_runtime::bus::jetstream::JetStreamBus;
use stepstream_runtime::bus::{CoordinatorBus, QueueId, WorkerBus};
use stepstream_runtime::random;
use stepstream_shared::data::Data;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::{ExecutionId, PartitionId, StepId, TenantId};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::{Job, MacKey, PROTOCOL};

use super::statistics::Spread;

/// How long each floor is looked for.
const FOR: Duration = Duration::from_millis(700);
/// Rows of one bare commit: what a busy coordinator commits at a time.
const ROWS: u32 = 256;
/// Bytes of one bare row: what a step costs.
const ROW_BYTES: usize = 220;

/// Writes of 4 KiB, each synced.
pub(super) fn fsyncs_per_s(directory: &Path) -> Result<f64> {
    let path = directory.join("fsync.floor");
    let mut file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let block = [7_u8; 4096];
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < FOR {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate.round())
}

/// Rows of our size into a store, by the commit, with nothing decided and nothing folded.
pub(super) async fn appends_per_s(store: &dyn EventStore) -> Result<f64> {
    let tenant = TenantId::default_tenant();
    let partition = PartitionId(0);
    let epoch = store
        .acquire(partition, "floor", Duration::from_secs(60), true)
        .await?
        .context("a scratch store has no owner")?;
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < FOR {
        let batch: Vec<Append> = (0..ROWS)
            .map(|_| Append {
                tenant: tenant.clone(),
                execution: ExecutionId::from_bytes(random::bytes()),
                partition,
                epoch,
                first_seq: 1,
                last_seq: 3,
                previous_first_seq: 0,
                origin: None,
                hash: random::bytes(),
                body: vec![7; ROW_BYTES].into(),
                summary: None,
                agenda: None,
            })
            .collect();
        let done = store.append(&batch).await?;
        anyhow::ensure!(done.iter().all(|each| *each == Appended::Committed), "a bare commit was refused: {done:?}");
        count += ROWS;
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    store.release("floor", partition, epoch).await?;
    Ok(rate.round())
}

/// One job published, pulled and acknowledged, one at a time: the median, in milliseconds.
pub(super) async fn hop_p50_ms(bus: &JetStreamBus) -> Result<f64> {
    let tenant: TenantId = "tenant_floor".parse()?;
    let queue = QueueId { tenant: tenant.clone(), name: "floor".to_owned() };
    bus.declare_queue(&queue).await?;
    let key = MacKey(random::bytes());
    let mut taken = Vec::new();
    let began = Instant::now();
    while began.elapsed() < FOR {
        let execution = ExecutionId::from_bytes(random::bytes());
        let job = Job {
            protocol: PROTOCOL,
            token: key.token(&tenant, 1, execution, StepId::from_bytes(random::bytes()), 0, 1),
            dispatch: 0,
            tenant: tenant.clone(),
            partition: PartitionId(0),
            position: 1,
            graph: "floor".to_owned(),
            node: "floor".to_owned(),
            callable: "floor".to_owned(),
            queue: queue.name.clone(),
            priority: Priority::Normal,
            input: Data::null(),
            scheduled_at: Timestamp::default().as_micros(),
            start_to_close_ms: None,
            heartbeat_ms: None,
            inline: false,
            max_memory_mb: None,
            claim: false,
            trace: None,
            inbox: stepstream_shared::data::Data::null(),
        };
        let each = Instant::now();
        for published in bus.publish_jobs(std::slice::from_ref(&job)).await {
            published?;
        }
        for delivery in bus.jobs(&queue, 1).await? {
            delivery.settle.ack().await?;
        }
        taken.push(each.elapsed().as_secs_f64() * 1000.0);
    }
    Spread::of(taken).at(0.5).context("not one hop was made")
}
