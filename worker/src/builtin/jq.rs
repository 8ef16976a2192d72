//! `jq`: evaluates a jq filter over a value.
//!
//! jq is a programming language: a filter can loop for ever, recurse until the stack is gone or build a value larger
//! than the machine. None of that can be stopped from inside a thread, so filters run in [`sandbox`] processes with a
//! memory limit and an empty environment, which are ended when their time is over. A process serves many filters, one
//! after the other, so a call costs a round trip over a pipe.

mod filter;
mod frame;
mod host;
pub mod sandbox;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepstream_shared::error::ErrorCategory;

use self::host::{Host, HostError};
use crate::callable::Callable;
use crate::context::Context;
use crate::failure::Failure;

/// Time for one filter, unless the input says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time that an input may ask for: a filter is no batch job.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest filter, in bytes.
pub const MAX_FILTER_BYTES: usize = 64 * 1024;

pub struct Jq {
    host: Host,
}

/// What a filter is applied to. Crosses the pipe to the sandbox as it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub filter: String,
    #[serde(default)]
    pub value: Value,
    /// `{name: …}` is `$name` in the filter.
    #[serde(default)]
    pub vars: Map<String, Value>,
    /// Answers the list of all outputs. Without it, a filter has exactly one.
    #[serde(default)]
    pub all: bool,
    pub timeout_ms: Option<u64>,
}

/// What a filter came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Output(Value),
    /// The filter is not one.
    BadFilter(String),
    /// It ended in an error, as with `error("…")` or `1 + {}`.
    Failed(String),
    /// What it gave may not be a step's output.
    BadOutput(String),
}

impl Jq {
    pub fn new(program: Option<PathBuf>) -> Self {
        Jq { host: Host::new(program) }
    }
}

impl Callable for Jq {
    type Input = Input;
    type Output = Value;

    async fn call(&self, context: &Context, input: Input) -> Result<Value, Failure> {
        if input.filter.len() > MAX_FILTER_BYTES {
            let found = input.filter.len();
            return Err(Failure::invalid_input(format!(
                "the filter is {found} bytes; the limit is {MAX_FILTER_BYTES}"
            )));
        }
        let limit = match input.timeout_ms.map(Duration::from_millis) {
            None => DEFAULT_TIMEOUT,
            Some(asked) if asked <= MAX_TIMEOUT => asked,
            Some(_) => {
                let most = MAX_TIMEOUT.as_millis();
                return Err(Failure::invalid_input(format!("`timeout_ms` is at most {most}")));
            }
        };
        let answer = tokio::select! {
            answer = self.host.evaluate(&input, limit) => answer,
            () = context.cancelled() => return Err(Failure::cancelled()),
        };
        match answer {
            Ok(Answer::Output(value)) => Ok(value),
            Ok(Answer::BadFilter(why)) => Err(Failure::invalid_input(format!("the filter is refused: {why}"))),
            Ok(Answer::Failed(why)) => {
                // The same filter over the same value fails again.
                Err(Failure::new(ErrorCategory::ToolError, format!("the filter failed: {why}")).code("invalid_input"))
            }
            Ok(Answer::BadOutput(why)) => Err(Failure::invalid_output(why)),
            Err(HostError::OutOfTime) => {
                let limit = limit.as_millis();
                Err(Failure::fatal(
                    ErrorCategory::Timeout,
                    format!("the filter was stopped after {limit} ms (timeout_ms)"),
                ))
            }
            Err(HostError::Died) => Err(Failure::fatal(
                ErrorCategory::ToolError,
                format!(
                    "the filter ran out of memory (limit {} MiB) or recursed too deeply",
                    sandbox::MEMORY_BYTES / (1024 * 1024)
                ),
            )),
            Err(error @ HostError::NotInitialised) => {
                Err(Failure::new(ErrorCategory::KernelInternal, error.to_string()))
            }
            Err(HostError::Start(error)) => {
                Err(Failure::retryable(format!("the process for jq filters could not be started: {error}")))
            }
        }
    }
}
