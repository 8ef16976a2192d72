use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Desk, ended, signal, until};

#[test]
fn the_result_is_alone_on_standard_output() {
    let desk = Desk::new();
    desk.hello();
    let ran = desk.expect(0, &["run", "hello.yaml"]);
    assert_eq!(ran.stdout, "hello\n");
    assert!(ran.stderr.contains("✓ a") && ran.stderr.contains("Completed exec_"), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\u{1b}'), "no colour without a terminal: {}", ran.stderr);
    let quiet = desk.expect(0, &["run", "hello.yaml", "-q"]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("hello\n", ""));
}

#[test]
fn a_report_has_every_field_that_scripts_read() {
    let desk = Desk::new();
    desk.hello();
    let report = desk.expect(0, &["run", "hello.yaml", "-o", "json"]).json();
    assert!(report["execution_id"].as_str().unwrap().starts_with("exec_"));
    assert_eq!(report["state"], "Completed");
    assert_eq!(report["output"], "hello");
    assert_eq!(report["error"], json!(null));
    assert_eq!(report["steps"], json!({"completed": 1, "failed": 0, "skipped": 0, "total": 1}));
    assert_eq!(report["events"], 6);
    assert!(report["duration_ms"].is_u64());
}

#[test]
fn a_failed_execution_is_reported_in_full_with_code_one() {
    let desk = Desk::new();
    desk.write("f.yaml", "stepstream: 1\nname: f\nnodes:\n  a: { fail: { category: PolicyViolation, message: no } }\n");
    let report = desk.expect(1, &["run", "f.yaml", "-o", "json"]).json();
    assert_eq!((&report["state"], &report["error"]["message"]), (&json!("Failed"), &json!("no")));
    let text = desk.expect(1, &["run", "f.yaml"]);
    assert!(text.stdout.is_empty() && text.stderr.contains("[PolicyViolation] no"), "{text:#?}");
}

#[test]
fn input_and_graph_may_come_through_pipes() {
    use std::io::Write;
    let desk = Desk::new();
    desk.write("e.yaml", "stepstream: 1\nname: e\nnodes:\n  a: { task: echo }\noutput: \"=steps.a.output\"\n");
    for args in [["run", "e.yaml", "--input", "-"], ["run", "-", "--input", "{\"x\": 1}"]] {
        let mut child = desk.command().args(args).stdin(Stdio::piped()).spawn().unwrap();
        let text =
            if args[1] == "-" { std::fs::read(desk.path().join("e.yaml")).unwrap() } else { b"{\"x\": 1}".to_vec() };
        child.stdin.take().unwrap().write_all(&text).unwrap();
        let ran = ended(child);
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert_eq!(ran.json(), json!({"x": 1}));
    }
}

#[test]
fn a_closed_standard_output_is_no_error() {
    let desk = Desk::new();
    desk.hello();
    desk.expect(0, &["run", "hello.yaml"]);
    let id = desk.last_execution();
    for args in
        [vec!["events", &id, "-o", "jsonl"], vec!["run", "hello.yaml"], vec!["--help"], vec!["get", "executions"]]
    {
        let mut child = desk.command().args(&args).spawn().unwrap();
        drop(child.stdout.take()); // The reader leaves before anything is written.
        let ran = ended(child);
        assert_eq!(ran.code, 0, "{args:?}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("error:"), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_key_gives_the_same_execution_and_refuses_another_request() {
    let desk = Desk::new();
    desk.hello();
    let run = |input: &str, code| {
        desk.expect(code, &["run", "hello.yaml", "--idempotency-key", "k", "-o", "json", "--input", input])
    };
    let first = run("{\"n\": 1}", 0).json();
    assert_eq!(run("{\"n\": 1}", 0).json()["execution_id"], first["execution_id"]);
    run("{\"n\": 2}", 4);
    assert!(desk.expect(2, &["run", "hello.yaml", "--idempotency-key", ""]).stderr.contains("--idempotency-key"));
}

#[test]
fn an_interrupted_run_says_how_to_go_on_and_can() {
    for stop in [Signal::SIGINT, Signal::SIGTERM] {
        let desk = Desk::new();
        desk.slow_graph();
        let child = desk.start(&["run", "slow.yaml", "--allow-process"]);
        until("two steps ran", || desk.side().len() >= 2);
        signal(child.id(), stop);
        let ran = ended(child);
        assert_eq!(ran.code, 130, "{ran:#?}");
        let id = desk.last_execution();
        assert!(ran.stderr.contains(&format!("resume with: stepstream resume {id}\n")), "{}", ran.stderr);
        // It was allowed to run programs when it was begun.
        let report = desk.expect(0, &["resume", &id, "-o", "json"]).json();
        assert_eq!(report["steps"]["completed"], 10);
    }
}

/// A program that marks that it runs, and that it was asked to end.
fn politely_ended(desk: &Desk) {
    let script = "trap 'echo saved > saved; exit 0' TERM; echo $$ > ready; while :; do sleep 0.05; done";
    desk.write(
        "polite.yaml",
        format!("stepstream: 1\nname: p\nnodes:\n  a: {{ task: process, with: {{ argv: [sh, -c, {script:?}] }} }}\n"),
    );
}

/// The process id that the program of [`politely_ended`] wrote.
fn program(desk: &Desk) -> Option<String> {
    std::fs::read_to_string(desk.path().join("ready")).ok().filter(|pid| pid.ends_with('\n'))
}

fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn programs_are_asked_to_end_and_may_clean_up() {
    for stop in [Some(Signal::SIGINT), Some(Signal::SIGTERM), Some(Signal::SIGHUP), None] {
        let desk = Desk::new();
        politely_ended(&desk);
        let mut args = vec!["run", "polite.yaml", "--allow-process"];
        if stop.is_none() {
            args.extend(["--timeout", "3s"]);
        }
        // Whatever runs these tests may ignore hangups, and its children with it.
        let program_path = env!("CARGO_BIN_EXE_stepstream");
        let mut command = std::process::Command::new("env");
        command.arg("--default-signal=HUP").arg(program_path).args(&args).current_dir(desk.path());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("the program runs", || program(&desk).is_some());
        let stopped = std::time::Instant::now();
        if let Some(stop) = stop {
            signal(child.id(), stop);
        }
        let ran = ended(child);
        assert_eq!(ran.code, if stop.is_some() { 130 } else { 124 }, "{stop:?}: {ran:#?}");
        assert!(desk.path().join("saved").exists(), "{stop:?}");
        // Time to clean up, and no more.
        assert!(stopped.elapsed().as_secs() < 10, "{stop:?}: {:?}", stopped.elapsed());
        let pid = program(&desk).unwrap();
        until("it is gone", || !lives(&pid));
        // Nothing of that is an outcome of the step.
        let events = desk.events(&desk.last_execution());
        assert!(events.iter().all(|event| event["type"] != "step_completed"), "{events:?}");
    }
}

#[test]
fn whoever_asks_twice_leaves_no_program_behind() {
    let desk = Desk::new();
    let script = "trap '' TERM; echo $$ > ready; while :; do sleep 0.05; done";
    desk.write(
        "stubborn.yaml",
        format!("stepstream: 1\nname: p\nnodes:\n  a: {{ task: process, with: {{ argv: [sh, -c, {script:?}] }} }}\n"),
    );
    let child = desk.start(&["run", "stubborn.yaml", "--allow-process"]);
    until("the program runs", || program(&desk).is_some());
    signal(child.id(), Signal::SIGINT);
    signal(child.id(), Signal::SIGTERM);
    assert_eq!(ended(child).code, 130);
    let pid = program(&desk).unwrap();
    until("it is gone", || !lives(&pid));
}

#[test]
fn an_execution_that_was_never_allowed_to_run_programs_is_not_ruined_by_a_resume() {
    let desk = Desk::new();
    desk.slow_graph();
    let id = desk.expect(0, &["run", "slow.yaml", "--detach", "-q"]).stdout.trim().to_owned();
    let go_on = format!("stepstream resume {id} --allow-process\n");
    let refused = desk.expect(6, &["resume", &id]);
    assert!(refused.stderr.contains(&go_on), "{}", refused.stderr);
    desk.expect(6, &["resume", "--all"]);
    assert!(desk.side().is_empty());
    // It is still not recorded: whoever goes on once more has to say it again.
    let stopped = desk.expect(124, &["resume", &id, "--allow-process", "--timeout", "1s"]);
    assert!(stopped.stderr.contains(&go_on), "{}", stopped.stderr);
    let report = desk.expect(0, &["resume", &id, "--allow-process", "-o", "json"]).json();
    assert_eq!(report["steps"]["completed"], 10);
}

#[test]
fn a_hint_how_to_go_on_can_be_pasted() {
    let desk = Desk::new();
    desk.slow_graph();
    let ran = desk.expect(0, &["run", "slow.yaml", "--detach"]);
    let go_on = format!("stepstream resume {} --allow-process\n", ran.stdout.trim());
    assert!(ran.stderr.contains(&go_on), "{}", ran.stderr);
    let ran = desk.expect(0, &["run", "slow.yaml", "--detach", "--allow-process"]);
    assert!(ran.stderr.contains(&format!("stepstream resume {}\n", ran.stdout.trim())), "{}", ran.stderr);
    // A key that was used before: the right is that of the first.
    let key = ["run", "slow.yaml", "--detach", "--idempotency-key", "k"];
    let first = desk.expect(0, &key);
    let again = desk.expect(0, &[&key[..], &["--allow-process"]].concat());
    assert_eq!(first.stdout, again.stdout);
    assert!(again.stderr.contains("--allow-process\n"), "{}", again.stderr);
    // A graph without programs needs no right.
    desk.hello();
    let ran = desk.expect(0, &["run", "hello.yaml", "--detach"]);
    assert!(!ran.stderr.contains("--allow-process"), "{}", ran.stderr);
}

#[test]
fn one_that_may_not_go_on_does_not_keep_the_others() {
    let desk = Desk::new();
    desk.slow_graph();
    desk.hello();
    let detach = |graph: &str| desk.expect(0, &["run", graph, "--detach", "-q"]).stdout.trim().to_owned();
    let ids = [detach("hello.yaml"), detach("slow.yaml"), detach("hello.yaml")];
    let ran = desk.expect(6, &["resume", "--all", "-o", "json"]);
    assert!(ran.stderr.contains(&format!("stepstream resume {} --allow-process\n", ids[1])), "{}", ran.stderr);
    let items = ran.json()["items"].clone();
    let completed: Vec<&str> =
        items.as_array().unwrap().iter().map(|item| item["execution_id"].as_str().unwrap()).collect();
    assert_eq!(completed.len(), 2, "{items}");
    assert!(!completed.contains(&ids[1].as_str()), "{items}");
    assert!(desk.side().is_empty());
    let rests = desk.expect(0, &["get", "execution", &ids[1], "-o", "json"]).json();
    assert_eq!(rests["state"], "Running");
}

#[test]
fn a_run_that_times_out_can_be_resumed() {
    let desk = Desk::new();
    desk.slow_graph();
    let ran = desk.expect(124, &["run", "slow.yaml", "--allow-process", "--timeout", "700ms", "--data", "my data"]);
    assert!(ran.stderr.contains("--data 'my data'"), "{}", ran.stderr);
    desk.expect(0, &["resume", "--allow-process", "--data", "my data"]);
}

#[test]
fn a_detached_execution_rests_until_it_is_resumed() {
    let desk = Desk::new();
    desk.hello();
    let ran = desk.expect(0, &["run", "hello.yaml", "--detach"]);
    let id = ran.stdout.trim();
    assert!(!desk.events(id).iter().any(|event| event["type"] == "step_started"));
    assert_eq!(desk.expect(0, &["resume", id]).stdout, "hello\n");
}

#[test]
fn a_cancelled_execution_ends_with_its_own_code() {
    let desk = Desk::new();
    desk.hello();
    let id = desk.expect(0, &["run", "hello.yaml", "--detach", "-q"]).stdout.trim().to_owned();
    let long = desk.expect(9, &["cancel", &id, "--reason", &"x".repeat(10_000)]);
    assert!(long.stderr.contains("the limit is 4096 (reason limit)"), "{}", long.stderr);
    desk.expect(0, &["cancel", &id, "--reason", "changed my mind"]);
    let report = desk.expect(3, &["resume", &id, "-o", "json"]).json();
    assert_eq!((&report["state"], &report["reason"]), (&json!("Cancelled"), &json!("changed my mind")));
    desk.expect(4, &["cancel", &id]);
}
