//! The list of the original's defects is complete, and every test that it names is there.
#![expect(clippy::disallowed_methods, reason = "the core does no I/O; its tests read the documents")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

/// `path::name` for each test that a row names.
fn tests_of(row: &str) -> Vec<(String, String)> {
    let named = row.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once(".rs::"));
    named.map(|(path, name)| (format!("{path}.rs"), name.to_owned())).collect()
}

fn missing(root: &Path, row: &str) -> Vec<String> {
    let there = |path: &str, name: &str| {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        ["(", "<"].iter().any(|next| text.contains(&format!("fn {name}{next}")))
    };
    let named = tests_of(row).into_iter();
    named.filter(|(path, name)| !there(path, name)).map(|(path, name)| format!("{path}::{name}")).collect()
}

#[test]
fn every_defect_has_its_row_and_every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("docs/seed-defects.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| D")).collect();
    let numbers: Vec<&str> = rows.iter().map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    assert_eq!(numbers, (1..=63).map(|number| format!("D{number}")).collect::<Vec<_>>());
    for row in rows {
        let excused = row.contains("| not applicable: ");
        let built = row.split_once("| built in: `").and_then(|(_, rest)| rest.split('`').next());
        let said = [excused, built.is_some(), !tests_of(row).is_empty()];
        assert_eq!(said.into_iter().filter(|each| *each).count(), 1, "tests, a file or a reason: {row}");
        assert!(built.is_none_or(|path| root.join(path).is_file()), "no such file: {row}");
        assert_eq!(missing(root, row), Vec::<String>::new(), "no such test");
    }
}

#[test]
fn a_test_that_is_not_there_is_found_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let row = "| D1 | x | `shared/tests/seeds/main.rs::nobody_has_written_this`, `nowhere.rs::at_all` |";
    assert_eq!(missing(root, row).len(), 2);
    assert!(missing(root, "| D1 | x | `shared/tests/seeds/main.rs::tests_of` |").is_empty());
}
