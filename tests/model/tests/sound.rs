//! The protocol as it is: every state within the budgets, and no state from which the end cannot be reached.

use stepstream_model::pipeline::{Pipeline, State as PipelineState};
use stepstream_model::{Budget, Protocol, State, explore, stuck};

/// Without claims there are few states; nothing is misjudged where nothing is claimed.
const TWO_OF_EACH: Budget = Budget { crashes: 2, losses: 2, misjudged: 0, takeovers: 2, restores: 0 };

fn is_sound(protocol: Protocol) {
    let found = explore(&protocol, None);
    println!("{found:?} of {protocol:?}");
    assert!(found.is_sound(), "{found:?} of {protocol:?}");
}

fn ends(protocol: Protocol) {
    assert_eq!(stuck(&protocol, State::is_over), 0, "{protocol:?}");
}

#[test]
fn a_step_completes_once_and_whoever_holds_it_is_not_refused() {
    is_sound(Protocol::default());
    ends(Protocol::default());
}

#[test]
fn a_step_that_must_not_run_twice_does_not() {
    let protocol = Protocol { at_most_once: true, ..Protocol::default() };
    is_sound(protocol);
    ends(protocol);
}

/// What Stepstream does: a worker runs what it is handed, and the log accepts one report.
#[test]
fn without_claims_a_step_may_run_twice_and_completes_once() {
    let protocol = Protocol { claims_first: false, budget: TWO_OF_EACH, ..Protocol::default() };
    is_sound(protocol);
    ends(protocol);
}

#[test]
fn a_restored_store_accepts_nothing_of_the_branch_that_was_lost() {
    is_sound(Protocol {
        budget: Budget { restores: 1, losses: 0, takeovers: 0, ..Budget::ONE_OF_EACH },
        ..Protocol::default()
    });
}

#[test]
fn a_timer_fires_once_and_not_early() {
    let protocol = Protocol { has_timer: true, claims_first: false, budget: TWO_OF_EACH, ..Protocol::default() };
    is_sound(protocol);
    ends(protocol);
}

#[test]
fn a_cancellation_ends_an_execution_once_and_whoever_asked_hears_the_truth() {
    let protocol = Protocol { has_cancel: true, claims_first: false, ..Protocol::default() };
    is_sound(protocol);
    ends(protocol);
}

#[test]
fn a_signal_is_taken_once_however_often_it_is_sent_and_however_early() {
    let protocol = Protocol { has_signal: true, claims_first: false, ..Protocol::default() };
    is_sound(protocol);
    ends(protocol);
}

#[test]
fn timer_cancellation_and_signal_go_together() {
    let all = Protocol { has_timer: true, has_cancel: true, has_signal: true, ..Protocol::default() };
    let protocol = Protocol { claims_first: false, ..all };
    is_sound(protocol);
    ends(protocol);
}

#[test]
fn memory_may_run_ahead_of_the_log() {
    let pipeline = Pipeline::default();
    let found = explore(&pipeline, None);
    assert!(found.is_sound(), "{found:?}");
    assert_eq!(stuck(&pipeline, PipelineState::is_over), 0);
}
