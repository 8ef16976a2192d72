use serde_json::json;

use crate::harness::{Desk, until};

/// Changes the store behind everybody's back.
pub fn tamper(desk: &Desk, statement: &'static str) {
    use sqlx::{Connection, Executor};
    let path = desk.path().join(".stepstream/stepstream.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite://{}", path.display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
    });
}

fn one_run() -> (Desk, String) {
    let desk = Desk::new();
    desk.hello();
    desk.expect(0, &["run", "hello.yaml"]);
    let id = desk.last_execution();
    (desk, id)
}

#[test]
fn events_come_in_order_with_what_scripts_read() {
    let (desk, id) = one_run();
    let events = desk.events(&id);
    let sequences: Vec<u64> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=events.len() as u64).collect::<Vec<_>>());
    let completed = events.iter().find(|event| event["type"] == "step_completed").unwrap();
    assert_eq!((&completed["node"], &completed["attempt"]), (&json!("a"), &json!(1)));
    assert!(completed["step_id"].as_str().unwrap().starts_with("step_"));
    for event in &events {
        assert!(event["event_id"].as_str().unwrap().starts_with("evt_") && event["timestamp"].is_string(), "{event}");
    }
    let table = desk.expect(0, &["events", &id]).stdout;
    assert_eq!(table.lines().count(), events.len() + 1);
}

#[test]
fn a_replay_shows_the_state_at_any_event() {
    let (desk, id) = one_run();
    let at = |n: &str| desk.expect(0, &["replay", &id, "--to", n, "-o", "json"]).json();
    assert_eq!((&at("1")["state"], &at("1")["steps"]), (&json!("Created"), &json!([])));
    assert_eq!(at("3")["steps"][0]["state"], "Scheduled");
    assert_eq!(at("6")["state"], "Completed");
    assert_ne!(at("3")["state_hash"], at("6")["state_hash"]);
    desk.expect(7, &["replay", &id, "--to", "7"]);
    assert!(desk.expect(2, &["replay", &id, "--to", "0"]).stderr.contains("events begin at 1"));
}

#[test]
fn a_changed_log_is_found_out() {
    let changes = [
        // A byte of what was stored.
        "update events set body = cast(substr(body, 1, 40) || x'c1' || substr(body, 42) as blob) where first_seq = 1",
        // The end is cut off.
        "delete from events where rowid = (select max(rowid) from events)",
        // A row is gone.
        "delete from events where first_seq = 1",
        // All of it is gone.
        "delete from events",
    ];
    for change in changes {
        let (desk, id) = one_run();
        assert!(desk.expect(0, &["replay", &id, "--verify"]).stdout.starts_with("verified"));
        tamper(&desk, change);
        let ran = desk.expect(8, &["replay", &id, "--verify"]);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(&id), "{change}: {ran:#?}");
    }
}

#[test]
fn the_list_is_made_anew_from_the_log() {
    let (desk, id) = one_run();
    let list = || desk.expect(0, &["get", "executions", "-o", "json"]).json();
    let before = list();
    tamper(&desk, "delete from executions");
    assert_eq!(list(), json!({"items": []}));
    let data = desk.path().join(".stepstream");
    let diverged = desk.expect(8, &["replay", &id, "--verify", "--data", data.to_str().unwrap()]);
    let hint = format!("`stepstream admin rebuild --data {}`", data.display());
    assert!(diverged.stderr.contains(&hint), "{}", diverged.stderr);
    desk.expect(0, &["admin", "rebuild"]);
    assert_eq!(list(), before);
}

/// An execution with a long log that was killed before its last step ended.
fn long_run() -> (Desk, String) {
    let desk = Desk::new();
    let graph = "
stepstream: 1
name: long
nodes:
  each: { map: { over: '=inputs.items', max_concurrency: 1000 }, task: echo, with: '=item', next: [ { to: last } ] }
  last: { task: process, with: { argv: [sleep, '30'] } }
";
    desk.write("long.yaml", graph);
    desk.write("input.json", json!({"items": vec![1; 2_500]}).to_string());
    let mut run = desk.start(&["run", "long.yaml", "--input", "@input.json", "--allow-process"]);
    until("only the last step is open", || {
        let list = desk.run(&["get", "executions", "-o", "json"]);
        list.code == 0
            && list.json()["items"][0]["execution_id"].as_str().is_some_and(|id| {
                let execution = desk.run(&["get", "execution", id, "-o", "json"]);
                execution.code == 0 && execution.json()["steps"]["completed"] == 2_501
            })
    });
    run.kill().unwrap();
    run.wait().unwrap();
    let id = desk.last_execution();
    (desk, id)
}

