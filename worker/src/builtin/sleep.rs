//! `sleep`: waits, and stops waiting when it is cancelled.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::callable::Callable;
use crate::context::Context;
use crate::failure::Failure;

pub struct Sleep;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub seconds: f64,
}

#[derive(Debug, Serialize)]
pub struct Output {
    pub seconds: f64,
}

impl Callable for Sleep {
    type Input = Input;
    type Output = Output;

    async fn call(&self, context: &Context, Input { seconds }: Input) -> Result<Output, Failure> {
        let duration = Duration::try_from_secs_f64(seconds).map_err(|_| {
            Failure::invalid_input(format!("`seconds` is a finite number from 0 to about 5.8e11, not {seconds}"))
        })?;
        if !duration.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(duration) => {}
                () = context.cancelled() => return Err(Failure::cancelled()),
            }
        }
        Ok(Output { seconds })
    }
}
