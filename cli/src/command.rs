//! One file per command.

pub mod admin;
pub mod answer;
pub mod artifacts;
mod asking;
pub mod background;
pub mod bench;
pub mod breakpoint;
pub mod budget;
pub mod callback;
pub mod completion;
pub mod control;
pub mod dead;
pub mod decide;
pub mod dev;
pub mod doctor;
pub mod events;
pub mod get;
pub mod graph;
pub mod import;
pub mod register;
pub mod replay;
pub mod resolve;
pub mod resume;
mod rights;
pub mod run;
pub mod schedule;
pub mod send;
pub mod signal;
mod state;
pub mod tenant;
pub mod tree;
pub mod validate;
pub mod waits;

use clap::ValueEnum;

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    /// The stable form: fields are added, never changed.
    Json,
}

/// An execution's id as it stands on a command line.
fn execution_id(text: &str) -> Result<stepstream_shared::id::ExecutionId, String> {
    text.parse().map_err(|error: stepstream_shared::id::ParseIdError| error.to_string())
}
