//! Any text as a recorded workflow: refused, or a document that the compiler can judge.
#![no_main]
use libfuzzer_sys::fuzz_target;
use stepstream_shared::graph::wfcommons::{ImportOptions, import};

fuzz_target!(|text: &str| {
    let _ = import(text, &ImportOptions { time_scale: 0.0, callable: "sleep".to_owned(), source: "fuzz".to_owned() });
});
