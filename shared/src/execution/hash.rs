//! Comparing states: one hash over a canonical form.

use super::state::{Execution, STATE_VERSION};

impl Execution {
    /// BLAKE3 over the canonical form of the state: MessagePack maps, fields in their declared order, collections in
    /// theirs, a field at its default left out, so that a field added later does not change the hash of older states.
    ///
    /// Costs time linear in the state; not for every event.
    pub fn state_hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("stepstream 2026 state");
        hasher.update(&STATE_VERSION.to_le_bytes());
        // Serialising plain data into memory does not fail.
        let canonical = rmp_serde::to_vec_named(self).unwrap_or_default();
        hasher.update(&canonical);
        *hasher.finalize().as_bytes()
    }

    /// The version of the canonical form: hashes of different versions are not comparable.
    pub const fn state_version(&self) -> u32 {
        STATE_VERSION
    }

    /// The state as bytes, to go on from later.
    pub fn to_snapshot(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    /// The state that [`Execution::to_snapshot`] gave.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, crate::event::CodecError> {
        let mut execution: Self =
            rmp_serde::from_slice(bytes).map_err(|error| crate::event::CodecError::Malformed(error.to_string()))?;
        let in_hand = execution.open.iter().filter(|step| execution.is_in_hand(**step)).count();
        execution.in_hand = u32::try_from(in_hand).unwrap_or(u32::MAX);
        Ok(execution)
    }
}
