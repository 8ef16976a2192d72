//! Snapshots: long logs are not folded from the beginning each time.
//!
//! A snapshot is trusted no further than it can be checked: its state has the hash that it was stored under, and the
//! log has, at its place, the append that it names. One that fails is left alone with a warning and the log is folded
//! from its beginning, so a snapshot can make loading faster and nothing else.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use stepstream_shared::event::ChainHash;
use stepstream_shared::execution::Execution;
use stepstream_shared::execution::state::STATE_VERSION;
use stepstream_shared::id::{ExecutionId, TenantId};

use super::{Loaded, LogCursor, PAGE, ReadError, Reader};
use crate::ports::{Snapshot, StoreError};

/// Events by which a log grows before another snapshot of it is worth its bytes.
pub const SNAPSHOT_EVERY: u64 = 4096;

/// Largest state that is kept: one statement must carry it. Executions with more are folded from their logs.
pub const SNAPSHOT_BYTES: usize = 64 << 20;

/// The sequence from which on another snapshot is due, after one at `last` (0: none yet).
///
/// A snapshot costs its state's size, which grows with the log. Waiting until the log has grown by a quarter keeps all
/// snapshots that an execution ever has below about five times the size of the last one, however long it runs.
pub fn next_snapshot(last: u64) -> u64 {
    last.saturating_add(SNAPSHOT_EVERY.max(last / 4))
}

/// Why a snapshot is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSnapshot {
    #[error("it has state version {found}, this build knows version {known}")]
    Version { found: u32, known: u32 },
    #[error("it is not decodable: {0}")]
    Undecodable(String),
    #[error("its state does not have the hash that it was stored under")]
    Changed,
    #[error("it holds another execution, or the state after another event")]
    Misplaced,
    #[error("the log ends before it")]
    BeyondTheEnd,
    #[error("the log has another append there")]
    OtherLog,
    /// Only a fold from the beginning finds this out.
    #[error("the log folds to another state")]
    OtherState,
}

