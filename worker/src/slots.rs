//! How many attempts run at once, and whose turn the next one is.
//!
//! A slot belongs to a tenant from the moment at which its attempt begins to the one at which it gives the slot back; that
//! time is what the tenant is charged. Nobody has slots that are not used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stepstream_shared::fairness::FairShare;
use stepstream_shared::id::TenantId;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::tenant::TenantShare;

/// The slots of a worker.
pub(crate) struct Slots {
    state: Mutex<State>,
    /// A slot has become free. One task listens.
    freed: Notify,
    began: Instant,
}

struct State {
    free: usize,
    share: FairShare<TenantId>,
}

/// The right to run an attempt. Dropping it frees the slot, on every path.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    tenant: TenantId,
}

impl Slots {
    pub(crate) fn new(total: usize, tenants: &[TenantShare]) -> Arc<Self> {
        let mut share = FairShare::new();
        for TenantShare { tenant, weight } in tenants {
            share.weigh(tenant, *weight, Duration::ZERO);
        }
        Arc::new(Slots { state: Mutex::new(State { free: total, share }), freed: Notify::new(), began: Instant::now() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic happens under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn free(&self) -> usize {
        self.lock().free
    }

    /// Waits until there is a free slot. For one task only.
    pub(crate) async fn until_free(&self) {
        while self.free() == 0 {
            self.freed.notified().await;
        }
    }

    /// A slot for this tenant, if one is free.
    pub(crate) fn take(self: &Arc<Self>, tenant: &TenantId) -> Option<Slot> {
        let mut state = self.lock();
        state.free = state.free.checked_sub(1)?;
        state.share.begins(tenant, self.began.elapsed());
        Some(Slot { slots: Arc::clone(self), tenant: tenant.clone() })
    }

    /// Says whether a tenant has more jobs, as far as is known.
    pub(crate) fn wants(&self, tenant: &TenantId, wants: bool) {
        self.lock().share.wants(tenant, wants, self.began.elapsed());
    }

    /// These tenants in the order in which they are to be served.
    pub(crate) fn order(&self, among: impl IntoIterator<Item = TenantId>) -> Vec<TenantId> {
        self.lock().share.order(among, self.began.elapsed())
    }

    /// How many of the free slots are for `tenant`, where all of `among` have enough jobs.
    pub(crate) fn share(&self, tenant: &TenantId, among: &[TenantId], free: usize) -> usize {
        self.lock().share.share(tenant, among, free, self.began.elapsed())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let slots = &self.slots;
        let mut state = slots.lock();
        state.free += 1;
        state.share.ends(&self.tenant, slots.began.elapsed());
        drop(state);
        slots.freed.notify_one();
    }
}
