//! From rows to types: the same for both databases, which answer with the same tuples.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use stepstream_shared::background::{BackgroundMode, BackgroundStatus};
use stepstream_shared::cost::Money;
use stepstream_shared::fairness::Weight;
use stepstream_shared::id::{ExecutionId, ID_BYTES, Id, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;

use super::permits::{Account, Entry, Key, KeyState, Spacing};
use crate::ports::{
    Agenda, AgendaRow, Append, Appended, AttemptRef, DueCursor, InBackground, LINEAGE_DEPTH, Lineage, ListCursor,
    Listed, PartitionOwner, PermitAnswer, PermitCursor, PermitRow, Snapshot, Spent, StoreError, StoredAppend,
    StoredGraph, StoredSchedule, Summary, TenantAccount, TenantLimits, TimerCursor,
};

/// first_seq, last_seq, epoch, hash, body, stands for another log's.
pub(super) type AppendRow = (i64, i64, i64, Vec<u8>, Vec<u8>, bool);
/// origin, last_seq.
pub(super) type LineageRow = (Vec<u8>, i64);
/// tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters.
pub(super) type ListRow =
    (String, Vec<u8>, i64, String, bool, Vec<u8>, String, i64, i64, Option<String>, Option<String>, Option<i64>, i64);
/// The columns of such a row.
macro_rules! list_columns {
    () => {
        "tenant, execution, partition, state, terminal, graph, graph_name, created_at, updated_at, mode, status, queue_rank, dead_letters"
    };
}
pub(super) use list_columns;
/// tenant, execution, partition.
pub(super) type OutboxRow = (String, Vec<u8>, i64);
/// tenant, execution, partition, due_at.
pub(super) type TimerRow = (String, Vec<u8>, i64, i64);
/// tenant, execution, sequence, first_seq, hash, state_version, state_hash, body.
pub(super) type SnapshotRow = (String, Vec<u8>, i64, i64, Vec<u8>, i64, Vec<u8>, Vec<u8>);
/// digest, name, version, document, registered_at.
pub(super) type GraphRow = (Vec<u8>, String, String, String, i64);
/// tenant, execution, step, attempt, place, places, pace, interval_us, ahead_us, need_cost, need_tokens, granted, from_us.
pub(super) type EntryRow = (
    String,
    Vec<u8>,
    i64,
    i64,
    Option<String>,
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    i64,
    i64,
);
/// tenant, limits, cost, tokens, reserved_cost, reserved_tokens, day, cost_warned_by, tokens_warned_by.
pub(super) type AccountRow = (String, String, i64, i64, i64, i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);
/// tenant, execution, step, attempt, granted.
pub(super) type StandingRow = (String, Vec<u8>, i64, i64, i64);
/// tenant, id, partition, name, version, next_at, definition, state.
pub(super) type ScheduleRow = (String, Vec<u8>, i64, String, i64, Option<i64>, String, String);
/// id, owner, epoch, expired.
pub(super) type OwnerRow = (i64, Option<String>, i64, bool);
/// execution, first_seq, tenant, hash.
pub(super) type PlaceRow = (Vec<u8>, i64, String, Vec<u8>);

/// A number that was unsigned when it was written. Sequences, epochs and limits above `i64::MAX` are refused before
/// they reach a database, so the cast loses nothing.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64, what: &str) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| corrupt(format!("{what} is {number}")))
}

pub(super) fn corrupt(reason: String) -> StoreError {
    StoreError::Corrupt { reason }
}

pub(super) fn id<K>(bytes: &[u8], what: &str) -> Result<Id<K>, StoreError> {
    <[u8; ID_BYTES]>::try_from(bytes)
        .map(Id::from_bytes)
        .map_err(|_| corrupt(format!("{what} has {} bytes instead of {ID_BYTES}", bytes.len())))
}

pub(super) fn hash(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| corrupt(format!("a hash has {} bytes instead of 32", bytes.len())))
}

pub(super) fn tenant(text: &str) -> Result<TenantId, StoreError> {
    text.parse().map_err(|error| corrupt(format!("a tenant is `{text}`: {error}")))
}

pub(super) fn partition(number: i64) -> Result<PartitionId, StoreError> {
    u16::try_from(number).map(PartitionId).map_err(|_| corrupt(format!("a partition is {number}")))
}

fn stored((first_seq, last_seq, epoch, hash_bytes, body, _): AppendRow) -> Result<StoredAppend, StoreError> {
    Ok(StoredAppend {
        first_seq: unsigned(first_seq, "a first sequence")?,
        last_seq: unsigned(last_seq, "a last sequence")?,
        epoch: unsigned(epoch, "an epoch")?,
        hash: hash(&hash_bytes)?,
        body: Bytes::from(body),
    })
}

