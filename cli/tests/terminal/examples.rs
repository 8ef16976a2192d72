use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Desk, ended, signal, until};
use crate::serving::dev;

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

#[test]
fn an_agent_says_why_it_did_what_it_did() {
    let desk = Desk::new();
    let input = "{\"question\": \"tides\", \"answer_at\": 1}";
    let report = desk.expect(0, &["run", &example("agent.yaml"), "--input", input, "-o", "json"]).json();
    let events = desk.events(report["execution_id"].as_str().unwrap());
    let decisions: Vec<&Value> = events.iter().filter(|event| event["type"] == "decision_recorded").collect();
    assert_eq!(decisions.len(), 2, "one for each question that was asked");
    let decision = decisions[1];
    assert!(decision["decision_id"].as_str().unwrap().starts_with("dec_"), "{decision:#}");
    assert_ne!(decisions[0]["decision_id"], decision["decision_id"]);
    assert_eq!(
        [
            &decision["decision_type"],
            &decision["outcome"],
            &decision["confidence"],
            &decision["inputs"]["facts"],
            &decision["inputs"]["constraints"],
            &decision["alternatives"][0]["option"],
            &decision["alternatives"][0]["rejected_reason"],
            &decision["model_context"]["model"],
            &decision["reasoning"],
        ],
        [
            &json!("tool_selection"),
            &json!("search"),
            &json!(0.8),
            &json!(["asked at depth 1"]),
            &json!(["at most 6 deep"]),
            &json!("answer from memory"),
            &json!("nothing was read yet"),
            &json!("small-model"),
            &json!("a question is looked up before it is answered"),
        ],
        "{decision:#}"
    );
    let step = &decision["step_id"];
    assert!(events.iter().any(|event| event["type"] == "step_completed" && event["step_id"] == *step), "{decision:#}");
}

#[test]
fn limits_ask_the_model_while_there_is_money_and_go_another_way_when_there_is_not() {
    let desk = Desk::new();
    let run = |questions: Value, more: &[&str]| {
        let input = json!({"customer": "ada", "questions": questions}).to_string();
        let graph = example("limits.yaml");
        let args = ["run", &graph, "--input", &input, "-o", "json"];
        desk.expect(0, &[&args, more].concat()).json()
    };
    let kinds = |report: &Value, kind: &str| {
        let events = desk.events(report["execution_id"].as_str().unwrap());
        events.into_iter().filter(|event| event["type"] == kind).collect::<Vec<_>>()
    };
    let few = run(json!(["tides", "moon"]), &[]);
    assert_eq!(few["output"], json!({"by": "model", "answers": ["the model says: tides", "the model says: moon"]}));
    assert_eq!(kinds(&few, "permit_granted").len(), 2, "each asked for its place and its moment");

    let six = json!(["1", "2", "3", "4", "5", "6"]);
    let many = run(six.clone(), &[]);
    assert_eq!((&many["output"]["by"], &many["output"]["why"]), (&json!("nobody"), &json!("cost_limit")), "{many:#}");
    assert_eq!(many["output"]["answers"].as_array().unwrap().len(), 6);
    assert!(kinds(&many, "usage_recorded").len() <= 4, "one more might cost more than what is left");
    assert_eq!(kinds(&many, "limit_warned").len(), 1);
    let rich = run(six, &["--limits", "{\"cost_usd\": \"1.00\"}"]);
    assert_eq!((&rich["output"]["by"], kinds(&rich, "usage_recorded").len()), (&json!("model"), 6), "{rich:#}");
    desk.expect(0, &["replay", many["execution_id"].as_str().unwrap(), "--verify"]);
}

#[test]
fn artifacts_keep_what_is_too_large_for_the_log() {
    let desk = Desk::new();
    let run = |count: u64| {
        let input = json!({"count": count}).to_string();
        desk.expect(0, &["run", &example("artifacts.yaml"), "--input", &input, "-o", "json"]).json()
    };
    let report = run(100_000);
    assert_eq!(report["output"], json!({"count": 100_000, "sum": 4_999_950_000_u64}));
    let id = report["execution_id"].as_str().unwrap();
    let listed = desk.expect(0, &["artifacts", id, "-o", "json"]).json();
    let [artifact] = listed["items"].as_array().unwrap().as_slice() else { panic!("{listed:#}") };
    assert_eq!(
        (&artifact["name"], &artifact["artifact_type"]),
        (&json!("output"), &json!("tool_output")),
        "{listed:#}"
    );
    let numbers = desk.expect(0, &["artifact", "get", id, "numbers/output"]).json();
    assert_eq!((numbers.as_array().unwrap().len(), &numbers[99_999]), (100_000, &json!(99_999)));
    desk.expect(0, &["replay", id, "--verify"]);
    // What is small stays in the log.
    let small = run(10);
    let none = desk.expect(0, &["artifacts", small["execution_id"].as_str().unwrap(), "-o", "json"]).json();
    assert_eq!((&small["output"]["sum"], &none["items"]), (&json!(45), &json!([])));
}

