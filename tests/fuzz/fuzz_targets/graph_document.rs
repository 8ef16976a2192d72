//! Whatever text: the compiler answers, and what compiles survives its own canonical form.
#![no_main]
use libfuzzer_sys::fuzz_target;
use stepstream_shared::graph::{CompiledGraph, Source, compile, render};

fuzz_target!(|text: &str| {
    match compile(&Source { name: "fuzz.yaml", text }) {
        Ok(graph) => {
            let again = CompiledGraph::from_canonical(&graph.canonical).expect("a canonical document compiles");
            assert_eq!(again.digest, graph.digest);
            let _ = (render::to_dot(&graph), render::to_mermaid(&graph));
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});
