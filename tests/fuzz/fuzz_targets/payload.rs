//! A value from anywhere: what is accepted decodes, and comes back the same through JSON.
#![no_main]
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use stepstream_shared::data::Data;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(data) = Data::from_msgpack(Bytes::copy_from_slice(bytes)) {
        let json = data.to_json();
        let again = Data::from_json(&json).expect("what was accepted is within the limits");
        assert_eq!(again.to_json(), json);
        if let Some(elements) = data.elements() {
            assert_eq!(elements.len(), json.as_array().map_or(0, Vec::len));
        }
    }
});
