//! Executions that are paused, and go on.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Desk, ended, signal, until};
use crate::serving::dev;

#[test]
fn a_paused_execution_rests_until_it_is_resumed_by_name() {
    let desk = Desk::new();
    desk.hello();
    let id = desk.expect(0, &["run", "hello.yaml", "--detach", "-q"]).stdout.trim().to_owned();
    let said = desk.expect(0, &["pause", &id, "--reason", "lunch", "-o", "json"]).json();
    assert_eq!(said, json!({"execution_id": id, "state": "Paused"}));
    desk.expect(4, &["pause", &id]);
    let execution = desk.expect(0, &["get", "execution", &id, "-o", "json"]).json();
    assert_eq!((&execution["state"], &execution["reason"]), (&json!("Paused"), &json!("lunch")));

    // Somebody paused it: what continues everything else leaves it alone, and says so.
    let all = desk.expect(0, &["resume", "--all", "-o", "json"]);
    assert_eq!(all.json(), json!({"items": []}));
    assert!(all.stderr.contains(&format!("{id} is paused")), "{}", all.stderr);

    assert_eq!(desk.expect(0, &["resume", &id]).stdout, "hello\n");
    desk.expect(4, &["pause", &id]);
}

#[test]
fn an_execution_on_a_server_is_paused_and_resumed_there() {
    let desk = Desk::new();
    desk.slow_graph();
    let (server, url) = dev(&desk, 0);
    let on = |args: &[&str], code| {
        let all: Vec<&str> = args.iter().copied().chain(["--server", url.as_str()]).collect();
        desk.expect(code, &all)
    };
    let id = on(&["run", "slow.yaml", "--detach", "-q"], 0).stdout.trim().to_owned();
    until("a step ran", || !desk.side().is_empty());
    on(&["pause", &id], 0);
    assert_eq!(on(&["resume", "--all", "-o", "json"], 0).json(), json!({"items": []}));
    let report = on(&["resume", &id, "-o", "json"], 0).json();
    assert_eq!((&report["state"], &report["steps"]["completed"]), (&json!("Completed"), &json!(10)));
    signal(server.id(), Signal::SIGINT);
    assert_eq!(ended(server).code, 0);
}
