//! Whatever is refused says why, with a code of its own, and changes nothing: in a data directory and on a server alike.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Desk, Ran, ended, signal, until};
use crate::serving::dev;

/// Waits for two people, a person and a program, all at the same time.
const ASKED: &str = "
stepstream: 1
name: asked
nodes:
  sign_off:
    wait:
      approval:
        assignees: [ada, bob]
        quorum: 2
        form: { type: object, required: [window], properties: { window: { type: string } } }
  who: { wait: { input: { from: [ada], form: { type: string } } } }
  paid: { wait: { signal: { name: paid, payload: { type: object, required: [sum] } } } }
  behind: { join: all, transform: done }
";

/// A command, its exit code, and a word of why.
type Bad<'a> = (&'a [&'a str], i32, &'a str);

/// Everything that can be asked in vain of an execution of [`ASKED`]; `EXEC` stands for its id.
const BAD: &[Bad<'static>] = &[
    (&["signal", "EXEC", "refund"], 7, "refund"),
    (&["signal", "EXEC", "paid", "--payload", "{}"], 2, "sum"),
    (&["signal", "EXEC", "paid", "--payload", "{"], 2, "not JSON"),
    (&["approve", "EXEC", "sign_off", "--as", "ada", "--form", "{\"window\": 3}"], 2, "/window"),
    (&["approve", "EXEC", "sign_off", "--as", "ada"], 2, "null is not of type"),
    (&["approve", "EXEC", "sign_off", "--as", "eve", "--form", "{\"window\": \"now\"}"], 6, "ada, bob"),
    (&["reject", "EXEC", "sign_off", "--as", "eve"], 6, "ada, bob"),
    (&["approve", "EXEC", "nobody", "--as", "ada"], 7, "nobody"),
    (&["approve", "EXEC", "who", "--as", "ada"], 4, "who"),
    (&["approve", "EXEC", "behind", "--as", "ada"], 4, "behind"),
    (&["answer", "EXEC", "who", "--as", "bob", "--value", "\"me\""], 6, "ada"),
    (&["answer", "EXEC", "who", "--as", "ada", "--value", "3"], 2, "string"),
    (&["budget", "EXEC", "--cost", "-1"], 2, "-1"),
    (&["budget", "EXEC", "--cost=-1"], 2, "not negative"),
    (&["budget", "EXEC", "--tokens=-1"], 2, "-1"),
    (&["budget", "EXEC"], 2, "--cost"),
    (&["break", "EXEC", "nowhere"], 7, "nowhere"),
    (&["callback", "retry", "EXEC"], 4, "callback"),
    (&["send", "EXEC", "guidance", "x", "--priority", "urgent"], 2, "urgent"),
    (&["pause", "EXEC", "--tenant", "tenant_other"], 7, "EXEC"),
];

struct Asked<'a> {
    desk: &'a Desk,
    place: &'a [&'a str],
    id: String,
}

impl Asked<'_> {
    fn run(&self, code: i32, args: &[&str]) -> Ran {
        let named: Vec<&str> = args.iter().map(|arg| if *arg == "EXEC" { self.id.as_str() } else { arg }).collect();
        let ran = self.desk.run(&[&named, self.place].concat());
        assert_eq!(ran.code, code, "{named:?}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked"), "{named:?}: {ran:#?}");
        ran
    }

    fn last_sequence(&self) -> u64 {
        let events = self.run(0, &["events", "EXEC", "-o", "jsonl"]).stdout;
        let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
        last["sequence"].as_u64().unwrap()
    }

    fn is_refused(&self, (args, code, word): Bad<'_>) {
        let before = self.last_sequence();
        let ran = self.run(code, args);
        let word = word.replace("EXEC", &self.id);
        assert!(ran.stderr.contains(&word) && ran.stdout.is_empty(), "{args:?} says nothing of {word:?}: {ran:#?}");
        assert_eq!(self.last_sequence(), before, "{args:?} has changed something");
    }
}

