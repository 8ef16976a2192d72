//! Takeover: every unfinished execution of a partition is folded from its log, a long one from its snapshot on, and
//! handed to the engine.

use std::time::Duration;

use stepstream_shared::id::PartitionId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::Input;
use crate::reading::{ReadError, Reader};

/// Executions listed at a time.
const PAGE: u32 = 256;
/// Rest after the store failed.
const REST: Duration = Duration::from_millis(500);

/// Until everything is recovered or `stop`.
pub(crate) fn recover(reader: Reader, partition: PartitionId, engine: mpsc::Sender<Input>, stop: CancellationToken) {
    tokio::spawn(async move {
        let mut after = None;
        let partitions = [partition];
        loop {
            let page = tokio::select! {
                () = stop.cancelled() => return,
                page = reader.store().unfinished(&partitions, after, PAGE) => page,
            };
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%partition, %error, "unfinished executions were not listed; trying again");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            let Some(last) = page.last() else { return };
            after = Some(last.execution);
            for listed in page {
                let id = listed.execution;
                let loaded = loop {
                    if stop.is_cancelled() {
                        return;
                    }
                    match reader.load_present(&listed.tenant, id).await {
                        Err(ReadError::Store(error)) => {
                            tracing::warn!(execution = %id, %error, "an execution was not loaded; trying again");
                            tokio::time::sleep(REST).await;
                        }
                        other => break other,
                    }
                };
                match loaded {
                    Ok(loaded) if loaded.execution.state().is_terminal() => {}
                    Ok(loaded) => {
                        if engine.send(Input::Recovered(partition, Box::new(loaded))).await.is_err() {
                            return;
                        }
                    }
                    // One unreadable log must not hold up its partition.
                    Err(error) => tracing::error!(execution = %id, %error, "an execution is set aside"),
                }
            }
        }
    });
}
