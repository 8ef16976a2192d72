use anyhow::Context as _;

use super::*;

#[test]
fn io_errors_fall_into_the_classes_of_the_network_and_the_kernel() {
    let category = |kind: ErrorKind| Failure::from(std::io::Error::from(kind)).error().category;
    assert_eq!(category(ErrorKind::TimedOut), ErrorCategory::Timeout);
    for kind in [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted] {
        assert_eq!(category(kind), ErrorCategory::NetworkError);
    }
    assert_eq!(category(ErrorKind::NotFound), ErrorCategory::KernelInternal);
}

#[test]
fn a_failure_keeps_its_meaning_under_context() {
    let inner: anyhow::Error = Failure::invalid_input("no name").http_status(422).into();
    let outer = Failure::from(Err::<(), _>(inner).context("greeting").unwrap_err());
    assert_eq!(outer.error().category, ErrorCategory::ValidationError);
    assert_eq!(outer.error().http_status, Some(422));
    assert!(outer.error().message.starts_with("greeting: "), "{outer}");

    let io = Err::<(), _>(std::io::Error::from(ErrorKind::ConnectionRefused)).context("calling").unwrap_err();
    assert_eq!(Failure::from(io).error().category, ErrorCategory::NetworkError);
}

#[test]
fn any_other_error_is_a_tool_error_that_may_be_tried_again() {
    let failure = Failure::from(anyhow::anyhow!("odd"));
    assert_eq!(failure.error().category, ErrorCategory::ToolError);
    assert!(failure.error().is_retryable());
    let parse = || -> Result<i32, Failure> { Ok("x".parse::<i32>()?) };
    assert_eq!(parse().unwrap_err().error().category, ErrorCategory::ToolError);
}

#[test]
fn fatal_failures_are_not_tried_again_in_any_category() {
    for category in ErrorCategory::ALL {
        assert!(!Failure::fatal(category, "no").error().is_retryable(), "{category}");
    }
    assert!(Failure::retryable("maybe").error().is_retryable());
}

#[test]
fn details_too_large_to_store_are_left_out() {
    assert!(Failure::retryable("x").details("y".repeat(MAX_DETAILS_BYTES + 1)).error().details.is_none());
    assert!(Failure::retryable("x").details("y").error().details.is_some());
}
