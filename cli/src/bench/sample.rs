//! What the logs of some executions say about time and space.

use anyhow::{Context, Result};
use stepstream_coordinator::reading::Reader;
use stepstream_shared::id::{ExecutionId, TenantId};

use super::statistics::Spread;

pub(super) struct Sample {
    /// From scheduling to completion, of each step a worker ran.
    pub(super) step_ms: Spread,
    pub(super) bytes_per_step: Option<f64>,
}

/// Bytes of the key columns of a row: tenant, execution, two sequences, epoch, chain hash.
fn key_bytes(tenant: &TenantId) -> usize {
    tenant.as_str().len() + 20 + 8 + 8 + 8 + 32
}

pub(super) async fn read(reader: &Reader, executions: &[ExecutionId]) -> Result<Sample> {
    let tenant = TenantId::default_tenant();
    let (mut milliseconds, mut bytes, mut steps) = (Vec::new(), 0_usize, 0_usize);
    for id in executions {
        let loaded = reader.load(&tenant, *id, None).await.with_context(|| format!("reading {id}"))?;
        for step in loaded.execution.steps() {
            if let (Some(_), Some(ended)) = (step.worker(), step.ended_at()) {
                milliseconds.push(ended.since(step.scheduled_at()).as_secs_f64() * 1000.0);
                steps += 1;
            }
        }
        let mut after = 0;
        loop {
            let rows = reader.store().read(&tenant, *id, after, 512).await?;
            let Some(last) = rows.last() else { break };
            after = last.last_seq;
            // The row that creates the execution is its own, not a step's.
            let of_steps = rows.iter().filter(|row| row.first_seq > 1);
            bytes += of_steps.map(|row| row.body.len() + key_bytes(&tenant)).sum::<usize>();
        }
    }
    let bytes_per_step = (steps > 0).then(|| (bytes as f64 / steps as f64 * 10.0).round() / 10.0);
    Ok(Sample { step_ms: Spread::of(milliseconds), bytes_per_step })
}
