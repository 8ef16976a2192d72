//! A hint from anywhere: refused, or the same after a round trip.
#![no_main]
use libfuzzer_sys::fuzz_target;
use stepstream_shared::wire::Control;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(control) = Control::decode(bytes) {
        let encoded = control.encode().expect("what was decoded can be encoded");
        assert_eq!(Control::decode(&encoded).expect("and decoded again"), control);
    }
});
