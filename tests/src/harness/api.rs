//! The HTTP API of one coordinator, as a client sees it.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::poll;

/// Longest that a request may take, a takeover in between included.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Debug, Clone)]
pub struct Api {
    pub base: String,
    client: reqwest::Client,
}

impl Api {
    pub fn new(base: &str) -> Self {
        let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client without special wishes");
        Api { base: base.to_owned(), client }
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str) -> reqwest::Result<Response> {
        self.request(Method::GET, path).send().await
    }

    /// Status and body of an answer.
    pub async fn start(&self, graph: &Value, inputs: &Value, key: Option<&str>) -> (u16, Value) {
        let mut request = self.request(Method::POST, "/v1/executions").json(&json!({"graph": graph, "inputs": inputs}));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.send().await.expect("the coordinator answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("answers are JSON"))
    }

    /// Starts an execution and gives its id.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn begin(&self, graph: &Value, inputs: &Value) -> String {
        let (status, body) = self.start(graph, inputs, None).await;
        assert_eq!(status, 202, "{body}");
        body["execution_id"].as_str().expect("an id").to_owned()
    }

    pub async fn execution(&self, id: &str) -> reqwest::Result<Value> {
        self.get(&format!("/v1/executions/{id}")).await?.error_for_status()?.json().await
    }

    pub async fn cancel(&self, id: &str) -> u16 {
        self.control(id, "cancel", &json!({"reason": "a test"})).await
    }

    pub async fn pause(&self, id: &str) -> u16 {
        self.control(id, "pause", &json!({"reason": "a test"})).await
    }

    pub async fn resume(&self, id: &str) -> u16 {
        self.control(id, "resume", &json!({})).await
    }

    async fn control(&self, id: &str, action: &str, body: &Value) -> u16 {
        let request = self.request(Method::POST, &format!("/v1/executions/{id}/{action}"));
        request.json(body).send().await.expect("the coordinator answers").status().as_u16()
    }

    /// Waits until it is ready to serve.
    pub async fn ready(&self) {
        poll::until(&format!("{} is ready", self.base), async || {
            self.get("/readyz").await.ok().filter(|answer| answer.status().is_success()).map(drop)
        })
        .await;
    }
}