/// A page as the table has it: whether it begins with a row that stands for another log's, and the rows that hold
/// events.
pub(super) fn page(mut rows: Vec<AppendRow>) -> Result<(bool, Vec<StoredAppend>), StoreError> {
    let continues = rows.first().is_some_and(|(.., stands_for_others)| *stands_for_others);
    if continues {
        rows.remove(0);
    }
    Ok((continues, collect(rows, stored)?))
}

pub(super) fn lineage(rows: Vec<LineageRow>) -> Result<Vec<Lineage>, StoreError> {
    if rows.len() > LINEAGE_DEPTH {
        return Err(corrupt(format!("a log continues more than {LINEAGE_DEPTH} others")));
    }
    collect(rows, |(execution, sequence)| {
        Ok(Lineage { execution: id(&execution, "an origin")?, sequence: unsigned(sequence, "a last sequence")? })
    })
}

pub(super) fn listed(row: ListRow) -> Result<Listed, StoreError> {
    let (tenant_text, execution, partition_number, state, terminal, graph, graph_name, created_at, updated_at, ..) =
        &row;
    let (.., mode, status, rank, dead) = &row;
    Ok(Listed {
        tenant: tenant(tenant_text)?,
        execution: id(execution, "an execution")?,
        partition: partition(*partition_number)?,
        summary: Summary {
            state: state.clone(),
            terminal: *terminal,
            graph: id(graph, "a graph digest")?,
            graph_name: graph_name.clone(),
            created_at: Timestamp::from_micros(*created_at),
            updated_at: Timestamp::from_micros(*updated_at),
            background: in_background(mode.as_deref(), status.as_deref(), *rank)?,
            dead_letters: u32::try_from(*dead).map_err(|_| corrupt(format!("there are {dead} dead letters")))?,
        },
    })
}

fn in_background(
    mode: Option<&str>,
    status: Option<&str>,
    rank: Option<i64>,
) -> Result<Option<InBackground>, StoreError> {
    let Some(mode) = mode else { return Ok(None) };
    Ok(Some(InBackground {
        mode: BackgroundMode::named(mode).ok_or_else(|| corrupt(format!("a background mode is `{mode}`")))?,
        status: status
            .and_then(BackgroundStatus::named)
            .ok_or_else(|| corrupt(format!("a background status is {status:?}")))?,
        rank: rank.map(Timestamp::from_micros),
    }))
}

/// Steps that are held as dead letters.
pub(super) fn dead_column(summary: &Summary) -> i64 {
    i64::from(summary.dead_letters)
}

/// The columns of the list for an execution in the background: mode, status, rank.
pub(super) fn background_columns(summary: &Summary) -> (Option<&'static str>, Option<&'static str>, Option<i64>) {
    let of = summary.background;
    (of.map(|of| of.mode.name()), of.map(|of| of.status.name()), of.and_then(|of| of.rank).map(Timestamp::as_micros))
}

fn on_agenda((tenant_text, execution, number): OutboxRow, agenda: Agenda) -> Result<AgendaRow, StoreError> {
    let (tenant, execution) = (tenant(&tenant_text)?, id(&execution, "an execution")?);
    Ok(AgendaRow { tenant, execution, partition: partition(number)?, agenda })
}

pub(super) fn owing(row: OutboxRow) -> Result<AgendaRow, StoreError> {
    on_agenda(row, Agenda::Now)
}

pub(super) fn resting((tenant, execution, partition, due_at): TimerRow) -> Result<AgendaRow, StoreError> {
    on_agenda((tenant, execution, partition), Agenda::At(Timestamp::from_micros(due_at)))
}

/// What the two tables say together. An execution that is in both is looked at now, which is never wrong.
pub(super) fn agenda(owes: bool, due_at: Option<i64>) -> Agenda {
    match due_at {
        _ if owes => Agenda::Now,
        Some(due_at) => Agenda::At(Timestamp::from_micros(due_at)),
        None => Agenda::Nothing,
    }
}

/// The place in the list that a page comes after. Above every row there is when there is no cursor: an id has 20 bytes, so
/// 21 of the highest come after all of one time.
pub(super) fn list_after(after: Option<ListCursor>) -> (i64, Vec<u8>) {
    after.map_or_else(
        || (i64::MAX, vec![0xff; 21]),
        |after| (after.created_at.as_micros(), after.execution.as_bytes().to_vec()),
    )
}