fn refuses(desk: &Desk, place: &[&str], begin: impl FnOnce() -> String) {
    desk.write("asked.yaml", ASKED);
    let asked = Asked { desk, place, id: begin() };
    until("it waits for all of them", || {
        let waits = asked.run(0, &["waits", "EXEC", "-o", "json"]).json();
        waits["waits"].as_array().is_some_and(|steps| steps.len() == 3)
    });
    for bad in BAD {
        asked.is_refused(*bad);
    }
    // Each person decides once, whatever they say the second time.
    asked.run(0, &["approve", "EXEC", "sign_off", "--as", "ada", "--form", "{\"window\": \"now\"}"]);
    asked.is_refused((&["approve", "EXEC", "sign_off", "--as", "ada", "--form", "{\"window\": \"now\"}"], 4, "ada"));
    asked.is_refused((&["reject", "EXEC", "sign_off", "--as", "ada"], 4, "ada"));
    asked.run(0, &["cancel", "EXEC"]);
    for late in [&["pause", "EXEC"][..], &["cancel", "EXEC"], &["signal", "EXEC", "paid", "--payload", "{\"sum\": 1}"]]
    {
        asked.is_refused((late, 4, "Cancelled"));
    }
}

#[test]
fn what_is_refused_in_a_data_directory_changes_nothing() {
    let desk = Desk::new();
    refuses(&desk, &[], || {
        desk.expect(130, &["run", "asked.yaml"]);
        desk.last_execution()
    });
}

#[test]
fn what_is_refused_by_a_server_changes_nothing() {
    let desk = Desk::new();
    let (server, url) = dev(&desk, 0);
    let place = ["--server", url.as_str()];
    refuses(&desk, &place, || {
        desk.expect(0, &["run", "asked.yaml", "--detach", "-q", "--server", &url]).stdout.trim().to_owned()
    });
    signal(server.id(), Signal::SIGINT);
    assert_eq!(ended(server).code, 0);
}

#[test]
fn a_schedule_that_would_never_fire_is_refused_and_is_not_there() {
    let desk = Desk::new();
    desk.hello();
    let (server, url) = dev(&desk, 0);
    for place in [&[][..], &["--server", &url]] {
        let on = |code, args: &[&str]| desk.expect(code, &[args, place].concat());
        on(0, &["register", "hello.yaml"]);
        for (document, word) in [
            ("cron: '0 0 30 2 *'", "would never fire"),
            ("cron: '0 0 31 4 *'\nevery: 1h", "31 4"),
            ("every: 1h\nend_at: 2001-01-01T00:00:00Z", "would never fire"),
            ("cron: '61 * * * *'", "61"),
            ("every: 0s", "every"),
        ] {
            desk.write("never.yaml", format!("name: never\ngraph: hello\n{document}\n"));
            let ran = on(2, &["schedule", "create", "never.yaml"]);
            assert!(ran.stderr.contains(word) && ran.stdout.is_empty(), "{document}: {ran:#?}");
            on(7, &["schedule", "get", "never"]);
        }
    }
    signal(server.id(), Signal::SIGINT);
    assert_eq!(ended(server).code, 0);
}

#[test]
fn graphs_that_start_themselves_end_with_a_code_and_those_that_contain_themselves_are_none() {
    let desk = Desk::new();
    desk.write("loop.yaml", "stepstream: 1\nname: loop\nnodes: { again: { graph: loop } }\n");
    desk.expect(0, &["register", "loop.yaml"]);
    let report = desk.expect(1, &["run", "loop.yaml", "-o", "json"]).json();
    // What the deepest one fails with comes up to the first.
    assert_eq!(report["error"]["code"], "child_depth_limit", "{report:#}");
    let all = desk.expect(0, &["get", "executions", "-o", "json", "--limit", "100"]).json();
    assert_eq!(all["items"].as_array().unwrap().len(), 17, "sixteen deep, and no deeper");

    let inline = |name: &str, takes: &str| {
        format!("stepstream: 1\nname: {name}\nnodes: {{ in: {{ graph: {takes}, spawn: {{ mode: inline }} }} }}\n")
    };
    desk.write("one.yaml", inline("one", "one"));
    let refused = desk.expect(2, &["register", "one.yaml"]);
    assert!(refused.stderr.contains("one.yaml:3:23"), "{refused:#?}");
    let known = desk.expect(0, &["get", "graphs", "-o", "json"]).json();
    assert_eq!(known["items"].as_array().unwrap().len(), 1, "{known}");
}

