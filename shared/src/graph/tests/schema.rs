//! The published schema against the compiler.

use super::*;

#[test]
#[allow(clippy::disallowed_methods, reason = "the committed schema is a file")]
fn the_committed_schema_is_the_one_of_the_code() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/graph.schema.json");
    let wanted = format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == wanted, "run the test again with UPDATE_SCHEMA=1, and look at the difference");
}

fn schema() -> jsonschema::Validator {
    jsonschema::validator_for(&json_schema()).unwrap()
}

#[test]
fn what_compiles_matches_the_schema() {
    for text in [
        include_str!("good/review.yaml"),
        include_str!("good/nested_loops.yaml"),
        include_str!("good/races_and_undo.yaml"),
        include_str!("good/inline.yaml"),
    ] {
        let document: serde_json::Value = serde_json::from_str(&good("g.yaml", text).canonical).unwrap();
        let problems: Vec<String> = schema().iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}");
    }
}

#[test]
fn the_schema_sees_what_a_schema_can_see() {
    let schema = schema();
    for name in [
        "bad_durations",
        "bad_names",
        "edge_mistakes",
        "kinds",
        "limits",
        "map_mistakes",
        "newer_format",
        "no_header",
        "no_nodes",
        "not_a_map",
        "not_supported_yet",
        "permits",
        "quorum_zero",
        "route_without_edges",
        "undo_mistakes",
        "unknown_fields",
        "version_is_a_number",
        "when_is_no_boolean",
        "edges_from_ends",
    ] {
        let path = format!("{}/src/graph/tests/bad/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        #[allow(clippy::disallowed_methods, reason = "test data lies in files")]
        let text = std::fs::read_to_string(path).unwrap();
        let options = serde_saphyr::options! { strict_booleans: true };
        let document: serde_json::Value = serde_saphyr::from_str_with_options(&text, options).unwrap();
        assert!(!schema.is_valid(&document), "{name}");
    }
}
