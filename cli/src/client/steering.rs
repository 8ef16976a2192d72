//! Asking something of an execution on a server.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use stepstream_shared::execution::Steering;

use super::{Client, ProblemDocument, percent, problem_of};
use crate::exit::{Exit, Problem};

/// In whose name, and under which key.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    pub by: &'a str,
    pub key: Option<&'a str>,
}

/// Many executions: which, and why.
#[derive(Debug, Clone, Copy)]
pub struct Many<'a> {
    /// pause, resume or cancel.
    pub action: &'static str,
    pub state: Option<&'a str>,
    pub graph: Option<&'a str>,
    pub subtree_of: Option<&'a str>,
    pub reason: Option<&'a str>,
}

impl Client {
    /// Asks something of an execution.
    pub async fn steer(&self, id: &str, what: &Steering, asker: Asker<'_>) -> Result<(), Problem> {
        let (method, path, body) = route(what);
        let mut request = self.asked(method, &format!("/v1/executions/{id}/{path}"), asker)?;
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await.map(drop)
    }

    /// Asks the next part of many executions: what became of each, and where the next part begins.
    pub async fn control(
        &self,
        many: Many<'_>,
        cursor: Option<&str>,
        asker: Asker<'_>,
    ) -> Result<(Vec<(String, Result<(), Problem>)>, Option<String>), Problem> {
        let body = without_nulls(json!({
            "action": many.action,
            "filter": without_nulls(json!({"state": many.state, "graph": many.graph, "subtree_of": many.subtree_of})),
            "reason": many.reason,
            "cursor": cursor,
        }));
        let answer = self.send(self.asked(Method::POST, "/v1/controls", asker)?.json(&body)).await?;
        let items = answer["items"].as_array().ok_or_else(|| self.odd("there are no `items` in it"))?;
        let items = items.iter().map(|item| {
            let outcome = match serde_json::from_value::<ProblemDocument>(item["problem"].clone()) {
                Ok(document) if item["ok"] != true => Err(problem_of(&document)),
                _ => Ok(()),
            };
            (item["execution_id"].as_str().unwrap_or_default().to_owned(), outcome)
        });
        Ok((items.collect(), answer["next_cursor"].as_str().map(str::to_owned)))
    }

    /// The executions that its steps have started.
    pub async fn children(&self, id: &str) -> Result<Value, Problem> {
        self.send(self.request(Method::GET, &format!("/v1/executions/{id}/children"))).await
    }

    /// What an execution waits for.
    pub async fn waits(&self, id: &str) -> Result<Value, Problem> {
        self.send(self.request(Method::GET, &format!("/v1/executions/{id}/waits"))).await
    }

    fn asked(&self, method: Method, path: &str, asker: Asker<'_>) -> Result<reqwest::RequestBuilder, Problem> {
        let header = |name: &str, text: &str| {
            HeaderValue::from_bytes(text.as_bytes())
                .map_err(|_| Problem::new(Exit::Usage, format!("{name} has characters that cannot be sent")))
        };
        let mut request =
            self.request(method, path).header("Stepstream-Actor", header("the name of who asks", asker.by)?);
        if let Some(key) = asker.key {
            request = request.header("Idempotency-Key", header("the idempotency key", key)?);
        }
        Ok(request)
    }
}

/// Where a request goes, and as what.
fn route(what: &Steering) -> (Method, String, Option<Value>) {
    let post = |path: &str, body: Value| (Method::POST, path.to_owned(), Some(without_nulls(body)));
    match what {
        Steering::Pause { reason } => post("pause", json!({"reason": reason})),
        Steering::Resume { reason } => post("resume", json!({"reason": reason})),
        Steering::Cancel { reason } => post("cancel", json!({"reason": reason})),
        Steering::Signal { name, correlation, payload } => {
            post("signals", json!({"name": name, "correlation": correlation, "payload": payload}))
        }
        Steering::Decide { step, approve, comment, form } => {
            post("decisions", json!({"step": step, "approve": approve, "comment": comment, "form": form}))
        }
        Steering::Answer { step, value } => post("answers", json!({"step": step, "value": value})),
        Steering::GiveUp { step, error } => {
            let error = json!({"category": error.category, "message": error.message});
            post("answers", json!({"step": step, "error": error}))
        }
        Steering::Send { message } => post("messages", message.to_json()),
        Steering::Breakpoint { node, on } => {
            let method = if *on { Method::PUT } else { Method::DELETE };
            (method, format!("breakpoints/{}", percent(node)), None)
        }
        Steering::Budget { max_cost, max_tokens } => {
            post("budget", json!({"max_cost": max_cost, "max_tokens": max_tokens}))
        }
        Steering::Wait { reason } => post("hold", json!({"reason": reason})),
        Steering::Input { input } => post("input", json!({"input": input})),
    }
}

/// An option that was not given is not sent.
fn without_nulls(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body
}
