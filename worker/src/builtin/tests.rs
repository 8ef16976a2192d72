//! The stock callables by themselves, and the small ones in full.

use serde_json::{Value, json};
use stepstream_shared::error::ErrorCategory;
use stepstream_shared::id::TenantId;

use super::*;
use crate::context::{Context, Stop};
use crate::failure::Failure;
use crate::testing::{FAR, job};

/// Calls a stock callable as a worker does.
pub(crate) async fn call(name: &str, input: Value) -> Result<Value, Failure> {
    call_in(&context(1), name, input).await
}

pub(crate) async fn call_in(context: &Context, name: &str, input: Value) -> Result<Value, Failure> {
    let mut registry = Registry::new();
    register_all(&mut registry, Options { allow_process: true, ..Options::default() });
    let callable = registry.find(name).unwrap();
    tokio::time::timeout(FAR, callable.call(context, input)).await.expect("it ends")
}

pub(crate) fn context(attempt: u32) -> Context {
    let mut job = job(1, "tested", Value::Null);
    job.token.attempt = attempt;
    context_of(job)
}

pub(crate) fn context_of(job: stepstream_shared::wire::Job) -> Context {
    Context::new(job, TenantId::default_tenant(), "tested".into(), None)
}

/// A context that is cancelled once `ready` says so.
pub(crate) fn cancelled_when(ready: impl Future<Output = ()> + Send + 'static) -> Context {
    let context = context(1);
    let told = context.clone();
    tokio::spawn(async move {
        ready.await;
        told.stop(Stop::Unwanted);
    });
    context
}

pub(crate) fn code(failure: &Failure) -> &str {
    failure.error().code.as_ref().map_or("", |code| code.as_str())
}

#[tokio::test]
async fn echo_answers_its_input() {
    let input = json!({ "a": [1, 2.5, null, "ä"] });
    assert_eq!(call("echo", input.clone()).await, Ok(input));
}

#[tokio::test]
async fn sleep_refuses_what_is_no_time() {
    assert_eq!(call("sleep", json!({ "seconds": 0 })).await, Ok(json!({ "seconds": 0.0 })));
    for wrong in [json!({ "seconds": -1 }), json!({ "seconds": 1e300 }), json!({ "seconds": "1" }), json!({})] {
        assert_eq!(code(&call("sleep", wrong.clone()).await.unwrap_err()), "invalid_input", "{wrong}");
    }
}

#[tokio::test]
async fn sleep_ends_when_it_is_cancelled() {
    let context = cancelled_when(async {});
    let failure = call_in(&context, "sleep", json!({ "seconds": 3600 })).await.unwrap_err();
    assert_eq!(code(&failure), "cancelled");
}

#[tokio::test]
async fn fail_fails_as_it_is_asked_to() {
    let failure =
        call("fail", json!({ "category": "LlmError", "message": "m", "code": "rate_limit" })).await.unwrap_err();
    assert_eq!((failure.error().category, code(&failure)), (ErrorCategory::LlmError, "rate_limit"));
    assert_eq!(failure.error().message, "m");
    let until_third = json!({ "until_attempt": 3 });
    assert!(call_in(&context(2), "fail", until_third.clone()).await.is_err());
    assert_eq!(call_in(&context(3), "fail", until_third).await, Ok(json!({ "attempt": 3 })));
    assert_eq!(code(&call("fail", json!({ "category": "Nonsense" })).await.unwrap_err()), "invalid_input");
}

#[tokio::test]
async fn an_unknown_field_is_named() {
    let failure = call("process", json!({ "argv": ["true"], "shell": true })).await.unwrap_err();
    assert!(failure.error().message.contains("unknown field `shell`"), "{failure}");
}
