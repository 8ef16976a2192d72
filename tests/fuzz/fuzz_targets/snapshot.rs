//! Bytes in place of a snapshot: refused, or a state that can be asked and hashed.
#![no_main]
use libfuzzer_sys::fuzz_target;
use stepstream_shared::execution::Execution;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(state) = Execution::from_snapshot(bytes) {
        let _ = (state.state_hash(), state.next_deadline(), state.counts());
    }
});
