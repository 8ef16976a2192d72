//! What the coordinator needs from a store. Three adapters exist (PostgreSQL, SQLite, memory) and pass one contract.

mod permits;
mod schedules;
mod tenants;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use stepstream_shared::background::{BackgroundMode, BackgroundStatus};
use stepstream_shared::execution::{Execution, Rest};
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;

pub use permits::{
    AttemptRef, EndOf, Granted, PERMITS_AT_A_TIME, PermitAnswer, PermitCursor, PermitEnd, PermitRequest, PermitRow,
    PermitStore, Settled,
};
pub use schedules::{DueCursor, MAX_SCHEDULES, ScheduleStore, ScheduleWritten, StoredSchedule};
pub use tenants::{Crossed, Denied, Spent, TenantAccount, TenantLimits};

/// What a store is, fixed when it was created (but for the incarnation).
#[derive(Debug, Clone)]
pub struct StoreMeta {
    /// Grows with every restore, from 1.
    pub incarnation: u64,
    /// Slices of executions; fixed at creation because executions are assigned by hash.
    pub partitions: u16,
    /// Key of the token MACs: random, made at creation, never leaves the coordinators.
    pub mac_key: [u8; 32],
    /// In words, as read back from the database: what an acknowledged append has survived.
    pub durability: String,
}

/// Most logs that one log can continue, one through the other. Each is another place to read from.
pub const LINEAGE_DEPTH: usize = 64;

/// Where an execution that continues another's log leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// Whose log it continues.
    pub execution: ExecutionId,
    /// The last event that both have. An append ends with it.
    pub sequence: u64,
}

/// All events of one decision: the unit that is stored, as one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub partition: PartitionId,
    /// The epoch under which the caller owns the partition.
    pub epoch: u64,
    /// Sequence of the first event; 1 starts the log. The log must end right before it, and so must the log that
    /// `origin` names.
    pub first_seq: u64,
    /// Sequence of the last event; at least `first_seq`.
    pub last_seq: u64,
    /// `first_seq` of the append before this one, in the origin's log if there is an origin; 0 when this is the first.
    pub previous_first_seq: u64,
    /// Given with the first append of an execution that continues another's log, and with no other: the origin is of
    /// the same tenant, and its log, which may itself continue another's, has an append that ends with that event.
    pub origin: Option<Lineage>,
    /// The chain hash of this append; identifies it, so that an unknown commit can be resolved.
    pub hash: [u8; 32],
    /// Envelope, events and payloads, encoded.
    pub body: Bytes,
    /// What the list of executions shows after this append; `None` leaves it as it is.
    pub summary: Option<Summary>,
    /// Where the execution goes on the agenda with this append; `None` leaves it where it is.
    pub agenda: Option<AgendaMove>,
}

/// Whether somebody must drive an execution, and from when on: its place in the tables `outbox` and `timers`, which are
/// derived from the log and rebuildable.
///
/// A row says that an execution is to be looked at, never what is to be done: that is computed from its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agenda {
    /// In the outbox: it owes something to workers or to itself.
    Now,
    /// In the timers: it owes nothing before this moment.
    At(Timestamp),
    /// In neither: nothing but a command moves it, or it is over.
    Nothing,
}

impl Agenda {
    /// The moment in the timers.
    pub fn due_at(self) -> Option<Timestamp> {
        match self {
            Agenda::At(due_at) => Some(due_at),
            Agenda::Now | Agenda::Nothing => None,
        }
    }
}

impl From<Rest> for Agenda {
    fn from(rest: Rest) -> Self {
        match rest {
            Rest::Owes => Agenda::Now,
            Rest::Until(due) => Agenda::At(due),
            Rest::Command | Rest::Over => Agenda::Nothing,
        }
    }
}

/// How an append changes an execution's place on the agenda.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgendaMove {
    /// Where it stands before, if that is known: then no other table is searched for a row of it.
    pub from: Option<Agenda>,
    pub to: Agenda,
}

impl AgendaMove {
    /// It may have a row in the outbox that is to go.
    pub fn leaves_outbox(self) -> bool {
        self.to != Agenda::Now && self.from.is_none_or(|from| from == Agenda::Now)
    }

