//! The contract in memory: for tests, and by nothing else. It forgets everything with the process.

mod permits;
mod schedules;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_runtime::random;
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId, TriggerId};
use stepstream_shared::time::Timestamp;
use tokio::time::Instant;

use super::check;
use crate::incarnation::first_epoch;
use crate::planted::{self, Bug};
use crate::ports::{
    Agenda, AgendaRow, Append, Appended, BackgroundFilter, EventStore, LINEAGE_DEPTH, Lineage, ListCursor, Listed,
    Member, PartitionOwner, PermitStore, Snapshot, StoreError, StoreMeta, StoredAppend, StoredGraph, StoredSchedule,
    TimerCursor,
};

/// A store without a disk. Its clock is tokio's, so that a test with paused time can let leases run out.
pub struct MemoryStore {
    meta: StoreMeta,
    kept: Mutex<Kept>,
    permits: tokio::sync::Mutex<permits::Permits>,
}

#[derive(Default)]
struct Kept {
    /// Restores, all in all.
    restores: u64,
    partitions: Vec<Partition>,
    /// Name and end of life by id.
    members: BTreeMap<String, (String, Instant)>,
    logs: BTreeMap<ExecutionId, Log>,
    list: BTreeMap<ExecutionId, Listed>,
    /// Outbox and timers in one: nothing is in both.
    agenda: BTreeMap<ExecutionId, AgendaRow>,
    snapshots: BTreeMap<ExecutionId, Snapshot>,
    schedules: BTreeMap<TriggerId, StoredSchedule>,
    /// In order of registration.
    graphs: Vec<(TenantId, StoredGraph)>,
}

#[derive(Clone, Default)]
struct Partition {
    owner: Option<String>,
    epoch: u64,
    lease_until: Option<Instant>,
}

impl Partition {
    fn lease_expired(&self) -> bool {
        self.lease_until.is_none_or(|until| until <= Instant::now())
    }
}

struct Log {
    tenant: TenantId,
    partition: PartitionId,
    /// The log that this one continues: the one that has the append that ends there.
    origin: Option<Lineage>,
    appends: Vec<StoredAppend>,
}

impl MemoryStore {
    pub fn new(partitions: u16) -> Self {
        Self::with_clock(partitions, Arc::new(SystemClock))
    }

    /// A store whose permits go by this clock. Leases go by the runtime's.
    pub fn with_clock(partitions: u16, clock: Arc<dyn Clock>) -> Self {
        let meta = StoreMeta {
            incarnation: 1,
            partitions: partitions.max(1),
            mac_key: random::bytes(),
            durability: "in memory: an acknowledged append is lost with the process".to_owned(),
        };
        let permits = tokio::sync::Mutex::new(permits::Permits::new(clock));
        let partitions = vec![Partition::default(); usize::from(meta.partitions)];
        MemoryStore { meta, kept: Mutex::new(Kept { partitions, ..Kept::default() }), permits }
    }

    /// A panic elsewhere while the lock was held leaves nothing half done: every change below is made at once.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Its own appends.
    fn stretch(&self, after: u64, to: u64) -> impl Iterator<Item = &StoredAppend> {
        let start = self.appends.partition_point(|row| row.last_seq <= after);
        self.appends[start..].iter().take_while(move |row| row.last_seq <= to)
    }

    fn has(&self, first_seq: u64, last_seq: u64) -> bool {
        let place = self.appends.binary_search_by_key(&first_seq, |row| row.first_seq);
        place.is_ok_and(|place| self.appends[place].last_seq == last_seq)
    }
}

impl Kept {
    fn log(&self, tenant: &TenantId, execution: ExecutionId) -> Option<&Log> {
        self.logs.get(&execution).filter(|log| log.tenant == *tenant)
    }

    fn lineage(&self, tenant: &TenantId, execution: ExecutionId) -> Vec<Lineage> {
        let origin = |execution| self.log(tenant, execution).and_then(|log| log.origin);
        std::iter::successors(origin(execution), |nearer| origin(nearer.execution)).take(LINEAGE_DEPTH).collect()
    }

