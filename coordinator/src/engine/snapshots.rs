//! Snapshots of long executions, made beside the loop.
//!
//! The loop only says whose log has grown enough. The state is not its copy, which runs ahead of the log, but what the
//! log folds to, from the snapshot before: so it is durable by construction, however busy the execution is, and the loop
//! pays nothing for it.

use stepstream_shared::id::{ExecutionId, TenantId};
use tokio::sync::mpsc;

use super::Engine;
use crate::reading::{Reader, next_snapshot};

/// Executions whose snapshot is due; whoever finds no room gets one after a later append. They are made one after the
/// other, so that one state at a time is in memory twice.
const DUE: usize = 64;

/// Makes snapshots until the engine is gone.
pub(super) fn spawn_snapshots(reader: Reader) -> mpsc::Sender<(TenantId, ExecutionId)> {
    let (sender, mut due) = mpsc::channel(DUE);
    tokio::spawn(async move {
        while let Some((tenant, id)) = due.recv().await {
            if due.is_closed() {
                return; // Whoever drives these executions next makes theirs.
            }
            let kept = match reader.load_present(&tenant, id).await {
                Ok(loaded) => {
                    let sequence = loaded.execution.sequence();
                    reader.keep_snapshot(loaded).await.map(|kept| (kept, sequence)).map_err(anyhow::Error::new)
                }
                Err(error) => Err(anyhow::Error::new(error)),
            };
            match kept {
                Ok((true, sequence)) => tracing::debug!(execution = %id, sequence, "a snapshot is kept"),
                Ok((false, _)) => {}
                Err(error) => {
                    tracing::warn!(execution = %id, error = format!("{error:#}"), "no snapshot is kept; nothing is lost");
                }
            }
        }
    });
    sender
}

impl Engine {
    /// An append is durable: another snapshot may be due.
    pub(super) fn snapshot_if_due(&mut self, id: ExecutionId, durable: u64) {
        let Some(live) = self.live.get_mut(&id) else { return };
        if durable < next_snapshot(live.snapshot) || live.execution.state().is_terminal() {
            return;
        }
        // Counted from here even if it fails: what cannot be kept now is not tried with every append.
        if self.snapshots.try_send((live.execution.tenant().clone(), id)).is_ok() {
            live.snapshot = durable;
        }
    }
}
