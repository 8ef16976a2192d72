//! What a tenant may have and has used, over HTTP.

use serde_json::{Value, json};

use crate::harness::{Answer, HELD, Server, request, until};

const OTHER: (&str, &str) = ("stepstream-tenant", "tenant_other");

/// A step for which a dollar is set aside, and which uses what the input says.
const SPENDS: &str = "
stepstream: 1
name: spends
nodes:
  buy: { task: spend, with: '=inputs', reserve: { cost_usd: '1' }, retry: { max_attempts: 1 } }
";

impl Server {
    async fn put(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.send(request("PUT", path, &headers, axum::body::Body::from(body.to_string()))).await
    }

    async fn limit(&self, limits: &Value) -> Value {
        let answer = self.put("/v1/tenant/limits", &[], limits).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn usage(&self) -> Value {
        self.get("/v1/tenant/usage").await.json()
    }

    /// Warnings in the log of an execution: of what, when, and the event before.
    async fn warnings(&self, id: &str) -> Vec<Value> {
        let events = self.get(&format!("/v1/executions/{id}/events")).await.json();
        let events = events["items"].as_array().unwrap();
        events.iter().filter(|event| event["type"] == "limit_warned").cloned().collect()
    }
}

#[tokio::test]
async fn limits_are_set_as_a_whole_and_are_a_tenants_own() {
    let server = Server::new().await;
    let nothing = json!({"warn_at": 80, "on_limit": "stop", "weight": 1});
    assert_eq!(server.get("/v1/tenant/limits").await.json(), nothing);
    let all = json!({
        "max_concurrent_executions": 7, "cost_usd_per_day": "12.50", "tokens_per_day": 1000, "warn_at": 55, "on_limit": "pause",
        "weight": 3,
    });
    assert_eq!(server.limit(&all).await, all);
    assert_eq!(server.get("/v1/tenant/limits").await.json(), all);
    assert_eq!(server.get_with("/v1/tenant/limits", &[OTHER]).await.json(), nothing);
    let usage = server.usage().await;
    assert_eq!(
        (&usage["limits"], &usage["cost_usd"], &usage["warned"]),
        (&all, &json!("0.00"), &json!(false)),
        "{usage}"
    );
    assert_eq!(usage["day"].as_str().map(str::len), Some(10), "{usage}");
    // What is not named is not limited any more.
    assert_eq!(
        server.limit(&json!({"tokens_per_day": 3})).await,
        json!({"tokens_per_day": 3, "warn_at": 80, "on_limit": "stop", "weight": 1})
    );
    server.stop().await;
}

#[tokio::test]
async fn limits_that_nobody_can_have_are_refused_and_change_nothing() {
    let server = Server::new().await;
    let kept = server.limit(&json!({"cost_usd_per_day": "5"})).await;
    let bad = [
        (json!({"cost_usd_per_day": "-1"}), 400, "not negative"),
        (json!({"cost_usd_per_day": 5}), 400, "line 1 column"),
        (json!({"cost_usd_per_day": "0.0000001"}), 400, "at most six decimals"),
        (json!({"cost_usd_per_day": "0"}), 400, "cost_usd_per_day"),
        (json!({"max_concurrent_executions": 0}), 400, "max_concurrent_executions"),
        (json!({"max_concurrent_executions": -1}), 400, "integer `-1`"),
        (json!({"tokens_per_day": 0}), 400, "tokens_per_day"),
        (json!({"tokens_per_day": u64::MAX}), 400, "tokens_per_day"),
        (json!({"warn_at": 0}), 400, "warn_at"),
        (json!({"warn_at": 101}), 400, "warn_at"),
        (json!({"on_limit": "explode"}), 400, "explode"),
        (json!({"cost_usd_per_week": "1"}), 400, "cost_usd_per_week"),
        (json!([]), 400, "not a list"),
        (json!([3, "1"]), 400, "not a list"),
    ];
    for (body, status, names) in bad {
        let answer = server.put("/v1/tenant/limits", &[], &body).await;
        let (found, _, _) = answer.problem();
        assert_eq!(found, status, "{body}: {answer:?}");
        assert!(answer.body.contains(names), "{body}: {answer:?}");
        assert_eq!(server.get("/v1/tenant/limits").await.json(), kept, "{body}");
    }
    for wrong in ["acme", "tenant_", "tenant_a.b"] {
        let headers = [("stepstream-tenant", wrong)];
        server.put("/v1/tenant/limits", &headers, &json!({})).await.refused(400, "invalid-header");
        server.get_with("/v1/tenant/usage", &headers).await.refused(400, "invalid-header");
    }
    let unknown = server.get("/v1/tenant/usage?day=yesterday").await;
    assert!(unknown.problem().0 == 400 && unknown.body.contains("day"), "{unknown:?}");
    server.stop().await;
}

#[tokio::test]
async fn one_execution_too_many_is_refused_with_a_code_and_when_to_try_again() {
    let server = Server::new().await;
    server.register(HELD).await;
    server.limit(&json!({"max_concurrent_executions": 1})).await;
    let first = server.begin("held", json!({})).await;
    let refused = server.post("/v1/executions", &json!({"graph": "held"})).await;
    let detail = refused.refused(429, "concurrency_limit");
    assert!(detail.contains("max_concurrent_executions"), "{detail}");
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    let listed = server.get("/v1/executions").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "nothing was begun");
    // Another tenant has its own.
    server.send_register_as("tenant_other", HELD).await;
    assert_eq!(server.post_with("/v1/executions", &[OTHER], &json!({"graph": "held"})).await.status, 202);
    server.release(3);
    server.over(&first).await;
    until("its place is free", async || {
        let answer = server.post("/v1/executions", &json!({"graph": "held"})).await;
        (answer.status == 202).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn the_execution_that_brings_the_days_budget_near_its_end_has_a_warning_in_its_log() {
    let server = Server::new().await;
    server.register(SPENDS).await;
    server.limit(&json!({"cost_usd_per_day": "10", "on_limit": "fail_step"})).await;
    let before = server.run("spends", json!("7.9")).await;
    until("it is counted", async || (server.usage().await["cost_usd"] == "7.90").then_some(())).await;
    assert_eq!(server.usage().await["warned"], false);
    let crosses = server.run("spends", json!("0.2")).await;
    let warned = until("it is told", async || server.warnings(&crosses).await.pop()).await;
    assert_eq!(
        ["of", "limit", "current", "max"].map(|name| warned[name].clone()),
        [json!("tenant"), json!("cost_limit"), json!(8_100_000), json!(10_000_000)],
        "{warned}"
    );
    let usage = server.usage().await;
    assert_eq!((&usage["cost_usd"], &usage["warned"], &usage["day"]), (&json!("8.10"), &json!(true), &warned["day"]));
    // It stands behind the end, of which it changes nothing.
    assert_eq!(server.over(&crosses).await["state"], "Completed");

    // Whoever comes later has not done it, and whoever does not fit any more is refused.
    let after = server.run("spends", json!("0.95")).await;
    until("it is counted", async || (server.usage().await["cost_usd"] == "9.05").then_some(())).await;
    let refused = server.run("spends", json!("0.1")).await;
    let over = server.over(&refused).await;
    assert_eq!((&over["state"], &over["error"]["code"]), (&json!("Failed"), &json!("cost_limit")), "{over}");
    for id in [&before, &after, &refused] {
        assert_eq!(server.warnings(id).await, [json!(null); 0], "{id}");
    }
    assert_eq!(server.warnings(&crosses).await.len(), 1);
    server.stop().await;
}