    /// It may have a row in the timers that is to go.
    pub fn leaves_timers(self) -> bool {
        self.to.due_at().is_none() && self.from.is_none_or(|from| from.due_at().is_some())
    }
}

/// From wherever it stands.
impl From<Agenda> for AgendaMove {
    fn from(to: Agenda) -> Self {
        AgendaMove { from: None, to }
    }
}

/// An execution on the agenda.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgendaRow {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub partition: PartitionId,
    pub agenda: Agenda,
}

impl AgendaRow {
    /// The row of an execution, if it has one: a function of what its log folds to, so it can always be made anew.
    pub fn of(execution: &Execution, partition: PartitionId) -> Option<Self> {
        match Agenda::from(execution.rest()) {
            Agenda::Nothing => None,
            agenda => {
                Some(AgendaRow { tenant: execution.tenant().clone(), execution: execution.id(), partition, agenda })
            }
        }
    }
}

/// Where a page of the timers begins: after this row, in ascending order of (due_at, execution).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerCursor {
    pub due_at: Timestamp,
    pub execution: ExecutionId,
}

/// A row of the list of executions: derived from the log, rebuildable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The execution state's name, such as `Running`.
    pub state: String,
    /// Completed, failed or cancelled: no coordinator needs to drive it any more.
    pub terminal: bool,
    pub graph: GraphDigest,
    pub graph_name: String,
    pub created_at: Timestamp,
    /// When the state last changed.
    pub updated_at: Timestamp,
    /// Of one that runs in the background.
    pub background: Option<InBackground>,
    /// Steps that are held as dead letters.
    pub dead_letters: u32,
}

impl Summary {
    /// The row of an execution: a function of what its log folds to, so it can always be made anew.
    pub fn of(execution: &Execution) -> Self {
        Summary {
            state: execution.state().name().to_owned(),
            terminal: execution.state().is_terminal(),
            graph: execution.graph(),
            graph_name: execution.graph_name().to_owned(),
            created_at: execution.created_at(),
            updated_at: execution.changed_at(),
            background: InBackground::of(execution),
            dead_letters: dead_letters(execution),
        }
    }
}

/// How many of its steps are held as dead letters.
pub(crate) fn dead_letters(execution: &Execution) -> u32 {
    u32::try_from(execution.dead_letters().count()).unwrap_or(u32::MAX)
}

/// What the list shows of an execution that runs in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InBackground {
    pub mode: BackgroundMode,
    pub status: BackgroundStatus,
    /// Its place in the queue while it waits to be admitted: the lowest goes first.
    pub rank: Option<Timestamp>,
}

impl InBackground {
    pub fn of(execution: &Execution) -> Option<Self> {
        let (run, status) = (execution.background()?, execution.background_status()?);
        Some(InBackground { mode: run.config().mode, status, rank: execution.queue_rank() })
    }
}

/// Which background executions a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackgroundFilter {
    pub mode: Option<BackgroundMode>,
    pub status: Option<BackgroundStatus>,
}

/// What became of one append of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is durable.
    Committed,
    /// It was there already, stored by an earlier try whose answer was lost.
    AlreadyThere,
    /// The log has another row at this place, or does not end right before it: the caller's view is stale.
    Conflict,
    /// Another coordinator owns the partition.
    Fenced,
}

/// A stored append, as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAppend {
    pub first_seq: u64,
    pub last_seq: u64,
    pub epoch: u64,
    pub hash: [u8; 32],
    pub body: Bytes,
}

/// An execution in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub partition: PartitionId,
    pub summary: Summary,
}

/// Where a page of the list begins: after this row, in descending order of (created_at, execution).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCursor {
    pub created_at: Timestamp,
    pub execution: ExecutionId,
}

/// A folded state, kept beside the log: derived from it, so that it may be lost or refused at any time.
///
/// It ends where an append of the log does, so that whoever reads it can go on with the append behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    /// Sequence of the last event folded.
    pub sequence: u64,
    /// Sequence of the first event of the append that it ends with.
    pub first_seq: u64,
    /// The chain hash of that append: a log with another one there is not the log that was folded.
    pub hash: [u8; 32],
    /// The version of the form that `state_hash` covers; hashes of different versions are not comparable.
    pub state_version: u32,
    pub state_hash: [u8; 32],
    /// The state, encoded.
    pub body: Bytes,
}

