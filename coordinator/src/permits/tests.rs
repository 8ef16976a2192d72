//! What a permit needs that its log knows more about.

use super::*;

#[test]
fn a_place_is_taken_back_only_when_nobody_can_be_about_to_use_it() {
    use PermitAnswer::{Denied, Granted};
    use PermitStanding::{Asks, Holds, Over, Withheld};
    for (standing, grant, older, expected) in [
        (Holds, Some(Granted(1)), SWEEP, None),
        (Asks, None, SWEEP_WAITING, None),
        (Asks, Some(Granted(1)), Duration::ZERO, Some(Remedy::Ask)),
        (Over, Some(Granted(1)), Duration::ZERO, Some(Remedy::End(EndOf::Attempt))),
        (Over, None, SWEEP_WAITING, Some(Remedy::End(EndOf::Attempt))),
        (Withheld, Some(Granted(3)), SWEEP, Some(Remedy::End(EndOf::Grant(3)))),
        // A partition was just won: the grant may be on its way, and its execution be resumed.
        (Withheld, Some(Granted(3)), Duration::ZERO, None),
        // It may ask again before this is carried out, and nobody would know that it waits.
        (Withheld, None, SWEEP_WAITING, None),
        // What was denied may have been said to nobody.
        (Asks, Some(Denied), Duration::ZERO, Some(Remedy::Ask)),
        (Withheld, Some(Denied), SWEEP, None),
        (Over, Some(Denied), SWEEP, Some(Remedy::End(EndOf::Attempt))),
    ] {
        assert_eq!(remedy(standing, grant, older), expected, "{standing:?}, {grant:?}, {older:?}");
    }
}
