//! The moments of a rate.

use proptest::prelude::*;
use stepstream_shared::event::Pace;

use super::*;

fn spacing(max: u32, per_us: u64, burst: u32) -> Spacing {
    let pace = Some(Pace { key: "k".to_owned(), max, per_us, burst });
    Spacing::of(&PermitAsk { place: None, pace, need: None, priority: stepstream_shared::graph::Priority::Normal })
        .unwrap()
}

#[test]
fn the_moments_of_a_rate_are_evenly_spaced_after_a_burst() {
    let spacing = spacing(10, 1_000_000, 3);
    let (mut until, mut moments) = (0, Vec::new());
    for _ in 0..5 {
        let (from, next) = spacing.next(5_000_000, until);
        until = next;
        moments.push(from);
    }
    assert_eq!(moments, [5_000_000, 5_000_000, 5_000_000, 5_100_000, 5_200_000]);
}

#[test]
fn a_rate_that_does_not_divide_is_never_faster_than_it_says() {
    assert_eq!(spacing(3, 10, 1).interval, 4);
}

proptest! {
    /// Whenever they ask: no window holds more than the rate and its burst, and no moment lies before it was asked for.
    #[test]
    fn no_window_holds_more_than_the_rate_and_its_burst(
        max in 1_u32..50,
        per_us in 50_u64..10_000,
        burst in 1_u32..20,
        gaps in prop::collection::vec(0_i64..2_000, 1..200),
    ) {
        let spacing = spacing(max, per_us, burst);
        let (mut now, mut until, mut moments) = (1_000_000, 0, Vec::new());
        for gap in gaps {
            now += gap;
            let (from, next) = spacing.next(now, until);
            prop_assert!(from >= now);
            until = next;
            moments.push(from);
        }
        prop_assert!(moments.is_sorted(), "who asks first is first");
        for (at, first) in moments.iter().enumerate() {
            let end = first + i64::try_from(per_us).unwrap();
            let within = moments[at..].iter().take_while(|moment| **moment < end).count();
            prop_assert!(within <= (max + burst - 1) as usize, "{within} of {max} and {burst}");
        }
    }
}
