//! People in the loop of an embedded run: it leaves, is told what it waits for, and goes on.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Desk, Ran, ended, signal, until};

fn approval() -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "examples", "approval.yaml"].iter().collect();
    path.to_str().unwrap().to_owned()
}

const FORM: &str = "{\"window\": \"tonight\"}";

/// The example, as far as it goes by itself.
fn begin(desk: &Desk) -> (String, Ran) {
    let ran = desk.expect(130, &["run", &approval(), "--input", "{\"version\": \"1.4.0\"}"]);
    (desk.last_execution(), ran)
}

#[test]
fn a_run_that_waits_for_somebody_leaves_and_says_whom_and_how() {
    let desk = Desk::new();
    let (id, ran) = begin(&desk);
    assert_eq!(ran.stdout, "", "no result yet");
    for said in [
        "sign_off  waits for a decision by ada or bob\n",
        &format!("  stepstream approve {id} sign_off --as ada --form '{{\"window\":\"now\"}}'\n"),
        &format!("go on with: stepstream resume {id}\n"),
    ] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    let report = desk.expect(130, &["resume", &id, "-o", "json"]).json();
    assert_eq!((&report["state"], &report["waiting_for"]), (&json!("Waiting"), &json!("approval")));
    assert_eq!(
        (&report["waits"][0]["node"], &report["waits"][0]["shown"]),
        (&json!("sign_off"), &json!({"release": "app-1.4.0"}))
    );
    // It lies there like everything that was interrupted.
    desk.expect(130, &["resume", "--all"]);
}

