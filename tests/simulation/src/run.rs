//! One run: a seed, a history, a report.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Once;
use std::time::Duration;

use stepstream_coordinator::planted::{Bug, plant};
use stepstream_runtime::random;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::chance::{Chance, mix};
use crate::clients::{Script, play};
use crate::complaints;
use crate::faults::{Fault, Faults, Struck};
use crate::installation::Installation;
use crate::verdict;
use crate::work::pool;
use crate::world::World;

/// Longest time, after everything is healed, until all is over: graphs take at most a minute without faults, and
/// silence is noticed within seconds here.
const ENDS_WITHIN: Duration = Duration::from_secs(240);
/// Between looks whether all is over.
const LOOK: Duration = Duration::from_millis(250);
/// Planned faults of a run.
const PLANNED: u64 = 10;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    pub seed: u64,
    /// Faults that are left out, by their places.
    pub spared: BTreeSet<u64>,
    /// Keep the history as lines.
    pub readable: bool,
    /// A bug to be found.
    pub bug: Option<Bug>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    pub seed: u64,
    /// Of the whole history: equal for equal runs.
    pub hash: u64,
    pub steps: u64,
    /// Virtual time.
    pub took: Duration,
    /// Promises that were broken.
    pub broken: Vec<String>,
    pub struck: Vec<Struck>,
    /// Rare things, and how often they happened.
    pub seen: BTreeMap<&'static str, u64>,
    pub lines: Vec<String>,
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// A panic in a task ends the task and nothing else; here it is a broken promise.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
}

/// Runs one history. Everything in it happens on this thread.
///
/// # Panics
/// When the system gives no runtime.
pub fn run(of: &Run) -> Report {
    count_panics();
    pool();
    let panics = PANICS.get();
    let _planted = of.bug.map(plant);
    let _chance = random::seed(mix(of.seed, 3));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("no runtime: {error}"));
    let local = LocalSet::new();
    complaints::heard();
    let mut report =
        tracing::subscriber::with_default(complaints::Listener, || runtime.block_on(local.run_until(history(of))));
    report.broken.extend(complaints::heard());
    drop(local);
    drop(runtime);
    if PANICS.get() > panics {
        report.broken.push(format!("{} panics", PANICS.get() - panics));
    }
    report
}

async fn history(of: &Run) -> Report {
    let world = World::new(of.seed, Faults::new(of.seed, of.spared.clone()), of.readable);
    let mut chance = Chance::new(mix(of.seed, 4));
    let graphs: Vec<usize> = (0..chance.between(1, 3)).map(|_| chance.below(pool().len() as u64) as usize).collect();
    let mut registered = graphs.clone();
    registered.push(0); // Others start it.
    let installation = Installation::new(world.clone(), &registered);
    installation.register().await;
    for _ in 0..chance.between(1, 2) {
        installation.add_worker();
    }
    for _ in 0..chance.between(1, 3) {
        let installation = installation.clone();
        tokio::spawn(async move { installation.add_coordinator().await });
    }
    let mut clients = JoinSet::new();
    for number in 0..chance.between(1, 4) {
        clients.spawn_local(play(installation.clone(), Script::random(&mut chance, number, &graphs)));
    }
    strike_for_a_while(&installation, &mut chance).await;
    heal(&installation, &mut chance).await;
    if timeout(ENDS_WITHIN, finish(&installation, &mut clients)).await.is_err() {
        let open = world.book().open();
        let unanswered = clients.len();
        world.book().broken.push(format!(
            "{ENDS_WITHIN:?} after all faults had ended, {unanswered} clients are not answered, and not over: {open:?}"
        ));
    }
    // What an end leaves to do (rows, acknowledgements) is done.
    sleep(Duration::from_secs(1)).await;
    verdict::judge(&installation).await;
    world.network.close();
    let took = Duration::from_millis(world.at());
    let trace = world.take_trace();
    let struck = world.faults().struck.clone();
    let mut book = world.book();
    Report {
        seed: of.seed,
        hash: trace.hash(),
        steps: trace.steps,
        took,
        broken: std::mem::take(&mut book.broken),
        seen: std::mem::take(&mut book.seen),
        struck,
        lines: trace.into_lines(),
    }
}

