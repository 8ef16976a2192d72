//! Signals, decisions, answers, breakpoints and holds: each rule of who may, when, and with what.

use axum::body::Body;
use serde_json::{Value, json};

use crate::harness::{APPROVAL, HELD, Server, request};

const FORM: fn() -> Value = || json!({"window": "tonight", "risk": 1});

async fn asked_for_approval(server: &Server) -> String {
    server.register(APPROVAL).await;
    let id = server.begin("approval", json!({"version": "1.4.0"})).await;
    server.once(&id, "Waiting").await;
    id
}

#[tokio::test]
async fn an_approval_takes_those_who_are_assigned_each_once() {
    let server = Server::new().await;
    let id = asked_for_approval(&server).await;
    let yes = |form: Value| json!({"step": "sign_off", "approve": true, "form": form});
    let detail = server.ask("eve", &id, "decisions", &yes(FORM())).await.refused(403, "forbidden");
    assert!(detail.contains("ada, bob"), "{detail}");
    let answer = server.ask("ada", &id, "decisions", &yes(json!({"window": 3}))).await;
    answer.refused(400, "invalid-form");
    assert_eq!(answer.json()["errors"].as_array().unwrap().len(), 2, "every fault: {answer:?}");
    server.ask("ada", &id, "decisions", &json!({"step": "nobody", "approve": true})).await.refused(404, "not-found");
    server.ask("ada", &id, "decisions", &json!({"step": "roll_out", "approve": true})).await.refused(409, "conflict");
    server.ask("ada", &id, "answers", &json!({"step": "sign_off"})).await.refused(409, "conflict");

    let answer = server.ask("ada", &id, "decisions", &yes(FORM())).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({"execution_id": id})));
    server.ask("ada", &id, "decisions", &yes(FORM())).await.refused(409, "conflict");
    let step = server.waits(&id).await["waits"][0]["step_id"].clone();
    assert_eq!(
        server
            .ask("bob", &id, "decisions", &json!({"step": step, "approve": true, "form": FORM(), "comment": "fine"}))
            .await
            .status,
        202
    );
    let execution = server.over(&id).await;
    let decisions = execution["output"]["decisions"].as_array().unwrap();
    assert_eq!((decisions.len(), &decisions[1]["by"], &decisions[1]["comment"]), (2, &json!("bob"), &json!("fine")));
    server.ask("bob", &id, "decisions", &yes(FORM())).await.refused(409, "conflict");
    server.stop().await;
}

#[tokio::test]
async fn the_same_request_under_the_same_key_is_carried_out_once() {
    let server = Server::new().await;
    let id = asked_for_approval(&server).await;
    let path = format!("/v1/executions/{id}/decisions");
    let body = json!({"step": "sign_off", "approve": true, "form": FORM()});
    for _ in 0..2 {
        let headers = [("stepstream-actor", "ada"), ("idempotency-key", "k")];
        assert_eq!(server.post_with(&path, &headers, &body).await.status, 202);
    }
    assert_eq!(server.waits(&id).await["waits"][0]["decisions"].as_array().unwrap().len(), 1);
    // Another person is another request, whatever the key.
    let headers = [("stepstream-actor", "bob"), ("idempotency-key", "k")];
    assert_eq!(server.post_with(&path, &headers, &body).await.status, 202);
    assert_eq!(server.over(&id).await["state"], "Completed");
    server.stop().await;
}