    /// The log that has the append from `first_seq` to the origin's sequence: the origin's, or one that it continues.
    fn holder(&self, tenant: &TenantId, origin: Lineage, first_seq: u64) -> Option<Lineage> {
        // What a log has behind the border, it has for itself alone.
        let further = self.lineage(tenant, origin.execution);
        let mut line = std::iter::once(origin.execution)
            .chain(further.into_iter().take_while(|each| origin.sequence <= each.sequence).map(|each| each.execution));
        let execution =
            line.find(|execution| self.log(tenant, *execution).is_some_and(|log| log.has(first_seq, origin.sequence)))?;
        (self.lineage(tenant, execution).len() < LINEAGE_DEPTH).then_some(Lineage { execution, ..origin })
    }

    fn append(&mut self, append: &Append) -> Appended {
        let log = self.logs.get(&append.execution);
        let there = log.and_then(|log| {
            let place = log.appends.binary_search_by_key(&append.first_seq, |row| row.first_seq).ok()?;
            Some((&log.tenant, &log.appends[place]))
        });
        if there.is_some_and(|(tenant, row)| *tenant == append.tenant && row.hash == append.hash) {
            return Appended::AlreadyThere;
        }
        let owned = self.partitions.get(usize::from(append.partition.0));
        if owned.is_none_or(|owned| owned.epoch != append.epoch) && !planted::has(Bug::AcceptsStaleEpochs) {
            return Appended::Fenced;
        }
        let holder = append.origin.and_then(|origin| self.holder(&append.tenant, origin, append.previous_first_seq));
        let follows = match log {
            None if append.origin.is_some() => holder.is_some(),
            None => append.first_seq == 1,
            Some(log) => {
                append.origin.is_none()
                    && log.tenant == append.tenant
                    && log.appends.last().is_some_and(|last| {
                        last.first_seq == append.previous_first_seq && last.last_seq == append.first_seq - 1
                    })
            }
        };
        if !follows {
            return Appended::Conflict;
        }
        let log = self.logs.entry(append.execution).or_insert_with(|| Log {
            tenant: append.tenant.clone(),
            partition: append.partition,
            origin: holder,
            appends: Vec::new(),
        });
        log.appends.push(StoredAppend {
            first_seq: append.first_seq,
            last_seq: append.last_seq,
            epoch: append.epoch,
            hash: append.hash,
            body: append.body.clone(),
        });
        if let Some(summary) = &append.summary {
            let listed = Listed {
                tenant: append.tenant.clone(),
                execution: append.execution,
                partition: append.partition,
                summary: summary.clone(),
            };
            self.list.insert(append.execution, listed);
        }
        match append.agenda.map(|agenda| agenda.to) {
            None => {}
            Some(Agenda::Nothing) => {
                self.agenda.remove(&append.execution);
            }
            Some(agenda) => {
                let (tenant, execution, partition) = (append.tenant.clone(), append.execution, append.partition);
                self.agenda.insert(execution, AgendaRow { tenant, execution, partition, agenda });
            }
        }
        Appended::Committed
    }
}

