//! Whatever is refused says why by a type of its own, and changes nothing.

use axum::body::Body;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, request, until};

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

impl Server {
    async fn last_sequence(&self, id: &str) -> u64 {
        let events = self.get(&format!("/v1/executions/{id}/events?limit=1000")).await.json();
        events["items"].as_array().unwrap().last().unwrap()["sequence"].as_u64().unwrap()
    }

    /// Asks in vain, and looks at the log before and afterwards.
    async fn refuses(&self, by: &str, id: &str, what: &str, body: &Value, (status, name): (u16, &str)) -> String {
        let before = self.last_sequence(id).await;
        let answer: Answer = self.ask(by, id, what, body).await;
        let (found, named, detail) = answer.problem();
        assert_eq!((found, named.as_str()), (status, name), "{by}: {what} {body}: {answer:?}");
        assert!(!detail.is_empty(), "{answer:?}");
        assert_eq!(self.last_sequence(id).await, before, "{by}: {what} {body} has changed something");
        detail
    }
}

#[tokio::test]
async fn what_is_refused_has_a_type_and_changes_nothing() {
    let server = Server::new().await;
    server.register(ASKED).await;
    let id = server.begin("asked", json!({})).await;
    until("it waits for all of them", async || (server.waits(&id).await["waits"].as_array()?.len() == 3).then_some(()))
        .await;
    let yes = |step: &str, form: Value| json!({"step": step, "approve": true, "form": form});
    let now = json!({"window": "now"});
    let too_large = "x".repeat(20_000);
    let bad = [
        ("ada", "signals", json!({"name": "refund"}), (404, "not-found")),
        ("ada", "signals", json!({"name": "paid", "payload": {}}), (400, "invalid-form")),
        ("ada", "signals", json!({"name": 3}), (400, "invalid-body")),
        ("ada", "decisions", yes("sign_off", json!({"window": 3})), (400, "invalid-form")),
        ("ada", "decisions", yes("sign_off", json!(null)), (400, "invalid-form")),
        ("eve", "decisions", yes("sign_off", now.clone()), (403, "forbidden")),
        ("eve", "decisions", json!({"step": "sign_off", "approve": false}), (403, "forbidden")),
        ("ada", "decisions", yes("nobody", now.clone()), (404, "not-found")),
        ("ada", "decisions", yes("who", now.clone()), (409, "conflict")),
        ("ada", "decisions", yes("behind", now.clone()), (409, "conflict")),
        ("bob", "answers", json!({"step": "who", "value": "me"}), (403, "forbidden")),
        ("ada", "answers", json!({"step": "who", "value": 3}), (400, "invalid-form")),
        ("ada", "budget", json!({"max_cost": "-1"}), (400, "invalid-body")),
        ("ada", "budget", json!({"max_tokens": -1}), (400, "invalid-body")),
        ("ada", "budget", json!({}), (400, "invalid-form")),
        ("ada", "messages", json!({"type": "guidance", "content": too_large}), (400, "invalid-form")),
        ("ada", "messages", json!({"type": "rumour", "content": "x"}), (400, "invalid-body")),
        ("ada", "input", json!({"input": 1}), (409, "conflict")),
        ("ada", "callback/retry", json!({}), (409, "conflict")),
    ];
    for (by, what, body, refusal) in &bad {
        server.refuses(by, &id, what, body, *refusal).await;
    }
    assert_eq!(server.ask("ada", &id, "decisions", &yes("sign_off", now.clone())).await.status, 202);
    let twice = server.refuses("ada", &id, "decisions", &yes("sign_off", now.clone()), (409, "conflict")).await;
    assert!(twice.contains("ada"), "{twice}");
    server.ask("ada", &id, "cancel", &json!({})).await;
    server.once(&id, "Cancelled").await;
    let late = server.refuses("bob", &id, "decisions", &yes("sign_off", now), (409, "conflict")).await;
    assert!(late.contains("Cancelled"), "{late}");
    server.refuses("bob", &id, "cancel", &json!({}), (409, "conflict")).await;
    server.stop().await;
}

#[tokio::test]
async fn a_schedule_that_would_never_fire_is_refused_and_is_not_there() {
    let server = Server::new().await;
    server.register(ASKED).await;
    for timing in ["cron: '0 0 30 2 *'", "cron: '0 0 31 4 *'\nevery: 1h", "every: 1h\nend_at: 2001-01-01T00:00:00Z"] {
        let document = format!("name: never\ngraph: asked\n{timing}\n");
        let headers = [("content-type", "application/yaml")];
        let answer = server.send(request("POST", "/v1/schedules", &headers, Body::from(document))).await;
        let detail = answer.refused(400, "invalid-schedule");
        assert!(detail.contains("schedule.yaml:"), "it says where: {detail}");
        server.get("/v1/schedules/never").await.refused(404, "not-found");
    }
    server.stop().await;
}

#[tokio::test]
async fn graphs_that_contain_themselves_are_none_and_those_that_start_themselves_end() {
    let server = Server::new().await;
    let headers = [("content-type", "application/yaml")];
    let inline = "stepstream: 1\nname: one\nnodes: { in: { graph: one, spawn: { mode: inline } } }\n";
    server.send(request("POST", "/v1/graphs", &headers, Body::from(inline))).await.refused(400, "invalid-graph");
    server.get("/v1/graphs/one").await.refused(404, "not-found");
    server.register("stepstream: 1\nname: loop\nnodes: { again: { graph: loop } }\n").await;
    let id = server.run("loop", json!({})).await;
    let over = server.over(&id).await;
    assert_eq!((&over["state"], &over["error"]["code"]), (&json!("Failed"), &json!("child_depth_limit")), "{over}");
    server.stop().await;
}
