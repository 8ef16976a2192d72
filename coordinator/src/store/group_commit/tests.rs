use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId, TriggerId};
use stepstream_shared::time::Timestamp;
use tokio::sync::Semaphore;

use super::*;
use crate::ports::{
    Agenda, AgendaRow, BackgroundFilter, DueCursor, Lineage, ListCursor, Listed, Member, PartitionOwner, ScheduleStore,
    ScheduleWritten, Snapshot, StoreMeta, StoredAppend, StoredGraph, StoredSchedule, TimerCursor,
};
use crate::store::MemoryStore;

const PARTITIONS: u16 = 8;

/// What the store does with the next batch.
enum Mood {
    /// Writes it and says that it does not know.
    UnknownButWritten,
    /// Does not write it and says that it does not know.
    UnknownAndLost,
    Unavailable,
    Full,
    /// Refuses batches that hold this execution.
    Refuses(ExecutionId),
}

/// A memory store that has moods, waits for leave to commit, and remembers the batches it was given.
struct Moody {
    inner: MemoryStore,
    moods: Mutex<VecDeque<Mood>>,
    leave: Semaphore,
    batches: Mutex<Vec<Vec<(ExecutionId, u64)>>>,
}

impl Moody {
    async fn new(moods: impl IntoIterator<Item = Mood>) -> Arc<Self> {
        let inner = MemoryStore::new(PARTITIONS);
        for partition in 0..PARTITIONS {
            inner.acquire(PartitionId(partition), "a", Duration::from_secs(3600), false).await.unwrap();
        }
        let moods = Mutex::new(moods.into_iter().collect());
        Arc::new(Moody { inner, moods, leave: Semaphore::new(1 << 20), batches: Mutex::default() })
    }

    fn batches(&self) -> Vec<Vec<(ExecutionId, u64)>> {
        self.batches.lock().unwrap().clone()
    }
}

fn cause() -> anyhow::Error {
    anyhow::anyhow!("the line broke")
}

#[async_trait]
impl ScheduleStore for Moody {
    async fn write_schedule(&self, row: &StoredSchedule) -> Result<ScheduleWritten, StoreError> {
        self.inner.write_schedule(row).await
    }
    async fn remove_schedule(&self, t: &TenantId, id: TriggerId) -> Result<bool, StoreError> {
        self.inner.remove_schedule(t, id).await
    }
    async fn schedule(&self, t: &TenantId, id: TriggerId) -> Result<Option<StoredSchedule>, StoreError> {
        self.inner.schedule(t, id).await
    }
    async fn schedule_named(&self, t: &TenantId, name: &str) -> Result<Option<StoredSchedule>, StoreError> {
        self.inner.schedule_named(t, name).await
    }
    async fn list_schedules(&self, t: &TenantId, a: Option<&str>, l: u32) -> Result<Vec<StoredSchedule>, StoreError> {
        self.inner.list_schedules(t, a, l).await
    }
    async fn due_schedules(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<DueCursor>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        self.inner.due_schedules(partitions, before, after, limit).await
    }
}

