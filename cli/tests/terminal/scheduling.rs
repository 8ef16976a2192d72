use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Desk, ended, signal, until};
use crate::serving::dev;

const BERLIN: [&str; 6] = ["schedule", "next", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin"];

fn example() -> String {
    format!("{}/../examples/schedules/nightly-hello.yaml", env!("CARGO_MANIFEST_DIR"))
}

fn hello_graph() -> String {
    format!("{}/../examples/hello.yaml", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn next_times_are_shown_without_a_store() {
    let desk = Desk::new();
    let after = ["--after", "2026-03-28T00:00:00Z", "-n", "3"];
    let ran = desk.expect(0, &[&BERLIN[..], &after].concat());
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("Europe/Berlin"), "{ran:#?}");
    assert!(lines[2].starts_with("2026-03-29T03:00:00+02:00  2026-03-29T01:00:00Z"), "{ran:#?}");
    assert!(ran.stderr.contains("clocks are put"), "{ran:#?}");
    let json = desk.expect(0, &[&BERLIN[..], &after, &["-o", "json"]].concat()).json();
    assert_eq!(json["items"].as_array().unwrap().len(), 3);
    let file = desk.expect(0, &["schedule", "next", &example(), "-n", "2"]);
    assert!(file.stderr.contains("jitter"), "{file:#?}");
    assert!(!desk.path().join(".stepstream").exists(), "nothing is made");
    let help = desk.expect(0, &["schedule", "next", "--help"]).stdout;
    assert!(help.contains("day of week") && help.contains("the gap"), "{help}");
}

#[test]
fn what_is_no_schedule_is_refused_with_the_place_and_the_reason() {
    let desk = Desk::new();
    let refused = |args: &[&str], word: &str| {
        let ran = desk.expect(2, &[&["schedule", "next"], args].concat());
        assert!(ran.stderr.contains(word), "{args:?}: {ran:#?}");
    };
    refused(&[], "--cron");
    refused(&["--cron", "* * *"], "five or six are needed");
    refused(&["--cron", "0 0 30 2 *"], "would never fire");
    refused(&["--cron", "0 0 * * *", "--time-zone", "Europe/Berlyn"], "did you mean `Europe/Berlin`?");
    refused(&["--every", "-5m"], "unexpected argument");
    refused(&["--every=-5m"], "not a duration");
    refused(&["--every", "1h", "--time-zone", "UTC"], "--cron");
    refused(&["--every", "1h", "--after", "noon"], "a moment is written");
    refused(&["no-such-file.yaml"], "cannot read");
    desk.write(
        "bad.yaml",
        "name: a\ngraph: hello\nevery: 1h\njitter: -1s\nstart_at: 2027-02-01T00:00:00Z\nend_at: 2027-01-01T00:00:00Z\n",
    );
    refused(&["bad.yaml"], "bad.yaml:4:9");
}

#[test]
fn a_data_directory_keeps_schedules_and_says_who_fires() {
    let desk = Desk::new();
    // Where there is no store, none is made.
    desk.expect(7, &["schedule", "list"]);
    desk.expect(0, &["register", &hello_graph()]);
    let made = desk.expect(0, &["schedule", "create", &example()]);
    assert!(made.stdout.starts_with("trigger_") && made.stdout.contains("next at"), "{made:#?}");
    assert!(made.stderr.contains("stepstream dev"), "{made:#?}");
    desk.expect(4, &["schedule", "create", &example()]);
    let listed = desk.expect(0, &["schedule", "list"]).stdout;
    assert!(listed.contains("nightly-hello") && listed.contains("30 2 * * * (Europe/Berlin)"), "{listed}");
    let shown = desk.expect(0, &["schedule", "get", "nightly-hello"]).stdout;
    assert!(shown.contains("status    active") && shown.contains("so far    nothing"), "{shown}");
    desk.expect(0, &["schedule", "pause", "nightly-hello", "--note", "holidays", "--as", "ann"]);
    let shown = desk.expect(0, &["schedule", "get", "nightly-hello"]).stdout;
    assert!(shown.contains("by ann: holidays"), "{shown}");
    desk.write("other.yaml", "name: nightly-hello\ngraph: hello\nevery: 1h\n");
    desk.expect(4, &["schedule", "update", "nightly-hello", "other.yaml", "--revision", "1"]);
    desk.expect(0, &["schedule", "update", "nightly-hello", "other.yaml", "--revision", "2"]);
    desk.expect(0, &["schedule", "resume", "nightly-hello"]);
    let id = desk.expect(0, &["schedule", "trigger", "nightly-hello", "--idempotency-key", "k"]).stdout;
    let again = desk.expect(0, &["schedule", "trigger", "nightly-hello", "--idempotency-key", "k"]);
    assert_eq!(again.stdout, id);
    assert_eq!(desk.expect(0, &["resume", id.trim()]).stdout, "Hello, world!\n");
    let json = desk.expect(0, &["schedule", "get", "nightly-hello", "-o", "json"]).json();
    assert_eq!((&json["runs"][0]["state"], &json["counts"]["triggered"]), (&json!("Completed"), &json!(1)));
    desk.expect(
        9,
        &["schedule", "backfill", "nightly-hello", "--from", "2020-01-01T00:00:00Z", "--to", "2021-01-01T00:00:00Z"],
    );
    desk.expect(
        2,
        &["schedule", "backfill", "nightly-hello", "--from", "2021-01-01T00:00:00Z", "--to", "2020-01-01T00:00:00Z"],
    );
    desk.expect(0, &["schedule", "delete", "nightly-hello"]);
    desk.expect(7, &["schedule", "get", "nightly-hello"]);
    desk.expect(7, &["schedule", "delete", "nightly-hello"]);
}

#[test]
fn a_schedule_fires_while_dev_runs() {
    let desk = Desk::new();
    desk.expect(0, &["register", &hello_graph(), "--data", "server"]);
    desk.write("often.yaml", "name: often\ngraph: hello\ninputs: { name: '=schedule.name' }\nevery: 1s\n");
    // Made before anybody serves it.
    desk.expect(0, &["schedule", "create", "often.yaml", "--data", "server"]);
    let (server, url) = dev(&desk, 0);
    let run = |args: &[&str], code| {
        let all: Vec<&str> = args.iter().copied().chain(["--server", url.as_str()]).collect();
        desk.expect(code, &all)
    };
    let mut fired = json!(null);
    until("it has fired twice", || {
        fired = run(&["schedule", "get", "often", "-o", "json"], 0).json();
        fired["counts"]["started"].as_u64() >= Some(2) && fired["runs"][1]["state"] == "Completed"
    });
    let execution = fired["runs"][1]["execution_id"].as_str().unwrap().to_owned();
    assert_eq!(run(&["get", "execution", &execution, "-o", "json"], 0).json()["output"], "Hello, often!");
    run(&["schedule", "pause", "often"], 0);
    run(&["schedule", "resume", "often"], 0);
    let triggered = run(&["schedule", "trigger", "often", "-o", "json"], 0).json();
    assert_eq!(triggered["created"], true);
    desk.write("wrong.yaml", "name: wrong\ngraph: missing\nevery: 1s\n");
    run(&["schedule", "create", "wrong.yaml"], 7);
    desk.write("never.yaml", "name: never\ngraph: hello\ncron: '0 0 31 4 *'\n");
    assert!(run(&["schedule", "create", "never.yaml"], 2).stderr.contains("would never fire"));
    let listed = run(&["schedule", "list", "-o", "json"], 0).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    run(&["schedule", "delete", "often"], 0);
    signal(server.id(), Signal::SIGINT);
    assert_eq!(ended(server).code, 0);
}
