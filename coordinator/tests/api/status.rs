use serde_json::json;

use crate::harness::{ECHO, Server, until};

#[tokio::test]
async fn a_coordinator_says_what_it_drives_and_what_it_refused() {
    let server = Server::new().await;
    let before = server.get("/v1/status").await.json();
    assert_eq!((&before["partitions"], &before["incarnation"]), (&json!(8), &json!(1)));
    assert!(before["durability"].is_string(), "{before}");
    assert_eq!(
        before["refused_outcomes"],
        json!({ "forged": 0, "earlier_incarnation": 0, "stale": 0, "unreadable": 0 })
    );

    server.register(&ECHO.replace("task: echo", "task: odd")).await;
    let id = server.run("echo", json!({"n": 1})).await;
    let refused = until("both are counted", async || {
        let refused = server.get("/v1/status").await.json()["refused_outcomes"].clone();
        (refused["stale"] != 0 && refused["forged"] != 0).then_some(refused)
    })
    .await;
    assert_eq!(refused, json!({ "forged": 1, "earlier_incarnation": 0, "stale": 1, "unreadable": 0 }));
    let execution = server.get(&format!("/v1/executions/{id}")).await.json();
    assert_eq!((&execution["state"], &execution["steps"]["completed"]), (&json!("Completed"), &json!(1)));
    assert_eq!(server.get("/v1/status").await.json()["partitions_held"], 8);
    server.stop().await;
}
