//! Every file in `bad/` is refused, and what is said about it is a snapshot.

use super::*;

#[test]
#[allow(clippy::disallowed_methods, reason = "test data lies in files")]
fn every_bad_document_is_refused_with_all_its_problems() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/graph/tests/bad");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 25, "the collection is here");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let problems = refused(name, &text);
        insta::with_settings!({snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name.replace('.', "_"), problems.to_string());
        });
        for problem in problems.iter() {
            assert!(problem.place.line >= 1 && problem.place.column >= 1, "{name}: {problem:?}");
        }
    }
}

#[test]
fn many_problems_are_listed_in_the_order_of_the_text_and_then_counted() {
    let mut text = String::from("stepstream: 1\nname: g\nnodes:\n");
    for node in 0..200 {
        text.push_str(&format!("  n{node}: {{ task: echo, next: [ {{ to: missing{node} }} ] }}\n"));
    }
    let problems = refused("many.yaml", &text);
    assert_eq!(problems.count(), 200);
    let lines: Vec<u32> = problems.iter().map(|problem| problem.place.line).collect();
    assert!(lines.is_sorted() && lines.len() < 200);
    assert!(problems.to_string().ends_with(" more\n"));
}

#[test]
fn a_problem_inside_an_expression_points_into_it() {
    let text =
        "stepstream: 1\nname: g\nnodes:\n  a:\n    task: echo\n    with: { x: \"=inputs.a + steps.zz.output\" }\n";
    let problems = refused("g.yaml", text);
    let problem = problems.iter().next().unwrap();
    assert_eq!(text.lines().nth(5).unwrap().find("steps.zz"), Some(problem.place.column as usize - 1), "{problems}");
}

#[test]
fn a_long_line_is_shown_around_the_problem() {
    let text = format!(
        r#"{{"stepstream":1,"name":"g","nodes":{{"a":{{"task":"echo","with":"{}","next":[{{"to":"b"}}]}}}}}}"#,
        "x".repeat(5000)
    );
    let shown = refused("g.json", &text).to_string();
    assert!(shown.len() < 600 && shown.contains(r#""to":"b""#), "{shown}");
}
