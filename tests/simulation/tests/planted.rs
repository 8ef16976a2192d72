//! What the simulator is able to find: each of these bugs, within ten thousand schedules.

use stepstream_coordinator::planted::Bug;
use stepstream_simulation::{Run, run};

/// The bugs, and a seed whose history each of them breaks. Found by trying seeds from 0 on ([`first`]), so none is beyond
/// ten thousand.
const FOUND: [(Bug, u64); 0] = [];

fn first(bug: Bug, before: u64) -> Option<u64> {
    (0..before).find(|seed| !run(&Run { seed: *seed, bug: Some(bug), ..Run::default() }).broken.is_empty())
}

#[test]
fn each_planted_bug_is_found() {
    for (bug, seed) in FOUND {
        assert!(seed < 10_000, "{bug:?}");
        let report = run(&Run { seed, bug: Some(bug), ..Run::default() });
        assert!(
            !report.broken.is_empty(),
            "{bug:?} hides in the history of seed {seed}; the next is {:?}",
            first(bug, 500)
        );
    }
}