#[test]
fn an_approval_is_given_by_those_who_may_and_as_it_is_asked_for() {
    let desk = Desk::new();
    let (id, _) = begin(&desk);
    let refused = desk.expect(6, &["approve", &id, "sign_off", "--as", "eve", "--form", FORM]);
    assert!(refused.stderr.contains("assigned to ada, bob"), "{}", refused.stderr);
    let wrong = desk.expect(2, &["approve", &id, "sign_off", "--as", "ada", "--form", "{\"window\": \"never\"}"]);
    assert!(wrong.stderr.contains("/window: \"never\" is not one of"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains(&format!("stepstream waits {id} -o json")), "{}", wrong.stderr);
    assert!(
        desk.expect(2, &["approve", &id, "sign_off", "--form", "tonight"])
            .stderr
            .contains("--form:1:2: the input is not JSON")
    );
    desk.expect(7, &["approve", &id, "nowhere", "--as", "ada"]);
    desk.expect(4, &["approve", &id, "build", "--as", "ada", "--form", FORM]);
    desk.expect(4, &["answer", &id, "sign_off", "--as", "ada"]);
    desk.expect(7, &["signal", &id, "unheard_of"]);
    desk.expect(7, &["approve", &id, "sign_off", "--tenant", "tenant_other"]);

    let done = desk.expect(0, &["approve", &id, "sign_off", "--as", "ada", "--form", FORM, "--comment", "late"]);
    assert_eq!(done.stdout, format!("{id} approved sign_off\n"));
    assert!(done.stderr.contains(&format!("go on with: stepstream resume {id}\n")), "{}", done.stderr);
    desk.expect(4, &["approve", &id, "sign_off", "--as", "bob", "--form", FORM]);
    let report = desk.expect(0, &["resume", &id, "-o", "json"]).json();
    assert_eq!(report["output"], json!({"rolled_out": "app-1.4.0", "window": "tonight"}));
    let events = desk.events(&id);
    let decided = events.iter().find(|event| event["type"] == "approval_decided").unwrap();
    assert_eq!(
        (&decided["by"], &decided["comment"], &decided["actor"]),
        (&json!("ada"), &json!("late"), &json!("user:ada"))
    );
    let over = desk.expect(4, &["approve", &id, "sign_off", "--as", "bob", "--form", FORM]);
    assert!(over.stderr.contains("it is Completed"), "{}", over.stderr);
    desk.expect(0, &["replay", &id, "--verify"]);
}

#[test]
fn a_rejection_takes_the_edge_that_is_there_for_it() {
    let desk = Desk::new();
    let (id, _) = begin(&desk);
    let args = ["reject", &id, "sign_off", "--as", "bob", "--comment", "-not now-", "-o", "json"];
    // One has to agree, and one of two still can.
    assert_eq!(desk.expect(0, &args).json(), json!({"execution_id": id, "done": "reject"}));
    let waits = desk.expect(0, &["waits", &id]);
    assert!(waits.stdout.contains("bob refuses"), "{}", waits.stdout);
    assert!(waits.stderr.contains("--as ada"), "{}", waits.stderr);
    desk.expect(0, &["reject", &id, "sign_off", "--as", "ada"]);
    let done = desk.expect(0, &["resume", &id]);
    assert!(done.stdout.contains("`ada` rejected `sign_off`"), "{}", done.stdout);
    assert!(desk.expect(0, &["waits", &id]).stderr.contains("waits for nobody"));
}

#[test]
fn the_same_key_is_the_same_decision() {
    let desk = Desk::new();
    let (id, _) = begin(&desk);
    for _ in 0..2 {
        desk.expect(0, &["reject", &id, "sign_off", "--as", "bob", "--idempotency-key", "k"]);
    }
    let waits = desk.expect(0, &["waits", &id, "-o", "json"]).json();
    assert_eq!(waits["waits"][0]["decisions"].as_array().unwrap().len(), 1);
}

#[test]
fn whoever_has_no_other_name_is_the_user() {
    let desk = Desk::new();
    desk.write("ask.yaml", "stepstream: 1\nname: ask\nnodes: { who: { wait: { input: { from: [grace] } } } }\noutput: '=steps.who.output'\n");
    desk.expect(130, &["run", "ask.yaml"]);
    let id = desk.last_execution();
    let answer = |user: &str, code: i32| {
        let mut command = desk.command();
        command.env("USER", user).args(["answer", &id, "who", "--value", "\"me\""]);
        let ran = ended(command.spawn().unwrap());
        assert_eq!(ran.code, code, "{ran:#?}");
    };
    answer("eve", 6);
    for unfit in ["", "a\nb", &"x".repeat(257)] {
        desk.expect(2, &["answer", &id, "who", "--as", unfit]);
    }
    answer("grace", 0);
    assert_eq!(desk.expect(0, &["resume", &id]).stdout, "me\n");
}

#[test]
fn a_timer_that_is_due_soon_is_waited_for_and_a_later_one_is_not() {
    let desk = Desk::new();
    let graph = |name: &str, timer: &str| {
        let text = format!("stepstream: 1\nname: {name}\nnodes: {{ rest: {{ wait: {{ timer: {timer} }} }} }}\n");
        desk.write(&format!("{name}.yaml"), text);
    };
    graph("short", "300ms");
    graph("long", "2h");
    desk.expect(0, &["run", "short.yaml"]);
    let ran = desk.expect(130, &["run", "long.yaml"]);
    assert!(ran.stderr.contains("(until 20") && ran.stderr.contains("in 1 h 59 min"), "{}", ran.stderr);
    desk.expect(124, &["resume", "--wait", "--timeout", "300ms"]);
    // An approval's deadline counts as well.
    desk.write(
        "patient.yaml",
        "stepstream: 1\nname: p\nnodes:\n  a: { wait: { approval: true, timeout: 300ms }, next: [ { catch: [Timeout], to: b } ] }\n  b: { transform: '=1' }\n",
    );
    desk.expect(0, &["run", "patient.yaml"]);
}

#[test]
fn whoever_wants_to_stay_stays() {
    let desk = Desk::new();
    let child = desk.start(&["run", &approval(), "--input", "{\"version\": \"1\"}", "--wait"]);
    until("it waits", || {
        let log = desk.path().join(".stepstream/stepstream.db");
        log.is_file() && desk.run(&["get", "executions", "--state", "waiting", "-o", "json"]).stdout.contains("exec_")
    });
    // The directory is its own meanwhile.
    let id = desk.last_execution();
    desk.expect(4, &["approve", &id, "sign_off", "--as", "ada", "--form", FORM]);
    signal(child.id(), Signal::SIGINT);
    assert_eq!(ended(child).code, 130);
}

#[test]
fn a_breakpoint_pauses_and_resuming_runs_the_node() {
    let desk = Desk::new();
    desk.write(
        "two.yaml",
        "stepstream: 1\nname: two\nnodes:\n  a: { task: echo, with: 1, next: [ { to: b } ] }\n  b: { task: echo, with: 2 }\noutput: '=steps.b.output'\n",
    );
    let unknown = desk.expect(2, &["run", "two.yaml", "--break", "c"]);
    assert!(unknown.stderr.contains("its nodes are a, b"), "{}", unknown.stderr);
    let report = desk.expect(130, &["run", "two.yaml", "--break", "a", "--break", "b", "-o", "json"]).json();
    assert_eq!((&report["state"], &report["reason"]), (&json!("Paused"), &json!("breakpoint before `a`")));
    assert_eq!((&report["breakpoints"], &report["quiescent"]), (&json!(["a", "b"]), &json!(true)));
    let id = report["execution_id"].as_str().unwrap();
    desk.expect(7, &["break", id, "c"]);
    desk.expect(0, &["break", id, "b", "--off"]);
    assert!(desk.expect(0, &["waits", id]).stdout.contains("breakpoint: before a\n"));
    assert_eq!(desk.expect(0, &["resume", id, "--reason", "seen", "--as", "ada"]).stdout, "2\n");
    let resumed = desk.events(id).into_iter().find(|event| event["action"] == "resume").unwrap();
    assert_eq!((&resumed["reason"], &resumed["actor"]), (&json!("seen"), &json!("user:ada")));
}

#[test]
fn messages_reach_the_step_that_asks_for_them() {
    let desk = Desk::new();
    desk.write(
        "agent.yaml",
        "stepstream: 1\nname: agent\nnodes:\n  go: { wait: { signal: go }, next: [ { to: act } ] }\n  act: { task: echo, inbox: true, with: '=inbox.guidance.map(g, g.content)' }\noutput: '=steps.act.output'\n",
    );
    desk.expect(130, &["run", "agent.yaml"]);
    let id = desk.last_execution();
    desk.expect(0, &["send", &id, "guidance", "mind the gap", "--priority", "high"]);
    desk.expect(
        0,
        &["send", &id, "evidence", "seen", "--content", "[1]", "--confidence", "0.5", "--impact", "requires_review"],
    );
    desk.expect(0, &["send", &id, "a2a", "hello", "--from", "bot"]);
    desk.expect(0, &["send", &id, "checkpoint"]);
    for wrong in [
        ["send", &id, "guidance", "x", "--priority", "urgent"],
        ["send", &id, "evidence", "x", "--confidence", "2"],
        ["send", &id, "evidence", "x", "--impact", "huge"],
    ] {
        desk.expect(2, &wrong);
    }
    assert_eq!(desk.expect(0, &["waits", &id]).stdout.matches("inbox: ").count(), 4);
    desk.expect(0, &["signal", &id, "go"]);
    assert_eq!(desk.expect(0, &["resume", &id, "-o", "json"]).json()["output"], json!(["mind the gap"]));
    let delivered = desk.events(&id).into_iter().find(|event| event["type"] == "inbox_delivered").unwrap();
    assert_eq!(delivered["message_sequences"].as_array().unwrap().len(), 4);
    desk.expect(4, &["send", &id, "guidance", "too late"]);
}

#[test]
fn a_program_outside_may_fail_too() {
    let desk = Desk::new();
    desk.write(
        "built.yaml",
        "stepstream: 1\nname: built\nnodes: { build: { wait: { external: { form: { type: integer } } } } }\noutput: '=steps.build.output'\n",
    );
    for _ in 0..2 {
        desk.expect(130, &["run", "built.yaml"]);
    }
    let ids = desk.expect(0, &["get", "executions", "-o", "json"]).json();
    let id = |at: usize| ids["items"][at]["execution_id"].as_str().unwrap().to_owned();
    desk.expect(2, &["answer", &id(0), "build", "--error", "Oops:broken"]);
    desk.expect(2, &["answer", &id(0), "build", "--error", "broken"]);
    desk.expect(2, &["answer", &id(0), "build", "--value", "\"x\""]);
    let done = desk.expect(0, &["answer", &id(0), "build", "--error", "ToolError: broken: badly"]);
    assert!(done.stderr.contains("it is Failed"), "{}", done.stderr);
    let report = desk.expect(1, &["resume", &id(0), "-o", "json"]).json();
    assert_eq!(report["error"]["message"], "broken: badly");
    desk.write("result.json", "7");
    desk.expect(0, &["answer", &id(1), "build", "--value", "@result.json"]);
    assert_eq!(desk.expect(0, &["resume", &id(1)]).stdout, "7\n");
}

#[test]
fn an_execution_that_may_spend_no_more_is_given_another_budget() {
    let desk = Desk::new();
    desk.write(
        "dear.yaml",
        "stepstream: 1\nname: dear\nlimits: { max_tokens: 10, on_limit: approve }\nnodes: { a: { task: echo, with: 7, reserve: { tokens: 20 } } }\noutput: '=steps.a.output'\n",
    );
    let ran = desk.expect(130, &["run", "dear.yaml"]);
    let id = desk.last_execution();
    assert!(
        ran.stderr.contains(&format!("held: cost_threshold\n  stepstream budget {id} --cost USD")),
        "{}",
        ran.stderr
    );
    desk.expect(2, &["budget", &id]);
    desk.expect(2, &["budget", &id, "--cost", "much"]);
    assert_eq!(desk.expect(0, &["budget", &id, "--tokens", "100"]).stdout, format!("{id} has another budget\n"));
    assert_eq!(desk.expect(0, &["resume", &id]).stdout, "7\n");
}