/// The first part: what was planned happens at its time, and ports fail as the seed says.
async fn strike_for_a_while(installation: &Installation, chance: &mut Chance) {
    // The longest is longer than a coordinator's patience with the store.
    let longest = *chance.pick(&[3_000, 9_000, 9_000, 40_000]).unwrap_or(&9_000);
    let until = chance.between(1_000, longest);
    let began = Instant::now();
    let mut plan: Vec<(u64, Fault, u64)> = (0..PLANNED)
        .map(|_| {
            let of =
                [Fault::Death, Fault::Death, Fault::Stall, Fault::CutOff, Fault::Outage, Fault::Wipe, Fault::Handover];
            (chance.below(until), *chance.pick(&of).unwrap_or(&Fault::Death), chance.next())
        })
        .collect();
    // Not all of them in each run.
    plan.truncate(usize::try_from(chance.below(PLANNED + 1)).unwrap_or(0));
    plan.sort_unstable_by_key(|(at, _, drawn)| (*at, *drawn));
    for (number, (at, fault, drawn)) in (0..).zip(plan) {
        sleep_until(began + Duration::from_millis(at)).await;
        planned(installation, number, fault, drawn);
    }
    sleep_until(began + Duration::from_millis(until)).await;
}

fn planned(installation: &Installation, number: u64, fault: Fault, drawn: u64) {
    let world = &installation.world;
    let (coordinators, workers) = (installation.coordinators(), installation.workers());
    let is_worker = drawn.is_multiple_of(3);
    let of = if is_worker { workers.len() } else { coordinators.len() };
    if of == 0 || !world.faults().planned(number, fault, if is_worker { "worker" } else { "coordinator" }, world.at()) {
        return;
    }
    let place = usize::try_from((drawn >> 8) % of as u64).unwrap_or(0);
    let process = if is_worker { workers[place].clone() } else { coordinators[place].process.clone() };
    world.note(&process.name, "fault", number, || format!("{fault:?}"));
    let a_while = Duration::from_millis(200 + (drawn >> 16) % 6_000);
    match fault {
        Fault::Stall => process.stall(Instant::now() + a_while),
        Fault::CutOff => process.cut_off(Instant::now() + a_while),
        Fault::Outage => process.take_store_away(Instant::now() + 5 * a_while),
        Fault::Wipe => world.network.wipe(),
        // Killed, or asked to stop: somebody takes its place after a while.
        _ => {
            if fault == Fault::Death {
                process.die()
            } else {
                process.shutdown.request()
            }
            let installation = installation.clone();
            tokio::spawn(async move {
                sleep(a_while).await;
                if is_worker {
                    installation.add_worker();
                } else {
                    installation.add_coordinator().await;
                }
            });
        }
    }
}

/// The second part: nothing goes wrong any more. The dead stay dead, and in some runs only one of each kind is sound again
/// and the others stay as they are, or stand still for ever; there is somebody for each task.
async fn heal(installation: &Installation, chance: &mut Chance) {
    installation.world.faults().heal();
    let only_core = chance.percent(30);
    installation.world.note("nemesis", "heals", u64::from(only_core), || format!("only the core: {only_core}"));
    installation.heal(only_core);
    if installation.workers().is_empty() {
        installation.add_worker();
    }
    if installation.coordinators().is_empty() {
        installation.add_coordinator().await;
    }
}

/// All clients are answered, and all executions are over. Those that somebody paused are told to go on.
async fn finish(installation: &Installation, clients: &mut JoinSet<Option<stepstream_shared::id::ExecutionId>>) {
    let mut theirs = Vec::new();
    while let Some(ended) = clients.join_next().await {
        match ended {
            Ok(id) => theirs.extend(id),
            Err(error) => installation.world.book().broken.push(format!("a client: {error}")),
        }
    }
    let mut chance = Chance::new(5);
    loop {
        let open = installation.world.book().open();
        if open.is_empty() {
            return;
        }
        for id in open {
            resume_if_paused(installation, &mut chance, id).await;
        }
        sleep(LOOK).await;
    }
}

async fn resume_if_paused(installation: &Installation, chance: &mut Chance, id: stepstream_shared::id::ExecutionId) {
    use stepstream_coordinator::ports::EventStore;
    let tenant = &installation.tenant;
    let Ok(Some(listed)) = installation.world.store.find(tenant, id).await else { return };
    if listed.summary.state != "Paused" {
        return;
    }
    if let Some(asked) = chance.pick(&installation.coordinators()) {
        // One that has gone on meanwhile says so.
        let _ = timeout(LOOK * 20, asked.service.resume(tenant, id, "operator")).await;
    }
}
