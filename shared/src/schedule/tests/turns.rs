//! What a schedule does, turn by turn.

use std::time::Duration;

use super::*;
use crate::id::{ExecutionId, TenantId};

const NOON: &str = "2026-01-01T12:00:00Z";

/// A schedule that fires every ten seconds from noon on, and a clock.
struct World {
    schedule: Definition,
    state: ScheduleState,
    now: Timestamp,
    started: Vec<u64>,
    cancelled: usize,
}

fn execution(time: Timestamp) -> ExecutionId {
    firing_id(&TenantId::default_tenant(), id(), time)
}

fn second(number: u64) -> Timestamp {
    at(NOON).after(Duration::from_secs(number))
}

impl World {
    fn new(fields: &str) -> Self {
        let schedule = schedule(&format!("every: 10s\n{fields}"));
        World { schedule, state: ScheduleState::new(at(NOON)), now: at(NOON), started: Vec::new(), cancelled: 0 }
    }

    /// Does everything that is to be done at this second after noon. Answers when it wants to be asked again.
    fn at(&mut self, number: u64) -> (Option<Timestamp>, bool) {
        self.now = second(number);
        loop {
            match self.state.turn(id(), &self.schedule, self.now) {
                Turn::Start(firing) => {
                    self.started.push(firing.time.since(at(NOON)).as_secs());
                    self.state.started(&self.schedule, &firing, execution(firing.time), self.now);
                }
                Turn::Cancel(executions) => {
                    self.cancelled += executions.len();
                    self.state.cancelled(&executions);
                }
                Turn::Look(_) => self.state.settle_missed(id(), &self.schedule, &[], self.now),
                Turn::Rest { at, watch } => return (at, watch),
            }
        }
    }

    fn ends(&mut self, number: u64) {
        self.state.ended(&self.schedule, execution(second(number)), false, self.now);
    }
}

#[test]
fn what_overlaps_is_skipped_unless_said_otherwise() {
    let mut world = World::new("");
    assert_eq!(world.at(5), (Some(second(10)), false));
    assert_eq!(world.at(10), (Some(second(20)), false));
    world.at(20);
    world.at(31);
    assert_eq!((world.started.clone(), world.state.counts.skipped), (vec![10], 2));
    world.ends(10);
    world.at(40);
    assert_eq!(world.started, [10, 40]);
}

#[test]
fn one_waits_and_no_more() {
    let mut world = World::new("overlap: buffer_one");
    world.at(10);
    assert_eq!(world.at(20), (Some(second(30)), true), "the end is looked after, because another one waits");
    world.at(30);
    assert_eq!((world.state.pending.len(), world.state.counts.skipped), (1, 1));
    world.ends(10);
    world.at(32);
    assert_eq!(world.started, [10, 20]);
}

#[test]
fn as_many_wait_as_may() {
    let mut world = World::new("overlap: buffer_all\nmax_buffered: 2");
    world.at(10);
    world.at(55);
    assert_eq!((world.state.pending.len(), world.state.counts.skipped), (2, 2));
    for done in [10, 20, 30] {
        world.ends(done);
        world.at(56);
    }
    assert_eq!(world.started, [10, 20, 30]);
}

#[test]
fn the_latest_takes_the_place_of_the_others_when_they_have_ended() {
    let mut world = World::new("overlap: cancel_other");
    world.at(10);
    assert_eq!(world.at(20), (Some(second(30)), true));
    assert_eq!((world.started.clone(), world.cancelled), (vec![10], 1));
    world.at(30);
    assert_eq!((world.cancelled, world.state.counts.skipped), (1, 1), "asked to end once");
    world.ends(10);
    world.at(31);
    assert_eq!(world.started, [10, 30]);
}

#[test]
fn whatever_runs_does_not_matter_if_all_may() {
    let mut world = World::new("overlap: allow_all");
    assert_eq!(world.at(35), (Some(second(40)), false));
    assert_eq!((world.started.clone(), world.state.running.len()), (vec![10, 20, 30], 0));
}

#[test]
fn what_is_too_late_is_missed_and_counted() {
    let mut world = World::new("catch_up: 15s\noverlap: allow_all");
    world.at(100);
    assert_eq!((world.started.clone(), world.state.counts.missed), (vec![90, 100], 8));
    assert_eq!(world.state.cursor, second(100));
}

