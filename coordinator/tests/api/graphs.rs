use axum::body::Body;
use serde_json::{Value, json};

use crate::harness::{ECHO, Server, request};

async fn post(server: &Server, content_type: Option<&str>, body: impl Into<Body>) -> crate::harness::Answer {
    let headers: Vec<(&str, &str)> = content_type.map(|value| ("content-type", value)).into_iter().collect();
    server.send(request("POST", "/v1/graphs", &headers, body.into())).await
}

fn named(name: &str, version: &str) -> String {
    ECHO.replace("name: echo", &format!("name: {name}")).replace("1.0.0", version)
}

#[tokio::test]
async fn a_graph_is_registered_once_and_found_again() {
    let server = Server::new().await;
    let first = server.register(ECHO).await;
    assert_eq!(first.status, 201);
    let registered = first.json();
    let id = registered["graph_id"].as_str().unwrap();
    assert!(id.starts_with("graph_"));
    assert_eq!((&registered["name"], &registered["version"]), (&json!("echo"), &json!("1.0.0")));
    assert_eq!(first.header("location"), format!("/v1/graphs/{id}"));

    let again = server.register(ECHO).await;
    assert_eq!(again.status, 200, "the same document is the same graph");
    assert_eq!(again.json(), registered);

    for reference in [id, "echo", "echo@1.0.0"] {
        let answer = server.get(&format!("/v1/graphs/{reference}")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["nodes"]["say"]["task"], "echo");
        assert_eq!(answer.header("etag"), format!("\"{id}\""));
        assert_eq!(answer.header("content-location"), format!("/v1/graphs/{id}"));
    }
    server.get("/v1/graphs/echo@2.0.0").await.refused(404, "not-found");
    server.get("/v1/graphs/other").await.refused(404, "not-found");
    server.stop().await;
}

#[tokio::test]
async fn a_copy_that_is_there_already_is_not_sent_again() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let etag = server.get("/v1/graphs/echo").await.header("etag").to_owned();
    let held = server.get_with("/v1/graphs/echo", &[("if-none-match", &etag)]).await;
    assert_eq!((held.status.as_u16(), held.body.as_str()), (304, ""));
    let other = server.get_with("/v1/graphs/echo", &[("if-none-match", "\"graph_x\"")]).await;
    assert_eq!(other.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn json_and_yaml_are_told_apart_by_type_or_by_looks() {
    let server = Server::new().await;
    let document = server.register(ECHO).await;
    let json = server.get("/v1/graphs/echo").await.body;
    for content_type in [Some("application/json"), Some("application/json; charset=utf-8"), None] {
        let answer = post(&server, content_type, json.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, document.json()), "{content_type:?}");
    }
    for content_type in [Some("application/yaml"), Some("text/yaml; charset=\"UTF-8\""), None] {
        let answer = post(&server, content_type, ECHO).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, document.json()), "{content_type:?}");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/yaml; charset=latin1"] {
        post(&server, Some(content_type), ECHO).await.refused(415, "wrong-content-type");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_bad_graph_is_refused_with_everything_that_is_wrong() {
    let server = Server::new().await;
    let bad = ECHO.replace("name: echo", "nmae: echo").replace("task: echo", "task: 7");
    let detail = post(&server, Some("application/yaml"), bad).await.refused(400, "invalid-graph");
    assert!(detail.contains("nmae") && detail.contains("graph.yaml:3:1"), "{detail}");
    assert!(detail.matches("error[").count() >= 2, "{detail}");

    for (content_type, body) in [
        ("application/json", &b"{\"stepstream\": 1"[..]),
        ("application/yaml", b"a: &a [*a, *a]"),
        ("application/yaml", b""),
        ("application/yaml", b"stepstream: \x00 1"),
    ] {
        post(&server, Some(content_type), body.to_vec()).await.refused(400, "invalid-graph");
    }
    let detail = post(&server, None, &b"name: \xff"[..]).await.refused(400, "invalid-body");
    assert!(detail.contains("byte 6"), "{detail}");
    server.stop().await;
}

#[tokio::test]
async fn a_reference_that_names_nothing_is_refused_before_the_store_is_asked() {
    let server = Server::new().await;
    for path in ["/v1/graphs/a%00b", "/v1/graphs/%ff", &format!("/v1/graphs/{}", "x".repeat(600))] {
        server.get(path).await.refused(400, "invalid-reference");
    }
    server.stop().await;
}

#[tokio::test]
async fn graphs_are_listed_by_name_then_newest_first_in_pages() {
    let server = Server::new().await;
    for (name, version) in [("b", "1.0.0"), ("a", "1.0.0"), ("b", "2.0.0"), ("c", "1.0.0")] {
        server.register(&named(name, version)).await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/graphs?limit=3".to_owned();
    loop {
        let page = server.get(&path).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(items.iter().map(|item| format!("{}@{}", item["name"], item["version"]).replace('"', "")));
        let Value::String(cursor) = &page["next_cursor"] else { break };
        path = format!("/v1/graphs?limit=3&cursor={cursor}");
    }
    assert_eq!(seen, ["a@1.0.0", "b@2.0.0", "b@1.0.0", "c@1.0.0"]);
    server.stop().await;
}
