//! How many messages were refused, and why: a stale or forged one changes nothing, but it must not pass unseen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use utoipa::ToSchema;

use crate::seals::BadSeal;

/// Counters that the engine adds to and anybody reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    forged: AtomicU64,
    earlier_incarnation: AtomicU64,
    stale: AtomicU64,
    forged_requests: AtomicU64,
    late_requests: AtomicU64,
    repeated_requests: AtomicU64,
}

/// Outcomes refused since this coordinator was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefusedOutcomes {
    /// The token's MAC is not ours: somebody invented or changed it.
    pub forged: u64,
    /// The attempt was asked for before the store was restored.
    pub earlier_incarnation: u64,
    /// Late or doubled: the log had decided already.
    pub stale: u64,
    /// Nobody could read it as a message.
    pub unreadable: u64,
}

/// Requests on the bus, as from another coordinator, that were refused since this coordinator was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefusedRequests {
    /// No coordinator of this store has signed it for this tenant.
    pub forged: u64,
    /// Signed, and sent too long ago or by a clock that is ahead.
    pub out_of_time: u64,
    /// Signed, and carried out before.
    pub repeated: u64,
}

impl Refusals {
    pub(crate) fn request(&self, bad: &BadSeal) {
        let counter = match bad {
            BadSeal::Unreadable(_) | BadSeal::Forged => &self.0.forged_requests,
            BadSeal::OutOfTime { .. } => &self.0.late_requests,
            BadSeal::Repeated { .. } => &self.0.repeated_requests,
            BadSeal::Full { .. } => return, // It is tried again.
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> RefusedRequests {
        RefusedRequests {
            forged: self.0.forged_requests.load(Ordering::Relaxed),
            out_of_time: self.0.late_requests.load(Ordering::Relaxed),
            repeated: self.0.repeated_requests.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn forged(&self) {
        self.0.forged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn earlier_incarnation(&self) {
        self.0.earlier_incarnation.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stale(&self) {
        self.0.stale.fetch_add(1, Ordering::Relaxed);
    }

    /// With what the bus counts.
    pub(crate) fn counted(&self, unreadable: u64) -> RefusedOutcomes {
        RefusedOutcomes {
            forged: self.0.forged.load(Ordering::Relaxed),
            earlier_incarnation: self.0.earlier_incarnation.load(Ordering::Relaxed),
            stale: self.0.stale.load(Ordering::Relaxed),
            unreadable,
        }
    }
}