#[test]
fn what_was_started_by_somebody_who_could_not_say_so_is_not_missed() {
    let mut world = World::new("catch_up: 15s\noverlap: allow_all");
    world.now = second(100);
    let Turn::Look(times) = world.state.turn(id(), &world.schedule, world.now) else { panic!("too late") };
    assert_eq!(times, [10, 20, 30, 40, 50, 60, 70, 80].map(second));
    let found = [10, 30].map(|time| (second(time), execution(second(time))));
    world.state.settle_missed(id(), &world.schedule, &found, world.now);
    assert_eq!((world.state.counts.started, world.state.counts.missed), (2, 6));
}

#[test]
fn a_long_absence_does_not_take_long_to_get_over() {
    let mut world = World::new("");
    world.at(10_000_000);
    assert_eq!(world.started.len(), 1, "the others overlap");
    assert!(world.state.counts.missed >= MAX_COUNTED);
    assert_eq!(world.state.cursor, second(10_000_000));
}

#[test]
fn a_pause_holds_and_resuming_makes_up_for_nothing() {
    let mut world = World::new("overlap: allow_all");
    world.at(10);
    world.state.pause("ann", "maintenance", second(12));
    world.state.pause("bob", "again", second(13));
    assert_eq!(world.state.paused.as_ref().map(|paused| paused.by.as_str()), Some("ann"));
    assert_eq!(world.at(45), (None, false));
    assert_eq!(world.state.status(&world.schedule), Status::Paused);
    world.state.resume(id(), &world.schedule, second(45));
    world.at(45);
    world.at(50);
    assert_eq!((world.started.clone(), world.state.counts.missed), (vec![10, 50], 0));
    assert_eq!(world.state.revision, 3);
}

#[test]
fn a_pause_passes_over_nothing_that_is_to_be_carried_out_after_it() {
    let schedule = schedule("cron: '0 0 * * *'\njitter: 24h");
    let midnight = at("2026-01-02T00:00:00Z");
    let fires = schedule.timing.fires_at(id(), midnight);
    assert!(fires > midnight.after(Duration::from_secs(60)), "the test needs a delay: {fires}");
    let pause_at = |begin: Timestamp, end: Timestamp| {
        let mut state = ScheduleState::new(at("2026-01-01T12:00:00Z"));
        state.pause("ann", "", begin);
        state.resume(id(), &schedule, end);
        state
    };
    let minute = Duration::from_secs(60);
    let mut state = pause_at(fires.before(minute), fires.before(minute / 2));
    assert_eq!(state.turn(id(), &schedule, fires.before(minute / 2)), Turn::Rest { at: Some(fires), watch: false });
    assert!(matches!(state.turn(id(), &schedule, fires), Turn::Start(firing) if firing.time == midnight));
    // One that came meanwhile is not made up for.
    let state = pause_at(fires.before(minute), fires);
    assert_eq!(state.next_nominal(&schedule), Some(at("2026-01-03T00:00:00Z")));
    assert_eq!(state.counts, Counts::default());
}

#[test]
fn jitter_that_is_longer_than_the_interval_lets_nothing_be_missed() {
    let schedule = schedule("every: 10s\njitter: 1h\ncatch_up: 10s\noverlap: allow_all");
    let begin = at("2026-01-01T12:00:00Z");
    let mut state = ScheduleState::new(begin);
    let (mut now, mut started) = (begin, Vec::new());
    while started.len() < 100 {
        match state.turn(id(), &schedule, now) {
            Turn::Start(firing) => {
                state.started(&schedule, &firing, execution(firing.time), now);
                started.push(firing.time);
            }
            Turn::Rest { at: Some(at), .. } => now = at,
            other => panic!("{other:?} after {}", started.len()),
        }
    }
    assert_eq!(state.counts.missed, 0);
    assert!(started.windows(2).all(|pair| pair[1].since(pair[0]) == Duration::from_secs(10)));
}

#[test]
fn what_waits_outlives_a_pause() {
    let mut world = World::new("overlap: buffer_one");
    world.at(10);
    world.at(20);
    world.state.pause("ann", "", second(21));
    world.ends(10);
    assert_eq!(world.at(22), (None, false));
    world.state.resume(id(), &world.schedule, second(23));
    world.at(23);
    assert_eq!(world.started, [10, 20]);
}

#[test]
fn a_schedule_is_over_after_so_many_firings_or_at_its_end() {
    let mut world = World::new("overlap: allow_all\nmax_fires: 2");
    assert_eq!(world.at(45), (None, false));
    assert_eq!(world.started, [10, 20]);
    assert_eq!(world.state.status(&world.schedule), Status::Finished);

    let mut world = World::new("overlap: allow_all\nend_at: 2026-01-01T12:00:30Z");
    assert_eq!(world.at(45), (None, false));
    assert_eq!(world.started, [10, 20, 30]);
    assert_eq!(world.state.status(&world.schedule), Status::Finished);
}