/// Newest first: the order of the list.
fn age(listed: &Listed) -> (std::cmp::Reverse<stepstream_shared::time::Timestamp>, std::cmp::Reverse<ExecutionId>) {
    (std::cmp::Reverse(listed.summary.created_at), std::cmp::Reverse(listed.execution))
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn meta(&self) -> Result<StoreMeta, StoreError> {
        let mut meta = self.meta.clone();
        meta.incarnation += self.kept().restores;
        Ok(meta)
    }

    fn permits(&self) -> &dyn PermitStore {
        self
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        check::batch(batch, self.meta.partitions)?;
        let mut kept = self.kept();
        let mut answers = vec![Appended::Conflict; batch.len()];
        // What continues a log sees it as it was before the batch.
        for continues in [true, false] {
            for (append, answer) in batch.iter().zip(&mut answers) {
                if append.origin.is_some() == continues {
                    *answer = kept.append(append);
                }
            }
        }
        Ok(answers)
    }

    async fn read(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredAppend>, StoreError> {
        let kept = self.kept();
        let mut line = kept.lineage(tenant, execution);
        line.insert(0, Lineage { execution, sequence: u64::MAX });
        let logs = line.iter().rev().filter_map(|each| Some((kept.log(tenant, each.execution)?, each.sequence)));
        Ok(logs.flat_map(|(log, to)| log.stretch(after, to)).take(limit as usize).cloned().collect())
    }

    async fn lineage(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Vec<Lineage>, StoreError> {
        Ok(self.kept().lineage(tenant, execution))
    }

    async fn find(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Listed>, StoreError> {
        Ok(self.kept().list.get(&execution).filter(|listed| listed.tenant == *tenant).cloned())
    }

    async fn list(
        &self,
        tenant: &TenantId,
        state: Option<&str>,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        let kept = self.kept();
        let mut rows: Vec<&Listed> = kept
            .list
            .values()
            .filter(|row| row.tenant == *tenant && state.is_none_or(|state| row.summary.state == state))
            .filter(|row| {
                after.is_none_or(|after| (row.summary.created_at, row.execution) < (after.created_at, after.execution))
            })
            .collect();
        rows.sort_by_key(|row| age(row));
        Ok(rows.into_iter().take(limit as usize).cloned().collect())
    }

    async fn list_background(
        &self,
        tenant: &TenantId,
        filter: BackgroundFilter,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        let kept = self.kept();
        let wanted = |row: &&Listed| {
            let fits = row.summary.background.is_some_and(|of| {
                filter.mode.is_none_or(|mode| of.mode == mode) && filter.status.is_none_or(|status| of.status == status)
            });
            fits && row.tenant == *tenant
                && after
                    .is_none_or(|after| (row.summary.created_at, row.execution) < (after.created_at, after.execution))
        };
        let mut rows: Vec<&Listed> = kept.list.values().filter(wanted).collect();
        rows.sort_by_key(|row| age(row));
        Ok(rows.into_iter().take(limit as usize).cloned().collect())
    }

    async fn list_dead(
        &self,
        tenant: &TenantId,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        let kept = self.kept();
        let wanted = |row: &&Listed| {
            row.summary.dead_letters > 0
                && row.tenant == *tenant
                && after
                    .is_none_or(|after| (row.summary.created_at, row.execution) < (after.created_at, after.execution))
        };
        let mut rows: Vec<&Listed> = kept.list.values().filter(wanted).collect();
        rows.sort_by_key(|row| age(row));
        Ok(rows.into_iter().take(limit as usize).cloned().collect())
    }

    async fn queued(&self, partitions: &[PartitionId], each: u32, limit: u32) -> Result<Vec<Listed>, StoreError> {
        let kept = self.kept();
        let rank = |row: &Listed| row.summary.background.and_then(|of| of.rank);
        let wanted = |row: &&Listed| rank(row).is_some() && partitions.contains(&row.partition);
        let mut rows: Vec<&Listed> = kept.list.values().filter(wanted).collect();
        rows.sort_by_key(|row| (rank(row), row.execution));
        let mut places: BTreeMap<&TenantId, u32> = BTreeMap::new();
        let mut placed: Vec<(u32, &Listed)> = Vec::with_capacity(rows.len());
        for row in rows {
            let place = places.entry(&row.tenant).or_default();
            *place += 1;
            placed.push((*place, row));
        }
        placed.retain(|(place, _)| *place <= each);
        placed.sort_by_key(|(place, _)| *place); // Stable: by rank in each place.
        Ok(placed.into_iter().take(limit as usize).map(|(_, row)| row.clone()).collect())
    }

    async fn outbox(
        &self,
        partitions: &[PartitionId],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        let kept = self.kept();
        let rows = kept.agenda.values().filter(|row| row.agenda == Agenda::Now && partitions.contains(&row.partition));
        Ok(rows.filter(|row| after.is_none_or(|after| row.execution > after)).take(limit as usize).cloned().collect())
    }

    async fn timers(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<TimerCursor>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        let kept = self.kept();
        let mut rows: Vec<(TimerCursor, &AgendaRow)> = kept
            .agenda
            .values()
            .filter(|row| partitions.contains(&row.partition))
            .filter_map(|row| Some((TimerCursor { due_at: row.agenda.due_at()?, execution: row.execution }, row)))
            .filter(|(place, _)| place.due_at < before)
            .filter(|(place, _)| {
                after.is_none_or(|after| (place.due_at, place.execution) > (after.due_at, after.execution))
            })
            .collect();
        rows.sort_by_key(|(place, _)| (place.due_at, place.execution));
        Ok(rows.into_iter().take(limit as usize).map(|(_, row)| row.clone()).collect())
    }

    async fn agenda(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Agenda, StoreError> {
        let kept = self.kept();
        let row = kept.agenda.get(&execution).filter(|row| row.tenant == *tenant);
        Ok(row.map_or(Agenda::Nothing, |row| row.agenda))
    }

    async fn clear_agenda(&self) -> Result<(), StoreError> {
        self.kept().agenda.clear();
        Ok(())
    }

    async fn write_agenda(&self, rows: &[AgendaRow]) -> Result<(), StoreError> {
        let mut kept = self.kept();
        for row in rows.iter().filter(|row| row.agenda != Agenda::Nothing) {
            kept.agenda.entry(row.execution).or_insert_with(|| row.clone());
        }
        Ok(())
    }

    async fn logged(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<(TenantId, ExecutionId, PartitionId)>, StoreError> {
        let kept = self.kept();
        let logs = kept.logs.iter().filter(|(execution, _)| after.is_none_or(|after| **execution > after));
        Ok(logs.take(limit as usize).map(|(id, log)| (log.tenant.clone(), *id, log.partition)).collect())
    }

    async fn clear_list(&self) -> Result<(), StoreError> {
        self.kept().list.clear();
        Ok(())
    }

    async fn write_list(&self, rows: &[Listed]) -> Result<(), StoreError> {
        let mut kept = self.kept();
        for row in rows {
            let newer = kept
                .list
                .get(&row.execution)
                .is_none_or(|old| old.tenant == row.tenant && old.summary.updated_at <= row.summary.updated_at);
            if newer {
                kept.list.insert(row.execution, row.clone());
            }
        }
        Ok(())
    }

    async fn snapshot(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.kept().snapshots.get(&execution).filter(|snapshot| snapshot.tenant == *tenant).cloned())
    }

    async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        check::snapshot(snapshot)?;
        let mut kept = self.kept();
        let replaces = kept
            .snapshots
            .get(&snapshot.execution)
            .is_none_or(|old| old.tenant == snapshot.tenant && old.sequence <= snapshot.sequence);
        if replaces {
            kept.snapshots.insert(snapshot.execution, snapshot.clone());
        }
        Ok(())
    }

    async fn clear_snapshots(&self) -> Result<(), StoreError> {
        self.kept().snapshots.clear();
        Ok(())
    }

    async fn put_graph(&self, tenant: &TenantId, graph: &StoredGraph) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if !kept.graphs.iter().any(|(owner, known)| owner == tenant && known.digest == graph.digest) {
            kept.graphs.push((tenant.clone(), graph.clone()));
        }
        Ok(())
    }

    async fn get_graph(&self, tenant: &TenantId, digest: &GraphDigest) -> Result<Option<StoredGraph>, StoreError> {
        let kept = self.kept();
        let found = kept.graphs.iter().find(|(owner, graph)| owner == tenant && graph.digest == *digest);
        Ok(found.map(|(_, graph)| graph.clone()))
    }

    async fn find_graph(
        &self,
        tenant: &TenantId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<StoredGraph>, StoreError> {
        let kept = self.kept();
        let found = kept.graphs.iter().rev().find(|(owner, graph)| {
            owner == tenant && graph.name == name && version.is_none_or(|version| graph.version == version)
        });
        Ok(found.map(|(_, graph)| graph.clone()))
    }

    async fn list_graphs(
        &self,
        tenant: &TenantId,
        after: Option<&GraphDigest>,
        limit: u32,
    ) -> Result<Vec<StoredGraph>, StoreError> {
        let kept = self.kept();
        let mut rows: Vec<&StoredGraph> =
            kept.graphs.iter().rev().filter(|(owner, _)| owner == tenant).map(|(_, graph)| graph).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name)); // Stable: within a name, the newest stays first.
        let start = match after {
            None => 0,
            Some(digest) => rows.iter().position(|row| row.digest == *digest).map_or(rows.len(), |place| place + 1),
        };
        Ok(rows[start..].iter().take(limit as usize).map(|row| (*row).clone()).collect())
    }

    async fn heartbeat(&self, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
        check::member(&member.id)?;
        let mut kept = self.kept();
        let now = Instant::now();
        kept.members.insert(member.id.clone(), (member.name.clone(), now + ttl));
        kept.members.retain(|id, (_, until)| *until > now || *id == member.id);
        Ok(kept.members.iter().map(|(id, (name, _))| Member { id: id.clone(), name: name.clone() }).collect())
    }

    async fn leave(&self, member: &str) -> Result<(), StoreError> {
        self.kept().members.remove(member);
        Ok(())
    }

    async fn partitions(&self) -> Result<Vec<PartitionOwner>, StoreError> {
        let kept = self.kept();
        let owners = (0_u16..).zip(&kept.partitions).map(|(id, partition)| PartitionOwner {
            partition: PartitionId(id),
            epoch: partition.epoch,
            owner: partition.owner.clone(),
            lease_expired: partition.lease_expired(),
        });
        Ok(owners.collect())
    }

    async fn begin_incarnation(&self) -> Result<u64, StoreError> {
        let mut kept = self.kept();
        kept.restores += 1;
        let incarnation = self.meta.incarnation + kept.restores;
        let partition = Partition { epoch: first_epoch(incarnation), ..Partition::default() };
        kept.partitions.fill(partition);
        kept.members.clear();
        Ok(incarnation)
    }

    async fn acquire(
        &self,
        partition: PartitionId,
        member: &str,
        ttl: Duration,
        force: bool,
    ) -> Result<Option<u64>, StoreError> {
        check::member(member)?;
        let mut kept = self.kept();
        let Some(row) = kept.partitions.get_mut(usize::from(partition.0)) else { return Ok(None) };
        if !force && row.owner.is_some() && !row.lease_expired() {
            return Ok(None);
        }
        row.owner = Some(member.to_owned());
        row.epoch += 1;
        row.lease_until = Some(Instant::now() + ttl);
        Ok(Some(row.epoch))
    }

    async fn renew(
        &self,
        member: &str,
        held: &[(PartitionId, u64)],
        ttl: Duration,
    ) -> Result<Vec<PartitionId>, StoreError> {
        let mut kept = self.kept();
        let mut ours = Vec::with_capacity(held.len());
        for (partition, epoch) in held {
            if let Some(row) = kept.partitions.get_mut(usize::from(partition.0))
                && row.epoch == *epoch
                && row.owner.as_deref() == Some(member)
            {
                row.lease_until = Some(Instant::now() + ttl);
                ours.push(*partition);
            }
        }
        ours.sort_unstable();
        Ok(ours)
    }

    async fn release(&self, member: &str, partition: PartitionId, epoch: u64) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if let Some(row) = kept.partitions.get_mut(usize::from(partition.0))
            && row.epoch == epoch
            && row.owner.as_deref() == Some(member)
        {
            row.owner = None;
            row.lease_until = None;
        }
        Ok(())
    }
}
