//! Many executions by one command.

use std::collections::HashSet;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Desk, ended, signal};
use crate::serving::dev;

fn ids(items: &Value) -> HashSet<String> {
    items["items"].as_array().unwrap().iter().map(|item| item["execution_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn many_are_paused_go_on_and_are_cancelled_wherever_they_live() {
    for served in [false, true] {
        let desk = Desk::new();
        desk.hello();
        desk.write("wait.yaml", "stepstream: 1\nname: wait\nnodes: { a: { wait: { signal: go } } }\n");
        let server = served.then(|| dev(&desk, 0));
        let place: Vec<&str> = server.iter().flat_map(|(_, url)| ["--server", url.as_str()]).collect();
        let on = |args: &[&str], code| desk.expect(code, &[args, &place[..]].concat());
        let detach = |graph: &str| on(&["run", graph, "--detach", "-q"], 0).stdout.trim().to_owned();
        let waiting: HashSet<String> = (0..3).map(|_| detach("wait.yaml")).collect();
        if served {
            on(&["resume", &detach("hello.yaml")], 0);
        } else {
            on(&["run", "hello.yaml"], 0);
        }

        let paused = on(&["pause", "--all", "--graph", "wait", "--reason", "lunch", "-o", "json"], 0).json();
        assert_eq!(ids(&paused), waiting);
        assert!(paused["items"].as_array().unwrap().iter().all(|item| item["ok"] == true), "{paused}");
        assert!(on(&["pause", "--all"], 0).stderr.contains("no such execution"));
        // What somebody paused goes on only if that is said.
        assert_eq!(on(&["resume", "--all", "-o", "json"], 0).json(), json!({"items": []}));
        let code = if served { 124 } else { 130 };
        on(&["resume", "--all", "--state", "Paused", "--graph", "wait", "--timeout", "2s"], code);
        let one = waiting.iter().next().unwrap();
        assert_eq!(on(&["get", "execution", one, "-o", "json"], 0).json()["state"], "Waiting");

        let text = on(&["cancel", "--all", "--state", "waiting"], 0).stdout;
        assert_eq!(text.lines().filter(|line| line.ends_with(" cancelled")).count(), 3, "{text}");
        on(&["pause"], 2);
        on(&["pause", one, "--all"], 2);
        on(&["pause", one, "--state", "Running"], 2);
        if let Some((server, _)) = server {
            signal(server.id(), Signal::SIGINT);
            assert_eq!(ended(server).code, 0);
        }
    }
}

#[test]
fn one_that_refuses_is_named_and_stops_no_other() {
    let desk = Desk::new();
    desk.write("wait.yaml", "stepstream: 1\nname: wait\nnodes: { a: { wait: { signal: go } } }\n");
    for _ in 0..2 {
        desk.expect(0, &["run", "wait.yaml", "--detach"]);
    }
    desk.expect(0, &["pause", "--all"]);
    let refused = desk.expect(4, &["pause", "--all", "--state", "Paused", "-o", "json"]).json();
    assert_eq!(refused["items"].as_array().unwrap().len(), 2);
    assert!(refused["items"][0]["error"].as_str().unwrap().contains("cannot be paused"), "{refused}");
    assert_eq!(desk.expect(4, &["pause", "--all", "--state", "Paused"]).stderr.matches("cannot be paused").count(), 2);
}
