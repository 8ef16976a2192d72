//! What goes to the store in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::PermitWork;
use crate::ports::{AttemptRef, EndOf, PermitEnd, PermitRequest, Spent};

/// Whether the store has what was asked for. Until then, only whoever asked knows of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<AtomicBool>);

impl Kept {
    pub(crate) fn is_so(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Ends and asks, each attempt asking once, in the order of asking.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) ends: Vec<PermitEnd>,
    pub(super) asks: Vec<PermitRequest>,
    /// What executions have used in all.
    pub(super) spent: Vec<Spent>,
    kept: Vec<Kept>,
    settled: Vec<oneshot::Sender<()>>,
}

struct Asking {
    place: usize,
    request: PermitRequest,
    kept: Vec<Kept>,
}

impl Batch {
    /// What ends is not asked for any more by what came before. That a grant came in vain says nothing of what is asked.
    pub(super) fn of(work: impl Iterator<Item = PermitWork>) -> Self {
        let (mut ends, mut asking) = (Vec::new(), BTreeMap::<AttemptRef, Asking>::new());
        let (mut spent, mut settled) = (Vec::new(), Vec::new());
        for (place, work) in work.enumerate() {
            match work {
                PermitWork::Ask(request, kept) => {
                    let fresh = || Asking { place, request: request.clone(), kept: Vec::new() };
                    let asking = asking.entry(request.attempt.clone()).or_insert_with(fresh);
                    asking.request.sequence = asking.request.sequence.max(request.sequence);
                    asking.kept.push(kept);
                }
                PermitWork::End(end) => {
                    let is_over = |asking: &Asking| match end.why {
                        EndOf::Attempt => true,
                        EndOf::Wait(since) => asking.request.sequence < since,
                        EndOf::Grant(_) => false,
                    };
                    if asking.get(&end.attempt).is_some_and(is_over) {
                        asking.remove(&end.attempt);
                    }
                    ends.push(end);
                }
                PermitWork::Spent(each) => spent.push(each),
                PermitWork::Settled(reply) => settled.push(reply),
            }
        }
        let mut asking: Vec<Asking> = asking.into_values().collect();
        asking.sort_unstable_by_key(|asking| asking.place);
        let mut batch = Batch { ends, spent, settled, ..Batch::default() };
        for Asking { request, kept, .. } in asking {
            batch.asks.push(request);
            batch.kept.extend(kept);
        }
        batch
    }

    /// Those who asked to hear when all of it, and all before it, is done.
    pub(super) fn asked_whether_settled(&mut self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.settled)
    }

    /// The store has all of it.
    pub(super) fn is_kept(&self) {
        self.kept.iter().for_each(Kept::set);
    }
}

#[cfg(test)]
mod tests;
