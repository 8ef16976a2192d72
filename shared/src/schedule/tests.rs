mod clocks;
mod documents;
mod properties;
mod turns;

use super::*;
use crate::graph::Source;
use crate::id::TriggerId;
use crate::time::Timestamp;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn id() -> TriggerId {
    TriggerId::derived("stepstream tests 2026 schedule", &[b"one"])
}

/// A schedule with these fields besides its name and graph.
fn schedule(fields: &str) -> Definition {
    let text = format!("name: nightly\ngraph: report\n{fields}\n");
    Definition::read(&Source { name: "schedule.yaml", text: &text }, None)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// The first nominal times after a moment.
fn times(definition: &Definition, after: &str, count: usize) -> Vec<Timestamp> {
    let next = |time: &Timestamp| definition.timing.next_after(*time);
    std::iter::successors(definition.timing.next_after(at(after)), next).take(count).collect()
}

#[track_caller]
fn assert_times(fields: &str, after: &str, expected: &[&str]) {
    let expected: Vec<Timestamp> = expected.iter().map(|text| at(text)).collect();
    assert_eq!(times(&schedule(fields), after, expected.len()), expected, "{fields}");
}
