//! `echo`: answers its input.

use serde_json::Value;

use crate::callable::Callable;
use crate::context::Context;
use crate::failure::Failure;

pub struct Echo;

impl Callable for Echo {
    type Input = Value;
    type Output = Value;

    async fn call(&self, _: &Context, input: Value) -> Result<Value, Failure> {
        Ok(input)
    }
}
