//! Pages of a log, at a cost that follows the page.
//!
//! To show an event one has to know its step: its node, its iteration, its worker. All of that is settled when the event
//! is folded and never changes afterwards, so any later state shows the event just as well. The states of the logs that
//! were paged last are kept: a page that lies before one is read and shown without folding anything, and one that lies
//! behind it folds only what is new.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use serde_json::Value;
use stepstream_shared::event::ChainHash;
use stepstream_shared::execution::Execution;
use stepstream_shared::graph::{CompiledGraph, Graphs};
use stepstream_shared::id::{ExecutionId, TenantId};

use super::{LogCursor, PAGE, ReadError, Reader, decoded, shown};
use crate::ports::StoredAppend;

/// Logs whose state is kept.
const KNOWN_LOGS: usize = 16;
/// The rows of all logs whose state is kept, in bytes. A state is made of what its rows hold.
const KNOWN_BYTES: usize = 64 * 1024 * 1024;
/// Shorter logs are folded anew: that costs a millisecond.
const KNOWN_FROM: u64 = 1024;

/// A log folded up to the end of an append.
#[derive(Clone)]
struct Known {
    execution: Execution,
    graph: Option<Arc<CompiledGraph>>,
    graphs: Graphs,
    read_to: u64,
    head: ChainHash,
    last_first_seq: u64,
    /// Of the rows it was folded from.
    bytes: usize,
}

/// The logs that were paged last, the latest last.
#[derive(Default)]
pub(super) struct KnownLogs {
    logs: VecDeque<(TenantId, Arc<Known>)>,
}

impl KnownLogs {
    fn place(&self, tenant: &TenantId, id: ExecutionId) -> Option<usize> {
        self.logs.iter().position(|(of, known)| of == tenant && known.execution.id() == id)
    }

    fn keep(&mut self, tenant: TenantId, known: Known) {
        if let Some(place) = self.place(&tenant, known.execution.id()) {
            if self.logs[place].1.read_to >= known.read_to {
                return; // Somebody else has read on meanwhile.
            }
            self.logs.remove(place);
        }
        if known.execution.sequence() < KNOWN_FROM || known.bytes > KNOWN_BYTES {
            return;
        }
        self.logs.push_back((tenant, Arc::new(known)));
        let bytes = |logs: &VecDeque<(TenantId, Arc<Known>)>| logs.iter().map(|(_, known)| known.bytes).sum::<usize>();
        while self.logs.len() > KNOWN_LOGS || bytes(&self.logs) > KNOWN_BYTES {
            self.logs.pop_front();
        }
    }
}

/// Events of one log from a place on, an append at a time.
pub struct LogPage {
    reader: Reader,
    tenant: TenantId,
    id: ExecutionId,
    after: u64,
    /// A later state than that of what is read, until the page goes on behind it.
    known: Option<Arc<Known>>,
    /// Where reading has come to while that is so, and rows that were read ahead.
    read_to: u64,
    rows: VecDeque<StoredAppend>,
    walk: Option<LogCursor>,
}

impl Reader {
    /// The events of a log after sequence `after`.
    pub fn page(&self, tenant: &TenantId, id: ExecutionId, after: u64) -> LogPage {
        let known = {
            let known = self.known();
            known.place(tenant, id).map(|place| known.logs[place].1.clone())
        };
        let (reader, tenant) = (self.clone(), tenant.clone());
        LogPage { reader, tenant, id, after, known, read_to: after, rows: VecDeque::new(), walk: None }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, KnownLogs> {
        // A panic elsewhere leaves a log too few at worst.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on where what is known ends. It is not copied unless somebody else reads with it.
    fn walk_on(&self, tenant: &TenantId, known: Arc<Known>) -> LogCursor {
        let id = known.execution.id();
        {
            let mut kept = self.known();
            if let Some(place) = kept.place(tenant, id) {
                kept.logs.remove(place);
            }
        }
        let Known { execution, graph, graphs, read_to, head, last_first_seq, bytes } = Arc::unwrap_or_clone(known);
        LogCursor { execution, graph, graphs, read_to, head, last_first_seq, bytes, ..self.cursor(tenant, id) }
    }
}

impl LogPage {
    /// The events of the next append that come after the place, as outside objects; `None` at the present end of the log.
    pub async fn next_json(&mut self) -> Result<Option<Vec<Value>>, ReadError> {
        if let Some(known) = self.known.as_ref().filter(|known| self.read_to < known.read_to) {
            if self.rows.is_empty() {
                self.rows = self.reader.store.read(&self.tenant, self.id, self.read_to, PAGE).await?.into();
            }
            let Some(stored) = self.rows.pop_front().filter(|row| row.first_seq <= self.read_to + 1) else {
                return Err(ReadError::Gap { execution: self.id, after: self.read_to, found: known.read_to });
            };
            self.read_to = stored.last_seq;
            let appended = decoded(self.id, &stored)?;
            let Some(graph) = &known.graph else { return Err(ReadError::NotFound(self.id)) };
            let places = (0_u32..).zip(&appended.events).filter(|(_, event)| event.sequence > self.after);
            let found = places.map(|(index, event)| shown(event, index, &appended, &known.execution, graph));
            return Ok(Some(found.collect()));
        }
        let (reader, tenant) = (&self.reader, &self.tenant);
        let walk = self.walk.get_or_insert_with(|| match self.known.take() {
            Some(known) => reader.walk_on(tenant, known),
            None => reader.cursor(tenant, self.id),
        });
        walk.next_json(self.after).await
    }

    /// Keeps what was folded for the next page.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when there is no such log.
    pub fn end(self) -> Result<(), ReadError> {
        let Some(cursor) = self.walk else { return Ok(()) };
        if cursor.execution.sequence() == 0 {
            return Err(ReadError::NotFound(self.id));
        }
        let LogCursor { execution, graph, graphs, read_to, head, last_first_seq, bytes, .. } = cursor;
        let known = Known { execution, graph, graphs, read_to, head, last_first_seq, bytes };
        self.reader.known().keep(self.tenant, known);
        Ok(())
    }

    /// How far the log is folded in here.
    #[cfg(test)]
    fn folded_to(&self) -> Option<u64> {
        self.walk.as_ref().map(|cursor| cursor.execution.sequence())
    }
}

#[cfg(test)]
mod tests;
