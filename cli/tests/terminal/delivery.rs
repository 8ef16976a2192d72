//! Dead letters and doubts of embedded runs: seen, redriven, resolved.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Desk, ended, signal, until};
use crate::serving::dev;

/// Its first attempt fails, and its failure is held; the second one completes.
const HELD: &str = "
stepstream: 1
name: held
nodes:
  a:
    task: fail
    with: { category: ToolError, message: the disk is full, until_attempt: 2 }
    retry: { max_attempts: 1 }
    dead_letter: exhausted
";

#[test]
fn a_dead_letter_is_listed_and_redriven_wherever_it_lives() {
    for served in [false, true] {
        let desk = Desk::new();
        desk.write("held.yaml", HELD);
        let server = served.then(|| dev(&desk, 1));
        let place: Vec<&str> = server.iter().flat_map(|(_, url)| ["--server", url.as_str()]).collect();
        let on = |args: &[&str], code| desk.expect(code, &[args, &place[..]].concat());
        let mut ids = Vec::new();
        for _ in 0..2 {
            if served {
                ids.push(on(&["run", "held.yaml", "--detach", "-q"], 0).stdout.trim().to_owned());
            } else {
                let left = on(&["run", "held.yaml"], 130);
                ids.push(desk.last_execution());
                let how = format!("stepstream dead redrive {} a", ids.last().unwrap());
                assert!(left.stderr.contains("a waits for a redrive") && left.stderr.contains(&how), "{}", left.stderr);
            }
        }
        let listed = || on(&["dead", "list", "-o", "json"], 0).json()["items"].as_array().unwrap().clone();
        until("both are dead letters", || listed().len() == 2);
        let letter = &listed()[0];
        assert_eq!(
            (&letter["node"], &letter["reason"], &letter["attempt"]),
            (&json!("a"), &json!("exhausted"), &json!(1))
        );
        assert!(on(&["dead", "list"], 0).stdout.contains("the disk is full"));
        assert!(on(&["dead", "show", &ids[0]], 0).stdout.contains("exhausted"));
        assert!(on(&["dead", "list", "--graph", "other", "-o", "json"], 0).json()["items"] == json!([]));

        on(&["dead", "redrive", &ids[0], "nowhere"], 7);
        let done = on(&["dead", "redrive", &ids[0], "a"], 0);
        assert_eq!(done.stdout, format!("{} tries a again\n", ids[0]));
        let all = on(&["dead", "redrive", "--all", "--graph", "held"], 0);
        assert_eq!(all.stdout, format!("{} tries its dead letters again\n", ids[1]));
        for id in &ids {
            on(&["resume", id], 0);
            let over = on(&["dead", "redrive", id], 4);
            assert!(over.stderr.contains("it is Completed"), "{}", over.stderr);
        }
        assert!(on(&["dead", "list"], 0).stderr.contains("no dead letters"));
        if let Some((server, _)) = server {
            signal(server.id(), Signal::SIGINT);
            assert_eq!(ended(server).code, 0);
        }
    }
}

#[test]
fn what_was_killed_in_the_middle_is_in_doubt_until_somebody_says() {
    let desk = Desk::new();
    let script = "echo paid >> side; sleep 30";
    desk.write(
        "pay.yaml",
        format!(
            "stepstream: 1\nname: pay\nnodes:\n  pay: {{ task: process, delivery: at_most_once, with: {{ argv: [sh, -c, \
             \"{script}\"] }}, timeout: {{ heartbeat: 1s }}, next: [ {{ to: ship }} ] }}\n  ship: {{ task: echo, with: \
             \"=steps.pay.output\" }}\n"
        ),
    );
    let run = desk.start(&["run", "pay.yaml", "--allow-process"]);
    until("it has happened", || desk.side() == ["paid"]);
    signal(run.id(), Signal::SIGKILL);
    ended(run);
    let id = desk.last_execution();
    let left = desk.expect(130, &["resume", &id]);
    let how = format!("stepstream resolve {id} pay --completed JSON|--failed TEXT|--retry");
    assert!(left.stderr.contains("to say what became of it") && left.stderr.contains(&how), "{}", left.stderr);
    let waits = desk.expect(0, &["waits", &id, "-o", "json"]).json();
    assert_eq!((&waits["waiting_for"], &waits["waits"][0]["wait"]["cause"]), (&json!("in_doubt"), &json!("silence")));

    desk.expect(2, &["resolve", &id, "pay"]);
    desk.expect(2, &["resolve", &id, "pay", "--retry", "--failed", "no"]);
    desk.expect(4, &["resolve", &id, "ship", "--retry"]);
    let done = desk.expect(0, &["resolve", &id, "pay", "--completed", "{\"id\": 7}", "--as", "ada"]);
    assert_eq!(done.stdout, format!("{id} was told that pay has completed\n"));
    let report = desk.expect(0, &["resume", &id, "-o", "json"]).json();
    assert_eq!(report["output"], json!({"id": 7}));
    assert_eq!(desk.side(), ["paid"], "once");
    let events = desk.events(&id);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let of = |kind| kinds.iter().filter(|each| **each == kind).count();
    assert_eq!((of("step_claimed"), of("step_in_doubt"), of("step_resolved")), (1, 1, 1), "{kinds:?}");
    desk.expect(0, &["replay", &id, "--verify"]);
}
