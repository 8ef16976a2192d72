//! Every rule, left out: what breaks, or which other rule covers for it.

use stepstream_model::pipeline::{Pipeline, State as PipelineState};
use stepstream_model::{Budget, Found, Protocol, State, explore, stuck};

/// Must break this property.
fn breaks(protocol: Protocol, property: &'static str) -> Found {
    let found = explore(&protocol, Some(property));
    println!("{found:?}");
    assert!(found.breaks(property), "survived in {} states: {protocol:?}", found.states);
    found
}

fn pipeline_breaks(pipeline: Pipeline, property: &'static str) {
    let found = explore(&pipeline, Some(property));
    assert!(found.breaks(property), "survived in {} states: {pipeline:?}", found.states);
}

/// Breaks nothing, because something else covers for it.
fn is_covered(protocol: Protocol) {
    let found = explore(&protocol, None);
    assert!(found.is_sound(), "{found:?} of {protocol:?}");
}

const RESTORED: Budget = Budget { restores: 1, losses: 0, ..Budget::ONE_OF_EACH };

#[test]
fn without_epochs_and_sequences_a_step_completes_twice() {
    breaks(Protocol { epochs: false, sequences: false, ..Protocol::default() }, "a step completes once");
}

#[test]
fn without_sequences_epochs_cover() {
    is_covered(Protocol { sequences: false, ..Protocol::default() });
}

#[test]
fn without_epochs_an_owner_is_written_past() {
    let protocol = Protocol { epochs: false, ..Protocol::default() };
    breaks(protocol, "no append under an epoch that is over");
    breaks(protocol, "an owner believes what the log says");
}

#[test]
fn without_attempts_and_claims_a_late_report_counts() {
    let protocol = Protocol { attempts: false, claims: false, ..Protocol::default() };
    breaks(protocol, "a completion is of the claim on record");
}

#[test]
fn without_claims_attempts_cover() {
    is_covered(Protocol { claims: false, ..Protocol::default() });
}

#[test]
fn without_incarnations_a_token_of_the_lost_branch_runs_again() {
    breaks(Protocol { incarnations: false, budget: RESTORED, ..Protocol::default() }, "a token runs once");
}

#[test]
fn without_restamping_a_token_of_the_lost_branch_runs_again() {
    breaks(Protocol { restamping: false, budget: RESTORED, ..Protocol::default() }, "a token runs once");
}

#[test]
fn whoever_tries_again_in_doubt_runs_twice() {
    let protocol = Protocol { at_most_once: true, retrying_in_doubt: true, ..Protocol::default() };
    breaks(protocol, "an at-most-once step runs once");
}

#[test]
fn a_claim_named_by_its_worker_runs_twice() {
    let protocol = Protocol { fresh_claims: false, ..Protocol::default() };
    breaks(protocol, "a token runs once");
    breaks(protocol, "the holder of a claim is not refused");
}

#[test]
fn without_positions_an_old_owner_refuses_the_holder() {
    let budget = Budget { losses: 0, ..Budget::ONE_OF_EACH };
    breaks(Protocol { positions: false, budget, ..Protocol::default() }, "the holder of a claim is not refused");
}

#[test]
fn without_redispatching_a_lost_job_stops_its_execution() {
    assert!(stuck(&Protocol { redispatching: false, ..Protocol::default() }, State::is_over) > 0);
}

const TIMER: Protocol = protocol_without_claims(true, false, false);
const CANCEL: Protocol = protocol_without_claims(false, true, false);
const SIGNAL: Protocol = protocol_without_claims(false, false, true);

const fn protocol_without_claims(has_timer: bool, has_cancel: bool, has_signal: bool) -> Protocol {
    Protocol { has_timer, has_cancel, has_signal, claims_first: false, ..Protocol::ALL }
}

#[test]
fn a_timer_that_is_not_struck_off_fires_twice() {
    breaks(Protocol { timers_once: false, ..TIMER }, "a timer fires once");
}

