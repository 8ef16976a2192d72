//! Asking something of an execution on a server.

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use stepstream_shared::execution::{Steering, Verdict};
use stepstream_shared::id::ExecutionId;

use crate::client::{Client, percent};
use crate::error::Error;

/// In whose name, and under which key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    /// Approvals know people by it, and it stands in the log; without it, the server calls whoever asks `api`.
    pub by: Option<&'a str>,
    /// The same key and the same request again are done once.
    pub key: Option<&'a str>,
}

impl Client {
    /// Asks something of an execution; durable when this returns. [`Handle`](crate::Handle) has a method for each.
    ///
    /// # Errors
    /// [`Conflict`](crate::RefusalKind::Conflict) where it means nothing as the execution stands,
    /// [`Forbidden`](crate::RefusalKind::Forbidden) for a person who is not asked,
    /// [`NotFound`](crate::RefusalKind::NotFound) for an unknown execution, step or signal,
    /// [`Invalid`](crate::RefusalKind::Invalid) for a value that does not fit.
    pub async fn steer(&self, id: ExecutionId, what: &Steering, asker: Asker<'_>) -> Result<(), Error> {
        let (method, path, body) = route(what);
        let mut request = asked(self.request(method, &format!("/v1/executions/{id}/{path}")), asker)?;
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await.map(drop)
    }
}

/// A request in somebody's name, under a key.
pub(crate) fn asked(mut request: RequestBuilder, asker: Asker<'_>) -> Result<RequestBuilder, Error> {
    let header = |what: &'static str, text: &str| {
        HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Error::NotSendable { what })
    };
    if let Some(by) = asker.by {
        request = request.header("Stepstream-Actor", header("the name of who asks", by)?);
    }
    if let Some(key) = asker.key {
        request = request.header("Idempotency-Key", header("the idempotency key", key)?);
    }
    Ok(request)
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
        Steering::Resolve { step, verdict } => post("resolutions", resolution(step, verdict)),
        Steering::Redrive { step } => post("redrive", json!({"step": step})),
        Steering::Send { message } => post("messages", message.to_json()),
        Steering::Breakpoint { node, on } => {
            let method = if *on { Method::PUT } else { Method::DELETE };
            (method, format!("breakpoints/{}", percent(node)), None)
        }
        Steering::Budget { max_cost, max_tokens } => {
            post("budget", json!({"max_cost": max_cost, "max_tokens": max_tokens}))
        }
        Steering::RetryCallback => (Method::POST, "callback/retry".to_owned(), None),
        Steering::Wait { reason } => post("hold", json!({"reason": reason})),
        Steering::Input { input } => post("input", json!({"input": input})),
    }
}

/// What a person says became of a step.
fn resolution(step: &str, verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Completed { output } => json!({"step": step, "outcome": "completed", "output": output}),
        Verdict::Failed { error } => {
            let error = json!({"category": error.category, "message": error.message});
            json!({"step": step, "outcome": "failed", "error": error})
        }
        Verdict::Retry => json!({"step": step, "outcome": "retry"}),
    }
}

/// An option that was not given is not sent.
pub(crate) fn without_nulls(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body
}
