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
