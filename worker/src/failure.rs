//! How a callable says that it failed, and what follows from it.
//!
//! A category carries the retry policy and a known code decides within it; both are the core's. The conversions are
//! listed one by one instead of "any error": so a program can write `impl From<MyError> for Failure` and choose its own
//! category, which a blanket implementation would forbid.

use std::io::ErrorKind;
use std::time::Duration;

use serde::Serialize;
use stepstream_shared::data::Data;
use stepstream_shared::error::{ErrorCategory, ErrorCode, ExecutionError};

/// What a callable returns when it fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(Box<ExecutionError>);

impl Failure {
    pub fn new(category: ErrorCategory, message: impl Into<String>) -> Self {
        Failure(Box::new(ExecutionError::new(category, message)))
    }

    /// Another attempt may succeed.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::new(ErrorCategory::ToolError, message).code("execution_failed")
    }

    /// Another attempt cannot succeed, whatever the category's own policy says.
    pub fn fatal(category: ErrorCategory, message: impl Into<String>) -> Self {
        let failure = Self::new(category, message);
        if failure.0.is_retryable() { failure.code("invalid_request") } else { failure }
    }

    /// The input is not what the callable takes.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorCategory::ValidationError, message).code("invalid_input")
    }

    /// The output is not what may be stored.
    pub fn invalid_output(message: impl Into<String>) -> Self {
        Self::new(ErrorCategory::ValidationError, message).code("output_invalid")
    }

    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(ErrorCategory::Timeout, message).code("timeout")
    }

    pub fn network(message: impl Into<String>) -> Self {
        Self::new(ErrorCategory::NetworkError, message)
    }

    /// The attempt was told to stop and did.
    pub fn cancelled() -> Self {
        Self::new(ErrorCategory::KernelInternal, "the attempt was cancelled").code("cancelled")
    }

    /// The job was delivered that often and nobody lived to report about it.
    pub(crate) fn poison(deliveries: u64) -> Self {
        let message =
            format!("the job was delivered {deliveries} times and no worker reported: it may end its workers");
        Self::new(ErrorCategory::KernelInternal, message).code("poison")
    }

    /// Nothing of the attempt has begun: whoever makes another one does nothing twice. It is the only failure of a step
    /// with `delivery: at_most_once` that is tried again, as its `retry` says.
    pub fn not_started(category: ErrorCategory, message: impl Into<String>) -> Self {
        Self::new(category, message).code(NOT_STARTED)
    }

    pub(crate) fn has_not_started(&self) -> bool {
        self.0.code.as_ref().is_some_and(|code| code.as_str() == NOT_STARTED)
    }

    /// A closer name for what went wrong, in snake case; known ones decide about retries.
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.0.code = Some(ErrorCode::new(code));
        self
    }

    /// No retry before this time has passed.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The status that an HTTP service answered with.
    pub fn http_status(mut self, status: u16) -> Self {
        self.0.http_status = Some(status);
        self
    }

    /// Facts for whoever looks into it. Details that cannot be stored are left out: the failure matters more.
    pub fn details(mut self, details: impl Serialize) -> Self {
        self.0.details = Data::of(&details).ok().filter(|details| details.len() <= MAX_DETAILS_BYTES);
        self
    }

    pub fn error(&self) -> &ExecutionError {
        &self.0
    }

    pub fn into_error(self) -> ExecutionError {
        *self.0
    }
}

/// The code of failures that came before anything had begun.
const NOT_STARTED: &str = "not_started";

/// Details are read by people and stored in every log; more belongs into an artifact.
pub const MAX_DETAILS_BYTES: usize = 64 * 1024;

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        Failure(Box::new(error))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut => Failure::timeout(error.to_string()),
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
                Failure::network(error.to_string())
            }
            _ => Failure::new(ErrorCategory::KernelInternal, error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Failure::new(ErrorCategory::ValidationError, error.to_string())
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // The top of reqwest's chain says which request; the reason stands at its end.
        let message = chain(&error);
        if error.is_timeout() {
            Failure::timeout(message)
        } else if error.is_builder() {
            Failure::network(message).code("invalid_request")
        } else {
            let failure = Failure::network(message);
            match error.status() {
                Some(status) => failure.http_status(status.as_u16()),
                None => failure,
            }
        }
    }
}

impl From<tokio::time::error::Elapsed> for Failure {
    fn from(error: tokio::time::error::Elapsed) -> Self {
        Failure::timeout(error.to_string())
    }
}

/// A failure, an I/O error or an HTTP error at the root keeps its meaning under any `context`.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let message = format!("{error:#}");
        let known = error.chain().find_map(|cause| {
            if let Some(failure) = cause.downcast_ref::<Failure>() {
                Some(failure.clone())
            } else if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                Some(std::io::Error::from(io.kind()).into()).filter(|failure: &Failure| failure.0.is_retryable())
            } else {
                cause
                    .downcast_ref::<reqwest::Error>()
                    .map(|http| if http.is_timeout() { Failure::timeout("") } else { Failure::network("") })
            }
        });
        match known {
            Some(Failure(known)) => {
                let renamed = ExecutionError::new(known.category, message);
                Failure(Box::new(ExecutionError { message: renamed.message, ..*known }))
            }
            None => Failure::new(ErrorCategory::ToolError, message),
        }
    }
}

macro_rules! tool_errors {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Failure::new(ErrorCategory::ToolError, error.to_string())
            }
        }
    )*};
}

tool_errors!(
    Box<dyn std::error::Error>,
    Box<dyn std::error::Error + Send + Sync>,
    std::fmt::Error,
    std::num::ParseIntError,
    std::num::ParseFloatError,
    std::num::TryFromIntError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    std::env::VarError,
    tokio::task::JoinError,
    String,
    &str,
);

/// An error with its causes, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
