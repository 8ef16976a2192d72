//! How the program ends: a code that scripts can rely on, and a message for people.

use std::process::ExitCode;

use stepstream_coordinator::ServiceError;
use stepstream_coordinator::ports::StoreError;
use stepstream_coordinator::reading::ReadError;
use stepstream_shared::data::DataError;
use stepstream_shared::execution::ExecutionState;

/// Shown under `--help`; the same list as [`Exit`].
pub const HELP: &str = "\
Exit codes:
    0  done
    1  the execution failed
    2  wrong usage, a bad graph, bad input
    3  the execution was cancelled
    4  conflict: in use, exists already, or in no state for this
    5  a server or store cannot be reached
    6  refused
    7  not found
    8  a replay diverged: the log was changed, or does not fold
    9  a limit was reached or a resource is exhausted (payload, disk)
  124  timed out; the execution can be resumed
  130  interrupted, or it waits for somebody outside; the execution can be resumed";

/// What the program's end means to whoever started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// The execution failed.
    Failed = 1,
    /// Wrong usage, a bad graph, bad input.
    Usage = 2,
    /// The execution was cancelled.
    Cancelled = 3,
    /// In use, exists already, or in no state for this.
    Conflict = 4,
    /// A server or store cannot be reached.
    Unreachable = 5,
    Refused = 6,
    NotFound = 7,
    /// The log was changed, or does not fold.
    Diverged = 8,
    /// A limit was reached, or a disk is full or read-only.
    Exhausted = 9,
    /// The execution can be resumed.
    TimedOut = 124,
    /// Or it waits for somebody outside. The execution can be resumed.
    Interrupted = 130,
}

impl Exit {
    /// How a command about an execution ends when the execution is in this state.
    pub fn of(state: ExecutionState) -> Self {
        match state {
            ExecutionState::Failed => Exit::Failed,
            ExecutionState::Cancelled => Exit::Cancelled,
            _ => Exit::Done,
        }
    }

    /// The same for the state's name, as a server gives it.
    pub fn of_name(state: &str) -> Self {
        match state {
            "Failed" => Exit::Failed,
            "Cancelled" => Exit::Cancelled,
            _ => Exit::Done,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command could not do what it was asked, and what to do about it.
#[derive(Debug)]
pub struct Problem {
    pub exit: Exit,
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Problem { exit, message: message.into(), hint: None }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Problem::new(Exit::Usage, message)
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The text of an error and of what caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::BadUrl { .. } => Exit::Usage,
            StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::Absent { .. } => Exit::Unreachable,
            StoreError::Exhausted { .. } => Exit::Exhausted,
            StoreError::NewerSchema { .. } | StoreError::Corrupt { .. } | StoreError::Refused { .. } => Exit::Refused,
        };
        Problem::new(exit, chain(&error))
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let exit = match error {
            ReadError::Store(error) => return error.into(),
            ReadError::NotFound(_) | ReadError::GraphNotFound(_) => Exit::NotFound,
            ReadError::BadGraph { .. } | ReadError::Panicked(_) => Exit::Refused,
            ReadError::Codec { .. } | ReadError::Fold { .. } | ReadError::Gap { .. } | ReadError::Snapshot { .. } => {
                Exit::Diverged
            }
        };
        Problem::new(exit, error.to_string())
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let exit = match &error {
            ServiceError::NotFound(_)
            | ServiceError::GraphNotFound(_)
            | ServiceError::NotThere(_)
            | ServiceError::Gone(_) => Exit::NotFound,
            ServiceError::BadGraph(_)
            | ServiceError::BadSchedule(_)
            | ServiceError::InvalidInputs(_)
            | ServiceError::InvalidForm(_) => Exit::Usage,
            ServiceError::KeyConflict | ServiceError::Conflict(_) | ServiceError::ScheduleConflict(_) => Exit::Conflict,
            ServiceError::TooLarge(_)
            | ServiceError::Exhausted(_)
            | ServiceError::Full(_)
            | ServiceError::Backlogged(_)
            | ServiceError::TooMany(_) => Exit::Exhausted,
            ServiceError::Forbidden(_) => Exit::Refused,
            ServiceError::Unavailable(_) => Exit::Unreachable,
            ServiceError::Corrupt(_) => Exit::Diverged,
            ServiceError::Internal(_) | ServiceError::NoArtifacts => Exit::Refused,
        };
        Problem::new(exit, error.to_string())
    }
}

impl From<DataError> for Problem {
    fn from(error: DataError) -> Self {
        Problem::new(Exit::Exhausted, format!("the input cannot be taken: {error}"))
    }
}
