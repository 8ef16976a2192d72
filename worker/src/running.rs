//! The attempts that run now, so that a hint can find them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepstream_shared::id::TenantId;
use stepstream_shared::wire::{ClaimId, Control};

use crate::context::{Context, Stop};

#[derive(Default)]
pub(crate) struct Running(Mutex<HashMap<ClaimId, Context>>);

/// An attempt's entry; gone when dropped.
pub(crate) struct Entry<'a> {
    running: &'a Running,
    claim: ClaimId,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClaimId, Context>> {
        // Nothing that can panic happens under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, claim: ClaimId, context: &Context) -> Entry<'_> {
        self.lock().insert(claim, context.clone());
        Entry { running: self, claim }
    }

    /// Tells every attempt that a hint means. A hint about an older attempt does not reach a newer one, and one of a tenant
    /// reaches nobody else's.
    pub(crate) fn hint(&self, tenant: &TenantId, control: &Control) {
        for context in self.lock().values().filter(|context| context.tenant() == tenant) {
            let token = &context.job().token;
            let meant = match control {
                Control::Cancel { execution } => token.execution == *execution,
                Control::Abandon { execution, ordinal, attempt } => {
                    token.execution == *execution && token.ordinal == *ordinal && token.attempt == *attempt
                }
            };
            if meant {
                context.stop(Stop::Unwanted);
            }
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.running.lock().remove(&self.claim);
    }
}
