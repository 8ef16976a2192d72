//! The same commands on a server.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Desk, ended, signal, until};
use crate::serving::dev;

const GRAPH: &str = "
stepstream: 1
name: asks
nodes:
  paid: { wait: { signal: { name: paid, correlation: '=inputs.order' } }, next: [ { to: sign } ] }
  sign:
    wait: { approval: { assignees: [Jürgen], form: { type: object, required: [ok] } } }
    next: [ { to: act } ]
  act: { task: echo, inbox: true, with: '=inbox.guidance.map(g, g.content)', next: [ { to: built } ] }
  built: { wait: { external: true } }
output: '=[steps.paid.output, steps.act.output, steps.built.output]'
";

#[test]
fn a_server_takes_every_request_and_a_run_follows_what_becomes_of_it() {
    let desk = Desk::new();
    desk.write("asks.yaml", GRAPH);
    let (server, url) = dev(&desk, 0);
    let on = |args: &[&str], code| {
        let all: Vec<&str> = args.iter().copied().chain(["--server", url.as_str()]).collect();
        desk.expect(code, &all)
    };
    let run = desk.start(&["run", "asks.yaml", "--input", "{\"order\": 17}", "--server", &url, "-o", "json"]);
    let mut id = String::new();
    until("it waits", || {
        let list = on(&["get", "executions", "--state", "Waiting", "-o", "json"], 0).json();
        id = list["items"][0]["execution_id"].as_str().unwrap_or_default().to_owned();
        !id.is_empty()
    });
    let waits = on(&["waits", &id], 0);
    assert!(waits.stdout.contains("the signal `paid` (17)"), "{}", waits.stdout);
    assert!(
        waits.stderr.contains(&format!("stepstream signal {id} paid --key 17 --server {url}\n")),
        "{}",
        waits.stderr
    );

    on(&["signal", &id, "refund"], 7);
    on(&["signal", &id, "paid", "--key", "17", "--payload", "40"], 0);
    let form = ["--form", "{\"ok\": true}"];
    on(&[&["approve", &id, "sign", "--as", "ada"], &form[..]].concat(), 6);
    let wrong = on(&["approve", &id, "sign", "--as", "Jürgen"], 2);
    assert!(wrong.stderr.contains(&format!("stepstream waits {id} --server {url} -o json")), "{}", wrong.stderr);
    on(&["send", &id, "guidance", "gently"], 0);
    on(&["break", &id, "built"], 0);
    on(&["break", &id, "nowhere"], 7);
    let done = on(&[&["approve", &id, "sign", "--as", "Jürgen", "-o", "json"], &form[..]].concat(), 0);
    assert_eq!(done.json(), json!({"execution_id": id, "done": "approve"}));
    until("the breakpoint pauses it", || on(&["get", "execution", &id, "-o", "json"], 0).json()["state"] == "Paused");
    let paused = on(&["waits", &id], 0);
    assert!(paused.stderr.contains(&format!("stepstream resume {id} --server {url}\n")), "{}", paused.stderr);
    on(&["break", &id, "built", "--off"], 0);
    on(&["resume", &id, "--timeout", "500ms", "--reason", "seen"], 124);
    until("it waits again", || on(&["get", "execution", &id, "-o", "json"], 0).json()["state"] == "Waiting");
    on(&["answer", &id, "built", "--value", "{\"n\": 1}"], 0);
    let ran = ended(run);
    assert_eq!((ran.code, &ran.json()["output"]), (0, &json!([40, ["gently"], {"n": 1}])));
    assert!(ran.stderr.contains(&format!("how to bring it: stepstream waits {id} --server {url}\n")), "{}", ran.stderr);
    on(&["answer", &id, "built"], 4);
    signal(server.id(), Signal::SIGINT);
    assert_eq!(ended(server).code, 0);
}

#[test]
fn breakpoints_are_given_to_a_server_with_the_start() {
    let desk = Desk::new();
    desk.hello();
    let (server, url) = dev(&desk, 0);
    let args = ["run", "hello.yaml", "--break", "a", "--detach", "-q", "--server", &url];
    let id = desk.expect(0, &args).stdout.trim().to_owned();
    let execution = desk.expect(0, &["get", "execution", &id, "-o", "json", "--server", &url]).json();
    assert_eq!((&execution["state"], &execution["breakpoints"]), (&json!("Paused"), &json!(["a"])));
    assert_eq!(desk.expect(0, &["resume", &id, "--server", &url]).stdout, "hello\n");
    signal(server.id(), Signal::SIGINT);
    assert_eq!(ended(server).code, 0);
}
