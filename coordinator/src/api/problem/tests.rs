use serde_json::{Value, json};
use stepstream_shared::id::ExecutionId;

use super::*;

fn answer(problem: impl Into<Problem>) -> (u16, String, Option<u32>, Value) {
    let problem = problem.into();
    let json = serde_json::to_value(&problem).unwrap();
    let name = json["type"].as_str().unwrap().strip_prefix(URN).unwrap().to_owned();
    assert_eq!(json["status"], problem.status.as_u16());
    assert!(!problem.title.is_empty() && !problem.detail.is_empty());
    (problem.status.as_u16(), name, problem.retry_after, json)
}

fn outline(problem: impl Into<Problem>) -> (u16, String) {
    let (status, name, _, _) = answer(problem);
    (status, name)
}

fn is(status: u16, name: &str) -> (u16, String) {
    (status, name.to_owned())
}

#[test]
fn every_service_error_has_its_status_and_name() {
    use ServiceError as E;
    let id = ExecutionId::from_bytes([1; 20]);
    let text = || "why".to_owned();
    assert_eq!(outline(E::NotFound(id)), is(404, "not-found"));
    assert_eq!(outline(E::GraphNotFound(text())), is(404, "not-found"));
    assert_eq!(outline(E::BadGraph(text())), is(400, "invalid-graph"));
    assert_eq!(outline(E::InvalidInputs(vec![text()])), is(400, "invalid-inputs"));
    assert_eq!(outline(E::KeyConflict), is(422, "idempotency-key-reused"));
    assert_eq!(outline(E::Conflict(text())), is(409, "conflict"));
    assert_eq!(outline(E::TooLarge(text())), is(413, "too-large"));
    assert_eq!(outline(E::Unavailable(text())), is(503, "unavailable"));
    assert_eq!(outline(E::Exhausted(text())), is(507, "exhausted"));
    assert_eq!(outline(E::Corrupt(text())), is(500, "corrupt"));
    assert_eq!(outline(E::Internal(text())), is(500, "internal"));
}

#[test]
fn every_read_error_has_its_status_and_name() {
    use ReadError as E;
    let execution = ExecutionId::from_bytes([1; 20]);
    assert_eq!(outline(E::NotFound(execution)), is(404, "not-found"));
    assert_eq!(outline(E::GraphNotFound("g".to_owned())), is(404, "not-found"));
    assert_eq!(outline(E::Gap { execution, after: 1, found: 3 }), is(500, "corrupt"));
    let store = |error: StoreError| outline(E::Store(error));
    assert_eq!(store(StoreError::Unavailable(anyhow::anyhow!("x"))), is(503, "unavailable"));
    assert_eq!(store(StoreError::Unknown(anyhow::anyhow!("x"))), is(503, "unavailable"));
    assert_eq!(store(StoreError::Exhausted { reason: "full".to_owned() }), is(507, "exhausted"));
    assert_eq!(store(StoreError::Corrupt { reason: "bits".to_owned() }), is(500, "corrupt"));
    assert_eq!(store(StoreError::Refused { reason: "no".to_owned() }), is(500, "internal"));
}

#[test]
fn a_missing_execution_reads_the_same_whoever_noticed() {
    let id = ExecutionId::from_bytes([1; 20]);
    assert_eq!(answer(ServiceError::NotFound(id)).3, answer(ReadError::NotFound(id)).3);
}

#[test]
fn the_inside_is_not_told_to_the_outside() {
    let secret = "postgres://root:hunter2@10.0.0.5";
    for problem in [
        Problem::from(ServiceError::Internal(secret.to_owned())),
        Problem::from(StoreError::Refused { reason: secret.to_owned() }),
        Problem::from(StoreError::Unavailable(anyhow::anyhow!(secret))),
    ] {
        assert!(!serde_json::to_string(&problem).unwrap().contains("hunter2"), "{problem:?}");
    }
}

#[test]
fn what_will_pass_says_when_to_try_again() {
    assert_eq!(answer(ServiceError::Unavailable("away".to_owned())).2, Some(RETRY_LATER));
    assert_eq!(answer(Problem::overloaded(3)).2, Some(RETRY_SOON));
    assert_eq!(answer(ServiceError::Conflict("over".to_owned())).2, None);
    let response = Problem::overloaded(3).into_response();
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[test]
fn each_input_that_does_not_fit_is_listed() {
    let problems = vec!["/n: is missing".to_owned(), "/m: is no number".to_owned()];
    let (_, _, _, json) = answer(ServiceError::InvalidInputs(problems));
    let expected = json!([
        {"detail": "/n: is missing", "pointer": "#/inputs"},
        {"detail": "/m: is no number", "pointer": "#/inputs"},
    ]);
    assert_eq!(json["errors"], expected);
}
