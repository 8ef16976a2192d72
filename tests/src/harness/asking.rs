//! What people and programs outside ask of an execution, and how they ask again until they have an answer.

use reqwest::Method;
use serde_json::{Value, json};

use super::api::Api;

/// Who asks unless it is said.
const SOMEBODY: &str = "test";

/// A request to an execution.
#[derive(Debug, Clone)]
pub struct Asking {
    method: Method,
    path: String,
    body: Value,
    pub by: String,
    pub key: Option<String>,
}

impl Asking {
    fn to(path: &str, body: Value) -> Self {
        Asking { method: Method::POST, path: path.to_owned(), body, by: SOMEBODY.to_owned(), key: None }
    }

    pub fn pause() -> Self {
        Self::to("pause", json!({"reason": "a test"}))
    }

    pub fn resume() -> Self {
        Self::to("resume", json!({}))
    }

    pub fn cancel() -> Self {
        Self::to("cancel", json!({"reason": "a test"}))
    }

    pub fn hold() -> Self {
        Self::to("hold", json!({"reason": "external"}))
    }

    pub fn input() -> Self {
        Self::to("input", json!({"input": 1}))
    }

    pub fn signal(name: &str, payload: impl Into<Value>) -> Self {
        Self::to("signals", json!({"name": name, "payload": payload.into()}))
    }

    pub fn decide(step: &str, approve: bool) -> Self {
        Self::to("decisions", json!({"step": step, "approve": approve}))
    }

    pub fn answer(step: &str, value: impl Into<Value>) -> Self {
        Self::to("answers", json!({"step": step, "value": value.into()}))
    }

    /// It happened, and gave this.
    pub fn resolve(step: &str, output: impl Into<Value>) -> Self {
        Self::to("resolutions", json!({"step": step, "outcome": "completed", "output": output.into()}))
    }

    /// Another attempt at a step that is in doubt.
    pub fn retry(step: &str) -> Self {
        Self::to("resolutions", json!({"step": step, "outcome": "retry"}))
    }

    pub fn redrive() -> Self {
        Self::to("redrive", json!({}))
    }

    pub fn gives_up(step: &str) -> Self {
        Self::to("answers", json!({"step": step, "error": {"category": "ToolError", "message": "gone wrong"}}))
    }

    pub fn guidance(content: &str) -> Self {
        Self::to("messages", json!({"type": "guidance", "content": content}))
    }

    pub fn budget(dollars: &str) -> Self {
        Self::to("budget", json!({"max_cost": dollars}))
    }

    pub fn breakpoint(node: &str, on: bool) -> Self {
        let method = if on { Method::PUT } else { Method::DELETE };
        Asking { method, ..Self::to(&format!("breakpoints/{node}"), Value::Null) }
    }

    #[must_use]
    pub fn by(self, name: &str) -> Self {
        Asking { by: name.to_owned(), ..self }
    }

    /// The same key again is the same request.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        Asking { key: Some(key.to_owned()), ..self }
    }

    /// What is asked, without who and how: the last part of the path.
    pub fn what(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }
}

impl Api {
    /// Status and body of the answer.
    ///
    /// # Errors
    /// When there is no answer, because the coordinator is gone.
    pub async fn ask(&self, id: &str, asking: &Asking) -> reqwest::Result<(u16, Value)> {
        let Asking { method, path, body, by, key } = asking;
        let mut request = self.request(method.clone(), &format!("/v1/executions/{id}/{path}"));
        request = request.header("Stepstream-Actor", by);
        if !body.is_null() {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await?))
    }

    /// # Panics
    /// When the answer is another one.
    #[track_caller]
    pub fn says(&self, id: &str, asking: Asking, status: u16) -> impl Future<Output = Value> + use<> {
        let (api, id, caller) = (self.clone(), id.to_owned(), std::panic::Location::caller());
        async move {
            let (found, body) = api.ask(&id, &asking).await.expect("the coordinator answers");
            assert_eq!(found, status, "{caller}: {asking:?} to {id}: {body}");
            body
        }
    }
}
