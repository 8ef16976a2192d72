//! Many executions by one request.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::{APPROVAL, ECHO, HELD, Server};

async fn begin(server: &Server, many: usize) -> HashSet<String> {
    server.register(HELD).await;
    let mut ids = HashSet::new();
    for _ in 0..many {
        ids.insert(server.begin("held", json!({})).await);
    }
    ids
}

/// Every part of a request, until there is no next one.
async fn control(server: &Server, mut body: Value) -> Vec<Value> {
    let mut items = Vec::new();
    for _ in 0..100 {
        let answer = server.post_with("/v1/controls", &[("stepstream-actor", "ada")], &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        items.extend(answer.json()["items"].as_array().unwrap().iter().cloned());
        match answer.json()["next_cursor"].take() {
            Value::Null => return items,
            cursor => body["cursor"] = cursor,
        }
    }
    panic!("it never ends");
}

fn ids(items: &[Value]) -> HashSet<String> {
    items.iter().map(|item| item["execution_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn everything_that_is_meant_is_paused_and_goes_on_and_nothing_else() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let over = server.run("echo", json!({})).await;
    let held = begin(&server, 7).await;
    server.register(APPROVAL).await;
    let waiting = server.begin("approval", json!({"version": "1"})).await;
    server.once(&waiting, "Waiting").await;

    let paused =
        control(&server, json!({"action": "pause", "filter": {"graph": "held"}, "limit": 3, "reason": "x"})).await;
    assert_eq!((paused.len(), ids(&paused)), (7, held.clone()));
    assert!(paused.iter().all(|item| item["ok"] == true && item["problem"].is_null()), "{paused:?}");
    let one = server.get(&format!("/v1/executions/{}", held.iter().next().unwrap())).await.json();
    assert_eq!((&one["state"], &one["reason"]), (&json!("Paused"), &json!("x")));
    assert!(control(&server, json!({"action": "pause", "filter": {"graph": "held"}})).await.is_empty());

    let resumed = control(&server, json!({"action": "resume", "filter": {}, "limit": 4})).await;
    assert_eq!(ids(&resumed), held);
    let cancelled = control(&server, json!({"action": "cancel", "filter": {"state": "Waiting"}})).await;
    assert_eq!(ids(&cancelled), HashSet::from([waiting]));
    assert_eq!(ids(&control(&server, json!({"action": "cancel", "filter": {}})).await), held);
    assert_eq!(server.get(&format!("/v1/executions/{over}")).await.json()["state"], "Completed");
    server.stop().await;
}

#[tokio::test]
async fn one_that_refuses_stops_no_other_and_says_why() {
    let server = Server::new().await;
    let held = begin(&server, 3).await;
    let items = control(&server, json!({"action": "resume", "filter": {"state": "Running"}})).await;
    assert_eq!(ids(&items), held);
    for item in &items {
        assert_eq!((&item["ok"], &item["problem"]["status"]), (&json!(false), &json!(409)), "{item}");
        assert_eq!(item["problem"]["type"], "urn:stepstream:problem:conflict");
    }
    server.stop().await;
}

#[tokio::test]
async fn another_tenant_is_not_touched_and_a_wrong_request_touches_nothing() {
    let server = Server::new().await;
    begin(&server, 1).await;
    let other = [("stepstream-tenant", "tenant_other")];
    let body = json!({"action": "cancel", "filter": {}});
    assert_eq!(server.post_with("/v1/controls", &other, &body).await.json(), json!({"items": [], "next_cursor": null}));
    for wrong in [
        json!({"action": "cancel"}),
        json!({"action": "explode", "filter": {}}),
        json!({"action": "cancel", "filter": {"status": "Running"}}),
        json!({"action": "cancel", "filter": {"state": "running"}}),
        json!({"action": "cancel", "filter": {}, "limit": 0}),
        json!({"action": "cancel", "filter": {}, "limit": 101}),
        json!({"action": "cancel", "filter": {}, "cursor": "e"}),
    ] {
        server.post("/v1/controls", &wrong).await.refused(400, "invalid-body");
    }
    assert_eq!(server.get("/v1/executions?state=Running").await.json()["items"].as_array().unwrap().len(), 1);
    server.stop().await;
}