#[tokio::test]
async fn who_asks_may_have_any_name_that_people_have() {
    let server = Server::new().await;
    server.register(&APPROVAL.replace("[ada, bob]", "[Jürgen]").replace("quorum: 2", "quorum: 1")).await;
    let id = server.begin("approval", json!({"version": "1"})).await;
    let body = json!({"step": "sign_off", "approve": true, "form": FORM()});
    assert_eq!(server.ask("Jürgen", &id, "decisions", &body).await.status, 202);
    for unfit in ["", &"x".repeat(257)] {
        server.ask(unfit, &id, "decisions", &body).await.refused(400, "invalid-header");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_signal_is_taken_or_kept_and_an_unknown_one_refused() {
    let server = Server::new().await;
    let graph = "
stepstream: 1
name: paid
nodes:
  first: { task: hold, with: 1, next: [ { to: paid } ] }
  paid:
    wait: { signal: { name: paid, correlation: '=inputs.order', payload: { type: object, required: [sum] } } }
output: '=steps.paid.output'
";
    server.register(graph).await;
    let id = server.begin("paid", json!({"order": 17})).await;
    let signal = async |body: Value| server.ask("shop", &id, "signals", &body).await;
    signal(json!({"name": "refund"})).await.refused(404, "not-found");
    signal(json!({"name": "paid", "payload": {}})).await.refused(400, "invalid-form");
    signal(json!({"name": "paid", "key": "17"})).await.refused(400, "invalid-body");
    assert_eq!(signal(json!({"name": "paid", "correlation": "18", "payload": {"sum": 1}})).await.status, 202);
    assert_eq!(signal(json!({"name": "paid", "correlation": "17", "payload": {"sum": 2}})).await.status, 202);
    assert_eq!(
        server.waits(&id).await["signals"],
        json!([{"name": "paid", "correlation": "18"}, {"name": "paid", "correlation": "17"}])
    );
    server.release(1);
    assert_eq!(server.over(&id).await["output"], json!({"sum": 2}));
    signal(json!({"name": "paid", "payload": {"sum": 2}})).await.refused(409, "conflict");
    server.stop().await;
}

#[tokio::test]
async fn people_and_programs_answer_or_give_up() {
    let server = Server::new().await;
    let graph = "
stepstream: 1
name: asks
nodes:
  who: { wait: { input: { from: [ada], form: { type: string } } }, next: [ { to: build } ] }
  build: { wait: { external: true } }
output: '=[steps.who.output, steps.build.output]'
";
    server.register(graph).await;
    let (id, other) = (server.begin("asks", json!({})).await, server.begin("asks", json!({})).await);
    server.ask("bob", &id, "answers", &json!({"step": "who", "value": "x"})).await.refused(403, "forbidden");
    server.ask("ada", &id, "answers", &json!({"step": "who", "value": 3})).await.refused(400, "invalid-form");
    let failed = json!({"step": "who", "error": {"category": "ToolError", "message": "no"}});
    server.ask("ada", &id, "answers", &failed).await.refused(409, "conflict");
    for id in [&id, &other] {
        assert_eq!(server.ask("ada", id, "answers", &json!({"step": "who", "value": "me"})).await.status, 202);
    }
    assert_eq!(server.ask("ci", &id, "answers", &json!({"step": "build", "value": {"ok": true}})).await.status, 202);
    assert_eq!(server.over(&id).await["output"], json!(["me", {"ok": true}]));

    let failed = |category: &str| json!({"step": "build", "error": {"category": category, "message": "broken"}});
    server.ask("ci", &other, "answers", &failed("Oops")).await.refused(400, "invalid-body");
    let mut both = failed("ToolError");
    both["value"] = json!(1);
    server.ask("ci", &other, "answers", &both).await.refused(400, "invalid-body");
    assert_eq!(server.ask("ci", &other, "answers", &failed("ToolError")).await.status, 202);
    let execution = server.over(&other).await;
    assert_eq!((&execution["state"], &execution["error"]["message"]), (&json!("Failed"), &json!("broken")));
    server.stop().await;
}

#[tokio::test]
async fn a_breakpoint_pauses_before_its_node_until_it_is_taken_away() {
    let server = Server::new().await;
    server.register(HELD).await;
    let start = json!({"graph": "held", "breakpoints": ["two", "two"]});
    let id = server.post("/v1/executions", &start).await.json()["execution_id"].as_str().unwrap().to_owned();
    let breakpoint = async |method: &str, node: &str| {
        let path = format!("/v1/executions/{id}/breakpoints/{node}");
        server.send(request(method, &path, &[("stepstream-actor", "ada")], Body::empty())).await
    };
    breakpoint("PUT", "nowhere").await.refused(404, "not-found");
    breakpoint("POST", "two").await.refused(405, "wrong-method");
    for _ in 0..2 {
        assert_eq!(breakpoint("PUT", "three").await.status, 202, "twice is once");
    }
    server.release(3);
    let paused = server.once(&id, "Paused").await;
    assert_eq!(
        (&paused["reason"], &paused["breakpoints"]),
        (&json!("breakpoint before `two`"), &json!(["three", "two"]))
    );
    assert_eq!(paused["quiescent"], true);
    assert_eq!(breakpoint("DELETE", "three").await.status, 202);
    assert_eq!(server.ask("ada", &id, "resume", &json!({"reason": "seen"})).await.status, 202);
    let execution = server.over(&id).await;
    assert_eq!((&execution["state"], &execution["breakpoints"]), (&json!("Completed"), &json!(["two"])));
    breakpoint("PUT", "three").await.refused(409, "conflict");
    server.post("/v1/executions", &json!({"graph": "held", "breakpoints": ["x"]})).await.refused(404, "not-found");
    server.stop().await;
}

#[tokio::test]
async fn breakpoints_are_a_part_of_what_was_asked_under_a_key() {
    let server = Server::new().await;
    server.register(HELD).await;
    let key = [("idempotency-key", "k")];
    let plain = json!({"graph": "held"});
    assert_eq!(server.post_with("/v1/executions", &key, &plain).await.status, 202);
    assert_eq!(server.post_with("/v1/executions", &key, &plain).await.status, 200);
    let other = json!({"graph": "held", "breakpoints": ["two"]});
    server.post_with("/v1/executions", &key, &other).await.refused(422, "idempotency-key-reused");
    server.stop().await;
}

#[tokio::test]
async fn what_is_held_goes_on_with_its_input() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    server.ask("ada", &id, "input", &json!({"input": 1})).await.refused(409, "conflict");
    server.ask("ada", &id, "hold", &json!({"reason": "lunch"})).await.refused(400, "invalid-body");
    assert_eq!(server.ask("ada", &id, "hold", &json!({"reason": "rate_limit"})).await.status, 202);
    let held = server.get(&format!("/v1/executions/{id}")).await.json();
    assert_eq!((&held["state"], &held["waiting_for"]), (&json!("Waiting"), &json!("rate_limit")));
    assert_eq!(server.waits(&id).await["held"], true);
    server.ask("ada", &id, "hold", &json!({"reason": "external"})).await.refused(409, "conflict");
    assert_eq!(server.ask("ada", &id, "input", &json!({"input": {"n": 1}})).await.status, 202);
    server.release(3);
    assert_eq!(server.over(&id).await["state"], "Completed");
    server.stop().await;
}

#[tokio::test]
async fn a_budget_is_money_or_tokens() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let budget = async |body: Value| server.ask("ada", &id, "budget", &body).await;
    assert_eq!(budget(json!({"max_cost": "7.50", "max_tokens": 9})).await.status, 202);
    budget(json!({})).await.refused(400, "invalid-form");
    for money in [json!("a lot"), json!("-1"), json!(7.5)] {
        budget(json!({"max_cost": money})).await.refused(400, "invalid-body");
    }
    let events = server.get(&format!("/v1/executions/{id}/events")).await.json();
    assert!(events["items"].as_array().unwrap().iter().any(|event| event["type"] == "budget_set"), "{events}");
    server.stop().await;
}

