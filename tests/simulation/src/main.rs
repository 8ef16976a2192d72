//! `cargo xtask simulate`: runs seeds until the time is over, or one seed and its story.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stepstream_coordinator::planted::Bug;
use stepstream_simulation::shrink::explain;
use stepstream_simulation::{Report, Run, run};

const HELP: &str = "usage: simulate (--minutes N | --schedules N) [--from SEED]
       SEED=N simulate      one schedule, shrunk and told if it breaks a promise
       BUG=NAME             with this planted bug (`BUG=all`: the first seed that finds each)";

struct Wanted {
    minutes: Option<u64>,
    schedules: Option<u64>,
    from: u64,
}

fn wanted() -> Option<Wanted> {
    let mut wanted = Wanted { minutes: None, schedules: None, from: 0 };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let number = arguments.next()?.parse().ok()?;
        match name.as_str() {
            "--minutes" => wanted.minutes = Some(number),
            "--schedules" => wanted.schedules = Some(number),
            "--from" => wanted.from = number,
            _ => return None,
        }
    }
    (wanted.minutes.is_some() || wanted.schedules.is_some()).then_some(wanted)
}

/// The bug that is to be planted, if one is.
fn bug() -> Result<Option<Bug>, String> {
    let Ok(name) = std::env::var("BUG") else { return Ok(None) };
    let found = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    found.map(Some).ok_or_else(|| format!("BUG is one of {:?}, not `{name}`", Bug::ALL))
}

/// For each bug the first seed that finds it.
fn hunt(before: u64) -> ExitCode {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                    let Some(bug) = Bug::ALL.get(number).copied() else { return };
                    let first = (0..before).map(|seed| run(&Run { seed, bug: Some(bug), ..Run::default() }));
                    match first.into_iter().find(|report| !report.broken.is_empty()) {
                        Some(report) => println!("(Bug::{bug:?}, {}), // {}", report.seed, report.broken[0]),
                        None => println!("{bug:?} was not found in {before} schedules"),
                    }
                }
            });
        }
    });
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    if std::env::var("BUG").is_ok_and(|bug| bug == "all") {
        return hunt(wanted().and_then(|wanted| wanted.schedules).unwrap_or(10_000));
    }
    let bug = match bug() {
        Ok(bug) => bug,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    if let Ok(seed) = std::env::var("SEED") {
        let Ok(seed) = seed.parse() else {
            eprintln!("SEED is a number, not `{seed}`");
            return ExitCode::from(2);
        };
        return one(&Run { seed, bug, ..Run::default() });
    }
    match wanted() {
        Some(wanted) => many(&wanted, bug),
        None => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn one(of: &Run) -> ExitCode {
    let seed = of.seed;
    let report = run(&Run { readable: true, ..of.clone() });
    if report.broken.is_empty() {
        for line in &report.lines {
            println!("{line}");
        }
        println!(
            "seed {seed}: {} steps in {:?}, trace {:016x}, nothing broken",
            report.steps, report.took, report.hash
        );
        return ExitCode::SUCCESS;
    }
    println!("{}", explain(of));
    ExitCode::FAILURE
}

fn many(wanted: &Wanted, bug: Option<Bug>) -> ExitCode {
    let until = wanted.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let failed: Mutex<Vec<Report>> = Mutex::default();
    let sums: Mutex<std::collections::BTreeMap<&'static str, u64>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let over = until.is_some_and(|until| Instant::now() >= until)
                        || wanted.schedules.is_some_and(|schedules| number >= schedules);
                    if over || failed.lock().map_or(true, |failed| failed.len() >= 5) {
                        next.fetch_sub(1, Ordering::Relaxed);
                        return;
                    }
                    let report = run(&Run { seed: wanted.from + number, bug, ..Run::default() });
                    if let Ok(mut sums) = sums.lock() {
                        for (what, times) in &report.seen {
                            *sums.entry(what).or_default() += times;
                        }
                        for struck in &report.struck {
                            *sums.entry(struck.what).or_default() += 1;
                        }
                    }
                    if !report.broken.is_empty()
                        && let Ok(mut failed) = failed.lock()
                    {
                        println!("seed {}: {}", report.seed, report.broken.join("; "));
                        failed.push(report);
                    }
                }
            });
        }
    });
    let ran = next.load(Ordering::Relaxed);
    let took = began.elapsed();
    println!("{ran} schedules in {took:.0?}, {:.0} a second", ran as f64 / took.as_secs_f64());
    if let Ok(sums) = sums.lock() {
        for (what, times) in sums.iter() {
            println!("{times:>9} {what}");
        }
    }
    let failed = failed.into_inner().unwrap_or_default();
    match failed.first() {
        None => ExitCode::SUCCESS,
        Some(first) => {
            println!("{}", explain(&Run { seed: first.seed, bug, ..Run::default() }));
            ExitCode::FAILURE
        }
    }
}
