//! Taking away the faults that a broken promise does not need.

use std::collections::BTreeSet;

use crate::run::{Report, Run, run};

/// Runs at most so often while shrinking: enough for histories of a few hundred faults.
const MOST_RUNS: usize = 400;

/// The same failure with as few faults as could be found: leaves out halves, quarters and so on of what still strikes,
/// in the end one by one, as long as a promise is broken without them.
pub fn shrink(first: &Run) -> Option<(Run, Report)> {
    let mut best = Run { readable: false, ..first.clone() };
    let mut report = run(&best);
    if report.broken.is_empty() {
        return None;
    }
    let mut runs = 1;
    let mut size = report.struck.len().max(1);
    loop {
        let places: Vec<u64> = report.struck.iter().map(|struck| struck.place).collect();
        let mut shrunk = false;
        for chunk in places.chunks(size) {
            if runs >= MOST_RUNS {
                break;
            }
            let spared: BTreeSet<u64> = best.spared.iter().chain(chunk).copied().collect();
            let candidate = Run { spared, ..best.clone() };
            let found = run(&candidate);
            runs += 1;
            if !found.broken.is_empty() && found.struck.len() < report.struck.len() {
                (best, report, shrunk) = (candidate, found, true);
                break;
            }
        }
        if shrunk {
            size = size.min(report.struck.len().max(1));
        } else if size == 1 || runs >= MOST_RUNS {
            break;
        } else {
            size = size.div_ceil(2);
        }
    }
    best.readable = true;
    let report = run(&best);
    Some((best, report))
}

/// A failure for people: what was promised, which faults it takes, how it went, how to see it again.
pub fn explain(of: &Run) -> String {
    let seed = of.seed;
    const MOST_LINES: usize = 400;
    let Some((_, report)) = shrink(of) else { return format!("seed {seed} breaks nothing") };
    let mut text = format!("seed {seed}:\n");
    for broken in &report.broken {
        text.push_str(&format!("  {broken}\n"));
    }
    text.push_str(&format!("{} faults are needed:\n", report.struck.len()));
    for struck in &report.struck {
        text.push_str(&format!("  {:>9.3}s {:?} {}\n", struck.at as f64 / 1e3, struck.fault, struck.what));
    }
    let skipped = report.lines.len().saturating_sub(MOST_LINES);
    text.push_str(&format!("the last of {} steps:\n", report.lines.len()));
    for line in &report.lines[skipped..] {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&format!("again: SEED={seed} cargo xtask simulate\n"));
    text
}