#[test]
fn snapshots_are_made_anew_from_the_log_and_checked_against_it() {
    let (desk, id) = long_run();
    for loss in ["delete from snapshots", "update snapshots set state_hash = zeroblob(32)"] {
        tamper(&desk, loss);
        let rebuilt = desk.expect(0, &["admin", "rebuild", "-o", "json"]).json();
        assert_eq!(
            rebuilt,
            json!({"executions": 1, "outbox": 1, "timers": 0, "snapshots": 1, "unreadable": []}),
            "{loss}"
        );
        desk.expect(0, &["replay", &id, "--verify"]);
    }
    tamper(&desk, "update snapshots set state_hash = zeroblob(32)");
    let ran = desk.expect(8, &["replay", &id, "--verify"]);
    assert!(ran.stderr.contains("snapshot") && ran.stderr.contains("admin rebuild"), "{ran:#?}");
    assert!(desk.expect(0, &["admin", "rebuild"]).stdout.contains("1 snapshots kept"));

    // What has ended needs none.
    desk.expect(0, &["cancel", &id]);
    let rebuilt = desk.expect(0, &["admin", "rebuild", "-o", "json"]).json();
    assert_eq!(rebuilt, json!({"executions": 1, "outbox": 0, "timers": 0, "snapshots": 0, "unreadable": []}));
    desk.expect(0, &["replay", &id, "--verify"]);
}

/// What the store derives from its logs, a line for each row.
fn derived(desk: &Desk) -> Vec<String> {
    use sqlx::Connection;
    // A snapshot is made anew of the whole log, so it goes further than the one before.
    const ROWS: &str = "
        select format('executions %s %s %s %s %s', hex(execution), tenant, partition, state, updated_at) from executions
        union all select format('outbox %s %s %s', hex(execution), tenant, partition) from outbox
        union all select format('timers %s %s %s %s', hex(execution), tenant, partition, due_at) from timers
        union all select format('snapshots %s %s', hex(execution), tenant) from snapshots
        order by 1";
    let path = desk.path().join(".stepstream/stepstream.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Ok(mut connection) = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await else {
            return Vec::new(); // It is not there yet.
        };
        let rows = sqlx::query_scalar(ROWS).fetch_all(&mut connection).await.unwrap_or_default();
        connection.close().await.unwrap();
        rows
    })
}

#[test]
fn all_that_is_derived_is_made_anew_and_what_was_interrupted_goes_on() {
    let desk = Desk::new();
    let graph = "
stepstream: 1
name: late
nodes:
  each: { map: { over: '=inputs.items', max_concurrency: 1000 }, task: echo, with: '=item', next: [ { to: last } ] }
  last: { task: fail, with: { until_attempt: 2 }, retry: { max_attempts: 3, backoff: constant, base: 5s, max: 5s } }
output: '=steps.last.output.attempt'
";
    desk.write("late.yaml", graph);
    desk.write("input.json", json!({"items": vec![1; 2_500]}).to_string());
    let mut run = desk.start(&["run", "late.yaml", "--input", "@input.json"]);
    let waits =
        || derived(&desk).iter().filter(|row| row.starts_with("timers") || row.starts_with("snapshots")).count();
    until("the last step waits for its next attempt", || waits() == 2);
    run.kill().unwrap();
    run.wait().unwrap();
    desk.hello();
    desk.expect(0, &["run", "hello.yaml", "--detach"]);

    let before = derived(&desk);
    let tables: Vec<&str> = before.iter().filter_map(|row| row.split(' ').next()).collect();
    assert_eq!(tables, ["executions", "executions", "outbox", "snapshots", "timers"]);
    tamper(&desk, "delete from executions; delete from outbox; delete from timers; delete from snapshots");
    assert!(derived(&desk).is_empty());
    let rebuilt = desk.expect(0, &["admin", "rebuild", "-o", "json"]).json();
    assert_eq!(rebuilt, json!({"executions": 2, "outbox": 1, "timers": 1, "snapshots": 1, "unreadable": []}));
    assert_eq!(derived(&desk), before);

    let items = desk.expect(0, &["resume", "--all", "-o", "json"]).json()["items"].clone();
    let items = items.as_array().unwrap();
    assert!(items.len() == 2 && items.iter().all(|item| item["state"] == "Completed"), "{items:?}");
    assert!(items.iter().any(|item| item["output"] == 2), "{items:?}");
    let left = derived(&desk);
    assert!(!left.iter().any(|row| row.starts_with("outbox") || row.starts_with("timers")), "{left:?}");
}

