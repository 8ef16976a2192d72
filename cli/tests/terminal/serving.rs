use std::io::{BufRead, BufReader};
use std::process::Child;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Desk, ended, signal, until};

/// Starts `dev` and waits until it says where it is.
pub(crate) fn dev(desk: &Desk, port: u16) -> (Child, String) {
    dev_with(desk, port, &[])
}

/// The same, with more options.
pub(crate) fn dev_with(desk: &Desk, port: u16, more: &[&str]) -> (Child, String) {
    let port = port.to_string();
    let usual = ["dev", "--port", &port, "--data", "server", "--allow-process"];
    let mut child = desk.start(&usual.iter().chain(more).copied().collect::<Vec<_>>());
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
    (child, url)
}

#[test]
fn a_server_does_what_the_embedded_store_does() {
    let desk = Desk::new();
    desk.hello();
    let (server, url) = dev(&desk, 0);
    let run = |args: &[&str], code| {
        let all: Vec<&str> = args.iter().copied().chain(["--server", url.as_str()]).collect();
        desk.expect(code, &all)
    };
    let report = run(&["run", "hello.yaml", "-o", "json"], 0).json();
    assert_eq!((&report["state"], &report["output"]), (&json!("Completed"), &json!("hello")));
    let id = report["execution_id"].as_str().unwrap().to_owned();
    let listed = run(&["get", "executions", "-o", "json"], 0).json();
    assert_eq!(listed["items"][0]["execution_id"], json!(id));
    assert_eq!(run(&["events", &id, "-o", "jsonl"], 0).stdout.lines().count(), 6);
    assert_eq!(run(&["resume", &id], 0).stdout, "hello\n");
    run(&["cancel", &id], 4);
    run(&["get", "execution", &id, "--tenant", "tenant_other"], 7);
    run(&["replay", &id, "--verify"], 2);
    run(&["run", "hello.yaml", "--input", "[]"], 2);
    // The port and the directory are taken.
    let port = url.rsplit(':').next().unwrap().to_owned();
    desk.expect(5, &["dev", "--port", &port, "--data", "other"]);
    desk.expect(4, &["dev", "--port", "0", "--data", "server"]);
    signal(server.id(), Signal::SIGINT);
    let ran = ended(server);
    assert_eq!(ran.code, 0, "{ran:#?}");
}

#[test]
fn a_queue_that_nobody_serves_is_told() {
    let desk = Desk::new();
    desk.write("gpu.yaml", "stepstream: 1\nname: gpu\nnodes:\n  render: { task: echo, queue: gpu }\n");
    let (server, url) = dev(&desk, 0);
    let mut run = desk.command();
    run.args(["run", "gpu.yaml", "--server", &url, "--tenant", "tenant_acme", "--slots", "3", "--allow-process"]);
    let said = desk.path().join("said");
    let mut run = run.stderr(std::fs::File::create(&said).unwrap()).spawn().unwrap();
    let read = || std::fs::read_to_string(&said).unwrap();
    until("it says that nobody takes the step", || read().contains("no worker has taken `render` yet"));
    assert!(read().contains("queue `gpu` of tenant_acme"), "{}", read());
    // The flags are about a worker that is not here.
    assert!(read().contains("--allow-process, --slots: for steps that run in this process only"), "{}", read());
    signal(run.id(), Signal::SIGINT);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    signal(server.id(), Signal::SIGTERM);
    ended(server);
}

#[test]
fn a_run_on_a_server_outlives_the_server() {
    let desk = Desk::new();
    desk.slow_graph();
    let (server, url) = dev(&desk, 0);
    let run = desk.start(&["run", "slow.yaml", "--server", &url, "-o", "json"]);
    until("two steps ran", || desk.side().len() >= 2);
    signal(server.id(), Signal::SIGKILL);
    ended(server);
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let (server, again) = dev(&desk, port);
    assert_eq!(again, url);
    let ran = ended(run);
    assert_eq!((ran.code, &ran.json()["steps"]["completed"]), (0, &json!(10)));
    signal(server.id(), Signal::SIGTERM);
    ended(server);
}
