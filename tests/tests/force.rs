//! Executions that wait and are steered, when coordinators are killed: what was waited for is brought once, what was
//! asked for holds, and nothing is done twice. Schedules go on.

use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_tests::harness::fleet::{Fleet, Plan};
use stepstream_tests::harness::stage::{Blow, Scene, Script, play};

#[path = "force/background.rs"]
mod background;
#[path = "force/controls.rs"]
mod controls;
#[path = "force/families.rs"]
mod families;
#[path = "force/heirs.rs"]
mod heirs;
#[path = "force/schedules.rs"]
mod schedules;
#[path = "force/storm.rs"]
mod storm;
#[path = "force/waits.rs"]
mod waits;

/// Scenes by name.
macro_rules! scripts {
    ($($module:ident::$script:ident,)*) => {
        &[$((stringify!($script), |scene: Scene| Box::pin($module::$script(scene)))),*]
    };
}

const SCRIPTS: &[Script] = scripts![
    waits::a_timer_far_away,
    waits::a_timer_that_is_due_when_nobody_drives_it,
    waits::a_signal_right_before,
    waits::a_signal_after,
    waits::a_signal_that_came_early,
    waits::an_approval_by_two,
    waits::an_answer_by_a_person,
    waits::an_answer_by_a_program,
    waits::a_program_that_gives_up,
    waits::a_wait_that_times_out,
    waits::messages_for_a_later_step,
    waits::a_held_execution,
    waits::a_budget_that_is_used_up,
    families::a_child_of_a_lost_parent,
    families::a_lost_child,
    families::children_that_are_wanted_right_before,
    families::a_cascade_right_before,
    families::children_that_are_wanted_and_cancelled_at_once,
    families::background_children_right_before,
    controls::a_pause_over_a_running_attempt_and_a_queued_job,
    controls::a_pause_right_before,
    controls::queued_jobs_paused_right_before,
    controls::a_cancellation_half_way_through_its_undoing,
    controls::a_breakpoint_that_was_reached,
    controls::a_breakpoint_set_right_before,
    controls::a_pause_after_failures,
    controls::failures_counted_over_the_blow,
];

/// Many families each, on a stage of their own.
const FAMILIES: &[Script] = scripts![
    heirs::messages_for_heirs_right_before,
    heirs::heirs_that_are_wanted_right_before,
    heirs::a_purse_that_is_shared_right_before,
    heirs::a_purse_that_is_settled_right_before,
];

/// Gives the storm that failed again.
const SEED: &str = "STORM_SEED";

fn seed() -> u64 {
    let given = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a seed is a number"));
    let seed = given.unwrap_or_else(|| SystemClock.now().as_micros().unsigned_abs());
    println!("{SEED}={seed}"); // Shown when it fails.
    seed
}

async fn fleet() -> Fleet {
    let fleet = Fleet::start(Plan { workers: 2, slots: 32, ..Plan::default() }).await;
    fleet.partitions_are_shared_by(2).await;
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_and_controls_outlive_the_coordinator_that_drove_them() {
    play(fleet().await, Blow::Owner, SCRIPTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_and_controls_outlive_all_coordinators() {
    play(fleet().await, Blow::All, SCRIPTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_children_have_of_their_parents_outlives_the_coordinator_that_drove_them() {
    play(fleet().await, Blow::Owner, FAMILIES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_children_have_of_their_parents_outlives_all_coordinators() {
    play(fleet().await, Blow::All, FAMILIES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_by_whomever_nothing_is_done_twice_and_everything_comes_to_an_end() {
    storm::rages(fleet().await, seed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_nominal_time_of_a_schedule_has_one_execution_whoever_is_killed() {
    schedules::fire(fleet().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_to_be_called_back_is_called_under_one_id_and_one_delivery_is_on_record() {
    background::callbacks(fleet().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_at_what_fails_in_the_background_begins_once_whoever_is_killed() {
    background::attempts(fleet().await, seed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deferred_starts_once_whoever_is_killed() {
    background::deferred(fleet().await).await;
}
