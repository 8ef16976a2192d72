//! What a graph may take in by name, and that what came of it can be read again.

use std::collections::HashMap;

use super::*;

/// A graph `outer` with so many nodes that take in `inner`.
fn taking_in(inner: &CompiledGraph, times: usize) -> Result<CompiledGraph, Diagnostics> {
    let nodes = (0..times).map(|at| format!("  n{at}: {{ graph: inner, spawn: {{ mode: inline }} }}\n"));
    let text = format!("stepstream: 1\nname: outer\nnodes:\n{}", nodes.collect::<String>());
    let documents = HashMap::from([("inner".to_owned(), inner.canonical.clone())]);
    compile_knowing(&Source { name: "outer.yaml", text: &text }, &documents)
}

/// The only problem: its code, its message and the line it is in.
fn only_problem(problems: &Diagnostics) -> (&str, &str, u32) {
    assert_eq!(problems.count(), 1, "{problems}");
    let problem = problems.iter().next().unwrap();
    (problem.code, &problem.message, problem.place.line)
}

#[test]
fn what_names_stand_for_is_counted_while_it_is_put_in() {
    let mebibyte = "x".repeat(1 << 20);
    let large =
        good("inner.yaml", &format!("stepstream: 1\nname: inner\nnodes: {{ a: {{ task: t, with: \"{mebibyte}\" }} }}"));
    let problems = taking_in(&large, 20_000).unwrap_err();
    let message = "what the document takes in has more than 4194304 bytes (document limit)";
    assert_eq!(only_problem(&problems), ("document-limit", message, 7), "at the fourth");
    assert!(taking_in(&large, 3).is_ok());
}

#[test]
fn graphs_that_are_taken_in_have_no_more_nodes_together_than_one_may_have() {
    let nodes = (0..9_999).map(|at| format!("n{at}: {{ task: t }}, ")).collect::<String>();
    let wide = good("inner.yaml", &format!("stepstream: 1\nname: inner\nnodes: {{ {nodes} }}"));
    assert!(taking_in(&wide, 1).is_ok());
    let problems = taking_in(&wide, 3).unwrap_err();
    let message = "what the document takes in has more than 20000 nodes (node limit)";
    assert_eq!(only_problem(&problems), ("document-limit", message, 6));
}

#[test]
fn what_is_deeper_together_than_a_document_may_be_is_refused_and_anything_else_can_be_read_again() {
    let (mut stored, mut too_deep) = (0, 0);
    for depth in 40..64 {
        let with = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let text = format!("stepstream: 1\nname: inner\nnodes: {{ a: {{ task: t, with: {with} }} }}");
        let Ok(inner) = compile(&Source { name: "inner.yaml", text: &text }) else { continue };
        match taking_in(&inner, 1) {
            Ok(outer) => {
                let again =
                    CompiledGraph::from_canonical(&outer.canonical).unwrap_or_else(|problems| panic!("{problems}"));
                assert_eq!(again.digest, outer.digest);
                stored += 1;
            }
            Err(problems) => {
                let message = "with what it takes in, the document nests deeper than 64 levels";
                assert_eq!(only_problem(&problems), ("document-limit", message, 4));
                too_deep += 1;
            }
        }
    }
    assert!(stored > 0 && too_deep > 0, "{stored} {too_deep}");
}
