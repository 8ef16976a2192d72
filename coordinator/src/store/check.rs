//! What every adapter refuses before it writes anything: batches that no correct caller builds.

use std::collections::HashSet;

use stepstream_shared::id::PartitionId;

use crate::ports::{Append, Snapshot, StoreError};

/// Refuses a batch with an append that could break the log in a way that the store would not notice.
///
/// The partition is checked against the execution because it decides which epoch guards the append: a wrong one would
/// let a coordinator write where it owns nothing.
pub(super) fn batch(batch: &[Append], partitions: u16) -> Result<(), StoreError> {
    let mut executions = HashSet::with_capacity(batch.len());
    for append in batch {
        let Append { execution, first_seq, last_seq, previous_first_seq, .. } = append;
        let refuse = |why: &str| {
            Err(StoreError::Refused {
                reason: format!("the append of {execution} from {first_seq} to {last_seq} {why}"),
            })
        };
        if *first_seq == 0 || last_seq < first_seq || i64::try_from(*last_seq).is_err() {
            return refuse("has no sequence range");
        }
        if (*first_seq == 1) != (*previous_first_seq == 0) || previous_first_seq >= first_seq {
            return refuse(&format!("cannot follow an append from {previous_first_seq}"));
        }
        if i64::try_from(append.epoch).is_err() {
            return refuse("has an impossible epoch");
        }
        if let Some(origin) = append.origin
            && (origin.execution == *execution || origin.sequence.checked_add(1) != Some(*first_seq))
        {
            return refuse(&format!("cannot continue {} after {}", origin.execution, origin.sequence));
        }
        if append.partition != PartitionId::of(*execution, partitions) {
            return refuse(&format!("names partition {}, which is not the execution's", append.partition));
        }
        if !executions.insert(*execution) {
            return refuse("shares its batch with another append of the same execution");
        }
    }
    // What begins in a batch is not there for the rest of it, in whatever order an adapter writes.
    let begun: HashSet<_> =
        batch.iter().filter(|append| append.origin.is_some()).map(|append| append.execution).collect();
    match batch.iter().find(|append| append.origin.is_some_and(|origin| begun.contains(&origin.execution))) {
        None => Ok(()),
        Some(Append { execution, .. }) => Err(StoreError::Refused {
            reason: format!("{execution} cannot continue a log that begins in the same batch"),
        }),
    }
}

/// Refuses a snapshot that no log can have.
pub(super) fn snapshot(snapshot: &Snapshot) -> Result<(), StoreError> {
    let Snapshot { execution, first_seq, sequence, .. } = snapshot;
    if *first_seq == 0 || sequence < first_seq || i64::try_from(*sequence).is_err() {
        return Err(StoreError::Refused {
            reason: format!("the snapshot of {execution} ends with an append from {first_seq} to {sequence}"),
        });
    }
    Ok(())
}

/// A name of a member: it becomes part of a connection's name and of error messages.
pub(super) fn member(id: &str) -> Result<(), StoreError> {
    const LONGEST: usize = 200;
    if id.is_empty() || id.len() > LONGEST || id.contains('\0') {
        return Err(StoreError::Refused {
            reason: format!("a member's id has 1 to {LONGEST} bytes without NUL, found {} bytes", id.len()),
        });
    }
    Ok(())
}
