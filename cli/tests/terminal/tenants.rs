//! What a tenant may have and has used, from the command line.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Desk, Ran, ended, signal, until};
use crate::serving::dev;

/// Sets a dollar aside and uses what the input says.
const SPENDS: &str = "
stepstream: 1
name: spends
inputs: { type: object, required: [cost], properties: { cost: { type: string } } }
nodes:
  buy:
    task: note
    reserve: { cost_usd: '1' }
    with: { output: done, notes: [ { usage: { model: m, prompt_tokens: 7, completion_tokens: 3, cost: '=inputs.cost' } } ] }
    next: [ { to: bought }, { catch: [QuotaExceeded], to: later } ]
  bought: { transform: bought }
  later: { transform: '=error.code' }
output: '=has(steps.bought.output) ? steps.bought.output : steps.later.output'
";

fn spend(desk: &Desk, dollars: &str, place: &[&str]) -> Value {
    let input = json!({"cost": dollars}).to_string();
    desk.expect(0, &[&["run", "spends.yaml", "--input", &input, "-o", "json"], place].concat()).json()
}

fn warnings(events: &Ran) -> Vec<Value> {
    let events = events.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["type"] == "limit_warned").collect()
}

/// Brings a day of ten dollars to its end, wherever that is.
fn a_day(desk: &Desk, place: &[&str]) {
    desk.write("spends.yaml", SPENDS);
    let on = |code, args: &[&str]| desk.expect(code, &[args, place].concat());
    spend(desk, "0", place);
    let set =
        ["tenant", "limits", "--set", "cost_usd_per_day=10", "--set", "on_limit=fail_step", "--set", "warn_at=75"];
    let shown = on(0, &set).stdout;
    assert!(
        shown.contains("cost_usd_per_day           10.00\n") && shown.contains("tokens_per_day             -\n"),
        "{shown}"
    );
    assert_eq!(on(0, &["tenant", "limits", "-o", "json"]).json()["warn_at"], 75);
    for (set, weight) in [("weight=3", 3), ("weight=", 1)] {
        assert_eq!(on(0, &["tenant", "limits", "--set", set, "-o", "json"]).json()["weight"], weight);
        assert_eq!(on(0, &["tenant", "limits", "-o", "json"]).json()["weight"], weight);
    }

    // What an execution reports in its last step is in the account when the command has ended.
    let events = |report: &Value| on(0, &["events", report["execution_id"].as_str().unwrap(), "-o", "jsonl"]);
    let (near, crosses) = (spend(desk, "7.4", place), spend(desk, "0.25", place));
    until("it is counted", || on(0, &["tenant", "usage", "-o", "json"]).json()["cost_usd"] == "7.65");
    assert_eq!(warnings(&events(&near)), [json!(null); 0]);
    until("it is told", || !warnings(&events(&crosses)).is_empty());
    let [warned] = warnings(&events(&crosses)).try_into().unwrap();
    let usage = on(0, &["budget", "--day", "-o", "json"]).json();
    assert_eq!(
        (&warned["of"], &warned["current"], &warned["max"], &warned["day"]),
        (&json!("tenant"), &json!(7_650_000), &json!(10_000_000), &usage["day"])
    );
    assert_eq!(
        (&usage["warned"], &usage["tokens"], &usage["reserved_cost_usd"]),
        (&json!(true), &json!(30), &json!("0.00"))
    );
    let text = on(0, &["tenant", "usage"]).stdout;
    assert!(text.contains("cost    7.65 USD of 10.00, 0.00 set aside") && text.contains("tokens  30"), "{text}");

    // Where there is no room for what it may need, the step fails, and its error edge leads elsewhere.
    assert_eq!(spend(desk, "1.5", place)["output"], "bought");
    until("it is counted", || on(0, &["tenant", "usage", "-o", "json"]).json()["cost_usd"] == "9.15");
    assert_eq!(spend(desk, "0.1", place)["output"], "cost_limit");
    // Another tenant has nothing of it.
    let other = on(0, &["tenant", "usage", "-o", "json", "--tenant", "tenant_other"]).json();
    assert_eq!(
        (&other["cost_usd"], &other["limits"]),
        (&json!("0.00"), &json!({"warn_at": 80, "on_limit": "stop", "weight": 1}))
    );
    // What is set to nothing is not limited any more.
    on(0, &["tenant", "limits", "--set", "cost_usd_per_day="]);
    assert_eq!(spend(desk, "0.1", place)["output"], "bought");
}