#[async_trait]
impl EventStore for Moody {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        self.batches.lock().unwrap().push(batch.iter().map(|append| (append.execution, append.first_seq)).collect());
        self.leave.acquire().await.unwrap().forget();
        let mood = self.moods.lock().unwrap().pop_front();
        match mood {
            None => self.inner.append(batch).await,
            Some(Mood::UnknownButWritten) => {
                self.inner.append(batch).await?;
                Err(StoreError::Unknown(cause()))
            }
            Some(Mood::UnknownAndLost) => Err(StoreError::Unknown(cause())),
            Some(Mood::Unavailable) => Err(StoreError::Unavailable(cause())),
            Some(Mood::Full) => Err(StoreError::Exhausted { reason: "the disk is full".to_owned() }),
            Some(Mood::Refuses(hated)) => {
                let refuse = batch.iter().any(|append| append.execution == hated);
                self.moods.lock().unwrap().push_front(Mood::Refuses(hated));
                if refuse {
                    return Err(StoreError::Refused { reason: "not this one".to_owned() });
                }
                self.inner.append(batch).await
            }
        }
    }

    async fn meta(&self) -> Result<StoreMeta, StoreError> {
        self.inner.meta().await
    }
    fn permits(&self) -> &dyn crate::ports::PermitStore {
        self.inner.permits()
    }
    async fn read(&self, t: &TenantId, e: ExecutionId, a: u64, l: u32) -> Result<Vec<StoredAppend>, StoreError> {
        self.inner.read(t, e, a, l).await
    }
    async fn lineage(&self, t: &TenantId, e: ExecutionId) -> Result<Vec<Lineage>, StoreError> {
        self.inner.lineage(t, e).await
    }
    async fn find(&self, t: &TenantId, e: ExecutionId) -> Result<Option<Listed>, StoreError> {
        self.inner.find(t, e).await
    }
    async fn list(
        &self,
        t: &TenantId,
        s: Option<&str>,
        a: Option<ListCursor>,
        l: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(t, s, a, l).await
    }

    async fn list_background(
        &self,
        tenant: &TenantId,
        filter: BackgroundFilter,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.inner.list_background(tenant, filter, after, limit).await
    }

    async fn list_dead(
        &self,
        tenant: &TenantId,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.inner.list_dead(tenant, after, limit).await
    }

    async fn queued(&self, partitions: &[PartitionId], each: u32, limit: u32) -> Result<Vec<Listed>, StoreError> {
        self.inner.queued(partitions, each, limit).await
    }
    async fn outbox(
        &self,
        partitions: &[PartitionId],
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        self.inner.outbox(partitions, after, limit).await
    }

    async fn timers(
        &self,
        partitions: &[PartitionId],
        before: Timestamp,
        after: Option<TimerCursor>,
        limit: u32,
    ) -> Result<Vec<AgendaRow>, StoreError> {
        self.inner.timers(partitions, before, after, limit).await
    }

    async fn agenda(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Agenda, StoreError> {
        self.inner.agenda(tenant, execution).await
    }

    async fn clear_agenda(&self) -> Result<(), StoreError> {
        self.inner.clear_agenda().await
    }

    async fn write_agenda(&self, rows: &[AgendaRow]) -> Result<(), StoreError> {
        self.inner.write_agenda(rows).await
    }
    async fn logged(
        &self,
        a: Option<ExecutionId>,
        l: u32,
    ) -> Result<Vec<(TenantId, ExecutionId, PartitionId)>, StoreError> {
        self.inner.logged(a, l).await
    }
    async fn clear_list(&self) -> Result<(), StoreError> {
        self.inner.clear_list().await
    }
    async fn write_list(&self, rows: &[Listed]) -> Result<(), StoreError> {
        self.inner.write_list(rows).await
    }
    async fn snapshot(&self, t: &TenantId, e: ExecutionId) -> Result<Option<Snapshot>, StoreError> {
        self.inner.snapshot(t, e).await
    }
    async fn put_snapshot(&self, s: &Snapshot) -> Result<(), StoreError> {
        self.inner.put_snapshot(s).await
    }
    async fn clear_snapshots(&self) -> Result<(), StoreError> {
        self.inner.clear_snapshots().await
    }
    async fn put_graph(&self, t: &TenantId, g: &StoredGraph) -> Result<(), StoreError> {
        self.inner.put_graph(t, g).await
    }
    async fn get_graph(&self, t: &TenantId, d: &GraphDigest) -> Result<Option<StoredGraph>, StoreError> {
        self.inner.get_graph(t, d).await
    }
    async fn find_graph(&self, t: &TenantId, n: &str, v: Option<&str>) -> Result<Option<StoredGraph>, StoreError> {
        self.inner.find_graph(t, n, v).await
    }
    async fn list_graphs(&self, t: &TenantId, a: Option<&GraphDigest>, l: u32) -> Result<Vec<StoredGraph>, StoreError> {
        self.inner.list_graphs(t, a, l).await
    }
    async fn heartbeat(&self, m: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
        self.inner.heartbeat(m, ttl).await
    }
    async fn leave(&self, m: &str) -> Result<(), StoreError> {
        self.inner.leave(m).await
    }
    async fn partitions(&self) -> Result<Vec<PartitionOwner>, StoreError> {
        self.inner.partitions().await
    }
    async fn begin_incarnation(&self) -> Result<u64, StoreError> {
        self.inner.begin_incarnation().await
    }
    async fn acquire(&self, p: PartitionId, m: &str, ttl: Duration, f: bool) -> Result<Option<u64>, StoreError> {
        self.inner.acquire(p, m, ttl, f).await
    }
    async fn renew(&self, m: &str, held: &[(PartitionId, u64)], ttl: Duration) -> Result<Vec<PartitionId>, StoreError> {
        self.inner.renew(m, held, ttl).await
    }
    async fn release(&self, m: &str, p: PartitionId, e: u64) -> Result<(), StoreError> {
        self.inner.release(m, p, e).await
    }
}

