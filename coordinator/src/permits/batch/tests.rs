//! What becomes of work for the store that comes together.

use stepstream_shared::event::PermitAsk;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};

use super::*;

fn attempt(number: u8) -> AttemptRef {
    let execution = ExecutionId::derived("stepstream tests 2026 permits", &[&[number]]);
    AttemptRef { tenant: TenantId::default_tenant(), execution, step: 0, attempt: 1 }
}

fn ask(number: u8) -> PermitWork {
    ask_as_of(number, 5)
}

/// Asks as of an event of its log.
fn ask_as_of(number: u8, sequence: u64) -> PermitWork {
    let ask = PermitAsk { place: None, pace: None, need: None, priority: Priority::Normal };
    PermitWork::Ask(
        PermitRequest { attempt: attempt(number), partition: PartitionId(0), sequence, ask },
        Kept::default(),
    )
}

fn end(number: u8, why: EndOf) -> PermitWork {
    PermitWork::End(PermitEnd { attempt: attempt(number), why })
}

fn asks(work: Vec<PermitWork>) -> Vec<AttemptRef> {
    Batch::of(work.into_iter()).asks.into_iter().map(|request| request.attempt).collect()
}

#[test]
fn who_asks_first_is_first_and_asks_once() {
    let numbers: Vec<u8> = (0..40).collect();
    let mut work: Vec<PermitWork> = numbers.iter().copied().map(ask).collect();
    work.push(ask(3));
    assert_eq!(asks(work), numbers.into_iter().map(attempt).collect::<Vec<_>>());
}

#[test]
fn an_end_takes_back_what_was_asked_before_and_not_what_is_asked_after() {
    for why in [EndOf::Attempt, EndOf::Wait(7)] {
        assert_eq!(asks(vec![ask(1), end(1, why)]), []);
        assert_eq!(asks(vec![ask(1), end(1, why), ask(1)]), [attempt(1)]);
    }
    assert_eq!(asks(vec![ask_as_of(1, 9), end(1, EndOf::Wait(7))]), [attempt(1)], "it has asked again since");
    assert_eq!(asks(vec![ask(1), ask_as_of(1, 9), end(1, EndOf::Wait(7))]), [attempt(1)], "the later one counts");
    assert_eq!(asks(vec![ask(1), end(1, EndOf::Grant(1))]), [attempt(1)], "what is asked is another grant");
}

#[test]
fn only_what_the_store_was_given_is_kept() {
    let (first, second) = (Kept::default(), Kept::default());
    let with = |number: u8, kept: &Kept| match ask(number) {
        PermitWork::Ask(request, _) => PermitWork::Ask(request, kept.clone()),
        other => other,
    };
    let batch = Batch::of(vec![with(1, &first), with(2, &second), end(2, EndOf::Wait(7))].into_iter());
    assert!(!first.is_so());
    batch.is_kept();
    assert!(first.is_so() && !second.is_so());
}
