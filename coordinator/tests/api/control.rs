use axum::body::Body;
use serde_json::json;

use crate::harness::{HELD, Server, request, until};

#[tokio::test]
async fn an_execution_is_cancelled_once_and_stays_so() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let path = format!("/v1/executions/{id}/cancel");
    let answer = server.post(&path, &json!({"reason": "enough"})).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({"execution_id": id})));
    let execution = server.over(&id).await;
    assert_eq!((&execution["state"], &execution["reason"]), (&json!("Cancelled"), &json!("enough")));
    server.post(&path, &json!({"reason": "again"})).await.refused(409, "conflict");
    server.stop().await;
}

#[tokio::test]
async fn a_cancellation_needs_no_body_but_refuses_a_wrong_one() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let path = format!("/v1/executions/{id}/cancel");
    server.post(&path, &json!({"why": "x"})).await.refused(400, "invalid-body");
    server.post(&path, &json!({"reason": 3})).await.refused(400, "invalid-body");
    server.post(&path, &json!({"reason": "x".repeat(5000)})).await.refused(413, "too-large");
    let untyped = server.send(request("POST", &path, &[], Body::from("{}"))).await;
    untyped.refused(415, "wrong-content-type");
    let answer = server.send(request("POST", &path, &[], Body::empty())).await;
    assert_eq!(answer.status, 202);
    assert_eq!(server.over(&id).await["reason"], "cancelled by request");
    server.stop().await;
}

#[tokio::test]
async fn a_paused_execution_takes_what_was_on_its_way_and_goes_on_when_it_is_resumed() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let path = |action: &str| format!("/v1/executions/{id}/{action}");
    server.post(&path("resume"), &json!({})).await.refused(409, "conflict");
    let answer = server.post(&path("pause"), &json!({"reason": "lunch"})).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({"execution_id": id})));
    server.post(&path("pause"), &json!({"reason": "again"})).await.refused(409, "conflict");

    // The attempt that the worker has may end; what follows is recorded and not dispatched.
    server.release(10);
    let execution = until("the first step ends", async || {
        let execution = server.get(&format!("/v1/executions/{id}")).await.json();
        (execution["steps"]["completed"] == 1).then_some(execution)
    })
    .await;
    assert_eq!((&execution["state"], &execution["reason"]), (&json!("Paused"), &json!("lunch")));
    assert_eq!(execution["steps"]["total"], 2);
    let listed = server.get("/v1/executions?state=Paused").await.json();
    assert_eq!(listed["items"][0]["execution_id"], json!(id));

    assert_eq!(server.post(&path("resume"), &json!({})).await.status, 202);
    let execution = server.over(&id).await;
    assert_eq!((&execution["state"], &execution["steps"]["completed"]), (&json!("Completed"), &json!(3)));
    server.post(&path("pause"), &json!({})).await.refused(409, "conflict");
    let types: Vec<_> = server.get(&path("events")).await.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect();
    let at = |kind: &str| types.iter().position(|each| each == kind).unwrap();
    assert!(
        at("execution_paused") < at("step_completed") && at("step_completed") < at("execution_resumed"),
        "{types:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_paused_is_refused_and_changes_nothing() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let path = format!("/v1/executions/{id}/pause");
    server.post(&path, &json!({"reason": "x".repeat(5000)})).await.refused(413, "too-large");
    server.post_with(&path, &[("stepstream-tenant", "tenant_other")], &json!({})).await.refused(404, "not-found");
    server.post("/v1/executions/exec_000000000000000000000000000/pause", &json!({})).await.refused(404, "not-found");
    let execution = server.get(&format!("/v1/executions/{id}")).await.json();
    assert_eq!(execution["state"], "Running");
    server.stop().await;
}
