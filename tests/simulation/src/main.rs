//! `cargo xtask simulate`: runs seeds until the time is over, or one seed and its story.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stepstream_simulation::shrink::explain;
use stepstream_simulation::{Report, Run, run};

const HELP: &str = "usage: simulate (--minutes N | --schedules N) [--from SEED]
       SEED=N simulate      one schedule, shrunk and told if it breaks a promise";

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

fn main() -> ExitCode {
    if let Ok(seed) = std::env::var("SEED") {
        let Ok(seed) = seed.parse() else {
            eprintln!("SEED is a number, not `{seed}`");
            return ExitCode::from(2);
        };
        return one(seed);
    }
    match wanted() {
        Some(wanted) => many(&wanted),
        None => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn one(seed: u64) -> ExitCode {
    let report = run(&Run { seed, readable: true, ..Run::default() });
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
    println!("{}", explain(seed));
    ExitCode::FAILURE
}

fn many(wanted: &Wanted) -> ExitCode {
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
                    let report = run(&Run { seed: wanted.from + number, ..Run::default() });
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
            println!("{}", explain(first.seed));
            ExitCode::FAILURE
        }
    }
}
