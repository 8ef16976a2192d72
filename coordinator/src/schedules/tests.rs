//! Schedules in virtual time: crashes at every place, two owners, and people who change them meanwhile.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stepstream_runtime::clock::ManualClock;
use stepstream_shared::graph::Source;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId, TriggerId};
use stepstream_shared::schedule::{Definition, Firing, FiringKind, ScheduleState, firing_id};
use stepstream_shared::time::Timestamp;

use super::attend::{AttendError, Begun, NotBegun, RunState, Runs, attend, definition_of, state_of};
use crate::error::ServiceError;
use crate::ports::{DueCursor, ScheduleStore, ScheduleWritten, StoreError, StoredSchedule};
use crate::store::MemoryStore;

const NOON: &str = "2026-01-01T12:00:00Z";

fn at(seconds: u64) -> Timestamp {
    NOON.parse::<Timestamp>().unwrap().after(Duration::from_secs(seconds))
}

fn id() -> TriggerId {
    TriggerId::derived("stepstream tests 2026 schedule", &[b"one"])
}

fn run_of(seconds: u64) -> ExecutionId {
    firing_id(&TenantId::default_tenant(), id(), at(seconds))
}

/// Executions without an engine, and how often each was asked to begin.
#[derive(Default)]
struct Fake {
    states: Mutex<BTreeMap<ExecutionId, (RunState, u32)>>,
    ended: Mutex<Vec<ExecutionId>>,
    /// There is no graph.
    never: AtomicBool,
    /// Nobody owns the partition.
    unavailable: AtomicBool,
}

impl Fake {
    fn is(&self, seconds: u64, state: RunState) {
        self.states.lock().unwrap().entry(run_of(seconds)).or_insert((state, 0)).0 = state;
    }

    fn begun(&self) -> usize {
        self.states.lock().unwrap().len()
    }

    fn asked(&self, seconds: u64) -> u32 {
        self.states.lock().unwrap().get(&run_of(seconds)).map_or(0, |(_, asked)| *asked)
    }
}

#[async_trait]
impl Runs for Fake {
    async fn begin(&self, _: &TenantId, execution: ExecutionId, _: Firing<'_>) -> Result<Begun, NotBegun> {
        if self.unavailable.load(Ordering::SeqCst) {
            return Err(NotBegun::Yet(ServiceError::Unavailable("nobody is there".to_owned())));
        }
        if self.never.load(Ordering::SeqCst) {
            return Err(NotBegun::Never("there is no graph".to_owned()));
        }
        let mut states = self.states.lock().unwrap();
        let there = states.contains_key(&execution);
        states.entry(execution).or_insert((RunState::Open, 0)).1 += 1;
        Ok(if there { Begun::Before } else { Begun::Now })
    }

    async fn look(&self, _: &TenantId, execution: ExecutionId) -> Result<RunState, ServiceError> {
        Ok(self.states.lock().unwrap().get(&execution).map_or(RunState::Absent, |(state, _)| *state))
    }

    async fn end(&self, _: &TenantId, _: TriggerId, execution: ExecutionId) -> Result<(), ServiceError> {
        self.ended.lock().unwrap().push(execution);
        Ok(())
    }
}

/// What somebody else does to a schedule.
type Change = fn(&Definition, &mut ScheduleState, Timestamp);

/// A store whose next write is lost with its writer, or comes after somebody else's.
struct Rough {
    inner: MemoryStore,
    dies: AtomicBool,
    /// What somebody else writes right before the next write.
    intruder: Mutex<Option<Change>>,
}

