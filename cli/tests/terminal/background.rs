//! Executions that nobody stands by, from the command line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Desk, Ran, ended, signal, until};
use crate::serving::dev_with;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Somebody who is called back: keeps the ids and bodies that come. It ends with the test program.
struct Receiver {
    port: u16,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    /// Answers with these statuses in turn, the last one for ever.
    fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let calls: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let kept = calls.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that dies half way is none.
                let Ok(call) = read(&stream) else { continue };
                let mut calls = kept.lock().unwrap();
                calls.push(call);
                let status = statuses.get(calls.len() - 1).or(statuses.last()).unwrap();
                let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = (&stream).write_all(answer.as_bytes()); // It may be gone.
            }
        });
        Receiver { port, calls }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/done", self.port)
    }

    fn calls(&self) -> Vec<(String, Value)> {
        self.calls.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> std::io::Result<(String, Value)> {
    let mut lines = BufReader::new(stream);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("webhook-id") => value.clone_into(&mut id),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap_or(0),
            None if line == "\r\n" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body)?;
    Ok((id, serde_json::from_slice(&body)?))
}

/// Runs where callbacks to this machine are signed and allowed.
#[track_caller]
fn with_callbacks(desk: &Desk, code: i32, args: &[&str]) -> Ran {
    let mut command = desk.command();
    command.envs([
        ("STEPSTREAM_WEBHOOK_SECRET", SECRET),
        ("STEPSTREAM_CALLBACK_ALLOW", "127.0.0.1"),
        ("STEPSTREAM_CALLBACK_ALLOW_HTTP", "true"),
    ]);
    let ran = ended(command.args(args).spawn().unwrap());
    assert_eq!(ran.code, code, "{args:?}: {ran:#?}");
    ran
}

fn count(desk: &Desk, id: &str, kind: &str) -> usize {
    desk.events(id).iter().filter(|event| event["type"] == kind).count()
}