/// The example's own receiver, which checks signatures; ends with the test.
struct Receiver(std::process::Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}

#[test]
fn background_tells_its_end_to_a_receiver_that_checks_who_signed_it() {
    use std::io::{BufRead, BufReader};
    let desk = Desk::new();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut receiver = std::process::Command::new("python3");
    receiver.args([&example("receive.py"), "0"]).env("STEPSTREAM_WEBHOOK_SECRET", secret);
    let mut receiver = Receiver(receiver.stdout(std::process::Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(receiver.0.stdout.take().unwrap()).lines();
    let url = said.next().unwrap().unwrap();
    let run = |secret: &str, args: &[&str]| {
        let allowed = [("STEPSTREAM_CALLBACK_ALLOW", "127.0.0.1"), ("STEPSTREAM_CALLBACK_ALLOW_HTTP", "true")];
        let mut command = desk.command();
        command.args(args).envs(allowed).env("STEPSTREAM_WEBHOOK_SECRET", secret);
        let ran = ended(command.spawn().unwrap());
        assert_eq!(ran.code, 0, "{ran:#?}");
        ran.stdout.trim().to_owned()
    };
    let callback = ["--callback", url.as_str(), "--bind", "execution.summary", "--input", "{\"title\": \"Tides\"}"];
    let graph = example("background.yaml");
    let start = [&["run", &graph, "--background", "--attempts", "3"][..], &callback].concat();
    // Somebody else's secret: the receiver does not take it, and the callback is tried again later.
    let unsigned = run("whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCwgMzIgYnl0ZXM=", &start);
    run("whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCwgMzIgYnl0ZXM=", &["resume", &unsigned]);
    let id = run(secret, &start);
    assert_eq!(run(secret, &["resume", &id]), "Tides: about Tides");
    let told: Value = serde_json::from_str(&said.next().unwrap().unwrap()).unwrap();
    assert_eq!((&told["type"], &told["data"]["execution_id"]), (&json!("execution.completed"), &json!(id)), "{told:#}");
    assert_eq!(told["data"]["output"], "Tides: about Tides");
    let events = desk.events(&unsigned);
    let tried: Vec<&Value> = events.iter().filter(|event| event["type"] == "callback_attempted").collect();
    assert!(!tried.is_empty() && tried.iter().all(|event| event["http_status"] == 401), "{events:#?}");
    assert!(!events.iter().any(|event| event["type"] == "callback_delivered"));
}

#[test]
fn every_schedule_of_the_examples_would_fire() {
    let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/schedules")).unwrap();
    let schedules: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    assert!(schedules.len() >= 2);
    for schedule in schedules {
        Desk::new().expect(0, &["schedule", "next", schedule.to_str().unwrap(), "-n", "3"]);
    }
}

#[test]
fn the_heartbeat_fires_while_somebody_serves_it() {
    let desk = Desk::new();
    let (server, url) = dev(&desk, 0);
    let on = |args: &[&str]| desk.expect(0, &[args, &["--server", &url]].concat());
    on(&["register", &example("hello.yaml")]);
    on(&["schedule", "create", &example("schedules/heartbeat.yaml")]);
    let mut run = Value::Null;
    until("it has fired", || {
        let runs = on(&["schedule", "get", "heartbeat", "-o", "json"]).json();
        run = runs["runs"]
            .as_array()
            .unwrap()
            .iter()
            .find(|run| run["state"] == "Completed")
            .cloned()
            .unwrap_or_default();
        !run.is_null()
    });
    let output = on(&["resume", run["execution_id"].as_str().unwrap()]).stdout;
    assert!(output.starts_with("Hello, whoever counts, it is 20"), "{output}");
    signal(server.id(), Signal::SIGINT);
    assert_eq!(ended(server).code, 0);
}
