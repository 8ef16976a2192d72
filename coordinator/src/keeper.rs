//! Keeps the partitions: joins the coordinators of a store, takes a fair share, renews leases, gives back the rest.
//!
//! Ownership is in the database, never on the bus: a lease only says when somebody else may try, the epoch in every
//! append says who is right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stepstream_shared::id::PartitionId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::Input;
use crate::ports::{EventStore, Member};

/// How often the partitions are looked at, if the lease is not short: an owner that stopped cleanly is followed within
/// this time.
const LOOK: Duration = Duration::from_millis(500);
/// Looks in the time of a lease, at the least: one renewal may fail without costing the partition.
const LOOKS_IN_A_LEASE: u32 = 8;
/// Partitions given back in one look: moving all at once would stall as many executions.
const GIVEN_BACK_AT_A_TIME: usize = 8;
/// Longest wait for the engine to finish what is on its way for a partition that is given back.
const LET_GO: Duration = Duration::from_secs(5);

pub(crate) struct Keeper {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) member: Member,
    pub(crate) lease: Duration,
    /// The store belongs to this process alone: everything is taken at once, by force.
    pub(crate) exclusive: bool,
    pub(crate) engine: mpsc::Sender<Input>,
    /// Of the store, as this process knows it.
    pub(crate) incarnation: u64,
    /// Cancelled when the store has begun another one: what this process remembers is of a log that is gone.
    pub(crate) superseded: CancellationToken,
}

impl Keeper {
    /// Until `shutdown`; then everything that is held is given back and the member leaves.
    ///
    /// `engine_stopped` says when the engine has nothing on its way any more.
    pub(crate) async fn run(self, shutdown: CancellationToken, engine_stopped: oneshot::Receiver<()>) {
        let mut held: BTreeMap<PartitionId, u64> = BTreeMap::new();
        let mut renewed = Instant::now();
        while !shutdown.is_cancelled() && !self.superseded.is_cancelled() {
            if let Err(error) = self.look(&mut held, &mut renewed).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the partitions could not be kept; trying again"
                );
                if renewed.elapsed() > self.lease && !self.exclusive {
                    // By now somebody else may own them; appends would be refused one by one.
                    for (partition, _) in std::mem::take(&mut held) {
                        let _ = self.engine.send(Input::Lost(partition)).await; // The engine may have stopped.
                    }
                }
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(LOOK.min(self.lease / LOOKS_IN_A_LEASE)) => {}
            }
        }
        shutdown.cancelled().await;
        let _ = engine_stopped.await; // A dropped sender is a stopped engine too.
        for (partition, epoch) in held {
            if let Err(error) = self.store.release(&self.member.id, partition, epoch).await {
                tracing::debug!(%partition, %error, "not given back; its lease will run out");
            }
        }
        if let Err(error) = self.store.leave(&self.member.id).await {
            tracing::debug!(%error, "not signed off; the membership will run out");
        }
    }

    async fn look(
        &self,
        held: &mut BTreeMap<PartitionId, u64>,
        renewed: &mut Instant,
    ) -> Result<(), crate::ports::StoreError> {
        let found = self.store.meta().await?.incarnation;
        if found != self.incarnation {
            tracing::error!(
                found,
                known = self.incarnation,
                "the store was restored while this coordinator ran: it does nothing more and has to be started again"
            );
            for (partition, _) in std::mem::take(held) {
                let _ = self.engine.send(Input::Lost(partition)).await; // The engine may have stopped.
            }
            self.superseded.cancel();
            return Ok(());
        }
        let first = held.is_empty();
        if first || renewed.elapsed() >= self.lease.mul_f64(0.3) {
            let at = Instant::now();
            let claims: Vec<(PartitionId, u64)> = held.iter().map(|(partition, epoch)| (*partition, *epoch)).collect();
            let ours = self.store.renew(&self.member.id, &claims, self.lease).await?;
            *renewed = at;
            for (partition, _) in claims {
                if !ours.contains(&partition) {
                    held.remove(&partition);
                    let _ = self.engine.send(Input::Lost(partition)).await; // The engine may have stopped.
                }
            }
        }
        let members = self.store.heartbeat(&self.member, self.lease).await?;
        let partitions = self.store.partitions().await?;
        let share = fair_share(partitions.len(), &members, &self.member.id);
        for owner in &partitions {
            if held.contains_key(&owner.partition) {
                continue;
            }
            let free = owner.owner.is_none() || owner.lease_expired;
            if !self.exclusive && (held.len() >= share || !free) {
                continue;
            }
            if let Some(epoch) =
                self.store.acquire(owner.partition, &self.member.id, self.lease, self.exclusive).await?
            {
                held.insert(owner.partition, epoch);
                let _ = self.engine.send(Input::Gained { partition: owner.partition, epoch }).await;
            }
        }
        // Somebody has less than a fair share: give back some of what is more.
        let surplus = held.len().saturating_sub(share);
        if !self.exclusive && surplus > 0 {
            let mut given: Vec<PartitionId> = held.keys().copied().collect();
            given.sort_unstable();
            for partition in given.into_iter().rev().take(surplus.min(GIVEN_BACK_AT_A_TIME)) {
                let (done, wait) = oneshot::channel();
                if self.engine.send(Input::Release(partition, done)).await.is_err() {
                    return Ok(());
                }
                if tokio::time::timeout(LET_GO, wait).await.is_err() {
                    tracing::warn!(%partition, "appends are still on their way; the partition is given back anyhow, its epoch fences them");
                }
                if let Some(epoch) = held.remove(&partition) {
                    self.store.release(&self.member.id, partition, epoch).await?;
                }
            }
        }
        Ok(())
    }
}

/// How many partitions a member may hold: shares differ by at most one and add up, because every member computes the
/// same order.
fn fair_share(partitions: usize, members: &[Member], me: &str) -> usize {
    let mut ids: Vec<&str> = members.iter().map(|member| member.id.as_str()).collect();
    ids.sort_unstable();
    let count = ids.len().max(1);
    let place = ids.iter().position(|id| *id == me).unwrap_or(count - 1);
    partitions / count + usize::from(place < partitions % count)
}

#[cfg(test)]
mod tests;
