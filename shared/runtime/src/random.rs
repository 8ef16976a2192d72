//! Chance, from the operating system: new identities and the spread of retries. The core is handed these.
//!
//! Simulations (feature `simulation`, which no program has) take it from a seed instead, thread by thread.

#[cfg(feature = "simulation")]
mod seeded;

#[cfg(feature = "simulation")]
pub use seeded::{Seeded, seed};

use stepstream_shared::id::{ExecutionId, Id, Kind};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::ClaimId;

/// Bytes nobody can guess.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[cfg(feature = "simulation")]
    if seeded::fill(&mut bytes) {
        return bytes;
    }
    getrandom::fill(&mut bytes).expect("an operating system without randomness cannot run anything safely");
    bytes
}

/// A fresh id of any kind that is minted by the clock.
pub fn id<K: Kind>(now: Timestamp) -> Id<K> {
    Id::from_parts(now.as_micros().div_euclid(1_000_000), bytes())
}

pub fn execution_id(now: Timestamp) -> ExecutionId {
    id(now)
}

/// The right to run one delivery: never the same twice, whoever asks.
pub fn claim_id() -> ClaimId {
    ClaimId(u128::from_le_bytes(bytes()))
}

/// Hides a payload behind its commitment in the hash chain.
pub fn salt() -> [u8; 16] {
    bytes()
}

/// A number in 0.0..1.0, evenly spread.
pub fn chance() -> f64 {
    // Fifty-three bits are what a double holds exactly.
    (u64::from_le_bytes(bytes()) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
