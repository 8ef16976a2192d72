use serde_json::{Value, json};

use crate::harness::{APPROVAL, HELD, Server};

#[tokio::test]
async fn what_an_execution_waits_for_is_told_with_what_was_said_so_far() {
    let server = Server::new().await;
    server.register(APPROVAL).await;
    let id = server.begin("approval", json!({"version": "1.4.0"})).await;
    server.once(&id, "Waiting").await;
    let body = json!({"step": "sign_off", "approve": true, "form": {"window": "now", "risk": 0}, "comment": "go"});
    assert_eq!(server.ask("ada", &id, "decisions", &body).await.status, 202);
    let mut waits = server.waits(&id).await;
    let wait = waits["waits"][0].take();
    assert!(wait["step_id"].as_str().unwrap().starts_with("step_"));
    assert!(wait["since"].as_str() < wait["due"].as_str(), "{wait}");
    assert_eq!(
        (&wait["node"], &wait["reason"], &wait["shown"]),
        (&json!("sign_off"), &json!("approval"), &json!({"release": "1.4.0"}))
    );
    assert_eq!(
        wait["wait"],
        json!({"reason": "approval", "assignees": ["ada", "bob"], "policy": "quorum", "quorum": 2})
    );
    assert_eq!(wait["form"]["required"], json!(["window", "risk"]));
    let said = &wait["decisions"][0];
    assert_eq!((&said["by"], &said["approved"], &said["comment"]), (&json!("ada"), &json!(true), &json!("go")));
    assert_eq!(said["form"], json!({"window": "now", "risk": 0}));
    waits["waits"] = Value::Null;
    assert_eq!(
        waits,
        json!({
            "execution_id": id, "state": "Waiting", "reason": null, "waiting_for": "approval", "held": false,
            "paused": false, "quiescent": false, "waits": null, "signals": [], "inbox": [], "inbox_total": 0,
            "breakpoints": [], "left_out": false,
        })
    );
    // While it is paused nobody knows when the wait would end.
    assert_eq!(server.ask("ada", &id, "pause", &json!({"reason": "lunch"})).await.status, 202);
    let waits = server.waits(&id).await;
    assert_eq!(
        (&waits["paused"], &waits["quiescent"], &waits["reason"]),
        (&json!(true), &json!(true), &json!("lunch"))
    );
    assert_eq!((&waits["waiting_for"], &waits["waits"][0]["due"]), (&json!("approval"), &Value::Null));
    server.stop().await;
}

#[tokio::test]
async fn what_waits_for_nothing_says_so() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let waits = server.waits(&id).await;
    assert_eq!(
        (&waits["state"], &waits["waits"], &waits["waiting_for"]),
        (&json!("Running"), &json!([]), &Value::Null)
    );
    server.get("/v1/executions/exec_000000000000000000000000000/waits").await.refused(404, "not-found");
    server.get(&format!("/v1/executions/{id}/waits?x=1")).await.refused(400, "invalid-query");
    server.stop().await;
}

#[tokio::test]
async fn more_than_fits_an_answer_is_left_out_of_it_and_said() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let body = json!({"type": "evidence", "title": "large", "content": "x".repeat(16_000)});
    for _ in 0..600 {
        assert_eq!(server.ask("ada", &id, "messages", &body).await.status, 202);
    }
    let waits = server.waits(&id).await;
    let shown = waits["inbox"].as_array().unwrap().len();
    assert!((400..600).contains(&shown), "{shown}");
    assert_eq!((&waits["inbox_total"], &waits["left_out"]), (&json!(600), &json!(true)));
    server.stop().await;
}