fn execution(number: u64) -> ExecutionId {
    ExecutionId::derived("stepstream tests 2026 group commit", &[&number.to_le_bytes()])
}

/// The `n`th append of one event.
fn append(number: u64, n: u64) -> Append {
    let execution = execution(number);
    let mut hash = [1; 32];
    hash[..8].copy_from_slice(&number.to_le_bytes());
    hash[8..16].copy_from_slice(&n.to_le_bytes());
    Append {
        tenant: TenantId::default_tenant(),
        execution,
        partition: PartitionId::of(execution, PARTITIONS),
        epoch: 1,
        first_seq: n,
        last_seq: n,
        previous_first_seq: n - 1,
        origin: None,
        hash,
        body: Bytes::from_static(b"body"),
        summary: None,
        agenda: None,
    }
}

fn lanes(store: &Arc<Moody>) -> GroupCommit {
    GroupCommit::new(store.clone(), 1, CancellationToken::new())
}

async fn receive(completions: &mut Completions, count: usize) -> Vec<Completion> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(completions.next().await.expect("more completions"));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn what_gathers_while_a_batch_commits_becomes_the_next_batch() {
    let store = Moody::new([]).await;
    store.leave.forget_permits(1 << 20);
    let (mut submitter, mut completions) = lanes(&store).port(100);
    submitter.submit(append(0, 1), 0).unwrap();
    while store.batches().is_empty() {
        tokio::task::yield_now().await;
    }
    for number in 1..=50 {
        submitter.submit(append(number, 1), number).unwrap();
    }
    store.leave.add_permits(2);
    let done = receive(&mut completions, 51).await;
    assert!(done.iter().all(|(_, result)| *result.as_ref().unwrap() == Appended::Committed));
    assert_eq!(store.batches().iter().map(Vec::len).collect::<Vec<_>>(), [1, 50]);
}

