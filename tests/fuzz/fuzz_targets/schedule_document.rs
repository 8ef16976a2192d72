//! Whatever text: it is a schedule or it is refused with a reason, and what is one reads back, with times that increase.
#![no_main]
use libfuzzer_sys::fuzz_target;
use stepstream_shared::graph::Source;
use stepstream_shared::schedule::Definition;
use stepstream_shared::time::Timestamp;

fuzz_target!(|text: &str| {
    // November 2026.
    let now = Timestamp::from_micros(1_795_000_000_000_000);
    match Definition::read(&Source { name: "fuzz.yaml", text }, Some(now)) {
        Ok(schedule) => {
            let again = Definition::read(&Source { name: "fuzz.json", text: schedule.document() }, None);
            let again = again.expect("what is stored reads back");
            assert_eq!((again.document(), &again.timing), (schedule.document(), &schedule.timing));
            let mut last = now;
            for _ in 0..10 {
                let Some(next) = schedule.timing.next_after(last) else { break };
                assert!(next > last);
                last = next;
            }
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});
