use reqwest::StatusCode;

use super::*;
use crate::error::RefusalKind;

fn kind(status: u16, text: &str) -> RefusalKind {
    Refusal::of("http://s", StatusCode::from_u16(status).unwrap(), None, text).kind()
}

#[test]
fn a_refusal_has_the_kind_that_its_name_and_status_say() {
    let problem = |name: &str| format!(r#"{{"type":"urn:stepstream:problem:{name}","title":"T","detail":"d"}}"#);
    assert_eq!(kind(400, &problem("invalid-graph")), RefusalKind::Invalid);
    assert_eq!(kind(404, &problem("not-found")), RefusalKind::NotFound);
    assert_eq!(kind(409, &problem("conflict")), RefusalKind::Conflict);
    assert_eq!(kind(422, &problem("idempotency-key-reused")), RefusalKind::Conflict);
    assert_eq!(kind(413, &problem("too-large")), RefusalKind::Exhausted);
    assert_eq!(kind(507, &problem("exhausted")), RefusalKind::Exhausted);
    assert_eq!(kind(503, &problem("unavailable")), RefusalKind::Unavailable);
    assert_eq!(kind(500, &problem("corrupt")), RefusalKind::Corrupt);
    assert_eq!(kind(500, &problem("internal")), RefusalKind::Internal);
    assert_eq!(kind(403, ""), RefusalKind::Forbidden);
}

#[test]
fn an_answer_that_is_no_problem_document_is_shown_in_part() {
    let text = format!("<html>\u{1b}[2J{}", "x".repeat(10_000));
    let refusal = Refusal::of("http://s", StatusCode::BAD_GATEWAY, None, &text);
    assert_eq!(refusal.kind(), RefusalKind::Unavailable);
    let shown = refusal.to_string();
    assert!(shown.len() < 400 && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn a_name_is_safe_in_a_path() {
    assert_eq!(percent("a@1.0"), "a@1.0");
    assert_eq!(percent("a/../b?c#ü"), "a%2F..%2Fb%3Fc%23%C3%BC");
}

#[test]
fn what_is_no_server_is_refused_before_anything_is_sent() {
    for base in ["", "nats://127.0.0.1:4222", "127.0.0.1:80", "file:///tmp"] {
        assert!(matches!(Client::new(base, TenantId::default_tenant()), Err(Error::Setup { .. })), "{base}");
    }
    assert_eq!(Client::new("http://s:1/", TenantId::default_tenant()).unwrap().base(), "http://s:1");
}
