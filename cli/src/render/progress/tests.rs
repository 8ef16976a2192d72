use serde_json::json;

use super::*;

fn line(loudness: Loudness, event: serde_json::Value) -> Option<String> {
    let progress = Progress::new(loudness, false);
    progress.line("exec_1", &Seen::of_json(&event)).map(|line| anstream::adapter::strip_str(&line).to_string())
}

#[test]
fn a_step_is_told_with_how_long_it_took() {
    let event = json!({"type": "step_completed", "node": "list", "attempt": 1, "duration_us": 12_000});
    assert_eq!(line(Loudness::Normal, event).unwrap(), "✓ list  12 ms");
}

#[test]
fn an_item_of_a_map_is_told_only_when_it_fails() {
    let done = json!({"type": "step_completed", "node": "hash", "index": 3, "attempt": 1, "duration_us": 12_000});
    assert_eq!(line(Loudness::Normal, done.clone()), None);
    assert_eq!(line(Loudness::Verbose, done).unwrap(), "✓ hash[3]  12 ms");
    let failed = json!({"type": "step_failed", "node": "hash", "index": 3, "attempt": 2,
        "error": {"category": "ToolError", "message": "no\nsuch file"}});
    assert_eq!(line(Loudness::Normal, failed).unwrap(), "✗ hash[3]  failed after 2 attempts: [ToolError] no such file");
}

#[test]
fn a_pass_of_a_loop_is_named() {
    let event = json!({"type": "step_retry_scheduled", "node": "polish", "iteration": [2], "attempt": 1,
        "timestamp": "2026-01-01T00:00:00Z", "due": "2026-01-01T00:00:00.500Z",
        "error": {"category": "Timeout", "message": "late"}});
    let expected = "↻ polish #2  attempt 1 failed, next in 500 ms: [Timeout] late";
    assert_eq!(line(Loudness::Normal, event).unwrap(), expected);
}
