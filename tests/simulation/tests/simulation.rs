//! Schedules that any build runs; `cargo xtask simulate` runs as many as there is time for.

use std::collections::BTreeMap;

use stepstream_simulation::shrink::{explain, shrink};
use stepstream_simulation::{Report, Run, run};

fn of(seed: u64) -> Report {
    run(&Run { seed, ..Run::default() })
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..30 {
        let (first, second) = (of(seed), of(seed));
        assert_eq!((first.hash, first.steps, first.took), (second.hash, second.steps, second.took), "seed {seed}");
        assert_eq!(first.struck, second.struck, "seed {seed}");
    }
}

#[test]
fn other_seeds_are_other_histories() {
    let hashes: std::collections::BTreeSet<u64> = (0..30).map(|seed| of(seed).hash).collect();
    assert_eq!(hashes.len(), 30);
}

/// Split over threads of the test runner; each seed is a history of its own.
fn nothing_breaks(seeds: std::ops::Range<u64>) {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds {
        let report = of(seed);
        assert!(report.broken.is_empty(), "{}", explain(&Run { seed, ..Run::default() }));
        for (what, times) in report.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    // What never happens is not tested.
    for rare in
        ["takeover", "fenced", "retry", "job published anew", "unknown commit resolved", "pause", "compensation"]
    {
        assert!(seen.contains_key(rare), "no schedule had: {rare}; {seen:?}");
    }
}

/// Seed 701: a pause withdrew a job that a worker had begun, and the worker was gone when the execution went on.
#[test]
fn regression_an_attempt_that_began_behind_its_withdrawal_outlives_its_worker() {
    nothing_broke(701);
}

fn nothing_broke(seed: u64) {
    assert!(of(seed).broken.is_empty(), "{}", explain(&Run { seed, ..Run::default() }));
}

#[test]
fn no_promise_is_broken_in_one_half_of_the_schedules() {
    nothing_breaks(1_000..1_200);
}

#[test]
fn no_promise_is_broken_in_the_other_half_of_the_schedules() {
    nothing_breaks(2_000..2_200);
}

#[test]
fn without_a_broken_promise_there_is_nothing_to_shrink() {
    assert!(shrink(&Run { seed: 2, ..Run::default() }).is_none());
}