#[async_trait]
impl ScheduleStore for Rough {
    async fn write_schedule(&self, row: &StoredSchedule) -> Result<ScheduleWritten, StoreError> {
        if self.dies.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Unavailable(anyhow::anyhow!("the process is gone")));
        }
        let intruder = self.intruder.lock().unwrap().take();
        if let Some(change) = intruder {
            let there = self.inner.schedule(&row.tenant, row.id).await?.unwrap();
            let mut state = state_of(&there).unwrap();
            change(&definition_of(&there).unwrap(), &mut state, at(10));
            let state = serde_json::to_string(&state).unwrap();
            let theirs = StoredSchedule { version: there.version + 1, state, next_at: None, ..there };
            assert_eq!(self.inner.write_schedule(&theirs).await?, ScheduleWritten::Done);
        }
        self.inner.write_schedule(row).await
    }

    async fn remove_schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<bool, StoreError> {
        self.inner.remove_schedule(tenant, id).await
    }

    async fn schedule(&self, tenant: &TenantId, id: TriggerId) -> Result<Option<StoredSchedule>, StoreError> {
        self.inner.schedule(tenant, id).await
    }

    async fn schedule_named(&self, tenant: &TenantId, name: &str) -> Result<Option<StoredSchedule>, StoreError> {
        self.inner.schedule_named(tenant, name).await
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

struct World {
    store: Rough,
    fake: Fake,
    clock: ManualClock,
}

impl World {
    /// With a schedule that fires every ten seconds from noon on.
    async fn new(fields: &str) -> Self {
        let inner = MemoryStore::new(1);
        let text = format!("name: s\ngraph: g\nevery: 10s\n{fields}");
        let definition = Definition::read(&Source { name: "s.yaml", text: &text }, None).unwrap();
        let row = StoredSchedule {
            tenant: TenantId::default_tenant(),
            id: id(),
            partition: PartitionId(0),
            name: "s".to_owned(),
            version: 1,
            next_at: Some(at(0)),
            definition: definition.document().to_owned(),
            state: serde_json::to_string(&ScheduleState::new(at(0))).unwrap(),
        };
        assert_eq!(inner.write_schedule(&row).await.unwrap(), ScheduleWritten::Done);
        let store = Rough { inner, dies: AtomicBool::new(false), intruder: Mutex::new(None) };
        World { store, fake: Fake::default(), clock: ManualClock::at(at(0)) }
    }

    async fn at(&self, seconds: u64) -> Result<(), AttendError> {
        self.clock.set(at(seconds));
        attend(&self.store, &self.fake, &self.clock, &TenantId::default_tenant(), id()).await
    }

    async fn row(&self) -> StoredSchedule {
        self.store.schedule(&TenantId::default_tenant(), id()).await.unwrap().unwrap()
    }

    async fn state(&self) -> ScheduleState {
        state_of(&self.row().await).unwrap()
    }
}

#[tokio::test]
async fn a_firing_is_one_execution_and_one_change_of_the_row() {
    let world = World::new("").await;
    world.at(0).await.unwrap();
    let row = world.row().await;
    assert_eq!((row.next_at, row.version), (Some(at(10)), 2));
    world.at(10).await.unwrap();
    let row = world.row().await;
    assert_eq!((row.next_at, row.version, world.fake.begun()), (Some(at(20)), 3, 1));
    // Looked at too early, or again, nothing happens.
    world.at(12).await.unwrap();
    assert_eq!(world.row().await, row);
}

#[tokio::test]
async fn whoever_comes_after_a_crash_finds_what_was_started() {
    let world = World::new("overlap: allow_all").await;
    world.store.dies.store(true, Ordering::SeqCst);
    assert!(world.at(10).await.unwrap_err().is_passing());
    assert_eq!((world.fake.begun(), world.state().await.counts.started), (1, 0));
    world.at(11).await.unwrap();
    assert_eq!((world.fake.begun(), world.fake.asked(10), world.state().await.counts.started), (1, 2, 1));
}

#[tokio::test]
async fn what_was_started_before_a_crash_is_not_missed_however_late_somebody_comes() {
    let world = World::new("overlap: allow_all\ncatch_up: 15s").await;
    world.store.dies.store(true, Ordering::SeqCst);
    world.at(10).await.unwrap_err();
    world.at(100).await.unwrap();
    let counts = world.state().await.counts;
    assert_eq!((counts.started, counts.missed, world.fake.begun()), (3, 7, 3), "10, 90 and 100");
}

#[tokio::test]
async fn a_crash_at_any_write_loses_and_doubles_nothing() {
    for overlap in ["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"] {
        for dies_at in 1..12 {
            let world = World::new(&format!("overlap: {overlap}")).await;
            for second in 1..=65 {
                if second == dies_at * 5 {
                    world.store.dies.store(true, Ordering::SeqCst);
                }
                let _ = world.at(second).await; // The next second tries again.
                if second % 15 == 0 {
                    for run in world.state().await.running {
                        world.fake.states.lock().unwrap().get_mut(&run.execution).unwrap().0 =
                            RunState::Ended { failed: false };
                    }
                }
            }
            let state = world.state().await;
            let counts = &state.counts;
            let dealt_with = counts.started + counts.skipped + counts.missed + state.pending.len() as u64;
            assert_eq!(dealt_with, 6, "{overlap}, {dies_at}: {state:?}");
            assert_eq!(counts.started, world.fake.begun() as u64, "{overlap}, {dies_at}");
        }
    }
}

#[tokio::test]
async fn two_owners_do_what_one_does() {
    let world = World::new("overlap: allow_all").await;
    world.clock.set(at(30));
    let tenant = TenantId::default_tenant();
    let attending = || attend(&world.store, &world.fake, &world.clock, &tenant, id());
    let (a, b, c) = tokio::join!(attending(), attending(), attending());
    assert!([a, b, c].iter().all(Result::is_ok));
    world.at(30).await.unwrap();
    let counts = world.state().await.counts;
    assert_eq!((counts.started, world.fake.begun()), (3, 3));
}

#[tokio::test]
async fn a_pause_that_comes_in_between_is_kept_and_so_is_what_was_started() {
    let world = World::new("").await;
    *world.store.intruder.lock().unwrap() = Some(|_, state, now| state.pause("ann", "stop", now));
    world.at(10).await.unwrap();
    let state = world.state().await;
    assert_eq!((state.counts.started, state.paused.is_some(), world.fake.begun()), (1, true, 1));
    world.at(25).await.unwrap();
    assert_eq!((world.row().await.next_at, world.fake.begun()), (None, 1));
}

#[tokio::test]
async fn a_schedule_that_is_deleted_meanwhile_is_gone() {
    let world = World::new("").await;
    assert!(world.store.remove_schedule(&TenantId::default_tenant(), id()).await.unwrap());
    world.at(10).await.unwrap();
    assert_eq!(world.fake.begun(), 0);
}

#[tokio::test]
async fn an_end_is_read_from_the_store_and_the_next_one_begins() {
    let world = World::new("overlap: buffer_one").await;
    world.at(10).await.unwrap();
    world.at(20).await.unwrap();
    let row = world.row().await;
    assert_eq!(row.next_at, Some(at(23)), "it is looked at again soon");
    world.at(21).await.unwrap();
    assert_eq!(world.row().await, row, "looking too early changes nothing");
    world.at(23).await.unwrap();
    assert_eq!(world.row().await.next_at, Some(at(26)), "whoever is due before comes first");
    world.at(28).await.unwrap();
    assert_eq!(world.row().await.next_at, Some(at(30)), "its own nominal time does not wait");
    world.fake.is(10, RunState::Ended { failed: true });
    world.at(29).await.unwrap();
    assert_eq!((world.fake.begun(), world.state().await.counts.started), (2, 2));
}

#[tokio::test]
async fn the_running_one_is_cancelled_once_and_its_end_awaited() {
    let world = World::new("overlap: cancel_other").await;
    world.at(10).await.unwrap();
    world.at(20).await.unwrap();
    world.at(21).await.unwrap();
    assert_eq!((world.fake.ended.lock().unwrap().clone(), world.fake.begun()), (vec![run_of(10)], 1));
    world.fake.is(10, RunState::Ended { failed: false });
    world.at(22).await.unwrap();
    assert_eq!(world.fake.asked(20), 1);
}

#[tokio::test]
async fn a_failure_pauses_soon_after_it() {
    let world = World::new("pause_on_failure: true").await;
    world.at(10).await.unwrap();
    world.fake.is(10, RunState::Ended { failed: true });
    world.at(11).await.unwrap();
    let state = world.state().await;
    assert_eq!(state.paused.map(|paused| paused.since), Some(at(11)));
    assert_eq!(world.row().await.next_at, None);
}

#[tokio::test]
async fn what_can_never_be_started_is_shown_and_what_cannot_be_yet_is_tried_again() {
    let world = World::new("overlap: allow_all").await;
    world.fake.unavailable.store(true, Ordering::SeqCst);
    assert!(world.at(10).await.unwrap_err().is_passing());
    world.fake.unavailable.store(false, Ordering::SeqCst);
    world.at(12).await.unwrap();
    assert_eq!(world.fake.asked(10), 1);
    world.fake.never.store(true, Ordering::SeqCst);
    world.at(20).await.unwrap();
    let state = world.state().await;
    assert_eq!((state.counts.failed, state.recent.last().unwrap().problem.as_deref()), (1, Some("there is no graph")));
    assert_eq!(world.row().await.next_at, Some(at(30)));
}

#[tokio::test]
async fn a_backfill_of_what_was_carried_out_starts_nothing() {
    let world = World::new("overlap: allow_all").await;
    world.at(10).await.unwrap();
    let row = world.row().await;
    let mut state = state_of(&row).unwrap();
    let past = Timestamp::from_micros(at(0).as_micros() - 10_000_000);
    state.backfill(&[past, at(0), at(10)], true).unwrap();
    assert!(state.pending.iter().all(|pending| pending.kind == FiringKind::Backfill));
    let changed = StoredSchedule { version: row.version + 1, state: serde_json::to_string(&state).unwrap(), ..row };
    assert_eq!(world.store.write_schedule(&changed).await.unwrap(), ScheduleWritten::Done);
    world.at(11).await.unwrap();
    let state = world.state().await;
    assert_eq!((state.counts.backfilled, state.pending.len(), world.fake.begun()), (2, 0, 3));
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_no_reason_to_try_at_once() {
    let world = World::new("").await;
    let row = world.row().await;
    let odd = StoredSchedule { version: row.version + 1, state: "{".to_owned(), ..row };
    assert_eq!(world.store.write_schedule(&odd).await.unwrap(), ScheduleWritten::Done);
    assert!(!world.at(10).await.unwrap_err().is_passing());
}