#[test]
fn a_graph_that_is_taken_in_by_name_is_stored_with_it_and_checked_when_it_is_registered() {
    let desk = Desk::new();
    let inner = |version: &str, says: &str| {
        format!(
            "stepstream: 1\nname: inner\nversion: {version}\nnodes: {{ a: {{ task: echo, with: {says} }} }}\noutput: '=steps.a.output'\n"
        )
    };
    desk.write("inner.yaml", inner("'1'", "first"));
    desk.write(
        "outer.yaml",
        "stepstream: 1\nname: outer\nnodes: { part: { graph: inner, spawn: { mode: inline } } }\noutput: '=steps.part.output'\n",
    );
    // Nothing is looked up where nothing can be.
    let checked = desk.expect(0, &["validate", "outer.yaml"]);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(said.contains("inner"), "it says what it has not looked at: {said}");
    assert!(!desk.path().join(".stepstream").exists());
    let missing = desk.expect(2, &["register", "outer.yaml"]);
    assert!(missing.stderr.contains("there is no graph `inner`"), "{missing:#?}");
    desk.expect(0, &["register", "inner.yaml"]);
    desk.expect(0, &["register", "outer.yaml"]);
    let report = desk.expect(0, &["run", "outer.yaml", "-o", "json"]).json();
    assert_eq!((&report["output"], &report["steps"]["completed"]), (&json!("first"), &json!(3)), "{report:#}");
    // Another version of the one changes nothing of the other until it is registered again.
    desk.write("inner.yaml", inner("'2'", "second"));
    desk.expect(0, &["register", "inner.yaml"]);
    let graphs = desk.expect(0, &["get", "graphs", "-o", "json"]).json();
    let named = |name: &str| graphs["items"].as_array().unwrap().iter().filter(|graph| graph["name"] == name).count();
    assert_eq!((named("inner"), named("outer")), (2, 1), "{graphs:#}");
    assert_eq!(
        desk.expect(0, &["run", "outer.yaml", "--input", "{}"]).stdout,
        "second\n",
        "a new start takes it in anew"
    );
    assert_eq!(desk.expect(0, &["resume", report["execution_id"].as_str().unwrap()]).stdout, "first\n");
    // A step inside is named by its path, in a graph and in what is broken, waited and drawn.
    let drawn = desk.expect(0, &["events", report["execution_id"].as_str().unwrap()]).stdout;
    assert!(drawn.contains("part.a"), "{drawn}");
}

#[test]
fn limits_of_a_start_hold_in_the_place_of_the_graphs_and_bad_ones_start_nothing() {
    let desk = Desk::new();
    desk.write(
        "three.yaml",
        "stepstream: 1\nname: three\nlimits: { max_steps: 2 }\nnodes: { a: { task: echo, next: { to: b } }, b: { task: echo, next: { to: c } }, c: { task: echo } }\n",
    );
    let failed = desk.expect(1, &["run", "three.yaml", "-o", "json"]).json();
    assert_eq!(failed["error"]["code"], "step_limit");
    let done = desk.expect(0, &["run", "three.yaml", "--limits", "{\"max_steps\": 3}", "-o", "json"]).json();
    assert_eq!(done["steps"]["completed"], 3);
    desk.write("limits.json", "{\"max_steps\": 1, \"wall_time\": \"1h\"}");
    let failed = desk.expect(1, &["run", "three.yaml", "--limits", "@limits.json", "-o", "json"]).json();
    assert_eq!((&failed["error"]["code"], &failed["steps"]["completed"]), (&json!("step_limit"), &json!(1)));
    let before = desk.expect(0, &["get", "executions", "-o", "json"]).stdout;
    for (limits, word) in [
        ("{\"max_steps\": 0}", "max_steps"),
        ("{\"max_steps\": -1}", "max_steps"),
        ("{\"cost_usd\": \"-1\"}", "cost_usd"),
        ("{\"cost_usd\": true}", "cost_usd"),
        ("{\"wall_time\": \"soon\"}", "wall_time"),
        ("{\"max_stps\": 3}", "max_stps"),
        ("{\"on_limit\": \"explode\"}", "on_limit"),
        ("[]", "limits"),
        ("{", "unclosed"),
        ("@nowhere.json", "nowhere.json"),
    ] {
        let ran = desk.expect(2, &["run", "three.yaml", "--limits", limits]);
        assert!(ran.stderr.contains(word), "{limits}: {ran:#?}");
        assert_eq!(desk.expect(0, &["get", "executions", "-o", "json"]).stdout, before, "{limits}");
    }
}
