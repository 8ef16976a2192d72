//! Seals on what coordinators say to each other: made, checked, and good for one use.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stepstream_runtime::random;
use stepstream_shared::id::TenantId;
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::{MacKey, SealId, SealKey, Sealed, WireError};

/// How far the clocks of the two sides and the way between them may be apart. A request is waited for much shorter.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// Seals that are remembered, 24 bytes each: four thousand requests a second, for as long as a copy would be taken.
const REMEMBERED: usize = 1 << 18;

/// The seals of one coordinator.
pub(crate) struct Seals {
    key: SealKey,
    used: Mutex<Used>,
}

/// Ids of requests that were taken, and until when a copy of each would be.
#[derive(Default)]
struct Used {
    ids: HashSet<SealId>,
    order: VecDeque<(Timestamp, SealId)>,
}

/// Why a request of another coordinator is not carried out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSeal {
    #[error("it is not readable: {0}")]
    Unreadable(WireError),
    /// Whoever sent it does not have the key.
    #[error("no coordinator of this store has sent it for this tenant")]
    Forged,
    #[error("it was sent at {sent}, more than {GOOD_FOR:?} from now by this coordinator's clock; compare the clocks")]
    OutOfTime { id: SealId, sent: Timestamp },
    #[error("it was taken before")]
    Repeated { id: SealId },
    #[error("{REMEMBERED} requests were taken within a minute (limit of seals)")]
    Full { id: SealId },
}

impl BadSeal {
    /// Of a request that is a coordinator's: it is told why.
    pub(crate) fn id(&self) -> Option<SealId> {
        match self {
            BadSeal::Unreadable(_) | BadSeal::Forged => None,
            BadSeal::OutOfTime { id, .. } | BadSeal::Repeated { id } | BadSeal::Full { id } => Some(*id),
        }
    }
}

impl Seals {
    pub(crate) fn new(mac_key: [u8; 32]) -> Self {
        Seals { key: SealKey::of(&MacKey(mac_key)), used: Mutex::default() }
    }

    /// Seals a request; its answer is opened under the id.
    pub(crate) fn seal(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        body: Vec<u8>,
    ) -> Result<(SealId, Vec<u8>), WireError> {
        let id = random::bytes();
        Ok((id, self.key.seal(tenant, id, now, body).encode()?))
    }

    /// What another coordinator asks, once.
    pub(crate) fn open(&self, tenant: &TenantId, now: Timestamp, bytes: &[u8]) -> Result<(SealId, Vec<u8>), BadSeal> {
        let sealed = Sealed::decode(bytes).map_err(BadSeal::Unreadable)?;
        let (id, sent) = (sealed.id, Timestamp::from_micros(sealed.at));
        let body = self.key.open(tenant, sealed).ok_or(BadSeal::Forged)?;
        if now.since(sent) > GOOD_FOR || sent.since(now) > GOOD_FOR {
            return Err(BadSeal::OutOfTime { id, sent });
        }
        // Every change is one insertion or removal: a panic elsewhere leaves it whole.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while used.order.front().is_some_and(|(until, _)| *until < now) {
            if let Some((_, old)) = used.order.pop_front() {
                used.ids.remove(&old);
            }
        }
        if used.ids.contains(&id) {
            return Err(BadSeal::Repeated { id });
        }
        if used.ids.len() >= REMEMBERED {
            return Err(BadSeal::Full { id });
        }
        used.ids.insert(id);
        // Sent by a clock that is ahead, it is good for as much longer.
        used.order.push_back((now.after(2 * GOOD_FOR), id));
        Ok((id, body))
    }

    pub(crate) fn seal_answer(&self, id: SealId, body: Vec<u8>) -> Result<Vec<u8>, WireError> {
        self.key.seal_answer(id, body)
    }

    /// What was answered, if it is an answer to this request.
    pub(crate) fn open_answer(&self, id: SealId, bytes: &[u8]) -> Option<Vec<u8>> {
        self.key.open_answer(id, bytes).ok().flatten()
    }
}

#[cfg(test)]
mod tests;
