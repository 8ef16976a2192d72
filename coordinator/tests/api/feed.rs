use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use serde_json::{Value, json};
use stepstream_coordinator::api::ApiLimits;
use tower::ServiceExt;

use crate::harness::{Answer, ECHO, HELD, Server, request, until, within};

const SSE: (&str, &str) = ("accept", "text/event-stream");

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    id: Option<u64>,
    event: String,
    data: Value,
}

fn sent(text: &str) -> Vec<Sent> {
    let blocks = text.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':'));
    blocks
        .map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            Sent {
                id: field("id").map(|id| id.parse().unwrap()),
                event: field("event").unwrap().to_owned(),
                data: serde_json::from_str(field("data").unwrap()).unwrap(),
            }
        })
        .collect()
}

/// A feed that is read piece by piece.
struct Open {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Open {
    async fn new(server: &Server, id: &str) -> Self {
        let path = format!("/v1/executions/{id}/events");
        let response = server.router.clone().oneshot(request("GET", &path, &[SSE], Body::empty())).await.unwrap();
        assert_eq!(response.status(), 200);
        Open { body: response.into_body().into_data_stream(), text: String::new() }
    }

    async fn read_until(&mut self, wanted: &str) {
        within(wanted, async {
            while !self.text.contains(wanted) {
                let chunk = self.body.next().await.expect("the feed goes on").unwrap();
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        })
        .await;
    }
}

async fn feed(server: &Server, id: &str, query: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[SSE], headers].concat();
    server.get_with(&format!("/v1/executions/{id}/events{query}"), &headers).await
}

#[tokio::test]
async fn a_feed_tells_everything_and_then_ends() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let id = server.run("echo", json!({"n": 1})).await;
    let answer = feed(&server, &id, "", &[]).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let mut told = sent(&answer.body);
    let end = told.pop().unwrap();
    let events = server.get(&format!("/v1/executions/{id}/events")).await.json()["items"].clone();
    let last = events.as_array().unwrap().len() as u64;
    assert_eq!(end, Sent { id: None, event: "end".into(), data: json!({"state": "Completed", "sequence": last}) });
    for (told, event) in told.iter().zip(events.as_array().unwrap()) {
        assert_eq!(told.id, event["sequence"].as_u64());
        assert_eq!((json!(told.event), &told.data), (event["type"].clone(), event));
    }
    assert_eq!(told.len() as u64, last);
    server.stop().await;
}

#[tokio::test]
async fn a_feed_goes_on_where_its_reader_was() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let id = server.run("echo", json!({})).await;
    let whole = sent(&feed(&server, &id, "", &[]).await.body);
    for seen in 0..whole.len() {
        let header = seen.to_string();
        let rest = sent(&feed(&server, &id, "", &[("last-event-id", &header)]).await.body);
        assert_eq!(rest, whole[seen..], "after event {seen}");
        let rest = sent(&feed(&server, &id, &format!("?after={seen}"), &[]).await.body);
        assert_eq!(rest, whole[seen..], "after event {seen}");
    }
    let both = sent(&feed(&server, &id, "?after=0", &[("last-event-id", "2")]).await.body);
    assert_eq!(both, whole[2..], "a reader that comes back knows better than its address");
    assert_eq!(sent(&feed(&server, &id, "", &[("last-event-id", "")]).await.body), whole);
    feed(&server, &id, "", &[("last-event-id", "x")]).await.refused(400, "invalid-header");
    feed(&server, &id, "?limit=3", &[]).await.refused(400, "invalid-query");
    server.stop().await;
}

#[tokio::test]
async fn a_feed_follows_an_execution_as_it_runs() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let mut open = Open::new(&server, &id).await;
    open.read_until("event: step_scheduled").await;
    assert!(!open.text.contains("step_completed"));
    for done in 1..=3 {
        server.release(1);
        within("the next step is told", async {
            while open.text.matches("event: step_completed").count() < done {
                let chunk = open.body.next().await.expect("the feed goes on").unwrap();
                open.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        })
        .await;
        assert_eq!(open.text.matches("event: step_completed").count(), done);
    }
    open.read_until("event: end").await;
    assert!(within("the feed ends", open.body.next()).await.is_none());
    let sequences: Vec<u64> = sent(&open.text).iter().filter_map(|event| event.id).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "without gap or repetition");
    server.stop().await;
}

#[tokio::test]
async fn a_silent_feed_sends_comments() {
    let limits = ApiLimits { feed_comment_after: Duration::from_millis(10), ..ApiLimits::default() };
    let server = Server::with(limits).await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let mut open = Open::new(&server, &id).await;
    open.read_until(": still here").await;
    server.stop().await;
}

#[tokio::test]
async fn feeds_and_waits_are_bounded_and_their_places_come_free() {
    let server = Server::with(ApiLimits { streams: 1, ..ApiLimits::default() }).await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let open = Open::new(&server, &id).await;
    let refused = feed(&server, &id, "", &[]).await;
    let detail = refused.refused(503, "too-many-streams");
    assert!(detail.contains('1') && refused.headers.contains_key("retry-after"), "{detail}");
    server.get(&format!("/v1/executions/{id}/wait")).await.refused(503, "too-many-streams");
    assert_eq!(server.get(&format!("/v1/executions/{id}/events")).await.status, 200, "a page is no stream");
    drop(open);
    until("the place is free", async || {
        let answer = server.get(&format!("/v1/executions/{id}/wait?timeout_ms=0")).await;
        (answer.status == 200).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_feed_is_only_for_those_who_ask_for_one() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let id = server.run("echo", json!({})).await;
    let path = format!("/v1/executions/{id}/events");
    for (accept, is_feed) in [
        ("*/*", false),
        ("application/json", false),
        ("text/html, */*;q=0.1", false),
        ("text/event-stream;q=0", false),
        ("application/json, Text/Event-Stream; q=0.5", true),
    ] {
        let answer = server.get_with(&path, &[("accept", accept)]).await;
        assert_eq!(answer.header("content-type") == "text/event-stream", is_feed, "{accept}");
    }
    server.stop().await;
}
