//! Where the next page of a list begins. Opaque to callers, so that what is in it may change.

use std::fmt;
use std::str::FromStr;

use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::ExecutionId;
use stepstream_shared::schedule::is_name;
use stepstream_shared::time::Timestamp;

use crate::ports::ListCursor;

/// A text that was not given out as a cursor of this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no cursor of this list; take `next_cursor` of the page before, as it is")]
pub(super) struct NoCursor;

/// After an execution in the list, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AfterExecution(pub(super) ListCursor);

/// After a graph in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AfterGraph(pub(super) GraphDigest);

/// After a schedule in the list, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AfterSchedule(pub(super) String);

/// After a step of an execution, by ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AfterStep(pub(super) u32);

impl fmt::Display for AfterExecution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0.execution.to_string();
        let id = id.strip_prefix("exec_").unwrap_or(&id);
        write!(f, "e{:016x}{id}", self.0.created_at.as_micros())
    }
}

impl FromStr for AfterExecution {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let rest = text.strip_prefix('e').ok_or(NoCursor)?;
        let (time, id) = rest.split_at_checked(16).ok_or(NoCursor)?;
        let micros = u64::from_str_radix(time, 16).map_err(|_| NoCursor)?.cast_signed();
        let execution: ExecutionId = format!("exec_{id}").parse().map_err(|_| NoCursor)?;
        Ok(AfterExecution(ListCursor { created_at: Timestamp::from_micros(micros), execution }))
    }
}

impl fmt::Display for AfterGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0.to_string();
        write!(f, "g{}", id.strip_prefix("graph_").unwrap_or(&id))
    }
}

impl FromStr for AfterGraph {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let id = text.strip_prefix('g').ok_or(NoCursor)?;
        format!("graph_{id}").parse().map(AfterGraph).map_err(|_| NoCursor)
    }
}

impl fmt::Display for AfterSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl FromStr for AfterSchedule {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let name = text.strip_prefix('n').filter(|name| is_name(name)).ok_or(NoCursor)?;
        Ok(AfterSchedule(name.to_owned()))
    }
}

impl fmt::Display for AfterStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:x}", self.0)
    }
}

impl FromStr for AfterStep {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let ordinal = text.strip_prefix('s').ok_or(NoCursor)?;
        u32::from_str_radix(ordinal, 16).map(AfterStep).map_err(|_| NoCursor)
    }
}

/// A page out of rows of which one more was asked for than a page holds.
pub(super) fn page<T, C: fmt::Display>(
    mut rows: Vec<T>,
    limit: u32,
    cursor: impl Fn(&T) -> C,
) -> (Vec<T>, Option<String>) {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(|last| cursor(last).to_string());
    (rows, next)
}

#[cfg(test)]
mod tests;
