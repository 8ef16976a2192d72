//! What the simulation is able to find: each of these bugs, within ten thousand schedules. Most take a few dozen.
//!
//! Seeds are tried from 0 on instead of being written down: a history changes with whatever the engine asks its ports, and
//! the question is how soon one of them shows the bug.

use stepstream_coordinator::planted::Bug;
use stepstream_simulation::shrink::shrink;
use stepstream_simulation::{Run, run};

const MOST_SCHEDULES: u64 = 10_000;

/// The first schedule that shows the bug.
fn find(bug: Bug) -> Run {
    let found = (0..MOST_SCHEDULES).find_map(|seed| {
        let of = Run { seed, bug: Some(bug), ..Run::default() };
        let report = run(&of);
        let what = report.broken.first()?.clone();
        println!("{bug:?} is found in schedule {seed}: {what}");
        Some(of)
    });
    found.unwrap_or_else(|| panic!("{bug:?} was not found in {MOST_SCHEDULES} schedules"))
}

macro_rules! finds {
    ($($name:ident: $bug:ident,)*) => {
        $(
            #[test]
            fn $name() {
                find(Bug::$bug);
            }
        )*
        /// Each has its test.
        const FOUND: &[Bug] = &[$(Bug::$bug),*];
    };
}

finds! {
    an_answer_before_the_append: AnswersEarly,
    an_unknown_commit_that_is_hoped_for: HopesForUnknown,
    lost_jobs_that_are_not_published_again: ForgetsLostJobs,
    a_report_for_another_attempt: AcceptsOldAttempts,
    an_outbox_that_nobody_reads: IgnoresOutbox,
    timers_that_nobody_reads: IgnoresTimers,
    a_job_before_the_append: PublishesEarly,
    a_parent_that_is_not_told: ForgetsParents,
    a_key_that_is_forgotten: ForgetsKeys,
    a_deadline_before_its_time: FiresEarly,
    an_agenda_that_is_not_written: LosesAgenda,
    a_store_that_takes_stale_epochs: AcceptsStaleEpochs,
}

#[test]
fn there_are_twelve() {
    assert!(FOUND.len() >= 12);
}

#[test]
fn a_failure_is_shrunk_to_the_faults_that_it_needs() {
    let of = find(Bug::IgnoresOutbox);
    let before = run(&of).struck.len();
    let (shrunk, report) = shrink(&of).expect("it breaks a promise");
    assert!(!report.broken.is_empty());
    assert!(report.struck.len() <= before && !report.lines.is_empty());
    // Without any that is left nothing breaks, or not with fewer: another one strikes where it would have.
    for struck in &report.struck {
        let mut without = shrunk.clone();
        without.spared.insert(struck.place);
        let found = run(&without);
        assert!(found.broken.is_empty() || found.struck.len() >= report.struck.len(), "not needed: {struck:?}");
    }
}
