//! Logs that begin with others': which stretches of whose rows a page of one is made of.

use stepstream_shared::id::ExecutionId;

use crate::ports::Lineage;

/// A stretch of one execution's own rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) execution: ExecutionId,
    /// Appends whose last sequence is above this …
    pub(super) after: u64,
    /// … and not above that.
    pub(super) to: u64,
}

impl Stretch {
    /// All that an execution has itself.
    pub(super) fn own(execution: ExecutionId, after: u64) -> Self {
        Stretch { execution, after, to: u64::MAX }
    }

    /// What a log that continues others has from them above `after`, the oldest first.
    pub(super) fn inherited(lineage: &[Lineage], after: u64) -> Vec<Self> {
        let begins = lineage.iter().skip(1).map(|further| further.sequence).chain([0]);
        let mut stretches: Vec<Self> = lineage
            .iter()
            .zip(begins)
            .filter(|(origin, _)| origin.sequence > after)
            .map(|(origin, begin)| Stretch {
                execution: origin.execution,
                after: after.max(begin),
                to: origin.sequence,
            })
            .collect();
        stretches.reverse();
        stretches
    }
}

/// How many rows fit on a page that has some.
pub(super) fn room<T>(page: &[T], limit: u32) -> u32 {
    limit.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX))
}