/// A graph document as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGraph {
    pub digest: GraphDigest,
    pub name: String,
    pub version: String,
    /// Canonical JSON.
    pub document: String,
    pub registered_at: Timestamp,
}

/// A coordinator that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Fresh for each process: its incarnation, not its name.
    pub id: String,
    /// For people.
    pub name: String,
}

/// Who owns a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOwner {
    pub partition: PartitionId,
    /// 0: never owned.
    pub epoch: u64,
    pub owner: Option<String>,
    /// By the store's clock, at the time of reading.
    pub lease_expired: bool,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written; trying again later can help.
    #[error("the store cannot be reached")]
    Unavailable(#[source] anyhow::Error),
    /// Written or not, nobody knows: read the place again before anything else.
    #[error("the store did not confirm the commit")]
    Unknown(#[source] anyhow::Error),
    /// The address is none, so nobody was asked.
    #[error("{reason}")]
    BadUrl { reason: String },
    /// There is no store in this place, and none was to be made.
    #[error("there is no store: {reason}")]
    Absent { reason: String },
    /// The disk is full or read-only, or a limit of the database was reached.
    #[error("the store cannot write: {reason}")]
    Exhausted { reason: String },
    /// The schema is newer than this build.
    #[error("the store has schema version {found}, this build knows versions up to {known}: use a newer build")]
    NewerSchema { found: i64, known: i64 },
    /// What was read makes no sense: the data, not the moment, is wrong.
    #[error("the store holds something unreadable: {reason}")]
    Corrupt { reason: String },
    /// The store refuses for a reason that trying again will not change.
    #[error("the store refuses: {reason}")]
    Refused { reason: String },
}

impl StoreError {
    /// Trying again later can help, whatever is read or written.
    pub fn is_passing(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Unknown(_))
    }
}

/// The log and what is kept beside it.
///
/// Guarantees of every adapter: an append that is answered `Committed` is durable as [`StoreMeta::durability`] says;
/// the sequences of an execution run from 1 without gap or overlap, through the logs that it continues, if it does; an
/// execution begins once, by itself or as a continuation; the appends of a batch stand or fall one by one (an append that
/// conflicts leaves the others be) but commit together; rows never change; a read under another tenant finds nothing.
#[async_trait]
pub trait EventStore: ScheduleStore {
    async fn meta(&self) -> Result<StoreMeta, StoreError>;

    /// What executions share; the same store.
    fn permits(&self) -> &dyn PermitStore;

    /// Commits a batch in one transaction. At most one append per execution in a batch. Answers in the batch's order.
    ///
    /// What an append's origin names must have been committed by an earlier batch. An origin that is not there, is
    /// another tenant's, has no append that ends there, or has [`LINEAGE_DEPTH`] logs before it is a conflict.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when the commit's fate is open: the same batch may be given again, and what had been
    /// written is then `AlreadyThere`.
    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError>;

