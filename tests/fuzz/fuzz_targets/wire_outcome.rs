//! An outcome from a stranger: refused, or the same after a round trip.
#![no_main]
use libfuzzer_sys::fuzz_target;
use stepstream_shared::wire::Outcome;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(outcome) = Outcome::decode(bytes) {
        let encoded = outcome.encode().expect("what was decoded can be encoded");
        assert_eq!(Outcome::decode(&encoded).expect("and decoded again"), outcome);
    }
});
