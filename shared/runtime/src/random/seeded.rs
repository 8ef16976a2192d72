//! Chance that comes again: a thread that was given a seed draws the same numbers in every run.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// While this lives, its thread draws from a seed.
#[must_use = "chance is the operating system's again when this is dropped"]
pub struct Seeded(());

/// From now on this thread draws from a seed.
pub fn seed(seed: u64) -> Seeded {
    STATE.set(Some(seed));
    Seeded(())
}

impl Drop for Seeded {
    fn drop(&mut self) {
        STATE.set(None);
    }
}

/// Answers whether this thread has a seed, and has filled the bytes from it.
pub(super) fn fill(bytes: &mut [u8]) -> bool {
    let Some(mut state) = STATE.get() else { return false };
    for chunk in bytes.chunks_mut(8) {
        // SplitMix64 (Steele, Lea, Flood 2014): every state is followed by another, and none comes twice in 2^64 draws.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
    }
    STATE.set(Some(state));
    true
}
