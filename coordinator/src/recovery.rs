//! Takeover: every unfinished execution of a partition is folded from its log, a long one from its snapshot on, and
//! handed to the engine.

use std::time::Duration;

use stepstream_shared::id::PartitionId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::Input;
use crate::ports::Listed;
use crate::reading::{Loaded, ReadError, Reader};

/// Executions listed at a time.
const PAGE: u32 = 256;
/// Rest after the store failed.
const REST: Duration = Duration::from_millis(500);

/// Until everything is recovered or `stop`.
pub(crate) fn recover(reader: Reader, partition: PartitionId, engine: mpsc::Sender<Input>, stop: CancellationToken) {
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = recover_all(&reader, partition, &engine) => {}
        }
    });
}

async fn recover_all(reader: &Reader, partition: PartitionId, engine: &mpsc::Sender<Input>) {
    let mut after = None;
    loop {
        let page = match reader.store().unfinished(&[partition], after, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                // Also when the list itself is damaged: `admin rebuild` mends it, and then this goes on.
                tracing::error!(%partition, %error, "unfinished executions were not listed; trying again");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let Some(last) = page.last() else { return };
        after = Some(last.execution);
        for listed in &page {
            match load(reader, listed).await {
                Ok(loaded) if loaded.execution.state().is_terminal() => {}
                Ok(loaded) => {
                    if engine.send(Input::Recovered(partition, Box::new(loaded))).await.is_err() {
                        return;
                    }
                }
                // One unreadable log must not hold up its partition.
                Err(error) => tracing::error!(execution = %listed.execution, %error, "an execution is set aside"),
            }
        }
    }
}

/// Tries until the store answers; what it answers may be that the log makes no sense.
async fn load(reader: &Reader, listed: &Listed) -> Result<Loaded, ReadError> {
    loop {
        match reader.load_present(&listed.tenant, listed.execution).await {
            Err(ReadError::Store(error)) if error.is_passing() => {
                tracing::warn!(execution = %listed.execution, %error, "an execution was not loaded; trying again");
                tokio::time::sleep(REST).await;
            }
            other => return other,
        }
    }
}
