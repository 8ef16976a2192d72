//! No text hurts: it compiles or is refused, soon, and the process lives.

use proptest::prelude::*;

use super::*;

#[test]
fn a_hundred_megabytes_are_refused_at_once() {
    let text = "a".repeat(100 * 1024 * 1024);
    assert!(refused("big.yaml", &text).to_string().contains("document limit"));
}

#[test]
fn nul_bytes_are_refused() {
    for (text, place) in
        [("stepstream: 1\nname: ä\0b\n", "nul.yaml:2:8"), ("a\0b", "nul.yaml:1:2"), ("\0", "nul.yaml:1:1")]
    {
        let said = refused("nul.yaml", text).to_string();
        assert!(said.contains("NUL") && said.contains(place), "{said}");
    }
}

#[test]
fn deep_nesting_is_refused_in_either_language() {
    for (name, open, close) in
        [("a.json", "[", "]"), ("a.yaml", "[", "]"), ("a.json", "{\"a\":", "}"), ("a.yaml", "{a: ", "}")]
    {
        let text = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        refused(name, &text);
    }
    let mut text = String::new();
    for level in 0..1000 {
        text.push_str(&format!("{}a:\n", " ".repeat(level)));
    }
    refused("a.yaml", &text);
}

#[test]
fn a_schema_that_contains_itself_neither_compiles_nor_validates_without_end() {
    for schema in [
        r##"{ $ref: "#" }"##,
        r##"{ allOf: [ { $ref: "#/allOf/0" } ] }"##,
        r##"{ $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } }, $ref: "#/$defs/a" }"##,
        r##"{ $defs: { a: { anyOf: [ { $ref: "#/$defs/a" }, { type: string } ] } }, $ref: "#/$defs/a" }"##,
    ] {
        let text = format!("stepstream: 1\nname: g\ninputs: {schema}\nnodes: {{ a: {{ task: echo }} }}\n");
        if let Ok(graph) = compile(&Source { name: "g.yaml", text: &text }) {
            graph.input_problems(&serde_json::json!({"a": 1}));
        }
    }
}

#[test]
fn a_recursive_schema_still_describes_trees() {
    let text = "stepstream: 1\nname: g\ninputs: { $ref: '#/$defs/tree', $defs: { tree: { type: object, properties: { kids: { type: array, items: { $ref: '#/$defs/tree' } } } } } }\nnodes: { a: { task: echo } }\n";
    let graph = good("g.yaml", text);
    assert!(graph.input_problems(&serde_json::json!({"kids": [{"kids": []}]})).is_empty());
    assert_eq!(graph.input_problems(&serde_json::json!({"kids": [{"kids": [5]}]})).len(), 1);
}

#[test]
fn loops_in_loops_in_loops_are_searched_in_time() {
    let nodes = 3000;
    let mut text = String::from("stepstream: 1\nname: g\nnodes:\n  begin: { task: echo, next: [ { to: n0 } ] }\n");
    for node in 0..nodes {
        let next = if node + 1 < nodes {
            format!("{{ to: n{} }}, ", node + 1)
        } else {
            (0..nodes).map(|to| format!("{{ to: n{to} }}, ")).collect()
        };
        text.push_str(&format!("  n{node}: {{ task: echo, max_iterations: 2, next: [ {next} ] }}\n"));
    }
    assert!(refused("g.yaml", &text).to_string().contains("loop-depth"));
}

#[test]
fn large_texts_cannot_be_multiplied_by_aliases() {
    let items = "*big, ".repeat(5000);
    let text = format!(
        "stepstream: 1\nname: g\nnodes:\n  a: {{ task: echo, label: &big \"{}\", with: [ {items} 1 ] }}\n",
        "x".repeat(500_000)
    );
    assert!(refused("g.yaml", &text).to_string().contains("document limit"));
}

#[test]
fn thousands_of_mistakes_are_counted_without_a_hint_for_each() {
    let mut edges = String::from("stepstream: 1\nname: g\nnodes:\n");
    let mut expressions = edges.clone();
    for node in 0..2000 {
        edges.push_str(&format!("  node_{node}: {{ task: echo, next: [ {{ to: knot_{node} }} ] }}\n"));
        expressions.push_str(&format!("  node_{node}: {{ task: echo, with: \"=steps.knot_{node}.output\" }}\n"));
    }
    assert_eq!(refused("g.yaml", &edges).count(), 2000);
    assert!(refused("g.yaml", &expressions).count() >= 50);
}

proptest! {
    #[test]
    fn any_text_is_compiled_or_refused(text in "\\PC{0,200}") {
        for name in ["a.yaml", "a.json", "a"] {
            let _ = compile(&Source { name, text: &text }).map_err(|problems| problems.to_string());
        }
    }

    #[test]
    fn a_mutated_document_is_compiled_or_refused(
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[ \\n{}\\[\\]:,'\"=&*!|>a-z0-9#-]{0,6}"), 1..4),
        which in any::<bool>(),
    ) {
        let mut text = if which { include_str!("good/review.yaml") } else { include_str!("good/nested_loops.yaml") }.to_owned();
        for (from, length, insert) in cuts {
            let from = from.index(text.len());
            let to = (from + length.index(12)).min(text.len());
            text.replace_range(from..to, &insert);
        }
        let _ = compile(&Source { name: "a.yaml", text: &text }).map_err(|problems| problems.to_string());
    }
}
