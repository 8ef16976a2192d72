//! Why a request was not carried out, and how that travels between coordinators.

use stepstream_runtime::artifact::ArtifactError;
use stepstream_shared::id::ExecutionId;
use stepstream_shared::wire::Answer;

use crate::ports::StoreError;
use crate::reading::ReadError;

/// Why a request was not carried out. Each says what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("there is no execution {0}")]
    NotFound(ExecutionId),
    #[error("there is no graph {0}")]
    GraphNotFound(String),
    /// The document does not compile; the text shows every problem.
    #[error("{0}")]
    BadGraph(String),
    #[error("the inputs do not fit the graph: {}", .0.join("; "))]
    InvalidInputs(Vec<String>),
    #[error("the idempotency key was used for another request")]
    KeyConflict,
    /// The execution is not in a state for this.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    TooLarge(String),
    /// What was given does not fit what is asked for.
    #[error("this does not fit: {}", .0.join("; "))]
    InvalidForm(Vec<String>),
    /// The document is no schedule; the text shows every problem.
    #[error("{0}")]
    BadSchedule(String),
    /// The name of a schedule is taken, or it is in another revision.
    #[error("{0}")]
    ScheduleConflict(String),
    /// Not by this person.
    #[error("{0}")]
    Forbidden(String),
    /// The execution is there; what it was asked about is not.
    #[error("{0}")]
    NotThere(String),
    /// It is on record, and was taken away since.
    #[error("{0}")]
    Gone(String),
    /// Nobody told this coordinator where artifacts are.
    #[error("this coordinator has no artifact store: start it with --artifacts")]
    NoArtifacts,
    /// The execution holds as much of this as it may.
    #[error("{0}")]
    Full(String),
    /// The tenant has as many of these as it may; when one is over, there is room.
    #[error("{0}")]
    TooMany(String),
    /// Nothing more is taken on before the bus has taken what is owed; nothing was accepted.
    #[error("{0}")]
    Backlogged(String),
    /// Trying again later can help; nothing was accepted.
    #[error("{0}")]
    Unavailable(String),
    /// The store is full or read-only.
    #[error("{0}")]
    Exhausted(String),
    /// What is stored cannot be read.
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    Internal(String),
}

impl ServiceError {
    pub(crate) fn from_store(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Unknown(_) => ServiceError::Unavailable(chain(error)),
            StoreError::Exhausted { .. } => ServiceError::Exhausted(chain(error)),
            StoreError::BadUrl { .. }
            | StoreError::Absent { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::Refused { .. } => ServiceError::Internal(chain(error)),
            StoreError::Corrupt { .. } => ServiceError::Corrupt(chain(error)),
        }
    }

    pub(crate) fn from_read(error: &ReadError) -> Self {
        match error {
            ReadError::NotFound(id) => ServiceError::NotFound(*id),
            ReadError::GraphNotFound(reference) => ServiceError::GraphNotFound(reference.clone()),
            ReadError::Store(error) => ServiceError::from_store(error),
            ReadError::BadGraph { .. }
            | ReadError::Codec { .. }
            | ReadError::Fold { .. }
            | ReadError::Gap { .. }
            | ReadError::Panicked(_)
            | ReadError::Snapshot { .. } => ServiceError::Corrupt(chain(error)),
        }
    }
}

impl From<ReadError> for ServiceError {
    fn from(error: ReadError) -> Self {
        ServiceError::from_read(&error)
    }
}

impl From<ArtifactError> for ServiceError {
    fn from(error: ArtifactError) -> Self {
        let text = error.to_string();
        match error {
            ArtifactError::NotFound(digest) => ServiceError::Gone(format!(
                "{digest} is not in the artifact store (any more): it was collected; its record stays"
            )),
            ArtifactError::Corrupt { .. } => ServiceError::Corrupt(text),
            ArtifactError::TooLarge { .. } => ServiceError::TooLarge(text),
            ArtifactError::Full(_) => ServiceError::Exhausted(text),
            ArtifactError::Unavailable(_) => ServiceError::Unavailable(text),
            ArtifactError::Denied(_) | ArtifactError::Content(_) | ArtifactError::BadUrl(_) => {
                ServiceError::Internal(text)
            }
        }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        ServiceError::from_store(&error)
    }
}

/// The text of an error and of what caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What a caller elsewhere is told.
pub(crate) fn answer_of(result: Result<(), ServiceError>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(ServiceError::NotFound(_)) => Answer::NotFound,
        Err(ServiceError::GraphNotFound(graph)) => Answer::GraphNotFound(graph),
        // Nobody asks another coordinator for anything of schedules.
        Err(ServiceError::BadGraph(text) | ServiceError::BadSchedule(text)) => Answer::BadGraph(text),
        Err(ServiceError::InvalidInputs(problems)) => Answer::InvalidInputs(problems),
        Err(ServiceError::KeyConflict) => Answer::KeyConflict,
        Err(ServiceError::Conflict(text) | ServiceError::ScheduleConflict(text)) => Answer::Conflict(text),
        Err(ServiceError::TooLarge(text)) => Answer::TooLarge(text),
        Err(ServiceError::InvalidForm(problems)) => Answer::InvalidForm(problems),
        Err(ServiceError::Forbidden(text)) => Answer::Forbidden(text),
        Err(ServiceError::NotThere(text) | ServiceError::Gone(text)) => Answer::NotThere(text),
        Err(error @ ServiceError::NoArtifacts) => Answer::Internal(error.to_string()),
        Err(ServiceError::Full(text)) => Answer::Full(text),
        Err(ServiceError::TooMany(text)) => Answer::TooMany(text),
        Err(ServiceError::Backlogged(text)) => Answer::Backlogged(text),
        Err(ServiceError::Unavailable(text)) => Answer::Unavailable(text),
        Err(ServiceError::Exhausted(text)) => Answer::Exhausted(text),
        Err(ServiceError::Corrupt(text)) => Answer::Corrupt(text),
        Err(ServiceError::Internal(text)) => Answer::Internal(text),
    }
}

/// What an answer from elsewhere means for a request to this execution.
pub(crate) fn result_of(answer: Answer, execution: ExecutionId) -> Result<(), ServiceError> {
    Err(match answer {
        Answer::Done => return Ok(()),
        Answer::NotFound => ServiceError::NotFound(execution),
        Answer::GraphNotFound(graph) => ServiceError::GraphNotFound(graph),
        Answer::BadGraph(text) => ServiceError::BadGraph(text),
        Answer::InvalidInputs(problems) => ServiceError::InvalidInputs(problems),
        Answer::KeyConflict => ServiceError::KeyConflict,
        Answer::Conflict(text) => ServiceError::Conflict(text),
        Answer::TooLarge(text) => ServiceError::TooLarge(text),
        Answer::InvalidForm(problems) => ServiceError::InvalidForm(problems),
        Answer::Forbidden(text) => ServiceError::Forbidden(text),
        Answer::NotThere(text) => ServiceError::NotThere(text),
        Answer::Full(text) => ServiceError::Full(text),
        Answer::TooMany(text) => ServiceError::TooMany(text),
        Answer::Backlogged(text) => ServiceError::Backlogged(text),
        Answer::Unavailable(text) => ServiceError::Unavailable(text),
        Answer::Exhausted(text) => ServiceError::Exhausted(text),
        Answer::Corrupt(text) => ServiceError::Corrupt(text),
        Answer::Internal(text) => ServiceError::Internal(text),
    })
}
