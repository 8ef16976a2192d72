use serde_json::{Value, json};

use crate::harness::{HELD, Server};

#[tokio::test]
async fn messages_wait_in_the_inbox_the_most_urgent_first() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let send = async |body: Value| server.ask("ada", &id, "messages", &body).await;
    let urgent =
        json!({"type": "guidance", "content": "now", "priority": "high", "from": "system", "context": {"a": 1}});
    for body in [
        json!({"type": "a2a", "message_type": "hello"}),
        json!({"type": "guidance", "content": "gently"}),
        urgent,
        json!({"type": "evidence", "title": "seen", "content": [1], "confidence": 0.5}),
        json!({"type": "evidence", "title": "wrong", "impact": "contradicts_plan", "source": "memory"}),
        json!({"type": "control", "action": "compact"}),
    ] {
        assert_eq!(send(body).await.status, 202);
    }
    let waits = server.waits(&id).await;
    let inbox = waits["inbox"].as_array().unwrap();
    let kinds: Vec<&str> = inbox.iter().map(|message| message["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["control", "evidence", "evidence", "guidance", "guidance", "a2a"]);
    assert_eq!((&inbox[1]["title"], &inbox[3]["content"]), (&json!("wrong"), &json!("now")));
    assert_eq!((&inbox[2]["source"], &inbox[2]["impact"]), (&json!("external"), &json!("informational")));
    assert_eq!(inbox[5]["from_agent"], "ada", "whoever asks");
    assert!(inbox.iter().all(|message| message["sequence"].is_u64()));
    assert_eq!((&waits["inbox_total"], &waits["left_out"]), (&json!(6), &json!(false)));
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_is_none_is_refused() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let send = async |body: Value| server.ask("ada", &id, "messages", &body).await;
    for body in [
        json!({"type": "gossip"}),
        json!({"content": "x"}),
        json!({"type": "guidance"}),
        json!({"type": "guidance", "content": "x", "priority": "urgent"}),
        json!({"type": "evidence", "title": "x", "confidence": "very"}),
        json!({"type": "control", "action": "explode"}),
    ] {
        send(body).await.refused(400, "invalid-body");
    }
    send(json!({"type": "evidence", "title": "x", "confidence": 1.5})).await.refused(400, "invalid-form");
    send(json!({"type": "guidance", "content": ""})).await.refused(400, "invalid-form");
    for _ in 0..1000 {
        assert_eq!(send(json!({"type": "a2a", "message_type": "more"})).await.status, 202);
    }
    let full = send(json!({"type": "a2a", "message_type": "more"})).await;
    full.refused(429, "full");
    assert_eq!(full.header("retry-after"), "5");
    server.stop().await;
}

#[tokio::test]
async fn a_control_message_that_is_a_control_is_carried_out() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let control = async |action: &str, reason: &str| {
        let body = json!({"type": "control", "action": action, "reason": reason});
        assert_eq!(server.ask("ada", &id, "messages", &body).await.status, 202);
    };
    control("pause", "look").await;
    let paused = server.get(&format!("/v1/executions/{id}")).await.json();
    assert_eq!((&paused["state"], &paused["reason"]), (&json!("Paused"), &json!("look")));
    control("resume", "seen").await;
    control("cancel", "enough").await;
    assert_eq!(server.over(&id).await["reason"], "enough");
    assert_eq!(server.waits(&id).await["inbox"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_said() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let refused = async |body: Value| server.ask("ada", &id, "messages", &body).await.refused(400, "invalid-body");
    let detail = refused(json!({"type": "gossip"})).await;
    assert!(detail.contains("unknown variant `gossip`, expected one of `control`"), "{detail}");
    let detail = refused(json!({"type": "guidance", "content": "x", "urgency": 1})).await;
    assert!(detail.contains("unknown field `urgency`") && !detail.contains("line 0"), "{detail}");
    server.stop().await;
}
