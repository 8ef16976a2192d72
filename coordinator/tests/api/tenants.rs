use axum::body::Body;
use serde_json::json;

use crate::harness::{Answer, ECHO, Server, request};

impl Server {
    pub(crate) async fn send_register_as(&self, tenant: &str, document: &str) -> Answer {
        let headers = [("content-type", "application/yaml"), ("stepstream-tenant", tenant)];
        self.send(request("POST", "/v1/graphs", &headers, Body::from(document.to_owned()))).await
    }
}

#[tokio::test]
async fn what_belongs_to_another_tenant_looks_like_what_does_not_exist() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let id = server.run("echo", json!({})).await;
    // Twenty zero bytes: nothing is named so.
    let unknown = "exec_000000000000000000000000000";
    let other = ("stepstream-tenant", "tenant_other");

    for suffix in ["", "/events", "/steps", "/wait?timeout_ms=1", "/cancel", "/pause", "/resume"] {
        let ask = async |id: &str, headers: &[(&str, &str)]| {
            let path = format!("/v1/executions/{id}{suffix}");
            match suffix {
                "/cancel" | "/pause" | "/resume" => server.post_with(&path, headers, &json!({})).await,
                _ => server.get_with(&path, headers).await,
            }
        };
        let foreign = ask(&id, &[other]).await;
        let missing = ask(unknown, &[other]).await;
        foreign.refused(404, "not-found");
        assert_eq!(foreign.body.replace(&id, "ID"), missing.body.replace(unknown, "ID"), "{suffix}");
        assert_eq!(ask(unknown, &[]).await.status, 404, "{suffix}");
    }
    let sse = [("accept", "text/event-stream"), other];
    server.get_with(&format!("/v1/executions/{id}/events"), &sse).await.refused(404, "not-found");

    let listed = server.get_with("/v1/executions", &[other]).await.json();
    assert_eq!(listed, json!({"items": [], "next_cursor": null}));
    let graphs = server.get_with("/v1/graphs", &[other]).await.json();
    assert_eq!(graphs, json!({"items": [], "next_cursor": null}));
    server.get_with("/v1/graphs/echo", &[other]).await.refused(404, "not-found");
    let digest = server.get("/v1/graphs/echo").await.header("etag").trim_matches('"').to_owned();
    server.get_with(&format!("/v1/graphs/{digest}"), &[other]).await.refused(404, "not-found");
    server.post_with("/v1/executions", &[other], &json!({"graph": digest})).await.refused(404, "not-found");
    server.stop().await;
}

#[tokio::test]
async fn without_a_tenant_it_is_the_default_one() {
    let server = Server::new().await;
    server.send_register_as("tenant_default", ECHO).await;
    assert_eq!(server.get("/v1/graphs/echo").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_tenant_is_refused() {
    let server = Server::new().await;
    for tenant in ["", "acme", "tenant_", "tenant_a.b", "tenant_a>", "tenant_ü", &format!("tenant_{}", "x".repeat(65))]
    {
        let answer = server.get_with("/v1/executions", &[("stepstream-tenant", tenant)]).await;
        answer.refused(400, "invalid-header");
        assert_eq!(answer.json()["errors"][0]["header"], "Stepstream-Tenant", "{tenant}");
    }
    let twice = [("stepstream-tenant", "tenant_a"), ("stepstream-tenant", "tenant_b")];
    server.get_with("/v1/executions", &twice).await.refused(400, "invalid-header");
    server.stop().await;
}

#[tokio::test]
async fn the_limits_of_a_tenant_have_its_weight() {
    let server = Server::new().await;
    let set = async |limits: &serde_json::Value| {
        let headers = [("content-type", "application/json"), ("stepstream-tenant", "tenant_a")];
        server.send(request("PUT", "/v1/tenant/limits", &headers, Body::from(limits.to_string()))).await
    };
    assert_eq!(server.get("/v1/tenant/limits").await.json()["weight"], 1);
    assert_eq!(set(&json!({"weight": 3})).await.json()["weight"], 3);
    for wrong in [json!(0), json!(1001), json!(-1), json!("3"), json!(1.5)] {
        let answer = set(&json!({"weight": wrong})).await;
        answer.refused(400, "invalid-body");
        assert!(
            !wrong.is_u64() || answer.body.contains("a weight is a whole number from 1 to 1000"),
            "{}",
            answer.body
        );
    }
    let headers = [("stepstream-tenant", "tenant_a")];
    assert_eq!(server.get_with("/v1/tenant/limits", &headers).await.json()["weight"], 3, "nothing has changed");
    assert_eq!(server.get("/v1/tenant/limits").await.json()["weight"], 1, "another tenant has its own");
    server.stop().await;
}