/// The place in the timers that a page comes after: below every row there is, when there is no cursor.
pub(super) fn timers_after(after: Option<TimerCursor>) -> (i64, Vec<u8>) {
    after
        .map_or_else(|| (i64::MIN, Vec::new()), |after| (after.due_at.as_micros(), after.execution.as_bytes().to_vec()))
}

pub(super) fn snapshot(row: SnapshotRow) -> Result<Snapshot, StoreError> {
    let (tenant_text, execution, sequence, first_seq, hash_bytes, state_version, state_hash, body) = row;
    Ok(Snapshot {
        tenant: tenant(&tenant_text)?,
        execution: id(&execution, "an execution")?,
        sequence: unsigned(sequence, "the sequence of a snapshot")?,
        first_seq: unsigned(first_seq, "a first sequence")?,
        hash: hash(&hash_bytes)?,
        state_version: u32::try_from(state_version).map_err(|_| corrupt(format!("a version is {state_version}")))?,
        state_hash: hash(&state_hash)?,
        body: Bytes::from(body),
    })
}

pub(super) fn graph((digest, name, version, document, registered_at): GraphRow) -> Result<StoredGraph, StoreError> {
    Ok(StoredGraph {
        digest: id(&digest, "a graph digest")?,
        name,
        version,
        document,
        registered_at: Timestamp::from_micros(registered_at),
    })
}

pub(super) fn schedule(row: ScheduleRow) -> Result<StoredSchedule, StoreError> {
    let (tenant_text, schedule, partition_number, name, version, next_at, definition, state) = row;
    Ok(StoredSchedule {
        tenant: tenant(&tenant_text)?,
        id: id(&schedule, "a schedule")?,
        partition: partition(partition_number)?,
        name,
        version: unsigned(version, "the version of a schedule")?,
        next_at: next_at.map(Timestamp::from_micros),
        definition,
        state,
    })
}

/// The version under which a row is written.
pub(super) fn schedule_version(row: &StoredSchedule) -> Result<i64, StoreError> {
    let refused = || StoreError::Refused { reason: format!("{} cannot have version {}", row.id, row.version) };
    i64::try_from(row.version).ok().filter(|version| *version > 0).ok_or_else(refused)
}

/// The place among what is due that a page comes after: below every row there is, when there is no cursor.
pub(super) fn due_after(after: Option<DueCursor>) -> (i64, Vec<u8>) {
    after.map_or_else(|| (i64::MIN, Vec::new()), |after| (after.next_at.as_micros(), after.id.as_bytes().to_vec()))
}

pub(super) fn owner((id, owner, epoch, lease_expired): OwnerRow) -> Result<PartitionOwner, StoreError> {
    Ok(PartitionOwner { partition: partition(id)?, epoch: unsigned(epoch, "an epoch")?, owner, lease_expired })
}

pub(super) fn collect<R, T>(rows: Vec<R>, decode: fn(R) -> Result<T, StoreError>) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(decode).collect()
}

/// Says what became of a batch of which only `written` was inserted, from what now lies at the places of the others
/// and from the epochs as they are now.
///
/// Looking afterwards is sound: rows never change and epochs only grow, so a row found was there, and an epoch that is
/// no longer ours never will be again. A row that is there is reported as there even when the partition has been lost
/// meanwhile: it is the truth about the log, and the next append is fenced anyway.
pub(super) fn verdicts(
    batch: &[Append],
    written: &HashSet<ExecutionId>,
    places: &[PlaceRow],
    epochs: &[(i64, i64)],
) -> Vec<Appended> {
    let at: HashMap<_, _> = places
        .iter()
        .map(|(execution, first_seq, tenant, hash)| {
            ((execution.as_slice(), *first_seq), (tenant.as_str(), hash.as_slice()))
        })
        .collect();
    let epochs: HashMap<i64, i64> = epochs.iter().copied().collect();
    batch
        .iter()
        .map(|append| {
            if written.contains(&append.execution) {
                return Appended::Committed;
            }
            let found = at.get(&(append.execution.as_bytes().as_slice(), signed(append.first_seq)));
            if found == Some(&(append.tenant.as_str(), append.hash.as_slice())) {
                Appended::AlreadyThere
            } else if epochs.get(&i64::from(append.partition.0)) != Some(&signed(append.epoch)) {
                Appended::Fenced
            } else {
                Appended::Conflict
            }
        })
        .collect()
}

