//! Filters in their sandbox, with the real program: what cannot be stopped from inside is stopped from outside.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../src/testing.rs"]
#[expect(dead_code, reason = "shared with the unit tests, which use all of it")]
mod testing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::error::{ErrorCategory, ExecutionError};
use stepstream_shared::wire::OutcomeResult;
use stepstream_worker::Worker;
use stepstream_worker::builtin::{self, Options};
use testing::{FakeBus, Side, job};

/// Runs filters one after the other on one worker, and answers what became of each.
async fn results(inputs: &[Value]) -> Vec<OutcomeResult> {
    let bus = FakeBus::new();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_stepstream-worker"));
    let options = Options { jq_program: Some(program), ..Options::default() };
    let worker = Worker::builder().bus(Arc::new(Side(Arc::clone(&bus))));
    let worker = worker.callables(|registry| builtin::register_all(registry, options)).build().unwrap();
    let shutdown = Shutdown::new();
    let ended = tokio::spawn(worker.run(shutdown.clone()));
    let mut results = Vec::new();
    for (number, input) in (1..).zip(inputs) {
        bus.offer(job(number, "jq", input.clone()));
        results.push(bus.result(number).await);
    }
    shutdown.request();
    ended.await.unwrap().unwrap();
    results
}

fn output(result: &OutcomeResult) -> Value {
    match result {
        OutcomeResult::Completed { output, .. } => output.to_json(),
        other => panic!("{other:?}"),
    }
}

fn error(result: &OutcomeResult) -> &ExecutionError {
    match result {
        OutcomeResult::Failed { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

fn filter(code: &str) -> Value {
    json!({ "filter": code, "value": [1, 2, 3] })
}

#[tokio::test]
async fn a_filter_is_evaluated_and_the_next_one_too() {
    let results = results(&[filter("add"), filter("map(. * 2)"), filter(".["), filter("error")]).await;
    assert_eq!(output(&results[0]), json!(6));
    assert_eq!(output(&results[1]), json!([2, 4, 6]));
    assert_eq!(error(&results[2]).category, ErrorCategory::ValidationError);
    assert_eq!(error(&results[3]).category, ErrorCategory::ToolError);
}

#[tokio::test]
async fn endless_filters_are_stopped_and_the_worker_goes_on() {
    let endless = ["def f: f; f", "[repeat(1)] | length", "last(range(0; 1; 0))", "until(false; .)"];
    let mut inputs: Vec<Value> =
        endless.iter().map(|code| json!({ "filter": code, "value": null, "timeout_ms": 300 })).collect();
    inputs.push(filter("length"));
    let results = results(&inputs).await;
    for (code, result) in endless.iter().zip(&results) {
        let error = error(result);
        assert!(!error.is_retryable(), "{code}: {error}");
        // The one that collects may also reach its memory limit first.
        assert!(error.message.contains("300 ms (timeout_ms)") || error.message.contains("memory"), "{code}: {error}");
    }
    assert_eq!(error(&results[0]).category, ErrorCategory::Timeout);
    assert_eq!(output(results.last().unwrap()), json!(3));
}

#[tokio::test]
async fn filters_that_take_all_memory_or_stack_do_not_take_the_worker() {
    let greedy = ["[range(1000000000)] | length", "\"x\" * 100000000000 | length", "def f: 1 + f; f"];
    let mut inputs: Vec<Value> =
        greedy.iter().map(|code| json!({ "filter": code, "value": null, "timeout_ms": 60_000 })).collect();
    inputs.push(filter("length"));
    let results = results(&inputs).await;
    for (code, result) in greedy.iter().zip(&results) {
        let error = error(result);
        assert!(!error.is_retryable(), "{code}: {error}");
    }
    assert_eq!(output(results.last().unwrap()), json!(3));
}

#[tokio::test]
async fn a_filter_ends_with_its_attempt() {
    let bus = FakeBus::new();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_stepstream-worker"));
    let options = Options { jq_program: Some(program), ..Options::default() };
    let worker = Worker::builder().bus(Arc::new(Side(Arc::clone(&bus))));
    let worker = worker.callables(|registry| builtin::register_all(registry, options)).build().unwrap();
    let shutdown = Shutdown::new();
    let ended = tokio::spawn(worker.run(shutdown.clone()));
    let mut limited = job(1, "jq", json!({ "filter": "def f: f; f", "timeout_ms": 60_000 }));
    limited.start_to_close_ms = Some(300);
    bus.offer(limited);
    assert_eq!(error(&bus.result(1).await).category, ErrorCategory::Timeout);
    shutdown.request();
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_program_that_did_not_say_it_can_is_not_started_as_a_sandbox() {
    let bus = FakeBus::new();
    let worker = Worker::builder().bus(Arc::new(Side(Arc::clone(&bus))));
    let worker = worker.callables(|registry| builtin::register_all(registry, Options::default())).build().unwrap();
    let shutdown = Shutdown::new();
    let ended = tokio::spawn(worker.run(shutdown.clone()));
    bus.offer(job(1, "jq", filter(".")));
    let result = bus.result(1).await;
    assert!(error(&result).message.contains("builtin::init()"), "{result:?}");
    shutdown.request();
    ended.await.unwrap().unwrap();
}
