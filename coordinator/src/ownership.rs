//! What this process has, for those who only need to ask: the partitions it owns, and how many executions are in memory.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use stepstream_shared::id::PartitionId;

/// Written by the engine, read by the API.
#[derive(Clone, Default)]
pub(crate) struct OwnedPartitions(Arc<RwLock<BTreeSet<PartitionId>>>);

impl OwnedPartitions {
    pub(crate) fn contains(&self, partition: PartitionId) -> bool {
        // A set of plain numbers is whole after any panic.
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&partition)
    }

    pub(crate) fn list(&self) -> Vec<PartitionId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn all(&self) -> BTreeSet<PartitionId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn insert(&self, partition: PartitionId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(partition);
    }

    pub(crate) fn remove(&self, partition: PartitionId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }
}

/// Written by the engine, read by whoever wants to know.
#[derive(Clone, Default)]
pub(crate) struct ExecutionsInMemory(Arc<AtomicUsize>);

impl ExecutionsInMemory {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn are(&self, count: usize) {
        self.0.store(count, Ordering::Relaxed);
    }
}