#[test]
fn looking_where_nothing_is_leaves_nothing_behind() {
    const ID: &str = "exec_3MPx4UMAZKkyVFTlNPY96WZX49Y";
    let desk = Desk::new();
    let empty = tempfile::tempdir().unwrap();
    let places = [vec![], vec!["--data", "no/such/directory"], vec!["--data", empty.path().to_str().unwrap()]];
    for place in places {
        for what in [
            vec!["get", "executions"],
            vec!["get", "execution", ID],
            vec!["get", "graphs"],
            vec!["events", ID],
            vec!["replay", ID, "--verify"],
            vec!["graph", "hello"],
            vec!["admin", "rebuild"],
        ] {
            let ran = desk.expect(7, &[what, place.clone()].concat());
            assert!(ran.stderr.contains("there is no store in"), "{ran:#?}");
        }
    }
    for directory in [desk.path(), empty.path()] {
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
    }
    // Nobody listens there.
    for what in [vec!["get", "executions"], vec!["events", ID], vec!["replay", ID], vec!["admin", "rebuild"]] {
        desk.expect(5, &[what, vec!["--postgres", "postgres://u@127.0.0.1:1/x"]].concat());
    }
}

#[test]
fn what_there_is_can_be_listed() {
    let (desk, id) = one_run();
    let row = desk.expect(0, &["get", "executions", "-o", "json"]).json()["items"][0].clone();
    assert_eq!(
        (&row["execution_id"], &row["state"], &row["graph"]),
        (&json!(id), &json!("Completed"), &json!("hello"))
    );
    assert!(row["created_at"].is_string());
    let failed = desk.expect(0, &["get", "executions", "--state", "Failed", "-o", "json"]).json();
    assert_eq!(failed, json!({"items": []}));
    let other = desk.expect(0, &["get", "executions", "--tenant", "tenant_other", "-o", "json"]).json();
    assert_eq!(other, json!({"items": []}));
    let execution = desk.expect(0, &["get", "execution", &id, "-o", "json"]).json();
    assert_eq!((&execution["output"], &execution["steps"]["completed"]), (&json!("hello"), &json!(1)));
    let graphs = desk.expect(0, &["get", "graphs", "-o", "json"]).json();
    assert_eq!(graphs["items"][0]["name"], "hello");
}

#[test]
fn a_graph_has_a_picture_and_a_canonical_form() {
    let (desk, _) = one_run();
    assert!(desk.expect(0, &["graph", "hello.yaml", "-o", "dot"]).stdout.starts_with("digraph"));
    assert!(desk.expect(0, &["graph", "hello.yaml", "-o", "mermaid"]).stdout.starts_with("flowchart"));
    let document = desk.expect(0, &["graph", "hello.yaml", "-o", "json"]);
    // By name, out of the store; and the canonical form is a document too.
    assert_eq!(desk.expect(0, &["graph", "hello"]).json(), document.json());
    desk.write("canonical.json", &document.stdout);
    let ids = |file: &str| desk.expect(0, &["validate", file, "-o", "json"]).json()["items"][0]["graph_id"].clone();
    assert_eq!(ids("canonical.json"), ids("hello.yaml"));
    desk.expect(7, &["graph", "nothing"]);
}

