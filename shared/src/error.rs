//! What can go wrong in an execution, and what to do about it.

pub mod category;
pub mod retry;

use serde::{Deserialize, Serialize};

pub use category::{ErrorCategory, ErrorCode};
pub use retry::{BackoffStrategy, Jitter, RetryDecision, RetryPolicy};

use crate::data::Data;

/// Longest error text that is kept, in bytes; longer ones are cut at a character border.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// The failure of an attempt, a step or an execution.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExecutionError {
    #[serde(rename = "category")]
    pub category: ErrorCategory,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// An HTTP status that the callable saw; overrides the one of the category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Shortest time before another attempt, in milliseconds, when the other side asked for one (`Retry-After`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Data>,
}

impl ExecutionError {
    pub fn new(category: ErrorCategory, message: impl Into<String>) -> Self {
        let message = message.into();
        ExecutionError { category, message, code: None, http_status: None, retry_after_ms: None, details: None }.cut()
    }

    /// With a text of at most [`MAX_MESSAGE_BYTES`]: for errors that others made.
    pub fn cut(mut self) -> Self {
        if self.message.len() > MAX_MESSAGE_BYTES {
            let cut = (0..=MAX_MESSAGE_BYTES).rev().find(|at| self.message.is_char_boundary(*at)).unwrap_or(0);
            self.message.truncate(cut);
        }
        self
    }

    pub fn with_code(mut self, code: ErrorCode) -> Self {
        self.code = Some(code);
        self
    }

    /// Whether another attempt can help: the code decides, the category is the fallback.
    pub fn is_retryable(&self) -> bool {
        self.code.as_ref().and_then(ErrorCode::is_retryable).unwrap_or_else(|| !self.category.is_fatal())
    }

    /// The status that an HTTP API answers with.
    pub fn http_status(&self) -> u16 {
        self.http_status.unwrap_or_else(|| self.category.http_status())
    }
}

impl std::fmt::Display for ExecutionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}", self.category, self.message)?;
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
