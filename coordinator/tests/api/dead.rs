//! Dead letters over HTTP: listed, redriven one by one and in bulk, and what somebody says becomes of them.

use serde_json::json;

use crate::harness::{Server, until};

/// The tester's worker knows no such callable, so it fails at once; that is held.
const HELD: &str = "
stepstream: 1
name: dead
version: 1.0.0
nodes:
  lost: { task: unknown, retry: { max_attempts: 1 }, dead_letter: exhausted, next: [ { to: say } ] }
  say: { task: echo, with: '=steps.lost.output' }
output: '=steps.say.output'
";

async fn dead(server: &Server) -> String {
    let id = server.begin("dead", json!({})).await;
    server.once(&id, "Waiting").await;
    id
}

#[tokio::test]
async fn dead_letters_are_listed_page_by_page_and_redriven() {
    let server = Server::new().await;
    server.register(HELD).await;
    let (first, second) = (dead(&server).await, dead(&server).await);
    let page = server.get("/v1/dead-letters?limit=1").await.json();
    let cursor = page["next_cursor"].as_str().unwrap().to_owned();
    let letter = &page["items"][0];
    assert_eq!((&letter["execution_id"], &letter["node"]), (&json!(second), &json!("lost")));
    assert_eq!((&letter["reason"], &letter["error"]["category"]), (&json!("exhausted"), &json!("ToolError")));
    let rest = server.get(&format!("/v1/dead-letters?limit=5&cursor={cursor}")).await.json();
    assert_eq!((&rest["items"][0]["execution_id"], &rest["next_cursor"]), (&json!(first), &json!(null)));
    assert_eq!(server.get("/v1/dead-letters?graph=other").await.json()["items"], json!([]));
    server.get("/v1/dead-letters?limit=0").await.refused(400, "invalid-query");
    let elsewhere = server.get_with("/v1/dead-letters", &[("stepstream-tenant", "tenant_other")]).await.json();
    assert_eq!(elsewhere["items"], json!([]));

    // Tried again, it fails again, and is held again; then all at once.
    server.ask("ada", &first, "redrive", &json!({"step": "say"})).await.refused(409, "conflict");
    assert_eq!(server.ask("ada", &first, "redrive", &json!({"step": "lost"})).await.status, 202);
    let attempt = async |id: &str, at: u64| {
        until("another attempt failed", async || {
            let letters = server.get("/v1/dead-letters").await.json();
            let of = letters["items"].as_array().unwrap().iter().find(|letter| letter["execution_id"] == id)?.clone();
            (of["attempt"] == at).then_some(())
        })
        .await;
    };
    attempt(&first, 2).await;
    let done = server.post("/v1/controls", &json!({"action": "redrive", "filter": {"graph": "dead"}})).await.json();
    assert_eq!(done["items"].as_array().unwrap().len(), 2, "{done}");
    attempt(&second, 2).await;
    server.stop().await;
}

#[tokio::test]
async fn somebody_says_how_a_dead_letter_ends() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = dead(&server).await;
    let waits = server.waits(&id).await;
    assert_eq!((&waits["waiting_for"], &waits["waits"][0]["reason"]), (&json!("dead_letter"), &json!("dead_letter")));
    assert_eq!(waits["waits"][0]["wait"]["error"]["category"], "ToolError");
    let says = async |body| server.ask("ada", &id, "resolutions", &body).await;
    says(json!({"step": "lost", "outcome": "failed"})).await.refused(400, "invalid-body");
    says(json!({"step": "lost", "outcome": "retry", "output": 1})).await.refused(400, "invalid-body");
    says(json!({"step": "lost", "outcome": "completed", "error": {"message": "no"}}))
        .await
        .refused(400, "invalid-body");
    says(json!({"step": "lost", "outcome": "perhaps"})).await.refused(400, "invalid-body");
    says(json!({"step": "nobody", "outcome": "retry"})).await.refused(404, "not-found");
    says(json!({"step": "say", "outcome": "retry"})).await.refused(409, "conflict");
    assert_eq!(says(json!({"step": "lost", "outcome": "completed", "output": {"id": 7}})).await.status, 202);
    assert_eq!(server.over(&id).await["output"], json!({"id": 7}));
    says(json!({"step": "lost", "outcome": "retry"})).await.refused(409, "conflict");
    server.ask("ada", &id, "redrive", &json!({})).await.refused(409, "conflict");
    assert_eq!(server.get("/v1/dead-letters").await.json()["items"], json!([]));
    let id = dead(&server).await;
    let failed = json!({"step": "lost", "outcome": "failed", "error": {"message": "it will never work"}});
    assert_eq!(server.ask("ada", &id, "resolutions", &failed).await.status, 202);
    let over = server.over(&id).await;
    assert_eq!((&over["state"], &over["error"]["message"]), (&json!("Failed"), &json!("it will never work")));
    server.stop().await;
}
