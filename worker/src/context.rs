//! What a callable knows about the attempt that it is.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use stepstream_shared::data::Data;
use stepstream_shared::event::note::{MAX_NOTES, Note};
use stepstream_shared::id::{ExecutionId, StepId, TenantId};
use stepstream_shared::wire::Job;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::artifacts::Artifacts;

/// Largest progress note, in bytes: notes are shown to people and sent often.
pub const MAX_NOTE_BYTES: usize = 16 * 1024;

/// One attempt, as its callable sees it. Cheap to clone; may be kept by tasks that the callable starts.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    job: Job,
    tenant: TenantId,
    worker: Arc<str>,
    deadline: Option<Instant>,
    cancel: CancellationToken,
    stop: OnceLock<Stop>,
    note: Mutex<Option<Data>>,
    noted: Notify,
    /// What goes on record with the outcome.
    notes: Mutex<Vec<Note>>,
    artifacts: Option<Arc<Artifacts>>,
    span: tracing::Span,
}

/// Why a running attempt was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its time (`start_to_close`) is over.
    TimedOut,
    /// A coordinator hinted that nobody waits for it any more.
    Unwanted,
    /// This worker is going away.
    HandBack,
}

impl Context {
    /// `tenant` is the connection's; the one in the job is a claim.
    pub(crate) fn new(job: Job, tenant: TenantId, worker: Arc<str>, artifacts: Option<Arc<Artifacts>>) -> Self {
        let deadline = job
            .start_to_close_ms
            // A deadline beyond what the clock can represent is none.
            .and_then(|limit| Instant::now().checked_add(Duration::from_millis(limit)));
        let span = tracing::info_span!(
            "attempt",
            tenant = %tenant,
            execution = %job.token.execution,
            step = %job.token.step,
            attempt = job.token.attempt,
            graph = %job.graph,
            node = %job.node,
            callable = %job.callable,
            worker = %worker,
        );
        Context(Arc::new(Inner {
            job,
            tenant,
            worker,
            deadline,
            cancel: CancellationToken::new(),
            stop: OnceLock::new(),
            note: Mutex::new(None),
            noted: Notify::new(),
            notes: Mutex::new(Vec::new()),
            artifacts,
            span,
        }))
    }

    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    pub fn execution(&self) -> ExecutionId {
        self.0.job.token.execution
    }

    pub fn step(&self) -> StepId {
        self.0.job.token.step
    }

    /// From 1.
    pub fn attempt(&self) -> u32 {
        self.0.job.token.attempt
    }

    /// Messages that came for the execution before this step was scheduled, the most urgent first: a list of objects with
    /// `type` (`control`, `evidence`, `guidance`, `a2a`), `sequence` and the fields of their kind. Every attempt at the
    /// step has the same. Empty unless the node says `inbox: true`.
    pub fn inbox(&self) -> Vec<serde_json::Value> {
        match self.0.job.inbox.to_json() {
            serde_json::Value::Array(messages) => messages,
            _ => Vec::new(),
        }
    }

    pub fn graph(&self) -> &str {
        &self.0.job.graph
    }

    pub fn node(&self) -> &str {
        &self.0.job.node
    }

    pub fn callable(&self) -> &str {
        &self.0.job.callable
    }

    pub fn queue(&self) -> &str {
        &self.0.job.queue
    }

    /// The name of the worker that runs this attempt.
    pub fn worker(&self) -> &str {
        &self.0.worker
    }

    /// The same for every attempt at this step: hand it to whatever is changed outside, so that it happens once.
    pub fn idempotency_key(&self) -> String {
        self.0.job.idempotency_key()
    }

    /// When the attempt is cancelled, if its node has a `start_to_close` timeout.
    pub fn deadline(&self) -> Option<std::time::Instant> {
        self.0.deadline.map(Instant::into_std)
    }

    /// The same by the clock that attempts are timed with.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Time left until [`Self::deadline`].
    pub fn remaining(&self) -> Option<Duration> {
        self.0.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Bytes that the programs which the callable starts may have in memory together, if the execution has such a bound
    /// (`limits.max_memory_mb`). The stock callable `process` keeps it; a callable of one's own has to.
    pub fn max_memory(&self) -> Option<u64> {
        self.0.job.max_memory_mb.map(|mebibytes| u64::from(mebibytes) * 1024 * 1024)
    }

    /// Cancelled when the attempt should stop: timed out, no longer wanted, or the worker is going away. The callable
    /// then has a short while to clean up before it is dropped.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.0.cancel
    }

    /// Ends when the attempt should stop.
    pub async fn cancelled(&self) {
        self.0.cancel.cancelled().await;
    }

    /// Shows how far the attempt is. Never waits and never fails: of notes in quick succession the last one is sent,
    /// and one that cannot be sent is left out. The worker sends signs of life by itself, so a callable without news
    /// need not call this.
    pub fn progress(&self, note: impl Serialize) {
        match Data::of(&note) {
            Ok(note) if note.len() <= MAX_NOTE_BYTES => {
                *self.0.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
                self.0.noted.notify_one();
            }
            Ok(note) => tracing::warn!(bytes = note.len(), limit = MAX_NOTE_BYTES, "progress note too large, left out"),
            Err(error) => tracing::warn!(%error, "progress note left out"),
        }
    }

    /// The tracing span that carries the attempt's ids. Events inside the callable belong to it already; tasks that
    /// the callable spawns can enter it.
    pub fn span(&self) -> &tracing::Span {
        &self.0.span
    }

    pub(crate) fn job(&self) -> &Job {
        &self.0.job
    }

    /// The first reason counts.
    pub(crate) fn stop(&self, reason: Stop) {
        let _ = self.0.stop.set(reason);
        self.0.cancel.cancel();
    }

    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.0.stop.get().copied()
    }

    pub(crate) fn artifacts(&self) -> Option<&Arc<Artifacts>> {
        self.0.artifacts.as_ref()
    }

    /// Artifacts that this attempt has stored.
    pub(crate) fn stored_artifacts(&self) -> usize {
        let notes = self.0.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.iter().filter(|note| matches!(note, Note::Artifact(_))).count()
    }

    /// Answers false when there are as many as there may be. What was stored twice is noted once.
    pub(crate) fn keep(&self, note: Note) -> bool {
        self.keep_up_to(MAX_NOTES, note)
    }

    /// The record of an output that was put away has a place beside all others.
    pub(crate) fn keep_output(&self, note: Note) {
        self.keep_up_to(MAX_NOTES + 1, note);
    }

    fn keep_up_to(&self, most: usize, note: Note) -> bool {
        let mut notes = self.0.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(note, Note::Artifact(_)) && notes.contains(&note) {
            return true;
        }
        let room = notes.len() < most;
        if room {
            notes.push(note);
        }
        room
    }

    pub(crate) fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut *self.0.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) async fn noted(&self) {
        self.0.noted.notified().await;
    }

    /// A note may have been sent already, with a heartbeat.
    pub(crate) fn has_note(&self) -> bool {
        self.0.note.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(crate) fn take_note(&self) -> Option<Data> {
        self.0.note.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("execution", &self.execution())
            .field("step", &self.step())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