#[tokio::test]
async fn requests_are_strict_and_stay_within_their_tenant() {
    let server = Server::new().await;
    let id = asked_for_approval(&server).await;
    let bodies = [
        ("signals", json!({"name": "x"})),
        ("decisions", json!({"step": "sign_off", "approve": false})),
        ("answers", json!({"step": "sign_off"})),
        ("messages", json!({"type": "guidance", "content": "x"})),
        ("hold", json!({"reason": "external"})),
        ("input", json!({})),
        ("budget", json!({"max_tokens": 5})),
        ("pause", json!({})),
        ("resume", json!({})),
        ("cancel", json!({})),
    ];
    for (what, body) in bodies {
        let path = format!("/v1/executions/{id}/{what}");
        let mut unknown = body.clone();
        unknown["unheard_of"] = json!(1);
        server.post(&path, &unknown).await.refused(400, "invalid-body");
        server.post(&format!("{path}?x=1"), &body).await.refused(400, "invalid-query");
        server.post_with(&path, &[("idempotency-key", "")], &body).await.refused(400, "invalid-header");
        server.post_with(&path, &[("stepstream-tenant", "tenant_other")], &body).await.refused(404, "not-found");
        server.post(&format!("/v1/executions/nothing/{what}"), &body).await.refused(400, "invalid-id");
    }
    let deep = format!("{{\"step\": \"sign_off\", \"approve\": true, \"form\": {}", "[".repeat(100_000));
    let headers = [("content-type", "application/json")];
    let path = format!("/v1/executions/{id}/decisions");
    server.send(request("POST", &path, &headers, Body::from(deep))).await.refused(400, "invalid-body");
    let large = json!({"step": "sign_off", "approve": true, "form": "x".repeat(5_000_000)});
    server.post(&path, &large).await.refused(413, "too-large");
    server
        .get_with(&format!("/v1/executions/{id}/waits"), &[("stepstream-tenant", "tenant_other")])
        .await
        .refused(404, "not-found");
    assert_eq!(server.get(&format!("/v1/executions/{id}")).await.json()["state"], "Waiting");
    server.stop().await;
}