fn attempt_ref(tenant_text: &str, execution: &[u8], step: i64, attempt: i64) -> Result<AttemptRef, StoreError> {
    let small = |number: i64, what: &str| u32::try_from(number).map_err(|_| corrupt(format!("{what} is {number}")));
    Ok(AttemptRef {
        tenant: tenant(tenant_text)?,
        execution: id(execution, "an execution id")?,
        step: small(step, "a step")?,
        attempt: small(attempt, "an attempt")?,
    })
}

pub(super) fn entry(row: EntryRow) -> Result<Entry, StoreError> {
    let (tenant, execution, step, attempt, place, places, pace, interval, ahead, cost, tokens, grant, from) = row;
    Ok(Entry {
        attempt: attempt_ref(&tenant, &execution, step, attempt)?,
        place: place.zip(places),
        pace: pace.zip(interval.zip(ahead).map(|(interval, ahead)| Spacing { interval, ahead })),
        need: cost.zip(tokens),
        grant,
        from,
    })
}

pub(super) fn standing((tenant, execution, step, attempt, grant): StandingRow) -> Result<PermitRow, StoreError> {
    Ok(PermitRow { attempt: attempt_ref(&tenant, &execution, step, attempt)?, answer: answer(grant) })
}

/// What the number of a grant says.
pub(super) fn answer(grant: i64) -> Option<PermitAnswer> {
    match u64::try_from(grant) {
        Ok(0) => None,
        Ok(grant) => Some(PermitAnswer::Granted(grant)),
        Err(_) => Some(PermitAnswer::Denied),
    }
}

/// tenant, key, in_use, taken_until.
pub(super) fn keys(found: Vec<(String, String, i64, i64)>) -> Result<BTreeMap<Key, KeyState>, StoreError> {
    let key = |(of, key, in_use, taken_until): (String, String, i64, i64)| {
        Ok(((tenant(&of)?, key), KeyState { in_use, taken_until }))
    };
    found.into_iter().map(key).collect()
}

pub(super) fn limits(text: &str) -> Result<TenantLimits, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(format!("the limits of a tenant: {error}")))
}

/// tenant, limits.
pub(super) fn weight(row: (String, String)) -> Result<(TenantId, Weight), StoreError> {
    let (of, text) = row;
    Ok((tenant(&of)?, limits(&text)?.weight))
}

pub(super) fn limits_text(limits: &TenantLimits) -> Result<String, StoreError> {
    serde_json::to_string(limits).map_err(|error| StoreError::Refused { reason: error.to_string() })
}

pub(super) fn account(row: AccountRow) -> Result<(TenantId, Account), StoreError> {
    let (of, text, cost, tokens, reserved_cost, reserved_tokens, day, cost_warned_by, tokens_warned_by) = row;
    let limits = limits(&text)?;
    let who = |bytes: Option<Vec<u8>>| bytes.map(|bytes| id(&bytes, "an execution")).transpose();
    let warned_by = [who(cost_warned_by)?, who(tokens_warned_by)?];
    Ok((tenant(&of)?, Account { limits, cost, tokens, reserved_cost, reserved_tokens, day, warned_by }))
}

/// day, cost, tokens, reserved_cost, reserved_tokens.
pub(super) fn tenant_account(row: (i64, i64, i64, i64, i64)) -> Result<TenantAccount, StoreError> {
    let (day, cost, tokens, reserved_cost, reserved_tokens) = row;
    let amount = |number| unsigned(number, "an amount");
    Ok(TenantAccount {
        day,
        cost: Money::from_micros(amount(cost)?),
        tokens: amount(tokens)?,
        reserved_cost: Money::from_micros(amount(reserved_cost)?),
        reserved_tokens: amount(reserved_tokens)?,
    })
}

/// What is new of what an execution has used; `None` when that is known already.
pub(super) fn news(spent: &Spent, (sequence, cost, tokens): (i64, i64, i64)) -> Option<(i64, i64)> {
    let grown = |now: u64, before: i64| (signed(now) - before).max(0);
    (signed(spent.sequence) > sequence).then(|| (grown(spent.cost.micros(), cost), grown(spent.tokens, tokens)))
}

/// Before every row when there is no cursor.
pub(super) fn permits_after(after: Option<PermitCursor>) -> (Vec<u8>, i64, i64) {
    after.map_or_else(
        || (Vec::new(), -1, -1),
        |after| (after.execution.as_bytes().to_vec(), i64::from(after.step), i64::from(after.attempt)),
    )
}

/// What was read inside a transaction makes no sense: as the driver would say it.
pub(super) fn undecodable(error: StoreError) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
