//! A request of another coordinator, or its answer, from anywhere: refused, or the same after a round trip.
#![no_main]
use libfuzzer_sys::fuzz_target;
use stepstream_shared::wire::{Answer, Forwarded};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(forwarded) = Forwarded::decode(bytes) {
        let encoded = forwarded.encode().expect("what was decoded can be encoded");
        assert_eq!(Forwarded::decode(&encoded).expect("and decoded again"), forwarded);
    }
    if let Ok(answer) = Answer::decode(bytes) {
        let encoded = answer.clone().encode().expect("what was decoded can be encoded");
        assert_eq!(Answer::decode(&encoded).expect("and decoded again"), answer);
    }
});
