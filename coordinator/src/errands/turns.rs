//! Whose errand is next, where those of one tenant may be slow.
//!
//! Tenants take turns. None has more than its share of the slots, however many of its errands wait, so that those of the
//! others are run although whoever one tenant calls does not answer.

use std::collections::{HashMap, VecDeque};

use stepstream_shared::id::TenantId;

/// Errands and whose turn it is.
pub(super) struct Turns<E> {
    limits: Limits,
    waiting: usize,
    running: usize,
    tenants: HashMap<TenantId, Tenant<E>>,
    /// Tenants that have errands waiting, each once; the next one first.
    order: VecDeque<TenantId>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Run at the same time.
    pub(super) running: usize,
    /// Of them, for one tenant.
    pub(super) running_each: usize,
    /// Waiting, in errands.
    pub(super) waiting: usize,
    /// Of them, for one tenant.
    pub(super) waiting_each: usize,
}

struct Tenant<E> {
    waiting: VecDeque<E>,
    running: usize,
}

impl<E> Turns<E> {
    pub(super) fn new(limits: Limits) -> Self {
        Turns { limits, waiting: 0, running: 0, tenants: HashMap::new(), order: VecDeque::new() }
    }

    /// Puts an errand behind the tenant's others. False where there is no room: it is left to whoever owes it.
    pub(super) fn offer(&mut self, tenant: &TenantId, errand: E) -> bool {
        if self.waiting >= self.limits.waiting && !self.make_room(tenant) {
            return false;
        }
        let entry =
            self.tenants.entry(tenant.clone()).or_insert_with(|| Tenant { waiting: VecDeque::new(), running: 0 });
        if entry.waiting.len() >= self.limits.waiting_each {
            return false;
        }
        if entry.waiting.is_empty() {
            self.order.push_back(tenant.clone());
        }
        entry.waiting.push_back(errand);
        self.waiting += 1;
        true
    }

    /// The tenant that has most waiting gives up its last one, for a tenant that has less.
    fn make_room(&mut self, tenant: &TenantId) -> bool {
        let own = self.tenants.get(tenant).map_or(0, |entry| entry.waiting.len());
        let longest = self.tenants.values_mut().max_by_key(|entry| entry.waiting.len());
        // One that gives up an errand keeps at least one, so the order of turns stays as it is.
        let Some(longest) = longest.filter(|entry| entry.waiting.len() > own + 1) else { return false };
        longest.waiting.pop_back();
        self.waiting -= 1;
        true
    }

    /// The next errand that may be run now; its slot is taken until [`Turns::done`].
    pub(super) fn next(&mut self) -> Option<(TenantId, E)> {
        if self.running >= self.limits.running {
            return None;
        }
        for _ in 0..self.order.len() {
            let tenant = self.order.pop_front()?;
            let Some(entry) = self.tenants.get_mut(&tenant) else { continue };
            let errand = if entry.running < self.limits.running_each { entry.waiting.pop_front() } else { None };
            if !entry.waiting.is_empty() {
                self.order.push_back(tenant.clone());
            }
            if let Some(errand) = errand {
                entry.running += 1;
                self.running += 1;
                self.waiting -= 1;
                return Some((tenant, errand));
            }
        }
        None
    }

    /// An errand of this tenant is over.
    pub(super) fn done(&mut self, tenant: &TenantId) {
        let Some(entry) = self.tenants.get_mut(tenant) else { return };
        entry.running = entry.running.saturating_sub(1);
        self.running = self.running.saturating_sub(1);
        if entry.running == 0 && entry.waiting.is_empty() {
            self.tenants.remove(tenant);
        }
    }
}

#[cfg(test)]
mod tests;
