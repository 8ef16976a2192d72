//! The incarnations of a store: one for each time that it may have lost its end.
//!
//! What was promised in the end that is gone is known to workers, clients and coordinators that still run. So a restore
//! begins an incarnation, and everything that names an earlier one is refused: tokens of jobs by their own field,
//! appends by their epoch. Epochs of an incarnation begin above all of those before it, even above those that were given
//! out in the end that is gone; and the epoch of an append says under which incarnation it was made.

/// Epochs that an incarnation has for each partition: one for each takeover.
const EPOCHS: u32 = 32;

/// The epoch that each partition has when an incarnation begins; owners have higher ones.
pub(crate) const fn first_epoch(incarnation: u64) -> u64 {
    incarnation.saturating_sub(1) << EPOCHS
}

/// Under which incarnation an append was made.
pub(crate) const fn of_epoch(epoch: u64) -> u64 {
    (epoch >> EPOCHS) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_says_under_which_incarnation_it_was_given_out() {
        assert_eq!(first_epoch(1), 0);
        for incarnation in [1, 2, 3, 1000] {
            assert_eq!(of_epoch(first_epoch(incarnation)), incarnation);
            assert_eq!(of_epoch(first_epoch(incarnation + 1) - 1), incarnation);
        }
    }
}
