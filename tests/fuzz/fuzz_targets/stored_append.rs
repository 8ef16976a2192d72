//! Bytes in place of a stored append: refused, or decoded; and never mistaken for what was hashed.
#![no_main]
use libfuzzer_sys::fuzz_target;
use stepstream_shared::event::codec;

fuzz_target!(|bytes: &[u8]| {
    let _ = codec::decode(bytes);
    assert!(codec::verify(&[7; 32], bytes, &[9; 32]).is_err());
});