#[test]
fn a_day_of_a_tenant_is_limited_told_and_warned_of_in_a_data_directory() {
    a_day(&Desk::new(), &[]);
}

#[test]
fn a_day_of_a_tenant_is_limited_told_and_warned_of_on_a_server() {
    let desk = Desk::new();
    let (server, url) = dev(&desk, 0);
    a_day(&desk, &["--server", &url]);
    signal(server.id(), Signal::SIGINT);
    assert_eq!(ended(server).code, 0);
}

#[test]
fn one_execution_too_many_is_refused_with_its_code() {
    let desk = Desk::new();
    desk.write("held.yaml", "stepstream: 1\nname: held\nnodes: { ask: { wait: { approval: true } } }\n");
    let (server, url) = dev(&desk, 0);
    let on = |code, args: &[&str]| desk.expect(code, &[args, &["--server", &url]].concat());
    on(0, &["tenant", "limits", "--set", "max_concurrent_executions=1"]);
    let id = on(0, &["run", "held.yaml", "--detach", "-q"]).stdout.trim().to_owned();
    let refused = on(9, &["run", "held.yaml", "--detach"]);
    assert!(refused.stderr.contains("max_concurrent_executions") && refused.stdout.is_empty(), "{refused:#?}");
    assert_eq!(on(0, &["get", "executions", "-o", "json"]).json()["items"].as_array().unwrap().len(), 1);
    on(0, &["cancel", &id]);
    until("there is room again", || desk.run(&["run", "held.yaml", "--detach", "-q", "--server", &url]).code == 0);
    signal(server.id(), Signal::SIGINT);
    assert_eq!(ended(server).code, 0);
}

#[test]
fn limits_that_nobody_can_have_are_refused_and_change_nothing() {
    let desk = Desk::new();
    desk.hello();
    desk.expect(7, &["tenant", "usage"]); // Nothing was ever run here.
    desk.expect(0, &["run", "hello.yaml"]);
    let (server, url) = dev(&desk, 0);
    for place in [&[][..], &["--server", &url]] {
        let on = |code, args: &[&str]| desk.expect(code, &[args, place].concat());
        let kept = on(0, &["tenant", "limits", "--set", "tokens_per_day=500", "-o", "json"]).stdout;
        for (wrong, word) in [
            ("cost_usd_per_day=-1", "not negative"),
            ("cost_usd_per_day=much", "an amount is dollars"),
            ("cost_usd_per_day=0", "above 0"),
            ("tokens_per_day=0", "above 0"),
            ("tokens_per_day=-3", "whole number"),
            ("max_concurrent_executions=0", "at least 1"),
            ("warn_at=101", "from 1 to 100"),
            ("on_limit=explode", "explode"),
            ("weight=0", "from 1 to 1000"),
            ("weight=1001", "from 1 to 1000"),
            ("weight=heavy", "whole number"),
            ("cost_usd_per_week=1", "there is no limit `cost_usd_per_week`"),
            ("cost_usd_per_day", "LIMIT=VALUE"),
        ] {
            let ran = on(2, &["tenant", "limits", "--set", wrong]);
            assert!(ran.stderr.contains(word), "{wrong}: {ran:#?}");
            assert_eq!(on(0, &["tenant", "limits", "-o", "json"]).stdout, kept, "{wrong}");
        }
        on(2, &["tenant", "limits", "--tenant", "acme"]);
        on(2, &["budget", "--day", "--cost", "1"]);
    }
    signal(server.id(), Signal::SIGINT);
    assert_eq!(ended(server).code, 0);
}
