//! The table of transitions of the original specification, exactly as it was shipped, against ours: every cell in which
//! they differ is one of the corrections that are listed, and every correction is such a cell.

use std::collections::{BTreeMap, BTreeSet};

use crate::execution::{ExecutionAction as A, ExecutionState as S, WaitReason};

/// Rows are actions, columns states. `-` is refused, `=` stays.
const AS_SHIPPED: &str = "
                 Created    Planning   Running    Paused     Waiting    Completed  Failed     Cancelled
Start            Running    -          -          -          -          -          -          -
StepStarted      -          -          =          -          -          -          -          -
StepCompleted    =          =          =          =          =          =          =          =
StepFailed       =          =          =          =          =          =          =          =
Pause            -          -          Paused     -          -          -          -          -
Resume           -          -          -          Running    Running    -          -          -
Wait             -          -          Waiting    -          -          -          -          -
InputReceived    -          -          -          -          Running    -          -          -
Complete         -          -          Completed  -          -          -          -          -
Fail             Failed     Failed     Failed     Failed     Failed     -          -          -
Cancel           Cancelled  Cancelled  Cancelled  Cancelled  Cancelled  -          -          -
";

/// Where ours differs, what it does instead, and why.
const CORRECTIONS: [(&str, &str, &str, &str); 14] = [
    ("Start", "Planning", "Running", "what is being planned can be started: the state was a dead end"),
    ("StepStarted", "Paused", "=", "an attempt that was on its way when it was paused may still begin"),
    ("StepStarted", "Waiting", "=", "an attempt that was on its way when it began to wait may still begin"),
    ("Pause", "Waiting", "Paused", "what waits can be paused, and resuming goes on waiting"),
    ("StepCompleted", "Created", "-", "nothing has begun that could end"),
    ("StepCompleted", "Planning", "-", "nothing has begun that could end"),
    ("StepCompleted", "Completed", "-", "terminal is final"),
    ("StepCompleted", "Failed", "-", "terminal is final"),
    ("StepCompleted", "Cancelled", "-", "terminal is final"),
    ("StepFailed", "Created", "-", "nothing has begun that could end"),
    ("StepFailed", "Planning", "-", "nothing has begun that could end"),
    ("StepFailed", "Completed", "-", "terminal is final"),
    ("StepFailed", "Failed", "-", "terminal is final"),
    ("StepFailed", "Cancelled", "-", "terminal is final"),
];

fn action(name: &str) -> A {
    match name {
        "Start" => A::Start,
        "StepStarted" => A::StepStarted,
        "StepCompleted" => A::StepCompleted,
        "StepFailed" => A::StepFailed,
        "Pause" => A::Pause,
        "Resume" => A::Resume,
        "Wait" => A::Wait(WaitReason::RateLimit),
        "InputReceived" => A::InputReceived,
        "Complete" => A::Complete,
        "Fail" => A::Fail,
        "Cancel" => A::Cancel,
        other => panic!("{other} is no action of the original"),
    }
}

fn state(name: &str) -> S {
    match name {
        "Created" => S::Created,
        "Planning" => S::Planning,
        "Running" => S::Running,
        "Paused" => S::Paused,
        "Waiting" => S::Waiting(WaitReason::RateLimit),
        "Completed" => S::Completed,
        "Failed" => S::Failed,
        "Cancelled" => S::Cancelled,
        other => panic!("{other} is no state of the original"),
    }
}

/// What ours does, in the words of the table.
fn ours(row: &str, column: &str) -> &'static str {
    match state(column).after(action(row)) {
        Err(_) => "-",
        Ok(next) if next == state(column) => "=",
        Ok(next) => next.name(),
    }
}

#[test]
fn the_original_table_holds_but_for_the_corrections() {
    let mut lines = AS_SHIPPED.lines().filter(|line| !line.is_empty());
    let columns: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let mut cells = 0;
    let mut differ = BTreeMap::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let row = words.next().unwrap();
        for (column, shipped) in columns.iter().zip(words) {
            cells += 1;
            let ours = ours(row, column);
            if ours != shipped {
                differ.insert((row, *column), ours);
            }
        }
    }
    assert_eq!(cells, 11 * 8, "the whole table");
    let corrected: BTreeMap<_, _> = CORRECTIONS.into_iter().map(|(row, column, to, _)| ((row, column), to)).collect();
    assert_eq!(differ, corrected);
}

#[test]
fn every_state_of_the_original_is_entered_and_left_as_it_says() {
    let terminal: BTreeSet<&str> =
        [S::Completed, S::Failed, S::Cancelled].into_iter().filter(|state| state.is_terminal()).map(S::name).collect();
    assert_eq!(terminal.len(), 3);
    for open in [S::Created, S::Planning, S::Running, S::Paused] {
        assert!(!open.is_terminal(), "{open}");
    }
    for reason in WaitReason::ALL {
        assert!(!S::Waiting(reason).is_terminal());
        assert_eq!(S::Running.after(A::Wait(reason)), Ok(S::Waiting(reason)));
        // The words on the wire are those of the original.
        assert_eq!(serde_json::json!(S::Waiting(reason)), serde_json::json!({"Waiting": reason.to_string()}));
    }
    assert_eq!(serde_json::json!(S::Created), "Created");
    assert_eq!(S::default(), S::Created);
}
