//! What executions share, as a store keeps it: places under a key, moments of a rate.
//!
//! The log says what an attempt waits for and that it has it; who is to have it next is not any single log's to say. So
//! it is decided here, in one transaction for whoever asks and whoever gives back, and then goes into the log as an event.
//! What is kept here can always be made true again by the logs: who is granted a permit twice is given the same one, and
//! what belongs to an attempt that is over is given back by whoever finds it.

use std::time::Duration;

use async_trait::async_trait;
use stepstream_shared::event::PermitAsk;
use stepstream_shared::fairness::Weight;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;

use super::{Crossed, Denied, Spent, StoreError, TenantAccount, TenantLimits};

/// Most requests and ends in one transaction.
pub const PERMITS_AT_A_TIME: usize = 256;

/// One attempt at one step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptRef {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub step: u32,
    pub attempt: u32,
}

/// An attempt asks for its permit. Asking again is asking once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermitRequest {
    pub attempt: AttemptRef,
    pub partition: PartitionId,
    /// As of which event of its log it asks.
    pub sequence: u64,
    pub ask: PermitAsk,
}

/// An attempt has no use for its permit any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermitEnd {
    pub attempt: AttemptRef,
    pub why: EndOf,
}

/// Which permit it is that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOf {
    /// The attempt is over: whatever it has or waits for.
    Attempt,
    /// It did not wait any more as of this event of its log; what was granted it stays, and what it asked for after that
    /// event, too, whichever of both comes first.
    Wait(u64),
    /// Of a grant that came in vain: this one. If the attempt has asked again since, it is another.
    Grant(u64),
}

/// An attempt has its permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub attempt: AttemptRef,
    /// By the store's clock; `None`: it counts now.
    pub from: Option<Timestamp>,
    /// Grows each time that the attempt is told.
    pub grant: u64,
}

/// What became of asks and of those that have waited. Who is named in neither waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    pub granted: Vec<Granted>,
    /// They do not wait any more. That it was denied stands, until the attempt's end or the end of its wait, so that it can
    /// be said again; who asks again is looked at anew.
    pub denied: Vec<Denied>,
}

/// A permit that stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermitRow {
    pub attempt: AttemptRef,
    /// What it was told last; `None` while it waits.
    pub answer: Option<PermitAnswer>,
}

/// What an attempt that asked was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PermitAnswer {
    /// It has its permit, by this grant.
    Granted(u64),
    /// There is no room for it, nor will there be today.
    Denied,
}

/// Where a page of permits begins: after this row, in the order of (execution, step, attempt).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PermitCursor {
    pub execution: ExecutionId,
    pub step: u32,
    pub attempt: u32,
}

/// Keeps what executions share.
///
/// Guarantees of every adapter, whoever asks and however many at once: under a key, no more attempts hold a place than
/// each of them was told that there are; what is set aside and what is spent of a day's budget are together never more than
/// it, as far as attempts use no more than they said; the moments of a rate are spaced as it says; who asked first is served first
/// among equals of a priority; an attempt that asks again holds one permit.
#[async_trait]
pub trait PermitStore: Send + Sync {
    /// Ends permits, then asks for some, in one transaction. Answers with everything that was granted by it, to those who
    /// ask now and to those who have waited, and everything that the day's budget refused; who is not named waits. At most
    /// [`PERMITS_AT_A_TIME`] of both together. Who asks has not stopped waiting: of the ends of its attempt, only
    /// [`EndOf::Attempt`] counts then.
    ///
    /// # Errors
    /// Whatever the error, the same may be given again.
    async fn settle_permits(&self, ends: &[PermitEnd], asks: &[PermitRequest]) -> Result<Settled, StoreError>;

    /// Permits of these partitions that have stood for so long, answered ones (granted or denied) or those that are waited
    /// for, ordered by (execution, step, attempt).
    async fn standing_permits(
        &self,
        partitions: &[PartitionId],
        answered: bool,
        older: Duration,
        after: Option<PermitCursor>,
        limit: u32,
    ) -> Result<Vec<PermitRow>, StoreError>;

    /// Counts what executions have used into the accounts of their tenants. At most [`PERMITS_AT_A_TIME`]. Answers with
    /// those of them that brought a budget of the day to the percentage at which that is told: again, whenever one of them
    /// is counted again on that day, because whoever was to tell it may have died.
    async fn record_spent(&self, spent: &[Spent]) -> Result<Vec<Crossed>, StoreError>;

    async fn tenant_limits(&self, tenant: &TenantId) -> Result<TenantLimits, StoreError>;

    /// The weights of those of these tenants that have limits; the others' is 1.
    async fn tenant_weights(&self, tenants: &[TenantId]) -> Result<Vec<(TenantId, Weight)>, StoreError>;

    async fn set_tenant_limits(&self, tenant: &TenantId, limits: &TenantLimits) -> Result<(), StoreError>;

    async fn tenant_account(&self, tenant: &TenantId) -> Result<TenantAccount, StoreError>;

    /// Forgets keys that nobody has asked for lately and that hold nothing back.
    async fn forget_idle_keys(&self) -> Result<(), StoreError>;
}
