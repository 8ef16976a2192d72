//! `note`: gives what it is told to give, and puts on record what it is told to. For tries, tests, and graphs that find
//! their work by expressions.

use serde::Deserialize;
use serde_json::Value;
use stepstream_shared::event::Note;

use crate::callable::Callable;
use crate::context::Context;
use crate::failure::Failure;

/// Takes `{"output": …, "notes": [{"discovered": {"name": "look-closer", "input": 1}}, …]}`.
pub struct Recording;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    #[serde(default)]
    output: Value,
    #[serde(default)]
    notes: Vec<Note>,
}

impl Callable for Recording {
    // Values inside notes are read from JSON, whatever form the input travels in.
    type Input = Value;
    type Output = Value;

    async fn call(&self, context: &Context, input: Value) -> Result<Value, Failure> {
        let Told { output, notes } =
            serde_json::from_value(input).map_err(|error| Failure::invalid_input(error.to_string()))?;
        for note in notes {
            context.note(note).map_err(|error| Failure::invalid_input(error.to_string()))?;
        }
        Ok(output)
    }
}