impl Reader {
    /// Folds an execution to the present end of its log, beginning with its snapshot where there is a sound one.
    ///
    /// # Errors
    /// Those of [`Reader::load`]. Whatever is wrong with a snapshot is none: it is left aside.
    pub async fn load_present(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Loaded, ReadError> {
        // A panic in the fold must cost one execution, not whoever loads the others after it.
        let loaded = AssertUnwindSafe(self.load_present_or_panic(tenant, execution)).catch_unwind().await;
        loaded.unwrap_or(Err(ReadError::Panicked(execution)))
    }

    async fn load_present_or_panic(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Loaded, ReadError> {
        let mut cursor = self.cursor(tenant, execution);
        cursor.fill().await?;
        // Most logs end within their first page: no snapshot makes them shorter, so none is asked for.
        if cursor.goes_on()
            && let Some(loaded) = self.load_from_snapshot(tenant, execution).await?
        {
            return Ok(loaded);
        }
        while cursor.fold_next().await? {}
        cursor.finish()
    }

    /// `None` when there is no snapshot that can be used.
    async fn load_from_snapshot(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Loaded>, ReadError> {
        let unused = |reason: &dyn std::fmt::Display| {
            tracing::warn!(%execution, %reason, "a snapshot is left aside; the log is folded from its beginning");
            Ok(None)
        };
        let snapshot = match self.store().snapshot(tenant, execution).await {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Ok(None),
            Err(error) => return unused(&error),
        };
        let mut cursor = match self.cursor_from(tenant, execution, &snapshot).await {
            Ok(cursor) => cursor,
            Err(ReadError::Snapshot { source, .. }) => return unused(&source),
            Err(other) => return Err(other),
        };
        loop {
            match cursor.fold_next().await {
                Ok(true) => {}
                Ok(false) => return cursor.finish().map(Some),
                Err(ReadError::Store(error)) => return Err(ReadError::Store(error)),
                // The log is at fault, or a state that was folded wrongly: the fold from the beginning tells.
                Err(error) => return unused(&error),
            }
        }
    }

    /// A walk through the log that goes on where a snapshot ends.
    async fn cursor_from(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        snapshot: &Snapshot,
    ) -> Result<LogCursor, ReadError> {
        let bad = |source| ReadError::Snapshot { execution, sequence: snapshot.sequence, source };
        let state = decode(snapshot).map_err(bad)?;
        if state.tenant() != tenant || state.id() != execution {
            return Err(bad(BadSnapshot::Misplaced));
        }
        let before = snapshot.sequence.saturating_sub(1);
        let mut page = self.store().read(tenant, execution, before, PAGE).await?.into_iter();
        let last = page.next().ok_or_else(|| bad(BadSnapshot::BeyondTheEnd))?;
        if !is_at(snapshot, last.first_seq, last.last_seq, &last.hash) {
            return Err(bad(BadSnapshot::OtherLog));
        }
        let graph = self.graph(tenant, state.graph()).await?;
        let mut cursor = self.cursor(tenant, execution);
        cursor.page = page.collect();
        cursor.read_to = snapshot.sequence;
        cursor.head = snapshot.hash;
        cursor.last_first_seq = snapshot.first_seq;
        cursor.last_epoch = last.epoch;
        cursor.snapshot = snapshot.sequence;
        cursor.execution = state;
        cursor.graphs.insert(graph.clone());
        cursor.graph = Some(graph);
        Ok(cursor)
    }

    /// Keeps the state of an execution that was folded to the end of an append; `false` when it is not worth keeping:
    /// the execution has ended, or its state is larger than [`SNAPSHOT_BYTES`].
    ///
    /// # Errors
    /// The store's; nothing depends on the snapshot being there.
    pub async fn keep_snapshot(&self, loaded: Loaded) -> Result<bool, StoreError> {
        if loaded.execution.state().is_terminal() {
            return Ok(false);
        }
        // A large state takes long enough to hold up whoever shares this thread.
        let encoded = stepstream_runtime::offload::run(move || encode(&loaded)).await;
        let snapshot = encoded.map_err(|error| StoreError::Unavailable(error.into()))?;
        if snapshot.body.len() > SNAPSHOT_BYTES {
            let (execution, bytes) = (snapshot.execution, snapshot.body.len());
            tracing::info!(%execution, bytes, limit = SNAPSHOT_BYTES, "a state is too large for a snapshot");
            return Ok(false);
        }
        self.store().put_snapshot(&snapshot).await?;
        Ok(true)
    }
}

impl LogCursor {
    /// Whether the log is longer than the page that was read ahead, or long enough to have a snapshot.
    fn goes_on(&self) -> bool {
        self.page.len() == PAGE as usize || self.page.back().is_some_and(|last| last.last_seq >= SNAPSHOT_EVERY)
    }
}

fn encode(loaded: &Loaded) -> Snapshot {
    let execution = &loaded.execution;
    Snapshot {
        tenant: execution.tenant().clone(),
        execution: execution.id(),
        sequence: execution.sequence(),
        first_seq: loaded.last_first_seq,
        hash: loaded.head,
        state_version: execution.state_version(),
        state_hash: execution.state_hash(),
        body: execution.to_snapshot().into(),
    }
}

/// The state, if it is the one that was stored.
fn decode(snapshot: &Snapshot) -> Result<Execution, BadSnapshot> {
    if snapshot.state_version != STATE_VERSION {
        return Err(BadSnapshot::Version { found: snapshot.state_version, known: STATE_VERSION });
    }
    let state =
        Execution::from_snapshot(&snapshot.body).map_err(|error| BadSnapshot::Undecodable(error.to_string()))?;
    // The hash of what was understood, not of the bytes: a field that this build does not know would be lost.
    if state.state_hash() != snapshot.state_hash {
        return Err(BadSnapshot::Changed);
    }
    if state.sequence() != snapshot.sequence {
        return Err(BadSnapshot::Misplaced);
    }
    Ok(state)
}

fn is_at(snapshot: &Snapshot, first_seq: u64, last_seq: u64, hash: &ChainHash) -> bool {
    (first_seq, last_seq, hash) == (snapshot.first_seq, snapshot.sequence, &snapshot.hash)
}

/// Compares a snapshot with a fold from the beginning that passes its place.
pub(super) struct Check(Option<Snapshot>);

impl Check {
    pub(super) fn new(snapshot: Option<Snapshot>) -> Self {
        Check(snapshot.filter(|snapshot| snapshot.state_version == STATE_VERSION))
    }

    /// After each append that is folded.
    pub(super) fn pass(&mut self, cursor: &LogCursor) -> Result<(), ReadError> {
        let sequence = cursor.execution.sequence();
        let Some(snapshot) = self.0.take_if(|snapshot| snapshot.sequence <= sequence) else { return Ok(()) };
        let found = if !is_at(&snapshot, cursor.last_first_seq, sequence, &cursor.head) {
            Err(BadSnapshot::OtherLog)
        } else if snapshot.state_hash != cursor.execution.state_hash() {
            Err(BadSnapshot::OtherState)
        } else {
            decode(&snapshot).map(drop)
        };
        found.map_err(|source| ReadError::Snapshot {
            execution: snapshot.execution,
            sequence: snapshot.sequence,
            source,
        })
    }

    /// After the last append.
    pub(super) fn end(self) -> Result<(), ReadError> {
        match self.0 {
            None => Ok(()),
            Some(Snapshot { execution, sequence, .. }) => {
                Err(ReadError::Snapshot { execution, sequence, source: BadSnapshot::BeyondTheEnd })
            }
        }
    }
}

#[cfg(test)]
mod tests;
