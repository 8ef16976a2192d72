use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use stepstream_coordinator::api::ApiLimits;
use tokio::sync::Notify;

use crate::harness::{ECHO, Server, request, until, within};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A body that says when somebody reads it and never ends.
fn endless(read: Arc<Notify>) -> Body {
    Body::from_stream(stream::once(async move {
        read.notify_one();
        std::future::pending::<Result<Bytes, std::io::Error>>().await
    }))
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_and_the_limit_named() {
    let server = Server::with(ApiLimits { body_bytes: 1000, ..ApiLimits::default() }).await;
    let large = "x".repeat(1001);
    let length = large.len().to_string();
    let announced = [JSON, ("content-length", length.as_str())];
    let detail = server
        .send(request("POST", "/v1/executions", &announced, Body::from(large.clone())))
        .await
        .refused(413, "too-large");
    assert!(detail.contains("1000 bytes (limit of request bodies)"), "{detail}");

    let pieces = stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 100]))));
    server.send(request("POST", "/v1/graphs", &[], Body::from_stream(pieces))).await.refused(413, "too-large");

    let broken = stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
    let answer = server.send(request("POST", "/v1/executions", &[JSON], Body::from_stream(broken))).await;
    answer.refused(400, "unreadable-body");
    server.stop().await;
}

#[tokio::test]
async fn inputs_above_the_payload_limit_are_refused_and_the_limit_named() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let body = json!({"graph": "echo", "inputs": "x".repeat(5 * 1024 * 1024)});
    let detail = server.post("/v1/executions", &body).await.refused(413, "too-large");
    assert!(detail.contains("4194304") && detail.contains("payload limit"), "{detail}");
    server.stop().await;
}

#[tokio::test]
async fn one_request_too_many_is_refused_at_once_and_health_is_not() {
    let server = Server::with(ApiLimits { concurrent_requests: 1, ..ApiLimits::default() }).await;
    let read = Arc::new(Notify::new());
    let slow = tokio::spawn({
        let router = server.router.clone();
        let request = request("POST", "/v1/executions", &[JSON], endless(read.clone()));
        async move { tower::ServiceExt::oneshot(router, request).await }
    });
    within("the slow request is let in", read.notified()).await;
    let refused = server.get("/v1/version").await;
    let detail = refused.refused(503, "overloaded");
    assert!(detail.contains("limit of concurrent requests"), "{detail}");
    assert_eq!(refused.header("retry-after"), "1");
    for path in ["/livez", "/readyz"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    slow.abort();
    until("the place is free", async || (server.get("/v1/version").await.status == 200).then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn bodies_share_a_bounded_room() {
    let limits = ApiLimits { body_bytes: 64 * 1024, bodies_bytes: 64 * 1024, ..ApiLimits::default() };
    let server = Server::with(limits).await;
    let read = Arc::new(Notify::new());
    let slow = tokio::spawn({
        let router = server.router.clone();
        let request = request("POST", "/v1/executions", &[JSON], endless(read.clone()));
        async move { tower::ServiceExt::oneshot(router, request).await }
    });
    within("the slow body is being read", read.notified()).await;
    let detail = server.post("/v1/executions", &json!({"graph": "echo"})).await.refused(503, "overloaded");
    assert!(detail.contains("65536 bytes in all"), "{detail}");
    assert_eq!(server.get("/v1/executions").await.status, 200, "without a body there is room");
    slow.abort();
    until("there is room again", async || {
        let answer = server.post("/v1/executions", &json!({"graph": "echo"})).await;
        (answer.status == 404).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let limits = ApiLimits { request_timeout: Duration::from_millis(20), ..ApiLimits::default() };
    let server = Server::with(limits).await;
    let body = endless(Arc::new(Notify::new()));
    let answer = server.send(request("POST", "/v1/executions", &[JSON], body)).await;
    let detail = answer.refused(504, "timeout");
    assert!(detail.contains("0.02 s"), "{detail}");
    server.stop().await;
}
