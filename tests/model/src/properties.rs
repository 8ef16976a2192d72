//! What must hold in every state, and what must be possible.

use stateright::Property;

use crate::protocol::Protocol;
use crate::state::{Phase, State};

pub(crate) fn all(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::always("a step completes once", |_, state: &State| state.log.completions <= 1),
        Property::always("an execution ends once", |_, state: &State| state.log.endings <= 1),
        Property::always("nothing follows the end", |_, state: &State| !state.log.goes_on),
        Property::always("a completion is of the claim on record", |_, state: &State| !state.sins.accepted_another),
        Property::always("the holder of a claim is not refused", |_, state: &State| !state.sins.fenced_holder),
        Property::always("no append under an epoch that is over", |_, state: &State| !state.sins.accepted_epoch),
        Property::always("an owner believes what the log says", |_, state: &State| {
            state.coordinators.iter().all(|each| each.epoch != state.epoch || each.epoch == 0 || each.view == state.log)
        }),
        Property::sometimes("it completes", |_, state: &State| state.log.phase == Phase::Done),
    ];
    if protocol.claims_first {
        all.push(Property::always("a token runs once", |_, state: &State| state.runs.values().all(|runs| *runs <= 1)));
    }
    if protocol.at_most_once {
        all.push(Property::always("an at-most-once step runs once", |_, state: &State| {
            state.runs.values().map(|runs| u32::from(*runs)).sum::<u32>() <= 1
        }));
    }
    if protocol.has_timer {
        all.push(Property::always("a timer fires once", |_, state: &State| state.log.firings <= 1));
        all.push(Property::always("a timer fires when it is due", |_, state: &State| !state.sins.fired_early));
    }
    if protocol.has_signal {
        all.push(Property::always("a signal is taken once", |_, state: &State| state.log.signals <= 1));
    }
    if protocol.has_signal || protocol.has_cancel {
        // A restore loses what was said before it; nobody can promise otherwise.
        all.push(Property::always("what a client is told done is on record", |protocol: &Protocol, state: &State| {
            protocol.budget.restores > 0 || !state.sins.told_too_much
        }));
        all.push(Property::always("nobody is refused what the request did", |_, state: &State| {
            !state.sins.told_too_little
        }));
    }
    all
}
