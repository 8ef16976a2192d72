use serde_json::json;
use stepstream_runtime::reach::Scope;
use wiremock::matchers::{body_json, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::builtin::tests::{call, call_in, cancelled_when, code, context};

/// Calls it on a worker that reaches only so much.
async fn call_within(scope: Scope, allow: &[&str], url: &str) -> Result<Output, Failure> {
    let allow = allow.iter().map(|each| each.parse().unwrap()).collect();
    let http = Http::new(Reach::new(scope, allow, "--http-allow"));
    let input = serde_json::from_value(json!({ "url": url })).unwrap();
    http.call(&context(1), input).await
}

/// A server that answers everything in one way.
async fn server(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(path("/")).respond_with(answer).mount(&server).await;
    server
}

async fn get(server: &MockServer) -> Result<Value, Failure> {
    call("http", json!({ "url": server.uri() })).await
}

#[tokio::test]
async fn json_comes_back_as_a_value_and_text_as_text() {
    let output = get(&server(ResponseTemplate::new(200).set_body_json(json!({ "a": 1 }))).await).await.unwrap();
    assert_eq!((&output["status"], &output["body"]), (&json!(200), &json!({ "a": 1 })));
    assert_eq!(output["headers"]["content-type"], "application/json");
    let output = get(&server(ResponseTemplate::new(200).set_body_string("{\"a\": 1}")).await).await.unwrap();
    assert_eq!(output["body"], "{\"a\": 1}");
}

#[tokio::test]
async fn a_request_that_changes_something_carries_its_idempotency_key() {
    let key = crate::builtin::tests::context(1).idempotency_key();
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(header("idempotency-key", key.as_str()))
        .and(header("x-given", "yes"))
        .and(body_json(json!({ "n": 1 })))
        .respond_with(ResponseTemplate::new(201))
        .expect(1)
        .mount(&server)
        .await;
    let input = json!({ "url": server.uri(), "method": "post", "headers": { "X-Given": "yes" }, "json": { "n": 1 } });
    assert_eq!(call("http", input).await.unwrap()["status"], 201);
}

#[tokio::test]
async fn statuses_decide_about_retries() {
    for (status, retryable) in [
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (405, false),
        (408, true),
        (409, false),
        (410, false),
        (422, false),
        (425, true),
        (429, true),
        (500, true),
        (502, true),
        (503, true),
        (504, true),
    ] {
        let failure = get(&server(ResponseTemplate::new(status).set_body_string("why")).await).await.unwrap_err();
        assert_eq!(failure.error().is_retryable(), retryable, "{status}");
        assert_eq!(failure.error().http_status, Some(status));
        assert_eq!(failure.error().details.as_ref().unwrap().to_json()["body"], "why");
    }
    let answer = async |status| get(&server(ResponseTemplate::new(status)).await).await.unwrap_err();
    assert_eq!(code(&answer(403).await), "auth_failed");
    assert_eq!(code(&answer(404).await), "not_found");
    assert_eq!(code(&answer(409).await), "invalid_request");
    assert_eq!(code(&answer(429).await), "rate_limit");
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_waited_for() {
    let busy = ResponseTemplate::new(503).insert_header("Retry-After", "7");
    assert_eq!(get(&server(busy).await).await.unwrap_err().error().retry_after_ms, Some(7000));
    let until = (chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(365 * 200)).to_rfc2822();
    let far = ResponseTemplate::new(429).insert_header("Retry-After", until.replace("+0000", "GMT").as_str());
    let waited = get(&server(far).await).await.unwrap_err().error().retry_after_ms;
    assert_eq!(waited, Some(24 * 3600 * 1000), "an HTTP date, up to the limit");
    let nonsense = ResponseTemplate::new(503).insert_header("Retry-After", "soon");
    assert_eq!(get(&server(nonsense).await).await.unwrap_err().error().retry_after_ms, None);
}

#[tokio::test]
async fn a_status_may_be_allowed() {
    let server = server(ResponseTemplate::new(404)).await;
    let output = call("http", json!({ "url": server.uri(), "allow_status": [404] })).await.unwrap();
    assert_eq!(output["status"], 404);
}

#[tokio::test]
async fn an_answer_beyond_its_limit_is_refused_by_the_limits_name() {
    let server = server(ResponseTemplate::new(200).set_body_string("x".repeat(1001))).await;
    let ask = async |limit: usize| call("http", json!({ "url": server.uri(), "max_response_bytes": limit })).await;
    let failure = ask(1000).await.unwrap_err();
    assert_eq!(code(&failure), "output_invalid");
    assert!(failure.error().message.contains("1000 bytes (max_response_bytes)"), "{failure}");
    assert!(ask(1001).await.is_ok());
}

#[tokio::test]
async fn silence_is_a_timeout_and_refusal_is_the_network() {
    let slow = server(ResponseTemplate::new(200).set_delay(Duration::from_secs(3600))).await;
    let failure = call("http", json!({ "url": slow.uri(), "timeout_ms": 50 })).await.unwrap_err();
    assert_eq!((failure.error().category, code(&failure)), (ErrorCategory::Timeout, "timeout"));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let failure = call("http", json!({ "url": format!("http://{free}/") })).await.unwrap_err();
    assert_eq!(failure.error().category, ErrorCategory::NetworkError);
    assert!(failure.error().is_retryable());
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let server = server(ResponseTemplate::new(302).insert_header("Location", "/")).await;
    let failure = get(&server).await.unwrap_err();
    assert_eq!(code(&failure), "invalid_request");
    assert!(failure.error().message.contains("redirected more than 10 times"), "{failure}");
}

#[tokio::test]
async fn what_is_no_request_is_not_sent() {
    for wrong in [
        json!({ "url": "file:///etc/passwd" }),
        json!({ "url": "nonsense" }),
        json!({ "url": "http://localhost/", "method": "A B" }),
        json!({ "url": "http://localhost/", "headers": { "a b": "c" } }),
        json!({ "url": "http://localhost/", "headers": { "a": "b\nc" } }),
        json!({ "url": "http://localhost/", "body": "a", "json": 1 }),
        json!({ "url": "http://localhost/", "max_response_bytes": 0 }),
    ] {
        let failure = call("http", wrong.clone()).await.unwrap_err();
        assert_eq!(code(&failure), "invalid_input", "{wrong}");
        assert!(!failure.error().is_retryable());
    }
}

#[tokio::test]
async fn a_cancelled_request_ends() {
    let slow = server(ResponseTemplate::new(200).set_delay(Duration::from_secs(3600))).await;
    let context = cancelled_when(async {});
    assert_eq!(code(&call_in(&context, "http", json!({ "url": slow.uri() })).await.unwrap_err()), "cancelled");
}

#[tokio::test]
async fn what_this_worker_may_not_reach_is_a_violation_and_is_not_asked_for() {
    let server = MockServer::start().await;
    Mock::given(path("/")).respond_with(ResponseTemplate::new(200)).expect(0).mount(&server).await;
    let named = format!("http://localhost:{}/", server.address().port());
    for (scope, url) in [
        (Scope::Public, server.uri()),
        (Scope::Public, named.clone()),
        (Scope::Nothing, server.uri()),
        (Scope::Nothing, named),
    ] {
        let failure = call_within(scope, &[], &url).await.unwrap_err();
        assert_eq!((failure.error().category, code(&failure)), (ErrorCategory::PolicyViolation, "network_violation"));
        assert!(!failure.error().is_retryable());
        assert!(failure.error().message.contains("--http-allow"), "{failure}");
    }
}

#[tokio::test]
async fn what_an_operator_allows_is_reached() {
    let server = server(ResponseTemplate::new(200)).await;
    let named = format!("http://localhost:{}/", server.address().port());
    for (scope, allow, url) in [
        (Scope::Public, "127.0.0.0/8", server.uri()),
        (Scope::Nothing, "127.0.0.1", server.uri()),
        (Scope::Nothing, "localhost", named),
    ] {
        assert_eq!(call_within(scope, &[allow], &url).await.unwrap().status, 200, "{allow} {url}");
    }
}

/// A server that may be reached is no bridge to what may not.
#[tokio::test]
async fn a_redirect_leads_nowhere_else() {
    let inside = MockServer::start().await;
    Mock::given(path("/")).respond_with(ResponseTemplate::new(200)).expect(0).mount(&inside).await;
    let port = inside.address().port();
    for host in ["127.0.0.1", "other.test", "[::ffff:127.0.0.1]"] {
        let there = format!("http://{host}:{port}/");
        let door = server(ResponseTemplate::new(302).insert_header("location", there.as_str())).await;
        let door = format!("http://localhost:{}/", door.address().port());
        let failure = call_within(Scope::Nothing, &["localhost"], &door).await.unwrap_err();
        assert_eq!(code(&failure), "network_violation", "{there}: {failure}");
    }
}
