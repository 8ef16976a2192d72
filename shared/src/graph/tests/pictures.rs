//! DOT and Mermaid.

use super::*;
use crate::graph::render::{to_dot, to_mermaid};

#[test]
fn a_graph_is_drawn_with_its_loops_and_error_edges() {
    let graph = good("review.yaml", include_str!("good/review.yaml"));
    insta::assert_snapshot!("dot", to_dot(&graph));
    insta::assert_snapshot!("mermaid", to_mermaid(&graph));
}

#[test]
fn a_picture_says_what_races_and_what_is_undone() {
    let graph = good("races_and_undo.yaml", include_str!("good/races_and_undo.yaml"));
    insta::assert_snapshot!("races_and_undo", format!("{}\n{}", to_dot(&graph), to_mermaid(&graph)));
}

#[test]
fn labels_cannot_break_out_of_their_quotes() {
    let text = r##"{"stepstream": 1, "name": "g", "nodes": {"a": {"task": "echo", "label": "x\"]; evil -> y; \\\n<script>#quot;"}}}"##;
    let graph = good("g.json", text);
    assert!(to_dot(&graph).contains(r#"label="x\"]; evil -> y; \\\n<script>#quot;\necho""#), "{}", to_dot(&graph));
    let mermaid = to_mermaid(&graph);
    assert!(!mermaid.contains("<script>") && !mermaid.contains("x\"]"), "{mermaid}");
}

#[test]
fn a_graph_in_a_graph_is_drawn_as_a_group() {
    let graph = good("inline.yaml", include_str!("good/inline.yaml"));
    let (dot, mermaid) = (to_dot(&graph), to_mermaid(&graph));
    assert!(dot.contains("label=\"tidy: tidy\"; style=dashed;") && dot.contains("label=\"tidy.deep\""), "{dot}");
    assert!(dot.contains("[style=dotted];") && mermaid.contains("[\"tidy: tidy\"]"), "{dot} {mermaid}");
}