#[test]
fn a_timer_by_another_clock_fires_early() {
    breaks(Protocol { timers_when_due: false, ..TIMER }, "a timer fires when it is due");
}

#[test]
fn a_timer_that_only_its_owner_knows_dies_with_it() {
    assert!(stuck(&Protocol { timers_in_log: false, ..TIMER }, State::is_over) > 0);
}

#[test]
fn two_owners_fire_the_same_timer_where_nothing_fences() {
    breaks(Protocol { epochs: false, sequences: false, ..TIMER }, "a timer fires once");
}

#[test]
fn without_finality_a_cancellation_ends_what_has_ended() {
    breaks(Protocol { finality: false, ..CANCEL }, "an execution ends once");
}

#[test]
fn without_finality_a_report_follows_the_end() {
    breaks(Protocol { finality: false, ..CANCEL }, "nothing follows the end");
}

#[test]
fn an_answer_before_the_append_promises_too_much() {
    breaks(Protocol { durable_answers: false, ..CANCEL }, "what a client is told done is on record");
    breaks(Protocol { durable_answers: false, ..SIGNAL }, "what a client is told done is on record");
}

#[test]
fn a_cancellation_that_is_not_remembered_is_refused_when_it_is_repeated() {
    breaks(Protocol { remembered_requests: false, ..CANCEL }, "nobody is refused what the request did");
}

#[test]
fn a_signal_that_is_not_remembered_is_taken_twice() {
    breaks(Protocol { remembered_requests: false, ..SIGNAL }, "a signal is taken once");
}

#[test]
fn a_signal_remembered_by_its_owner_alone_is_taken_twice() {
    let protocol = Protocol { remembered_requests: false, remembering_in_memory: true, ..SIGNAL };
    breaks(protocol, "a signal is taken once");
}

#[test]
fn an_early_signal_that_is_dropped_was_promised() {
    breaks(Protocol { early_signals: false, ..SIGNAL }, "what a client is told done is on record");
}

#[test]
fn an_answer_out_of_memory_promises_too_much() {
    let pipeline = Pipeline { durable_answers: false, ..Pipeline::default() };
    pipeline_breaks(pipeline, "what a client is told done is on record");
}

#[test]
fn a_refusal_out_of_memory_rests_on_nothing() {
    let pipeline = Pipeline { durable_refusals: false, ..Pipeline::default() };
    pipeline_breaks(pipeline, "a refusal rests on the record");
}

#[test]
fn a_job_out_of_memory_is_of_no_step() {
    let pipeline = Pipeline { durable_effects: false, ..Pipeline::default() };
    pipeline_breaks(pipeline, "what is published is on record");
}

#[test]
fn an_unknown_commit_that_is_hoped_for_promises_too_much() {
    let pipeline = Pipeline { resolving: false, ..Pipeline::default() };
    pipeline_breaks(pipeline, "what a client is told done is on record");
}

#[test]
fn a_memory_that_is_kept_after_a_conflict_promises_too_much() {
    let pipeline = Pipeline { discarding: false, ..Pipeline::default() };
    pipeline_breaks(pipeline, "what a client is told done is on record");
}

#[test]
fn without_epochs_and_sequences_both_win() {
    let pipeline = Pipeline { epochs: false, sequences: false, ..Pipeline::default() };
    pipeline_breaks(pipeline, "what can be had once is had once");
}

#[test]
fn in_the_pipeline_one_of_epochs_and_sequences_covers_for_the_other() {
    for pipeline in [
        Pipeline { sequences: false, ..Pipeline::default() },
        Pipeline { epochs: false, ..Pipeline::default() },
        Pipeline { loading_late: false, ..Pipeline::default() },
    ] {
        let found = explore(&pipeline, None);
        assert!(found.is_sound(), "{found:?} of {pipeline:?}");
        assert_eq!(stuck(&pipeline, PipelineState::is_over), 0, "{pipeline:?}");
    }
}
