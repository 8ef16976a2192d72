//! The job bus: what carries jobs to workers, outcomes and commands to coordinators, and hints to whoever listens.
//!
//! Nothing on the bus is the only copy of anything. The log decides; a message that is lost, doubled or late costs time
//! or repeats an at-least-once step, never a transition. Two adapters exist (JetStream, and queues inside one process)
//! and pass one contract. The port lives here and not with one program because both sides of it are programs of ours.

pub mod in_process;
pub mod jetstream;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::wire::{Control, Job, Judgement, Outcome};

/// A queue of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId {
    pub tenant: TenantId,
    /// Checked by the graph compiler and the command line: `[A-Za-z0-9_-]{1,64}`, safe in a subject.
    pub name: String,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Place in the stream; the first copy's when this one was a duplicate.
    pub sequence: u64,
    pub duplicate: bool,
}

/// Why a message was not carried.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Trying again later can help; the message may or may not have arrived.
    #[error("the bus cannot be reached: {0}")]
    Unavailable(String),
    /// The address is none, so nobody was asked.
    #[error("{0}")]
    BadUrl(String),
    /// The queue or stream is full; the message did not arrive.
    #[error("the bus is full: {0}")]
    Full(String),
    /// The message is larger than the bus carries.
    #[error("the message is {found} bytes, the bus carries {limit} (max_payload of the server)")]
    TooLarge { found: usize, limit: usize },
    /// A stream or consumer is missing or is not as it should be; the text says which and how.
    #[error("the bus is not set up as expected: {0}")]
    Misconfigured(String),
    /// The server is too old.
    #[error(
        "nats-server {found} is too old: {needed} or later is needed, because older ones drop settings they do not know without a word"
    )]
    TooOld { found: String, needed: &'static str },
}

/// How a delivered message is settled. Dropping it unsettled lets the bus deliver it again after its wait.
#[async_trait]
pub trait Settle: Send + Sync + 'static {
    /// It is done; the bus forgets it.
    async fn ack(&self) -> Result<(), BusError>;
    /// It is still being worked on: the wait begins anew.
    async fn progress(&self) -> Result<(), BusError>;
    /// Somebody else may have it, after `delay`.
    async fn nak(&self, delay: Option<Duration>) -> Result<(), BusError>;
}

/// A delivered message, to be settled.
pub struct Delivery<T> {
    pub message: T,
    /// From 1; above 1 the message was delivered before.
    pub deliveries: u64,
    pub settle: Box<dyn Settle>,
}

/// A request that one coordinator passes to the owner of a partition. The body is JSON; the answer goes to whoever
/// asked, and only after the append that carries the request has committed.
pub struct CommandRequest {
    pub tenant: TenantId,
    pub partition: PartitionId,
    pub body: Bytes,
    pub reply: Box<dyn ReplyTo>,
}

/// Something that a worker asks of the owner of a partition, and waits for. Nothing of it is stored: whoever gets no
/// answer asks again.
pub struct Asked {
    /// That the bus enforced, never the body's.
    pub tenant: TenantId,
    pub outcome: Outcome,
    pub judge: Box<dyn Judge>,
}

/// Answers what was [`Asked`]. Dropped unused, the asker gets no answer.
#[async_trait]
pub trait Judge: Send + Sync + 'static {
    async fn judge(&self, judgement: Judgement) -> Result<(), BusError>;
}

/// Answers a [`CommandRequest`].
#[async_trait]
pub trait ReplyTo: Send + Sync + 'static {
    async fn reply(&self, body: Bytes) -> Result<(), BusError>;
}

/// The health of the jobs stream, for finding jobs that the bus lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobsStreamState {
    /// Changes when the stream was deleted and made again.
    pub created_nanos: i128,
    pub last_sequence: u64,
    pub messages: u64,
}