#[test]
fn a_failure_pauses_before_the_next_one_begins() {
    let mut world = World::new("pause_on_failure: true\noverlap: allow_all");
    assert_eq!(world.at(10), (Some(second(20)), true));
    world.state.ended(&world.schedule, execution(second(10)), true, second(12));
    assert_eq!(world.at(20), (None, false));
    let note = &world.state.paused.as_ref().unwrap().note;
    assert!(note.ends_with("failed"), "{note}");

    let mut world = World::new("pause_on_failure: true");
    world.now = second(10);
    let Turn::Start(firing) = world.state.turn(id(), &world.schedule, world.now) else { panic!("due") };
    world.state.failed(&world.schedule, &firing, "there is no graph", world.now);
    assert_eq!((world.state.counts.failed, world.at(20)), (1, (None, false)));
}

#[test]
fn a_backfill_runs_one_after_the_other_or_at_once() {
    let past = [40, 30, 20].map(|seconds| at(NOON).before(Duration::from_secs(seconds)));
    let mut world = World::new("");
    assert_eq!(world.state.backfill(&past, false), Ok(3));
    assert_eq!(world.state.backfill(&past, false), Ok(0), "asked for again");
    assert_eq!(world.at(1), (Some(second(10)), true));
    assert_eq!(world.state.counts.backfilled, 1);
    world.at(10);
    assert_eq!(world.state.counts.skipped, 1, "the backfill is in the way");

    let mut world = World::new("");
    assert_eq!(world.state.backfill(&past, true), Ok(3));
    world.at(1);
    assert_eq!((world.state.counts.backfilled, world.state.running.len()), (3, 3));
    let many: Vec<Timestamp> = (0..=MAX_PENDING as u64).map(second).collect();
    assert_eq!(world.state.backfill(&many, true), Err(MAX_PENDING + 1));
    assert!(world.state.pending.is_empty(), "nothing of what is refused");
}

#[test]
fn a_start_that_is_told_twice_is_counted_once() {
    let mut world = World::new("");
    world.at(10);
    let firing = Pending { time: second(10), kind: FiringKind::Scheduled, at_once: false };
    let before = world.state.clone();
    world.state.started(&world.schedule, &firing, execution(second(10)), second(11));
    assert_eq!(world.state, before);
}

#[test]
fn another_timing_counts_from_when_it_was_given() {
    let mut world = World::new("");
    let other = schedule("every: 3s");
    world.state.redefine(&world.schedule, &other, second(25));
    assert_eq!(world.state.next_nominal(&other), Some(second(27)));
    let renamed = schedule("every: 3s\noverlap: allow_all");
    world.state.redefine(&other, &renamed, second(40));
    assert_eq!((world.state.next_nominal(&renamed), world.state.revision), (Some(second(27)), 3));
}

#[test]
fn a_state_is_stored_as_it_is() {
    let mut world = World::new("overlap: buffer_all\nmax_buffered: 5");
    world.at(35);
    world.state.backfill(&[at("2025-01-01T00:00:00Z")], true).unwrap();
    world.state.pause("ann", "so", second(36));
    let text = serde_json::to_string(&world.state).unwrap();
    assert_eq!(serde_json::from_str::<ScheduleState>(&text).unwrap(), world.state);
    // What this version does not know, a later one has written; it is refused nowhere.
    let least = r#"{"revision":1,"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z",
        "cursor":"2026-01-01T00:00:00Z","later":1}"#;
    assert!(serde_json::from_str::<ScheduleState>(least).is_ok());
}

#[test]
fn a_graph_is_told_what_fires_and_nothing_that_differs_between_two_who_fire() {
    let schedule = schedule(
        "cron: '30 23 * * *'\ntime_zone: Europe/Berlin\ninputs: { day: '=schedule.date', at: '=schedule.time', n: 1, \
         text: '==x', local: '=schedule.local', of: '=schedule.name + \"@\" + schedule.time_zone' }",
    );
    let firing = |kind| Firing { id: id(), definition: &schedule, time: at("2026-07-01T21:30:00Z"), kind };
    let inputs = firing(FiringKind::Scheduled).inputs().unwrap();
    assert_eq!(
        inputs.to_json(),
        serde_json::json!({
            "day": "2026-07-01", "at": "2026-07-01T21:30:00Z", "n": 1, "text": "=x",
            "local": "2026-07-01T23:30:00+02:00", "of": "nightly@Europe/Berlin",
        })
    );
    assert_eq!(firing(FiringKind::Backfill).inputs().unwrap(), inputs);
    assert_eq!(firing(FiringKind::Trigger).metadata()["schedule"]["kind"], "trigger");
}
