use serde_json::{Value, json};

use crate::harness::{Server, until};

/// What is told of the children once the first one waits.
async fn with_waiting_child(server: &Server, id: &str) -> Value {
    until("a child waits", async || {
        let told = server.get(&format!("/v1/executions/{id}/children")).await;
        assert_eq!(told.status, 200);
        let told = told.json();
        (told["items"][0]["state"] == "Waiting").then_some(told)
    })
    .await
}

#[tokio::test]
async fn children_are_told_of_with_their_steps_and_their_states() {
    let server = Server::new().await;
    server.register("stepstream: 1\nname: leaf\nversion: 1.0.0\nnodes: { w: { wait: { signal: go } } }").await;
    server.register("stepstream: 1\nname: top\nnodes: { k: { graph: leaf@1.0.0 } }").await;
    let top = server.begin("top", json!({})).await;
    server.once(&top, "Waiting").await;
    let told = with_waiting_child(&server, &top).await;
    let child = &told["items"][0];
    assert_eq!(
        (&child["node"], &child["graph"], &child["background"]),
        (&json!("k"), &json!("leaf@1.0.0"), &json!(false))
    );
    assert_eq!(
        (&told["parent"], &told["depth"], &child["on_cancel"]),
        (&json!(null), &json!(0), &json!("cascade_cancel"))
    );
    let id = child["execution_id"].as_str().unwrap();
    let below = server.get(&format!("/v1/executions/{id}/children")).await.json();
    assert_eq!((&below["parent"], &below["depth"], &below["items"]), (&json!(top), &json!(1), &json!([])));
    let nobody = "/v1/executions/exec_3MQOCdW5DQwrvxy1zXOEluqLN0s/children";
    assert_eq!(server.get(nobody).await.status, 404);
}

#[tokio::test]
async fn a_family_is_paused_resumed_and_cancelled_by_one_request_from_its_head_down() {
    let server = Server::new().await;
    server.register("stepstream: 1\nname: leaf\nversion: 1.0.0\nnodes: { w: { wait: { signal: go } } }").await;
    server.register("stepstream: 1\nname: middle\nversion: 1.0.0\nnodes: { k: { graph: leaf@1.0.0 } }").await;
    server.register("stepstream: 1\nname: top\nnodes: { k: { graph: middle@1.0.0 } }").await;
    let (top, other) = (server.begin("top", json!({})).await, server.begin("leaf", json!({})).await);
    let below = async |of: &str| {
        let told = with_waiting_child(&server, of).await;
        told["items"][0]["execution_id"].as_str().unwrap().to_owned()
    };
    let middle = below(&top).await;
    let leaf = below(&middle).await;
    for (action, state) in [("pause", "Paused"), ("resume", "Waiting")] {
        let body = json!({"action": action, "filter": {"subtree_of": top}, "reason": "all of them"});
        let told = server.post("/v1/controls", &body).await;
        assert_eq!(told.status, 200);
        let asked: Vec<_> =
            told.json()["items"].as_array().unwrap().iter().map(|item| item["execution_id"].clone()).collect();
        assert_eq!(asked, [json!(top), json!(middle), json!(leaf)]);
        for id in [&top, &middle, &leaf] {
            server.once(id, state).await;
        }
    }
    server.once(&other, "Waiting").await;
    let nobody = json!({"action": "pause", "filter": {"subtree_of": "exec_3MQOCdW5DQwrvxy1zXOEluqLN0s"}});
    assert_eq!(server.post("/v1/controls", &nobody).await.status, 404);
}

#[tokio::test]
async fn limits_of_a_start_and_shares_of_a_purse_are_told() {
    let server = Server::new().await;
    server.register("stepstream: 1\nname: leaf\nversion: 1.0.0\nnodes: { w: { wait: { signal: go } } }").await;
    server
        .register("stepstream: 1\nname: top\nnodes: { k: { graph: leaf, spawn: { inherit_inbox: true, policies: { max_steps: 3 } } } }")
        .await;
    let begin = async |limits: Value| {
        server.post("/v1/executions", &json!({"graph": "top", "inputs": {}, "limits": limits})).await
    };
    for wrong in [json!({"cost_usd": 1.5}), json!({"max_steps": 0}), json!({"cost": "1"})] {
        let detail = begin(wrong).await.refused(400, "invalid-limits");
        assert!(!detail.is_empty());
    }
    let begun = begin(json!({"cost_usd": "3.00", "max_tokens": 100})).await;
    assert_eq!(begun.status, 202);
    let top = begun.json()["execution_id"].as_str().unwrap().to_owned();
    let child = with_waiting_child(&server, &top).await["items"][0].clone();
    assert_eq!(
        (&child["share_cost_usd"], &child["share_tokens"], &child["inherit_inbox"]),
        (&json!("1.50"), &json!(50), &json!(true))
    );
    let of = |id: &str| format!("/v1/executions/{id}/events");
    let created = server.get(&of(&top)).await.json()["items"][0].clone();
    assert_eq!(created["limits"], json!({"cost_usd": "3.00", "max_tokens": 100}));
    let id = child["execution_id"].as_str().unwrap();
    let created = server.get(&of(id)).await.json()["items"][0].clone();
    assert_eq!((&created["limits"], &created["share"]["cost_usd"]), (&json!({"max_steps": 3}), &json!("1.50")));
    // The same key and other limits are another request.
    let keyed = async |limits: Value| {
        let body = json!({"graph": "top", "inputs": {}, "limits": limits});
        server.post_with("/v1/executions", &[("idempotency-key", "one")], &body).await
    };
    assert_eq!(keyed(json!({"max_steps": 9})).await.status, 202);
    assert_eq!(keyed(json!({"max_steps": 9})).await.status, 200);
    keyed(json!({"max_steps": 8})).await.refused(422, "idempotency-key-reused");
    server.stop().await;
}
