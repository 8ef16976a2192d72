//! What is killed, wiped or restarted while executions run. Afterwards the log must not show it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_shared::execution::{ExecutionState, StepState};
use stepstream_shared::id::TenantId;
use stepstream_tests::harness::fleet::{Fleet, Plan};
use stepstream_tests::harness::graphs;
use stepstream_tests::harness::verdict::{BY_WORKERS, Verdict};
use stepstream_tests::poll;

const EXECUTIONS: usize = 16;
const LENGTH: usize = 15;

/// Executions that take some seconds, each leaving marks in one file.
struct Load {
    fleet: Fleet,
    ids: Vec<String>,
    file: std::path::PathBuf,
}

impl Load {
    /// Returns when some steps have run and most have not.
    async fn under_way(plan: Plan) -> Self {
        let fleet = Fleet::start(plan.clone()).await;
        if plan.coordinators > 1 {
            fleet.partitions_are_shared_by(plan.coordinators).await;
        }
        let file = fleet.file("marks");
        let (graph, inputs) = (graphs::chain(LENGTH, 0.1), graphs::inputs(&file, 0));
        // At once: on a slow machine the first would be over before the last has begun.
        let begin = (0..EXECUTIONS).map(|n| {
            let api = fleet.api(n % plan.coordinators);
            let (graph, inputs) = (&graph, &inputs);
            async move { api.begin(graph, inputs).await }
        });
        let ids = futures::future::join_all(begin).await;
        poll::until("steps are under way", async || (graphs::lines(&file) >= EXECUTIONS).then_some(())).await;
        assert!(graphs::lines(&file) < EXECUTIONS * LENGTH * 3 / 4, "the fault must come while there is work left");
        Load { fleet, ids, file }
    }

    async fn verdict(&self) -> Verdict {
        let verdict = self.fleet.verdict(&self.ids, BY_WORKERS).await;
        let marked = verdict.steps_named("s");
        assert_eq!(marked, EXECUTIONS * LENGTH);
        let lines = graphs::lines(&self.file);
        assert!(lines >= marked, "{lines} marks of {marked} steps: a completed step did not happen");
        println!("{marked} marked steps left {lines} marks");
        verdict
    }

