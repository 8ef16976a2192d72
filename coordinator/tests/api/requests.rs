use axum::body::Body;
use serde_json::json;

use crate::harness::{ECHO, Server, request};

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let server = Server::new().await;
    for path in ["/", "/v1", "/v1/nothing", "/v1/executions/", "/v2/executions", "/v1/executions/a/b/c"] {
        let detail = server.get(path).await.refused(404, "unknown-route");
        assert!(detail.contains(path), "{detail}");
    }
    let answer = server.send(request("DELETE", "/v1/executions", &[], Body::empty())).await;
    answer.refused(405, "wrong-method");
    let allowed = answer.header("allow");
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    server.get("/v1/executions/exec_000000000000000000000000000/cancel").await.refused(405, "wrong-method");
    server.stop().await;
}

#[tokio::test]
async fn an_id_that_is_none_is_refused() {
    let server = Server::new().await;
    for id in ["x", "step_000000000000000000000000000", "exec_", "exec_00", "exec_%00", "%ff"] {
        server.get(&format!("/v1/executions/{id}")).await.refused(400, "invalid-id");
        server.get(&format!("/v1/executions/{id}/events")).await.refused(400, "invalid-id");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_fault_of_a_query_is_named() {
    let server = Server::new().await;
    let answer = server.get("/v1/executions?limit=0&stat=Running&cursor=zzz&state=x&state=y").await;
    let detail = answer.refused(400, "invalid-query");
    let mut parameters: Vec<String> = answer.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["parameter"].as_str().unwrap().to_owned())
        .collect();
    parameters.sort();
    assert_eq!(parameters, ["cursor", "limit", "stat", "state"], "{detail}");
    assert!(detail.contains("there is no parameter `stat`; this route takes state, limit, cursor"), "{detail}");
    for query in ["limit=1001", "limit=-1", "limit=", "limit=1e3", "limit=99999999999999999999"] {
        server.get(&format!("/v1/executions?{query}")).await.refused(400, "invalid-query");
    }
    let id = "exec_000000000000000000000000000";
    for path in [
        "/v1/graphs?name=x".to_owned(),
        "/v1/graphs/echo?version=1".to_owned(),
        "/v1/version?x=1".to_owned(),
        format!("/v1/executions/{id}?at=3"),
        format!("/v1/executions/{id}/events?after=x"),
        format!("/v1/executions/{id}/steps?cursor=e"),
        format!("/v1/executions/{id}/wait?timeout=3"),
    ] {
        server.get(&path).await.refused(400, "invalid-query");
    }
    server.post("/v1/executions?wait=true", &json!({"graph": "echo"})).await.refused(400, "invalid-query");
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_body_is_refused_with_its_place() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let json = [("content-type", "application/json")];
    let refused = async |body: &[u8]| {
        let answer = server.send(request("POST", "/v1/executions", &json, Body::from(body.to_vec()))).await;
        answer.refused(400, "invalid-body")
    };
    assert!(refused(b"{\"graph\": \"echo\",\n}").await.ends_with("at line 2 column 1"));
    assert!(refused(b"").await.ends_with("at line 1 column 0"));
    assert!(refused(b"[]").await.contains("line 1"));
    assert!(refused(b"{\"graph\": \"echo\", \"input\": {}}").await.starts_with("unknown field `input`, expected"));
    assert!(refused(b"{\"inputs\": {}}").await.starts_with("missing field `graph`"));
    assert!(refused(b"{\"graph\": \"echo\", \"graph\": \"echo\"}").await.contains("the key `graph` stands twice"));
    assert!(refused(b"\x81\xa5graph\xa4echo").await.contains("line 1"), "MessagePack is not JSON");
    let bomb = format!("{{\"graph\": \"echo\", \"inputs\": {}", "[".repeat(100_000));
    assert!(refused(bomb.as_bytes()).await.contains("(depth limit)"));

    let body = || Body::from("{\"graph\": \"echo\"}");
    for headers in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/msgpack")]] {
        let answer = server.send(request("POST", "/v1/executions", headers, body())).await;
        let detail = answer.refused(415, "wrong-content-type");
        assert!(detail.ends_with("this route takes application/json"), "{detail}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let server = Server::new().await;
    let own = server.get_with("/livez", &[("x-request-id", "mine-1")]).await;
    assert_eq!(own.header("x-request-id"), "mine-1");
    for unfit in ["", "with blank", "ü", &"x".repeat(129)] {
        let answer = server.get_with("/v1/nothing", &[("x-request-id", unfit)]).await;
        assert_eq!(answer.header("x-request-id").len(), 32, "{unfit}");
    }
    server.stop().await;
}

#[tokio::test]
async fn health_and_version_are_told() {
    let server = Server::new().await;
    for path in ["/livez", "/readyz"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"status": "ok"})), "{path}");
    }
    let version = server.get("/v1/version").await.json();
    assert_eq!((&version["name"], &version["api"]), (&json!("stepstream"), &json!("v1")));
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    server.stop().await;
}