fn listed(desk: &Desk, more: &[&str]) -> Vec<String> {
    let all: Vec<&str> = ["get", "background", "-o", "json"].iter().chain(more).copied().collect();
    let found = desk.expect(0, &all).json();
    let items = found["items"].as_array().unwrap();
    items.iter().map(|item| item["execution_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_runs_in_the_background_is_queued_listed_run_and_called_back() {
    let desk = Desk::new();
    desk.hello();
    let receiver = Receiver::start(&[200]);
    let url = receiver.url();
    let run = ["run", "hello.yaml", "--background", "--priority", "255", "--callback", &url, "--bind", "thread.title"];
    let ran = with_callbacks(&desk, 0, &run);
    let id = ran.stdout.trim().to_owned();
    assert!(ran.stderr.contains(&format!("stepstream resume {id}")), "{}", ran.stderr);
    assert_eq!(listed(&desk, &["--mode", "fire_and_forget"]), std::slice::from_ref(&id));
    // Whoever queues it leaves it queued: its time begins when somebody drives it.
    assert_eq!(listed(&desk, &["--status", "queued"]), std::slice::from_ref(&id));
    let early = desk.expect(4, &["callback", "retry", &id]);
    assert!(!early.stderr.is_empty());

    assert_eq!(with_callbacks(&desk, 0, &["resume", &id]).stdout, "hello\n");
    assert_eq!(listed(&desk, &["--status", "completed"]), std::slice::from_ref(&id));
    assert!(listed(&desk, &["--status", "queued"]).is_empty() && listed(&desk, &["--mode", "silent"]).is_empty());
    let table = desk.expect(0, &["get", "background"]).stdout;
    assert!(table.contains("EXECUTION") && table.contains("fire_and_forget"), "{table}");
    assert!(desk.expect(0, &["get", "background", "--status", "failed"]).stderr.contains("no background executions"));
    let shown = desk.expect(0, &["get", "execution", &id]).stdout;
    for said in ["fire_and_forget, completed (priority 255)", "thread.title: \"hello\"", "delivered after 1 attempts"] {
        assert!(shown.contains(said), "no {said:?}: {shown}");
    }
    let calls = receiver.calls();
    assert_eq!((calls.len(), &calls[0].1["data"]["output"]), (1, &json!("hello")));
    assert_eq!(count(&desk, &id, "callback_delivered"), 1);

    // Once more, because somebody asks for it: by the command itself, or by who goes on after it.
    let asked = with_callbacks(&desk, 0, &["callback", "retry", &id, "--as", "ada"]);
    assert_eq!(asked.stdout, format!("{id} is called back once more\n"));
    assert_eq!(with_callbacks(&desk, 0, &["resume", &id]).stdout, "hello\n");
    let calls = receiver.calls();
    assert!(calls.len() >= 2 && calls.iter().all(|call| *call == calls[0]), "{calls:?}");
    assert_eq!(count(&desk, &id, "callback_delivered"), 2);
    desk.expect(0, &["replay", &id, "--verify"]);
}

#[test]
fn a_callback_that_failed_is_made_when_somebody_asks_for_it() {
    let desk = Desk::new();
    desk.hello();
    let receiver = Receiver::start(&[503, 200]);
    let url = receiver.url();
    let id = with_callbacks(&desk, 0, &["run", "hello.yaml", "--background", "--callback", &url]).stdout;
    let id = id.trim();
    with_callbacks(&desk, 0, &["resume", id]);
    assert_eq!(count(&desk, id, "callback_attempted"), 1);
    with_callbacks(&desk, 0, &["callback", "retry", id]);
    with_callbacks(&desk, 0, &["resume", id]);
    let calls = receiver.calls();
    assert!(calls.len() >= 2 && calls.iter().all(|call| *call == calls[0]), "{calls:?}");
    // On a slow machine the first process may have come to its second attempt.
    assert!((1..=2).contains(&count(&desk, id, "callback_delivered")));
}

#[test]
fn what_is_deferred_begins_at_its_moment() {
    let desk = Desk::new();
    desk.hello();
    let later = desk.expect(0, &["run", "hello.yaml", "--background=deferred", "--run-in", "1h", "-q"]).stdout;
    let past = ["run", "hello.yaml", "--background", "--run-at", "2001-01-01T00:00:00Z", "-q"];
    let past = desk.expect(0, &past).stdout;
    let (later, past) = (later.trim(), past.trim());
    assert_eq!(listed(&desk, &["--mode", "deferred"]).len(), 2);
    let queued = listed(&desk, &["--status", "queued"]);
    assert!(queued.len() == 2 && queued.iter().any(|id| id == later), "{queued:?}");
    assert_eq!(desk.expect(0, &["resume", past]).stdout, "hello\n");
    // Nobody stands by for an hour.
    desk.expect(130, &["resume", later]);
    assert!(desk.expect(0, &["get", "execution", later]).stdout.contains("begins"));
    assert_eq!(listed(&desk, &["--status", "queued"]), [later]);
    desk.expect(4, &["callback", "retry", past]);
    desk.expect(7, &["callback", "retry", "exec_000000000000000000000000000"]);
    desk.expect(2, &["callback", "retry", "exec_1"]);
    desk.expect(2, &["get", "background", "--status", "lost"]);
}

/// What is asked for and cannot be, with what is said.
const BAD: [(&[&str], &str); 17] = [
    (&["--background", "--priority", "256"], "256 is not in 0..=255"),
    (&["--background", "--priority=-1"], "-1 is not in 0..=255"),
    (&["--background", "--run-at", "yesterday"], "2026-12-24T18:00:00Z"),
    (&["--background", "--run-at", "2026-13-45T99:00:00Z"], "2026-12-24T18:00:00Z"),
    (&["--background", "--run-at", "9999-01-01T00:00:00Z"], "five years"),
    (&["--background", "--run-at", "2001-01-01T00:00:00Z", "--run-in", "1m"], "cannot be used with"),
    (&["--background=silent", "--run-in", "1m"], "`run_at`: only what is `deferred` begins later"),
    (&["--background=deferred"], "needs a moment"),
    (&["--background=sometimes"], "fire_and_forget"),
    (&["--background", "--time-limit", "31d"], "`timeout_ms`: is a number from 1 to"),
    (&["--background", "--attempts", "0"], "`retry.max_attempts`: is a number from 1 to 100"),
    (&["--background", "--bind", "nothing"], "--bind"),
    (&["--background", "--trigger", "exec_1"], "--trigger"),
    (&["--background", "--wait"], "cannot be used with"),
    (&["--priority", "1"], "--background"),
    (&["--background", "--callback", "https://example.org/done"], "no webhook secret"),
    (&["--background", "--callback", ""], "`callback_url`: has 0 bytes"),
];

#[test]
fn what_cannot_be_is_refused_and_nothing_is_started() {
    let desk = Desk::new();
    desk.hello();
    let (server, url) = dev_with(&desk, 0, &[]);
    for place in [&["--data", "here"][..], &["--server", &url]] {
        for (more, says) in BAD {
            let all: Vec<&str> = ["run", "hello.yaml"].iter().chain(more).chain(place).copied().collect();
            let refused = desk.expect(2, &all);
            assert!(refused.stderr.contains(says), "{all:?}: {}", refused.stderr);
            assert_eq!(refused.stdout, "");
        }
    }
    // With a secret, it is the address that may not be called.
    for (to, says) in [
        ("https://10.0.0.1/", "not public"),
        ("https://[::1]/", "not public"),
        ("http://169.254.169.254/latest", "https"),
        ("ftp://example.org/", "https"),
        ("nowhere", "no URL"),
    ] {
        let mut command = desk.command();
        command.env("STEPSTREAM_WEBHOOK_SECRET", SECRET);
        command.args(["run", "hello.yaml", "--background", "--callback", to, "--data", "here"]);
        let refused = ended(command.spawn().unwrap());
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{to}: {refused:#?}");
        assert!(refused.stderr.contains(says), "{to}: {}", refused.stderr);
    }
    for place in [["--data", "here"], ["--server", &url]] {
        let all: Vec<&str> = ["get", "executions", "-o", "json"].into_iter().chain(place).collect();
        assert_eq!(desk.expect(0, &all).json()["items"], json!([]));
    }
    signal(server.id(), Signal::SIGTERM);
    ended(server);
}

#[test]
fn a_server_runs_what_is_in_the_background_by_itself() {
    let desk = Desk::new();
    desk.hello();
    let receiver = Receiver::start(&[200]);
    let allowed = ["--webhook-secret", SECRET, "--callback-allow", "127.0.0.1", "--callback-allow-http"];
    let (server, url) = dev_with(&desk, 0, &allowed);
    let to = receiver.url();
    let run = ["run", "hello.yaml", "--background", "--attempts", "2", "--callback", &to, "--server", &url];
    let id = desk.expect(0, &run).stdout.trim().to_owned();
    until("it is called back", || {
        let shown = desk.expect(0, &["get", "execution", &id, "--server", &url]).stdout;
        shown.contains("delivered after 1 attempts")
    });
    assert_eq!(listed(&desk, &["--status", "completed", "--server", &url]), std::slice::from_ref(&id));
    desk.expect(0, &["callback", "retry", &id, "--server", &url]);
    until("it is called back once more", || receiver.calls().len() == 2);
    let calls = receiver.calls();
    assert_eq!(calls[0], calls[1]);
    signal(server.id(), Signal::SIGTERM);
    ended(server);
}
