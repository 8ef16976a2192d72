//! `fail`: fails as it is asked to, for trying out what a graph does then.

use serde::{Deserialize, Serialize};
use stepstream_shared::error::ErrorCategory;

use crate::callable::Callable;
use crate::context::Context;
use crate::failure::Failure;

pub struct Fail;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    #[serde(default = "default_category")]
    pub category: ErrorCategory,
    #[serde(default = "default_message")]
    pub message: String,
    pub code: Option<String>,
    /// Attempts before this one fail, this one and later ones succeed. Without it, all fail.
    pub until_attempt: Option<u32>,
}

fn default_category() -> ErrorCategory {
    ErrorCategory::ToolError
}

fn default_message() -> String {
    "failed as asked".to_owned()
}

#[derive(Debug, Serialize)]
pub struct Output {
    pub attempt: u32,
}

impl Callable for Fail {
    type Input = Input;
    type Output = Output;

    async fn call(&self, context: &Context, input: Input) -> Result<Output, Failure> {
        let attempt = context.attempt();
        if input.until_attempt.is_some_and(|first_good| attempt >= first_good) {
            return Ok(Output { attempt });
        }
        let failure = Failure::new(input.category, input.message);
        Err(match input.code {
            Some(code) => failure.code(code),
            None => failure,
        })
    }
}
