use std::time::Duration;

use super::*;

fn failed(category: ErrorCategory) -> ExecutionError {
    ExecutionError::new(category, "it broke")
}

#[test]
fn the_categories_have_the_policies_of_the_specification() {
    // category, retries, base, max: seed specification 12.1
    for (category, retries, backoff, base, max) in [
        (ErrorCategory::LlmError, 3, BackoffStrategy::Exponential, 1000, 30_000),
        (ErrorCategory::ToolError, 2, BackoffStrategy::Constant, 500, 5000),
        (ErrorCategory::PolicyViolation, 0, BackoffStrategy::None, 0, 0),
        (ErrorCategory::Timeout, 1, BackoffStrategy::Constant, 0, 0),
        (ErrorCategory::QuotaExceeded, 0, BackoffStrategy::None, 0, 0),
        (ErrorCategory::KernelInternal, 0, BackoffStrategy::None, 0, 0),
        (ErrorCategory::ValidationError, 0, BackoffStrategy::None, 0, 0),
        (ErrorCategory::NetworkError, 3, BackoffStrategy::Exponential, 500, 15_000),
    ] {
        let policy = category.retry_policy();
        assert_eq!(
            (policy.max_attempts, policy.backoff, policy.base_ms, policy.max_ms),
            (retries + 1, backoff, base, max),
            "{category}"
        );
        assert_eq!(failed(category).is_retryable(), retries > 0, "{category}");
    }
}

#[test]
fn exponential_backoff_grows_to_its_cap_and_never_wraps() {
    let policy = RetryPolicy::new(MAX_ATTEMPTS_FOR_TEST, BackoffStrategy::Exponential, 500, 15_000);
    let delays: Vec<u64> = (1..=7).map(|n| policy.delay(n, 0.0).as_millis() as u64).collect();
    assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
    for attempt in [32, 33, 64, 65, 1000, u32::MAX] {
        assert_eq!(policy.delay(attempt, 0.0), Duration::from_secs(15), "attempt {attempt}");
    }
}
const MAX_ATTEMPTS_FOR_TEST: u32 = 1000;

#[test]
fn the_code_decides_before_the_category() {
    let filtered = failed(ErrorCategory::LlmError).with_code(ErrorCode::new("content_filtered"));
    assert!(!filtered.is_retryable());
    assert_eq!(filtered.category.retry_policy().decide(&filtered, 1, 0.0), RetryDecision::GiveUp);
    let unknown = failed(ErrorCategory::ToolError).with_code(ErrorCode::new("my_own_code"));
    assert!(unknown.is_retryable());
}

#[test]
fn full_jitter_spreads_between_zero_and_the_delay() {
    let policy = RetryPolicy { jitter: Jitter::Full, ..RetryPolicy::new(4, BackoffStrategy::Constant, 1000, 10_000) };
    assert_eq!(policy.delay(1, 0.0), Duration::ZERO);
    assert_eq!(policy.delay(1, 0.5), Duration::from_millis(500));
    assert_eq!(policy.delay(1, 1.0), Duration::from_secs(1));
}

#[test]
fn attempts_run_out() {
    let policy = ErrorCategory::ToolError.retry_policy();
    let error = failed(ErrorCategory::ToolError);
    assert!(matches!(policy.decide(&error, 1, 0.0), RetryDecision::Retry { .. }));
    assert!(matches!(policy.decide(&error, 2, 0.0), RetryDecision::Retry { .. }));
    assert_eq!(policy.decide(&error, 3, 0.0), RetryDecision::GiveUp);
}

#[test]
fn a_retry_after_of_the_other_side_is_respected() {
    let mut error = failed(ErrorCategory::NetworkError);
    error.retry_after_ms = Some(7000);
    let RetryDecision::Retry { delay } = error.category.retry_policy().decide(&error, 1, 0.0) else {
        panic!("a network error is retried");
    };
    assert_eq!(delay, Duration::from_secs(7));
}

#[test]
fn a_long_message_is_cut_at_a_character_border() {
    let error = ExecutionError::new(ErrorCategory::ToolError, "é".repeat(MAX_MESSAGE_BYTES));
    assert!(error.message.len() <= MAX_MESSAGE_BYTES && error.message.chars().all(|c| c == 'é'));
}
