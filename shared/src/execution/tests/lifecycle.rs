//! The two tables of legal moves, walked pair by pair against tables written by hand.

use std::collections::HashMap;

use crate::execution::step::IllegalStepTransition;
use crate::execution::{ExecutionAction, ExecutionState, IllegalTransition, StepAction, StepState, WaitReason};

/// Rows are actions, columns states. `-` is refused, `=` stays.
const EXECUTION: &str = "
                 Created    Planning   Running    Paused     Waiting    Completed  Failed     Cancelled
Start            Running    Running    -          -          -          -          -          -
StepStarted      -          -          =          =          =          -          -          -
StepCompleted    -          -          =          =          =          -          -          -
StepFailed       -          -          =          =          =          -          -          -
Pause            -          -          Paused     -          Paused     -          -          -
Resume           -          -          -          Running    Running    -          -          -
Wait             -          -          Waiting    -          -          -          -          -
InputReceived    -          -          -          -          Running    -          -          -
Complete         -          -          Completed  -          -          -          -          -
Fail             Failed     Failed     Failed     Failed     Failed     -          -          -
Cancel           Cancelled  Cancelled  Cancelled  Cancelled  Cancelled  -          -          -
Compensate       -          -          =          =          Running    -          -          -
";

const STEP: &str = "
             Pending    Scheduled  Claimed    Running    Waiting    InDoubt   Completed  Failed  Skipped
Schedule     Scheduled  -          -          -          -          -         -          -       -
Start        -          Running    Running    -          -          -         -          -       -
Complete     -          Completed  Completed  Completed  -          -         -          -       -
Fail         -          Failed     Failed     Failed     -          -         -          -       -
Retry        -          Waiting    Waiting    Waiting    -          Waiting   -          -       -
Reschedule   -          -          -          -          Scheduled  Scheduled -          -       -
Skip         Skipped    Skipped    Skipped    Skipped    Skipped    Skipped   -          -       -
Wait         -          Waiting    -          -          -          -         -          -       -
Arrive       -          -          -          -          Completed  Completed -          -       -
GiveUp       -          -          -          -          Failed     Failed    -          -       -
Admit        -          -          -          -          Scheduled  -         -          -       -
Restamp      -          -          -          Scheduled  -          -         -          -       -
Claim        -          Claimed    -          -          -          -         -          -       -
Doubt        -          -          InDoubt    -          -          -         -          -       -
Shelve       -          Waiting    Waiting    Waiting    -          Waiting   -          -       -
";

/// Cells by (row, column).
fn cells(table: &'static str) -> HashMap<(&'static str, &'static str), &'static str> {
    let mut lines = table.lines().filter(|line| !line.is_empty());
    let columns: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let rows = lines.flat_map(|line| {
        let mut words = line.split_whitespace();
        let row = words.next().unwrap();
        let cells: Vec<&str> = words.collect();
        assert_eq!(cells.len(), columns.len(), "{line}");
        columns.clone().into_iter().zip(cells).map(move |(column, cell)| ((row, column), cell))
    });
    rows.collect()
}

/// A new variant does not compile until somebody gives it a row here and in the table.
fn row(action: ExecutionAction) -> &'static str {
    match action {
        ExecutionAction::Start => "Start",
        ExecutionAction::StepStarted => "StepStarted",
        ExecutionAction::StepCompleted => "StepCompleted",
        ExecutionAction::StepFailed => "StepFailed",
        ExecutionAction::Pause => "Pause",
        ExecutionAction::Resume => "Resume",
        ExecutionAction::Wait(_) => "Wait",
        ExecutionAction::InputReceived => "InputReceived",
        ExecutionAction::Complete => "Complete",
        ExecutionAction::Fail => "Fail",
        ExecutionAction::Cancel => "Cancel",
        ExecutionAction::Compensate => "Compensate",
    }
}

fn step_row(action: StepAction) -> &'static str {
    match action {
        StepAction::Schedule => "Schedule",
        StepAction::Start => "Start",
        StepAction::Complete => "Complete",
        StepAction::Fail => "Fail",
        StepAction::Retry => "Retry",
        StepAction::Reschedule => "Reschedule",
        StepAction::Skip => "Skip",
        StepAction::Wait => "Wait",
        StepAction::Arrive => "Arrive",
        StepAction::GiveUp => "GiveUp",
        StepAction::Admit => "Admit",
        StepAction::Restamp => "Restamp",
        StepAction::Claim => "Claim",
        StepAction::Doubt => "Doubt",
        StepAction::Shelve => "Shelve",
    }
}

#[test]
fn every_pair_of_action_and_state_does_what_the_table_says() {
    use ExecutionAction as A;
    use ExecutionState as S;
    let plain = [S::Created, S::Planning, S::Running, S::Paused, S::Completed, S::Failed, S::Cancelled];
    let states: Vec<S> = plain.into_iter().chain(WaitReason::ALL.map(S::Waiting)).collect();
    let plain = [
        A::Start,
        A::StepStarted,
        A::StepCompleted,
        A::StepFailed,
        A::Pause,
        A::Resume,
        A::InputReceived,
        A::Complete,
        A::Fail,
        A::Cancel,
        A::Compensate,
    ];
    let actions: Vec<A> = plain.into_iter().chain(WaitReason::ALL.map(A::Wait)).collect();

    let table = cells(EXECUTION);
    let mut walked = std::collections::HashSet::new();
    for state in &states {
        for action in &actions {
            let pair = (row(*action), state.name());
            walked.insert(pair);
            let expected = match (table[&pair], action) {
                ("-", _) => Err(IllegalTransition { from: *state, action: *action }),
                ("=", _) => Ok(*state),
                ("Waiting", A::Wait(reason)) => Ok(S::Waiting(*reason)),
                (name, _) => Ok(*states.iter().find(|state| state.name() == name).unwrap()),
            };
            assert_eq!(state.after(*action), expected, "{action:?} when {state}");
        }
    }
    assert_eq!(walked.len(), table.len(), "every cell of the table was walked");
    assert_eq!(table.len(), 12 * 8);

    let states = [
        StepState::Pending,
        StepState::Scheduled,
        StepState::Claimed,
        StepState::Running,
        StepState::Waiting,
        StepState::InDoubt,
        StepState::Completed,
        StepState::Failed,
        StepState::Skipped,
    ];
    let actions = [
        StepAction::Schedule,
        StepAction::Start,
        StepAction::Complete,
        StepAction::Fail,
        StepAction::Retry,
        StepAction::Reschedule,
        StepAction::Skip,
        StepAction::Wait,
        StepAction::Arrive,
        StepAction::GiveUp,
        StepAction::Admit,
        StepAction::Restamp,
        StepAction::Claim,
        StepAction::Doubt,
        StepAction::Shelve,
    ];
    let table = cells(STEP);
    assert_eq!(table.len(), states.len() * actions.len());
    for from in states {
        for action in actions {
            let expected = match table[&(step_row(action), from.name())] {
                "-" => Err(IllegalStepTransition { from, action }),
                name => Ok(*states.iter().find(|state| state.name() == name).unwrap()),
            };
            assert_eq!(from.after(action), expected, "{action:?} when {from:?}");
            assert!(!from.is_terminal() || expected.is_err(), "terminal is final");
        }
    }
}

#[test]
fn a_refused_move_says_what_was_asked_of_what() {
    let refused = ExecutionState::Waiting(WaitReason::Approval).after(ExecutionAction::Complete).unwrap_err();
    assert_eq!(refused.to_string(), "an execution that is Waiting(approval) cannot complete");
}
