use serde_json::{Value, json};
use stepstream_coordinator::api::ApiLimits;

use crate::harness::{ECHO, HELD, Server};

async fn pages(server: &Server, id: &str, limit: u32) -> (Vec<Value>, usize) {
    let (mut seen, mut count, mut after) = (Vec::new(), 0, 0);
    loop {
        let page = server.get(&format!("/v1/executions/{id}/events?after={after}&limit={limit}")).await;
        assert_eq!(page.header("content-type"), "application/json");
        let page = page.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit as usize && !items.is_empty());
        seen.extend(items.iter().cloned());
        count += 1;
        match page["next_after"].as_u64() {
            Some(next) => after = next,
            None => return (seen, count),
        }
    }
}

#[tokio::test]
async fn events_come_in_pages_without_gaps() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let id = server.run("echo", json!({"n": 1})).await;
    let (all, count) = pages(&server, &id, 1000).await;
    assert_eq!(count, 1);
    let sequences: Vec<u64> = all.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!(all[0]["type"], "execution_created");
    assert_eq!(all.last().unwrap()["type"], "execution_completed");
    for limit in 1..=all.len() as u32 {
        let (seen, count) = pages(&server, &id, limit).await;
        assert_eq!(seen, all, "in pages of {limit}");
        assert_eq!(count, all.len().div_ceil(limit as usize), "the last page knows that it is");
    }
    let beyond = server.get(&format!("/v1/executions/{id}/events?after=1000")).await.json();
    assert_eq!(beyond, json!({"items": [], "next_after": null}));
    server.stop().await;
}

#[tokio::test]
async fn a_page_of_large_events_ends_early() {
    let server = Server::with(ApiLimits { page_bytes: 2000, ..ApiLimits::default() }).await;
    server.register(ECHO).await;
    let id = server.run("echo", json!({"text": "x".repeat(3000)})).await;
    let (seen, count) = pages(&server, &id, 1000).await;
    assert!(count > 1, "more than one page for {} events", seen.len());
    let sequences: Vec<u64> = seen.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=seen.len() as u64).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn what_is_running_has_the_events_it_has() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let (seen, _) = pages(&server, &id, 1000).await;
    assert_eq!(seen.last().unwrap()["type"], "step_scheduled");
    server.stop().await;
}
