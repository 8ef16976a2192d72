//! What an execution can be in, as it stands on a command line.

use clap::ValueEnum;

use crate::client::ServerState;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum State {
    Created,
    Planning,
    Running,
    Paused,
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

impl State {
    /// As the servers' client has it.
    pub const fn of_server(self) -> ServerState {
        match self {
            State::Created => ServerState::Created,
            State::Planning => ServerState::Planning,
            State::Running => ServerState::Running,
            State::Paused => ServerState::Paused,
            State::Waiting => ServerState::Waiting,
            State::Completed => ServerState::Completed,
            State::Failed => ServerState::Failed,
            State::Cancelled => ServerState::Cancelled,
        }
    }

    /// As the list of executions has it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Created => "Created",
            State::Planning => "Planning",
            State::Running => "Running",
            State::Paused => "Paused",
            State::Waiting => "Waiting",
            State::Completed => "Completed",
            State::Failed => "Failed",
            State::Cancelled => "Cancelled",
        }
    }
}