    async fn jobs_cover_the_steps(&self, verdict: &Verdict) {
        let published = self.fleet.jobs_published().await;
        assert!(published >= verdict.steps_by_workers() as u64, "{published} jobs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_costs_nothing_but_time() {
    let mut load = Load::under_way(Plan::default()).await;
    load.fleet.workers[0].kill9().await;
    let verdict = load.verdict().await;
    load.jobs_cover_the_steps(&verdict).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_coordinator_is_followed_within_its_lease_and_a_second() {
    let plan = Plan::default();
    let lease = plan.lease;
    let mut load = Load::under_way(plan).await;
    let driven = load.fleet.driven_by("coordinator-0", &load.ids).await;
    assert!(driven > 0, "whoever dies leaves something behind");
    load.fleet.coordinators[0].kill9().await;
    let killed = SystemClock.now();
    let verdict = load.verdict().await;
    let silence = verdict.longest_silence_after(killed);
    println!("longest silence of {driven} executions after the kill: {silence:?} (lease {lease:?})");
    assert!(silence <= lease + Duration::from_secs(1), "{silence:?}");
    load.jobs_cover_the_steps(&verdict).await;
    // It comes back and takes its share.
    load.fleet.add_coordinator().await;
    load.fleet.partitions_are_shared_by(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_slept_through_its_lease_changes_nothing_when_it_wakes() {
    let mut load = Load::under_way(Plan::default()).await;
    load.fleet.coordinators[0].signal(Signal::SIGSTOP);
    poll::until("the other has taken everything", async || {
        let owners = load.fleet.partitions_by_owner().await;
        (owners.len() == 1 && owners.keys().all(|owner| owner.starts_with("coordinator-1-"))).then_some(())
    })
    .await;
    // It wakes in the belief that it owns what it owned, with whatever it had in hand.
    load.fleet.coordinators[0].signal(Signal::SIGCONT);
    let verdict = load.verdict().await;
    load.jobs_cover_the_steps(&verdict).await;
    load.fleet.partitions_are_shared_by(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nats_server_that_comes_back_costs_nothing_but_time() {
    let mut load = Load::under_way(Plan::default()).await;
    load.fleet.nats.kill().await;
    load.fleet.nats.restart().await.expect("it comes back");
    let verdict = load.verdict().await;
    load.jobs_cover_the_steps(&verdict).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_away_is_not_taken_for_the_silence_of_workers() {
    const HEARTBEAT: Duration = Duration::from_secs(1);
    let mut fleet = Fleet::start(Plan { coordinators: 1, workers: 1, ..Plan::default() }).await;
    let graph = json!({
        "stepstream": 1, "name": "long", "version": "1.0.0",
        "nodes": {"a": {
            "task": "sleep", "with": {"seconds": 6}, "timeout": {"heartbeat": "1s"}, "retry": {"max_attempts": 1},
        }},
    });
    let id = fleet.api(0).begin(&graph, &json!({})).await;
    let reader = fleet.reader();
    let execution = id.parse().expect("an id");
    poll::until("the step is on record as running", async || {
        let loaded = reader.load(&TenantId::default_tenant(), execution, None).await.ok()?;
        loaded.execution.step(0).is_some_and(|step| step.state() == StepState::Running).then_some(())
    })
    .await;
    fleet.nats.kill().await;
    // Several heartbeats go by in which nobody can be heard.
    let away = Instant::now();
    poll::until("the bus is away for long", async || (away.elapsed() > 3 * HEARTBEAT).then_some(())).await;
    fleet.nats.restart().await.expect("it comes back");
    let verdict = fleet.verdict(&[id], BY_WORKERS).await;
    assert_eq!(verdict.steps_by_workers(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_while_executions_are_paused_leaves_them_paused() {
    let mut load = Load::under_way(Plan::default()).await;
    for (n, id) in load.ids.iter().enumerate() {
        assert_eq!(load.fleet.api(n % 2).pause(id).await, 202);
    }
    // What workers had in hand may end; then nothing moves, whoever drives it.
    let reader = load.fleet.reader();
    let open = async |id: &String| {
        let loaded = reader.load(&TenantId::default_tenant(), id.parse().expect("an id"), None).await.expect("a log");
        assert_eq!(loaded.execution.state(), ExecutionState::Paused);
        (loaded.execution.sequence(), loaded.execution.open_steps().count())
    };
    load.fleet.coordinators[0].kill9().await;
    load.fleet.partitions_are_shared_by(1).await;
    poll::until("everything rests", async || {
        let lines = graphs::lines(&load.file);
        let moves = poll::until("a mark more", async || (graphs::lines(&load.file) != lines).then_some(()));
        tokio::time::timeout(Duration::from_secs(2), moves).await.is_err().then_some(())
    })
    .await;
    let lines = graphs::lines(&load.file);
    assert!(lines < EXECUTIONS * LENGTH, "they were held in time");
    for id in &load.ids {
        assert_eq!(open(id).await.1, 1, "the next step is recorded and withheld");
        assert_eq!(load.fleet.api(1).resume(id).await, 202);
    }
    load.verdict().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgres_that_comes_back_costs_nothing_but_time() {
    let mut load = Load::under_way(Plan::default()).await;
    load.fleet.postgres.kill().await;
    load.fleet.postgres.restart().await.expect("it comes back");
    let verdict = load.verdict().await;
    load.jobs_cover_the_steps(&verdict).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_lost_everything_is_filled_again_from_the_log() {
    let mut load = Load::under_way(Plan::default()).await;
    load.fleet.nats.kill().await;
    std::fs::remove_dir_all(load.fleet.nats.store_directory()).expect("the store can be deleted");
    let wiped_at = graphs::lines(&load.file);
    load.fleet.nats.restart().await.expect("it comes back");
    load.verdict().await;
    // The stream began anew, so its sequence counts what ran since.
    let since = 2 * (EXECUTIONS * LENGTH).saturating_sub(wiped_at + 2 * EXECUTIONS);
    let published = load.fleet.jobs_published().await;
    assert!(published >= since as u64, "{published} jobs after the wipe, at least {since} steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_killed_in_turn_while_executions_run() {
    let mut load = Load::under_way(Plan::default()).await;
    let all = EXECUTIONS * LENGTH;
    let part = |of: usize| all * of / 10;
    let reached = async |file: &std::path::Path, lines: usize| {
        poll::until("the executions get on", async || (graphs::lines(file) >= lines).then_some(())).await;
    };
    load.fleet.workers[0].kill9().await;
    load.fleet.coordinators[0].kill9().await;
    load.fleet.add_worker().await;
    reached(&load.file, part(3)).await;
    load.fleet.postgres.kill().await;
    load.fleet.nats.kill().await;
    load.fleet.postgres.restart().await.expect("it comes back");
    load.fleet.nats.restart().await.expect("it comes back");
    load.fleet.add_coordinator().await;
    reached(&load.file, part(5)).await;
    load.fleet.nats.kill().await;
    load.fleet.coordinators[1].kill9().await;
    std::fs::remove_dir_all(load.fleet.nats.store_directory()).expect("the store can be deleted");
    load.fleet.nats.restart().await.expect("it comes back");
    load.verdict().await;
}
