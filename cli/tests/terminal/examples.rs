use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::Desk;

fn example(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "examples", name].iter().collect();
    path.to_str().unwrap().to_owned()
}

fn output(name: &str, input: Value) -> Value {
    let desk = Desk::new();
    let args = ["run", &example(name), "--allow-process", "-o", "json", "--input", &input.to_string()];
    let report = desk.expect(0, &args).json();
    desk.expect(0, &["replay", report["execution_id"].as_str().unwrap(), "--verify"]);
    report["output"].clone()
}

#[test]
fn every_example_is_a_valid_graph() {
    let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")).unwrap();
    let graphs: Vec<PathBuf> = folder
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    assert!(graphs.len() >= 4);
    for graph in graphs {
        Desk::new().expect(0, &["validate", graph.to_str().unwrap()]);
    }
}

#[test]
fn hello_greets() {
    assert_eq!(output("hello.yaml", json!({"name": "Ada"})), "Hello, Ada!");
}

#[test]
fn refine_goes_round_until_it_is_good_enough() {
    let refined = output("refine.yaml", json!({"number": 2}));
    assert!((refined["root"].as_f64().unwrap() - 2_f64.sqrt()).abs() < 1e-6, "{refined}");
    assert!(refined["rounds"].as_u64().unwrap() > 1);
}

#[test]
fn quorum_does_not_wait_for_the_slow_one() {
    assert_eq!(output("quorum.yaml", json!({}))["decided"], true);
}

#[test]
fn race_gives_up_the_slow_one() {
    let desk = Desk::new();
    let report = desk.expect(0, &["run", &example("race.yaml"), "-o", "json"]).json();
    assert_eq!((&report["output"]["winner"], &report["steps"]["skipped"]), (&json!("quick"), &json!(1)), "{report}");
    let events = desk.expect(0, &["events", report["execution_id"].as_str().unwrap()]).stdout;
    assert!(events.lines().any(|line| line.contains("slow") && line.contains("reason lost")), "{events}");
}

#[test]
fn saga_gives_back_what_it_has_booked() {
    let desk = Desk::new();
    let report = desk.expect(1, &["run", &example("saga.yaml"), "-o", "json"]).json();
    assert_eq!(report["error"]["message"], "there is no car");
    assert_eq!(report["compensation"], json!({"ending": "Failed", "done": 2, "failed": 0, "left": 0}), "{report}");
    // Undo steps are not counted among those of the graph.
    let counts = ["completed", "failed", "skipped", "total"].map(|name| report["steps"][name].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 1, 5], "{report}");
    let id = report["execution_id"].as_str().unwrap();
    let shown = desk.expect(0, &["get", "execution", id]).stdout;
    assert!(shown.contains("2 undone, 0 failed"), "{shown}");
    let events = desk.expect(0, &["events", id]).stdout;
    let undone: Vec<&str> =
        events.lines().filter(|line| line.contains("step_completed") && line.contains("undo ")).collect();
    let [hotel, flight] = undone.as_slice() else { panic!("{events}") };
    assert!(hotel.contains("undo hotel") && flight.contains("undo flight"), "{events}");
    assert!(events.contains("compensation_started"), "{events}");
    desk.expect(0, &["replay", id, "--verify"]);

    let booked = output("saga.yaml", json!({"cars": 1}));
    assert!(booked[2].as_str().unwrap().starts_with("car for exec_"), "{booked}");
}

#[test]
fn repo_audit_reads_whatever_names_files_have() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("plain.txt", "one\ntwo\n");
    write("with space.txt", "one\n");
    write("línea ünïcode.md", "ä\n");
    write("line\nbreak", "x");
    write("-rf", "dash\n");
    write("quote'\"$(id).txt", "q\n");
    write("back\\slash.txt", "b\n");
    write("copy.txt", "one\n");
    write("empty", "");
    for unseen in [".git", "target", "node_modules", "corpus"] {
        std::fs::create_dir(folder.path().join(unseen)).unwrap();
        write(&format!("{unseen}/file"), "not looked into");
    }
    let audit = output("repo-audit.yaml", json!({"dir": folder.path()}));
    assert_eq!(
        (&audit["files"], &audit["files_found"], &audit["left_out"]),
        (&json!(9), &json!(9), &json!(0)),
        "{audit:#}"
    );
    assert_eq!(audit["unreadable"], json!([]), "{audit:#}");
    assert_eq!(audit["lines"], 8, "{audit:#}");
    assert_eq!(audit["verdict"], "has copies");
    assert_eq!(audit["copies"], json!([["./copy.txt", "./with space.txt"]]));
    let largest = &audit["largest"][0];
    assert_eq!((&largest["path"], &largest["bytes"]), (&json!("./plain.txt"), &json!(8)));
    // Of "one\ntwo\n", as any other program computes it.
    assert_eq!(largest["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn repo_audit_reports_what_cannot_be_read() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good"), "x\n").unwrap();
    // A name that is no text cannot be passed on, whoever runs this; a file without permission stops all but root.
    std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"bad\xff")), "x\n").unwrap();
    let audit = output("repo-audit.yaml", json!({"dir": folder.path()}));
    assert_eq!((&audit["verdict"], &audit["files"]), (&json!("incomplete"), &json!(2)), "{audit:#}");
    assert_eq!(audit["unreadable"].as_array().unwrap().len(), 1, "{audit:#}");
    assert!(audit["unreadable"][0]["error"].as_str().unwrap().contains("No such file"), "{audit:#}");
}

#[test]
fn repo_audit_of_an_empty_directory_ends_early() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(output("repo-audit.yaml", json!({"dir": folder.path()})), json!({"verdict": "empty", "files": 0}));
}

#[test]
fn repo_audit_leaves_out_files_beyond_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..5 {
        std::fs::write(folder.path().join(n.to_string()), "x\n").unwrap();
    }
    let audit = output("repo-audit.yaml", json!({"dir": folder.path(), "max_files": 3}));
    let numbers = ["files", "files_found", "left_out"].map(|name| audit[name].as_u64().unwrap());
    assert_eq!((numbers, &audit["verdict"]), ([3, 5, 2], &json!("incomplete")), "{audit:#}");
}

#[test]
fn repo_audit_tells_of_folders_that_cannot_be_listed() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::write(folder.path().join("open"), "x\n").unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let everything_is_open = std::fs::read_dir(&closed).is_ok(); // To root.
    let audit = output("repo-audit.yaml", json!({"dir": folder.path()}));
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(audit["files"], 1);
    assert_eq!(audit["verdict"], if everything_is_open { "clean" } else { "incomplete" }, "{audit:#}");
    assert_eq!(audit["unlisted"].as_array().unwrap().len(), usize::from(!everything_is_open), "{audit:#}");
}

#[test]
fn an_agent_asks_until_it_has_its_answer() {
    let desk = Desk::new();
    let input = "{\"question\": \"tides\", \"answer_at\": 3}";
    let report = desk.expect(0, &["run", &example("agent.yaml"), "--input", input, "-o", "json"]).json();
    assert_eq!(
        (&report["output"]["asked"], &report["output"]["answers"][0]["answer"]),
        (&json!(4), &json!("the moon"))
    );
    let id = report["execution_id"].as_str().unwrap();
    let kinds: Vec<String> = desk.events(id).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    for kind in ["tool_call_completed", "usage_recorded", "goal_evaluated", "step_discovered"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
    desk.expect(0, &["replay", id, "--verify"]);
}