    /// Up to `limit` appends whose last sequence is above `after`, in order. Empty for another tenant's execution.
    ///
    /// The log of an execution that continues another's begins with the other's appends, as they are stored there. They
    /// are not copied, so their epochs are of another partition. A page goes across the border.
    async fn read(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredAppend>, StoreError>;

    /// Whose logs an execution continues, the nearest first. Empty for one that began by itself, and for another
    /// tenant's. Each is the log that has the append, which is not always the one that was named: what an origin has
    /// from its own origin, is continued from there.
    async fn lineage(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Vec<Lineage>, StoreError>;

    /// The execution's row in the list.
    async fn find(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Listed>, StoreError>;

    /// A tenant's executions, newest first.
    async fn list(
        &self,
        tenant: &TenantId,
        state: Option<&str>,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError>;

    /// A tenant's background executions, newest first.
    async fn list_background(
        &self,
        tenant: &TenantId,
        filter: BackgroundFilter,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError>;

    /// A tenant's executions that hold dead letters, newest first.
    async fn list_dead(
        &self,
        tenant: &TenantId,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError>;

    /// The queue: background executions of these partitions that wait to be admitted. Of each tenant the first `each` by
    /// (rank, execution), at most `limit` of all: every tenant's first before anybody's second.
    async fn queued(&self, partitions: &[PartitionId], each: u32, limit: u32) -> Result<Vec<Listed>, StoreError>;

    /// The outbox: executions of these partitions that owe something, ordered by id, above `after`.
    async fn outbox(
        &self,
        partitions: &[PartitionId],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError>;

    /// The timers: executions of these partitions that wait for a moment earlier than `before`, the earliest first.
    async fn timers(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<TimerCursor>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError>;

    /// Where an execution stands on the agenda. [`Agenda::Nothing`] for another tenant's.
    async fn agenda(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Agenda, StoreError>;

    /// Empties outbox and timers, the first step of rebuilding them.
    async fn clear_agenda(&self) -> Result<(), StoreError>;

    /// Puts executions where a rebuild computes that they stand. A row that is there stays, because an append that came
    /// meanwhile knows better. So an execution that is driven during a rebuild may have a row too many afterwards, but
    /// never one too few; whoever follows a row asks the log.
    async fn write_agenda(&self, rows: &[AgendaRow]) -> Result<(), StoreError>;

    /// Every execution that has a log, whatever the list says, ordered by id, above `after`: for rebuilding what is
    /// derived.
    async fn logged(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<(TenantId, ExecutionId, PartitionId)>, StoreError>;

    /// Empties the list of executions, the first step of rebuilding it.
    async fn clear_list(&self) -> Result<(), StoreError>;

    /// Writes rows of the list, as a rebuild computes them.
    async fn write_list(&self, rows: &[Listed]) -> Result<(), StoreError>;

    /// The snapshot of an execution, as it was written: nothing about it is checked here.
    async fn snapshot(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Snapshot>, StoreError>;

    /// Keeps a snapshot in the place of an older one. One that is there and goes further stays, as does one of another
    /// tenant. Whoever writes need not own the partition: rows of the log never change, so what was folded stays true.
    async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// Forgets every snapshot, the first step of making them anew.
    async fn clear_snapshots(&self) -> Result<(), StoreError>;

    /// Registers a graph; the same digest again changes nothing.
    async fn put_graph(&self, tenant: &TenantId, graph: &StoredGraph) -> Result<(), StoreError>;

    async fn get_graph(&self, tenant: &TenantId, digest: &GraphDigest) -> Result<Option<StoredGraph>, StoreError>;

    /// The graph registered last under this name and, if given, this version.
    async fn find_graph(
        &self,
        tenant: &TenantId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<StoredGraph>, StoreError>;

    /// A tenant's graphs by name, then newest first. `after` is the digest of the last row of the page before.
    async fn list_graphs(
        &self,
        tenant: &TenantId,
        after: Option<&GraphDigest>,
        limit: u32,
    ) -> Result<Vec<StoredGraph>, StoreError>;

    /// Says that this coordinator lives and answers with all that do, itself included. Dead ones leave after `ttl`.
    async fn heartbeat(&self, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError>;

    /// Leaves at once.
    async fn leave(&self, member: &str) -> Result<(), StoreError>;

    async fn partitions(&self) -> Result<Vec<PartitionOwner>, StoreError>;

    /// Begins the next incarnation, because the store may have lost its end, and answers with its number. Nobody is a
    /// member or owns a partition afterwards, and every epoch is above all that were ever given out.
    async fn begin_incarnation(&self) -> Result<u64, StoreError>;

    /// Takes a partition that nobody owns or whose lease has run out by the store's clock, and answers with the new
    /// epoch: one more than the last. With `force`, takes it from anybody (a single-process store whose file is locked).
    async fn acquire(
        &self,
        partition: PartitionId,
        member: &str,
        ttl: Duration,
        force: bool,
    ) -> Result<Option<u64>, StoreError>;

    /// Renews the leases held under these epochs; answers with those that are still ours.
    async fn renew(
        &self,
        member: &str,
        held: &[(PartitionId, u64)],
        ttl: Duration,
    ) -> Result<Vec<PartitionId>, StoreError>;

    /// Gives a partition back: whoever asks next gets it at once. The epoch stays spent.
    async fn release(&self, member: &str, partition: PartitionId, epoch: u64) -> Result<(), StoreError>;
}
