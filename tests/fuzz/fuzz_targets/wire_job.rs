//! A job from anywhere: refused, or the same after a round trip.
#![no_main]
use libfuzzer_sys::fuzz_target;
use stepstream_shared::wire::Job;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(job) = Job::decode(bytes) {
        let encoded = job.encode().expect("what was decoded can be encoded");
        assert_eq!(Job::decode(&encoded).expect("and decoded again"), job);
        let _ = (job.message_id(), job.idempotency_key());
    }
});