/// The coordinator's side of the bus.
#[async_trait]
pub trait CoordinatorBus: Send + Sync + 'static {
    /// Makes sure that jobs for this queue can be delivered, in all priorities. Idempotent and cached.
    async fn declare_queue(&self, queue: &QueueId) -> Result<(), BusError>;

    /// Publishes jobs; answers in their order. Publications are pipelined, one failure does not stop the others.
    async fn publish_jobs(&self, jobs: &[Job]) -> Vec<Result<Published, BusError>>;

    /// Takes outcomes of one partition as they come: at least one, at most `max`, together with the tenant that the
    /// bus enforced (the subject's, never the body's). Waits until there is one. Cancel-safe: a message is never lost
    /// with a dropped future, at worst delivered again. Undecodable messages are counted, logged and removed.
    async fn outcomes(
        &self,
        partition: PartitionId,
        max: usize,
    ) -> Result<Vec<(TenantId, Delivery<Outcome>)>, BusError>;

    /// Takes commands of one partition as they come, like [`Self::outcomes`].
    async fn commands(&self, partition: PartitionId) -> Result<CommandRequest, BusError>;

    /// Takes what workers ask about executions of one partition, as it comes: at least one, at most `max`. What was asked
    /// before this was first called, or while nobody listened, is not delivered. Cancel-safe; what is taken and not judged
    /// is asked again by whoever waits for it.
    async fn asked(&self, partition: PartitionId, max: usize) -> Result<Vec<Asked>, BusError>;

    /// Passes a request to the owner of a partition and waits for its answer.
    async fn request(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, BusError>;

    /// Tells running workers something, best effort.
    async fn control(&self, tenant: &TenantId, control: &Control) -> Result<(), BusError>;

    /// Publishes events of an execution to the live feed, best effort, without waiting for an acknowledgement.
    /// `events` are (event type, event id, JSON body).
    async fn feed(&self, tenant: &TenantId, execution: ExecutionId, events: Vec<(String, String, Bytes)>);

    /// Tells whoever watches of dead letters, best effort: (queue, event id, JSON body). The letters are in the log.
    async fn dead_letters(&self, tenant: &TenantId, letters: Vec<(String, String, Bytes)>);

    async fn jobs_state(&self) -> Result<JobsStreamState, BusError>;

    /// Whether the job published at this place is still there (waiting or being worked on).
    async fn job_exists(&self, sequence: u64) -> Result<bool, BusError>;

    /// Takes a job off the bus before anybody has it; answers whether it was there. One that a worker has may be taken from
    /// under it: what it reports still arrives, and nobody else gets it.
    async fn withdraw_job(&self, sequence: u64) -> Result<bool, BusError>;

    /// Whether what workers say can reach this bus at present, as far as it knows.
    fn connected(&self) -> bool;

    /// Messages that nobody could read and that were removed, since this bus was connected.
    fn undecodable(&self) -> u64;

    /// Stops taking messages of a partition that another coordinator owns now.
    async fn leave(&self, partition: PartitionId);
}

/// The worker's side of the bus.
#[async_trait]
pub trait WorkerBus: Send + Sync + 'static {
    /// Takes up to `max` jobs of one queue, most urgent first; waits until there is at least one. Cancel-safe like
    /// [`CoordinatorBus::outcomes`]. A queue that nobody has declared yet is waited for.
    async fn jobs(&self, queue: &QueueId, max: usize) -> Result<Vec<Delivery<Job>>, BusError>;

    /// Takes up to `max` jobs of one queue that are there, most urgent first; none when it is empty, or when nobody has
    /// declared it yet. Cancel-safe like [`Self::jobs`], and served before those who wait there. For who has several
    /// queues and one slot: it costs as much as a look at each priority, so it is not for asking in a circle.
    async fn jobs_now(&self, queue: &QueueId, max: usize) -> Result<Vec<Delivery<Job>>, BusError>;

    /// Reports an outcome and waits until the bus holds it.
    async fn report(&self, tenant: &TenantId, partition: PartitionId, outcome: &Outcome)
    -> Result<Published, BusError>;

    /// Asks the owner of a partition for what the outcome says (a claim, or that an end was taken) and waits for the
    /// answer, as long as `timeout`.
    ///
    /// # Errors
    /// No answer says nothing: it may have been granted.
    async fn ask(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        outcome: &Outcome,
        timeout: Duration,
    ) -> Result<Judgement, BusError>;

    /// Hints from the coordinators of a tenant, from now on.
    async fn controls(&self, tenant: &TenantId) -> Result<futures::stream::BoxStream<'static, Control>, BusError>;

    /// How long a delivered job may stay silent before the bus delivers it again.
    fn ack_wait(&self) -> Duration;
}

/// What the priorities are called in subjects.
pub fn priority_token(priority: Priority) -> &'static str {
    priority.name()
}