#[test]
fn a_recorded_workflow_becomes_a_graph_that_runs() {
    let desk = Desk::new();
    let recording = json!({
        "name": "two", "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": [
                {"name": "a", "id": "a/1", "parents": [], "children": ["b-2"]},
                {"name": "b", "id": "b-2", "parents": ["a/1"], "children": []},
            ]},
            "execution": {"makespanInSeconds": 3.0, "executedAt": "2024-01-01T00:00:00Z", "tasks": [
                {"id": "a/1", "runtimeInSeconds": 1.0}, {"id": "b-2", "runtimeInSeconds": 2.0},
            ]},
        },
    });
    desk.write("wf.json", recording.to_string());
    let graph = desk.expect(0, &["import", "wfcommons", "wf.json", "--time-scale", "0"]);
    desk.write("two.json", graph.stdout);
    let report = desk.expect(0, &["run", "two.json", "-o", "json"]).json();
    assert_eq!(report["steps"]["completed"], 2);
    desk.write("no.json", "{}");
    desk.expect(2, &["import", "wfcommons", "no.json"]);
    for scale in ["-1", "nan", "inf"] {
        let ran = desk.expect(2, &["import", "wfcommons", "wf.json", "--time-scale", scale]);
        assert!(ran.stderr.contains("is not a number from 0 up"), "{}", ran.stderr);
    }
    let ran = desk.expect(2, &["import", "wfcommons", "wf.json", "--time-scale", "1e303"]);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("`a/1` would take 1e0 s × 1e303"), "{ran:#?}");
    desk.write("broken.json", "{\"a\":\n  nope}");
    let ran = desk.expect(2, &["import", "wfcommons", "broken.json"]);
    assert!(ran.stderr.contains("--> broken.json:2:3") && !ran.stderr.contains("recording:"), "{}", ran.stderr);
    let ran = desk.expect(9, &["import", "wfcommons", "/dev/zero"]);
    assert!(ran.stderr.contains("67108864 bytes (recording limit)"), "{}", ran.stderr);
}

#[test]
fn validate_finds_all_problems_of_all_files() {
    let desk = Desk::new();
    desk.hello();
    desk.write("bad.json", "{\"stepstream\": 1, \"name\": \"b\"}");
    let ran = desk.expect(2, &["validate", "hello.yaml", "bad.json", "missing.yaml", "-o", "json"]);
    let valid: Vec<bool> =
        ran.json()["items"].as_array().unwrap().iter().map(|item| item["valid"].as_bool().unwrap()).collect();
    assert_eq!(valid, [true, false, false]);
}

#[test]
fn help_names_every_exit_code() {
    let help = Desk::new().expect(0, &["--help"]).stdout;
    for code in ["0  done", "8  a replay diverged", "124  timed out", "130  interrupted"] {
        assert!(help.contains(code), "{code}");
    }
}

#[test]
fn help_names_the_port_that_dev_takes() {
    assert!(Desk::new().expect(0, &["dev", "--help"]).stdout.contains("[default: 8233]"));
}

#[test]
fn shells_get_a_completion() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(Desk::new().expect(0, &["completion", shell]).stdout.contains("stepstream"));
    }
}

#[test]
fn a_restored_store_begins_an_incarnation_and_what_was_open_goes_on() {
    let desk = Desk::new();
    desk.expect(7, &["admin", "restored"]);
    desk.write(
        "w.yaml",
        "stepstream: 1\nname: w\nnodes: { a: { wait: { signal: { name: go } }, next: { to: b } }, b: { task: echo, with: 1 } }\noutput: '=steps.b.output'\n",
    );
    desk.expect(130, &["run", "w.yaml"]);
    let listed = desk.expect(0, &["get", "executions", "-o", "json"]).json();
    let id = listed["items"][0]["execution_id"].as_str().expect("an id").to_owned();
    assert_eq!(desk.expect(0, &["admin", "restored", "-o", "json"]).json()["incarnation"], 2);
    desk.expect(0, &["signal", &id, "go"]);
    assert_eq!(desk.expect(0, &["resume", &id]).stdout, "1\n");
    let events = desk.expect(0, &["events", &id]).stdout;
    assert_eq!(events.matches("store_restored").count(), 1, "{events}");
    desk.expect(0, &["replay", &id, "--verify"]);
}
