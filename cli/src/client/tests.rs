use super::*;

fn exit(status: u16, text: &str) -> Exit {
    refusal("http://s", StatusCode::from_u16(status).unwrap(), text).exit
}

#[test]
fn a_refusal_ends_with_the_code_that_its_kind_has() {
    let problem = |name: &str| format!(r#"{{"type":"urn:stepstream:problem:{name}","title":"T","detail":"d"}}"#);
    assert_eq!(exit(400, &problem("invalid-graph")), Exit::Usage);
    assert_eq!(exit(404, &problem("not-found")), Exit::NotFound);
    assert_eq!(exit(409, &problem("conflict")), Exit::Conflict);
    assert_eq!(exit(422, &problem("idempotency-key-reused")), Exit::Conflict);
    assert_eq!(exit(413, &problem("too-large")), Exit::Exhausted);
    assert_eq!(exit(507, &problem("exhausted")), Exit::Exhausted);
    assert_eq!(exit(503, &problem("unavailable")), Exit::Unreachable);
    assert_eq!(exit(500, &problem("corrupt")), Exit::Diverged);
    assert_eq!(exit(403, ""), Exit::Refused);
}

#[test]
fn an_answer_that_is_no_problem_document_is_shown_in_part() {
    let problem = refusal("http://s", StatusCode::BAD_GATEWAY, &format!("<html>\u{1b}[2J{}", "x".repeat(10_000)));
    assert_eq!(problem.exit, Exit::Unreachable);
    assert!(problem.message.len() < 400 && !problem.message.contains('\u{1b}'), "{}", problem.message);
}

#[test]
fn a_name_is_safe_in_a_path() {
    assert_eq!(percent("a@1.0"), "a@1.0");
    assert_eq!(percent("a/../b?c#ü"), "a%2F..%2Fb%3Fc%23%C3%BC");
}