#[tokio::test(start_paused = true)]
async fn appends_of_one_execution_keep_their_order_and_never_share_a_batch() {
    let store = Moody::new([]).await;
    let (mut submitter, mut completions) = lanes(&store).port(1000);
    let mut ticket = 0;
    for n in 1..=4 {
        for number in 0..10 {
            submitter.submit(append(number, n), ticket).unwrap();
            ticket += 1;
        }
    }
    let done = receive(&mut completions, 40).await;
    assert!(done.iter().all(|(_, result)| *result.as_ref().unwrap() == Appended::Committed), "{done:?}");
    assert_eq!(done.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    assert_eq!(store.batches().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_bounded_in_appends_and_in_bytes() {
    let store = Moody::new([]).await;
    let (mut submitter, mut completions) = lanes(&store).port(10_000);
    for number in 0..1100 {
        submitter.submit(append(number, 1), number).unwrap();
    }
    receive(&mut completions, 1100).await;
    assert!(store.batches().iter().all(|batch| batch.len() <= 512));
    assert!(store.batches().len() <= 4, "and not smaller than it must be");

    let before = store.batches().len();
    for number in 2000..2005 {
        let mut big = append(number, 1);
        // The third is larger than a batch may be and goes alone.
        big.body = vec![0; if number == 2002 { 20 << 20 } else { 3 << 20 }].into();
        submitter.submit(big, number).unwrap();
    }
    receive(&mut completions, 5).await;
    assert_eq!(store.batches()[before..].iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_resolved_before_anything_else_is_written() {
    let moods = [Mood::UnknownButWritten, Mood::UnknownAndLost, Mood::Unavailable, Mood::UnknownAndLost];
    let store = Moody::new(moods).await;
    let lanes = lanes(&store);
    assert_eq!(lanes.append(append(1, 1)).await.unwrap(), Appended::AlreadyThere);
    assert_eq!(store.batches(), vec![vec![(execution(1), 1)]; 5]);
    assert_eq!(lanes.append(append(1, 2)).await.unwrap(), Appended::Committed);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_given_up_and_says_whether_something_may_have_been_written() {
    let store = Moody::new(std::iter::repeat_with(|| Mood::Unavailable).take(1000)).await;
    let error = lanes(&store).append(append(1, 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(store.batches().len() > 10, "it was tried more than once or twice");

    let moods = std::iter::once(Mood::UnknownAndLost).chain(std::iter::repeat_with(|| Mood::Unavailable).take(1000));
    let store = Moody::new(moods).await;
    let error = lanes(&store).append(append(1, 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_reaches_every_append_of_the_batch_and_the_lane_goes_on() {
    let store = Moody::new([Mood::Full]).await;
    let (mut submitter, mut completions) = lanes(&store).port(10);
    for number in 0..3 {
        submitter.submit(append(number, 1), number).unwrap();
    }
    for (_, result) in receive(&mut completions, 3).await {
        let error = result.unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }
    submitter.submit(append(0, 1), 9).unwrap();
    assert_eq!(receive(&mut completions, 1).await[0].1.as_ref().unwrap(), &Appended::Committed);
}

#[tokio::test(start_paused = true)]
async fn one_append_that_the_store_refuses_does_not_take_the_batch_with_it() {
    let store = Moody::new([Mood::Refuses(execution(1))]).await;
    let (mut submitter, mut completions) = lanes(&store).port(10);
    for number in 0..3 {
        submitter.submit(append(number, 1), number).unwrap();
    }
    for (ticket, result) in receive(&mut completions, 3).await {
        assert_eq!(matches!(result, Err(StoreError::Refused { .. })), ticket == 1, "{ticket}: {result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_submitter_takes_no_more_than_its_capacity_until_completions_are_received() {
    let store = Moody::new([]).await;
    let (mut submitter, mut completions) = lanes(&store).port(3);
    for number in 0..3 {
        submitter.submit(append(number, 1), number).unwrap();
    }
    let refused = submitter.submit(append(3, 1), 3).unwrap_err();
    let SubmitError::Full(back) = refused else { panic!("{refused:?}") };
    assert_eq!(*back, append(3, 1));
    receive(&mut completions, 3).await;
    assert_eq!(submitter.free(), 3);
    submitter.submit(*back, 3).unwrap();
    receive(&mut completions, 1).await;
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_what_was_taken_is_committed_and_no_more_is_taken() {
    let store = Moody::new([]).await;
    store.leave.forget_permits(1 << 20);
    let shutdown = CancellationToken::new();
    let lanes = GroupCommit::new(store.clone(), 1, shutdown.clone());
    let (mut submitter, mut completions) = lanes.port(100);
    for number in 0..20 {
        submitter.submit(append(number, 1), number).unwrap();
    }
    shutdown.cancel();
    store.leave.add_permits(100);
    let done = receive(&mut completions, 20).await;
    assert!(done.iter().all(|(_, result)| *result.as_ref().unwrap() == Appended::Committed));
    lanes.ended().await;
    assert!(matches!(submitter.submit(append(50, 1), 50), Err(SubmitError::Closed(_))));
    assert!(matches!(lanes.append(append(51, 1)).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_gone_disturbs_nobody() {
    let store = Moody::new([]).await;
    let lanes = lanes(&store);
    let (mut submitter, completions) = lanes.port(10);
    submitter.submit(append(0, 1), 0).unwrap();
    drop(completions);
    let gone = lanes.append(append(1, 1));
    assert!(tokio::time::timeout(Duration::ZERO, gone).await.is_err());
    assert_eq!(lanes.append(append(2, 1)).await.unwrap(), Appended::Committed);
}
