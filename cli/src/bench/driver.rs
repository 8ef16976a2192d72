//! Keeps a number of executions in flight, whatever they run on.

use std::time::Instant;

use anyhow::Result;
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use serde_json::Value;
use stepstream_coordinator::reading::Reader;
use stepstream_shared::id::ExecutionId;

use super::usage::Process;

/// Executions whose logs are read after the run.
const SAMPLE: usize = 200;

/// Something that runs executions.
#[async_trait]
pub(super) trait Driver: Send + Sync {
    /// Starts an execution of the bench's graph and waits until it has completed.
    async fn run_one(&self) -> Result<ExecutionId>;
    /// Whose processor time and memory count.
    fn processes(&self) -> Vec<Process>;
    fn durability(&self) -> String;
    /// Reads the logs that were written.
    fn reader(&self) -> Reader;
    /// What the machine allows, measured now.
    async fn floors(&self) -> Result<Value>;
    async fn stop(&self);
}

pub(super) struct Driven {
    /// From asking for an execution until knowing that it has completed.
    pub(super) milliseconds: Vec<f64>,
    pub(super) sample: Vec<ExecutionId>,
}

/// Runs `executions`, at most `in_flight` at a time.
pub(super) async fn drive(driver: &dyn Driver, executions: u32, in_flight: u32) -> Result<Driven> {
    let every = (executions as usize / SAMPLE).max(1);
    let mut driven = Driven { milliseconds: Vec::with_capacity(executions as usize), sample: Vec::new() };
    let mut running = stream::iter(0..executions)
        .map(|_| async {
            let began = Instant::now();
            let id = driver.run_one().await?;
            Ok::<_, anyhow::Error>((id, began.elapsed().as_secs_f64() * 1000.0))
        })
        .buffer_unordered(in_flight as usize);
    while let Some(done) = running.next().await {
        let (id, milliseconds) = done?;
        if driven.milliseconds.len().is_multiple_of(every) {
            driven.sample.push(id);
        }
        driven.milliseconds.push(milliseconds);
    }
    Ok(driven)
}
