//! Which executions the engine is to load, because nobody will ask for them: those that owe something when a partition is
//! taken over, and those whose moment comes.
//!
//! Only names are handed over; the engine loads what it does not have. Whatever it has loading for these at a time is
//! bounded by permits, however many rows there are.

use std::sync::Arc;
use std::time::Duration;

use stepstream_shared::id::PartitionId;
use stepstream_shared::time::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::engine::Input;
use crate::planted::{self, Bug};
use crate::ports::{AgendaRow, EventStore, TimerCursor};

/// Rows read at a time.
const PAGE: u32 = 256;
/// Executions loaded at a time: enough to keep a store busy, few enough to hold whatever their size.
const LOADS_AT_A_TIME: usize = 64;
/// Rest after the store failed.
const REST: Duration = Duration::from_millis(500);

/// One execution less may be loaded for nobody while this is held.
pub(crate) type Permit = OwnedSemaphorePermit;

/// Reads the agenda for the engine.
#[derive(Clone)]
pub(crate) struct Recovery {
    store: Arc<dyn EventStore>,
    engine: mpsc::WeakSender<Input>,
    permits: Arc<Semaphore>,
}

impl Recovery {
    pub(crate) fn new(store: Arc<dyn EventStore>, engine: mpsc::WeakSender<Input>) -> Self {
        Recovery { store, engine, permits: Arc::new(Semaphore::new(LOADS_AT_A_TIME)) }
    }

    /// A partition was won: wakes what is in its outbox, and what waits for a moment before `horizon`. Until all of it is
    /// handed over, or `stop`. The engine is told when it has loaded all of it.
    pub(crate) fn take_over(&self, partition: PartitionId, epoch: u64, horizon: Timestamp, stop: CancellationToken) {
        let this = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                // Ends early only when the engine has gone.
                _ = async {
                    this.owing(partition).await?;
                    this.due(&[partition], horizon).await?;
                    this.loaded().await?;
                    this.engine.upgrade()?.send(Input::Recovered { partition, epoch }).await.ok()
                } => {}
            }
        });
    }

    /// Waits until nothing of what was handed over is being loaded any more: whoever has all permits knows.
    async fn loaded(&self) -> Option<()> {
        self.permits.acquire_many(LOADS_AT_A_TIME as u32).await.ok().map(drop)
    }

    async fn owing(&self, partition: PartitionId) -> Option<()> {
        if planted::has(Bug::IgnoresOutbox) {
            return Some(());
        }
        let mut after = None;
        loop {
            let page = match self.store.outbox(&[partition], after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    // Also when the table itself is damaged: `admin rebuild` mends it, and then this goes on.
                    tracing::error!(%partition, %error, "the outbox was not read; trying again");
                    self.rest().await?;
                    continue;
                }
            };
            let Some(last) = page.last() else { return Some(()) };
            after = Some(last.execution);
            for row in page {
                self.hand_over(row).await?;
            }
        }
    }

    /// Wakes what waits for a moment before `horizon`. `None` when the engine has gone.
    pub(crate) async fn due(&self, partitions: &[PartitionId], horizon: Timestamp) -> Option<()> {
        if planted::has(Bug::IgnoresTimers) {
            return Some(());
        }
        let mut after = None;
        loop {
            let page = match self.store.timers(partitions, horizon, after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, "the timers were not read; trying again");
                    self.rest().await?;
                    continue;
                }
            };
            let Some(last) = page.last() else { return Some(()) };
            after = last.agenda.due_at().map(|due_at| TimerCursor { due_at, execution: last.execution });
            for row in page {
                self.hand_over(row).await?;
            }
        }
    }

    /// `None` when there is nobody left to try again for.
    async fn rest(&self) -> Option<()> {
        tokio::time::sleep(REST).await;
        self.engine.upgrade().map(drop)
    }

    async fn hand_over(&self, row: AgendaRow) -> Option<()> {
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        self.engine.upgrade()?.send(Input::Wake(row, permit)).await.ok()
    }
}
