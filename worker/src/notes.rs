//! What an attempt puts on record beside its result: work it found, tools it called, goals, tokens.
//!
//! Notes travel with the outcome and are recorded with it. An attempt that is lost leaves none.

use serde::Serialize;
use stepstream_shared::cost::Money;
use stepstream_shared::data::{Data, DataError};
use stepstream_shared::error::ExecutionError;
use stepstream_shared::event::note::{MAX_NOTES, Note};
use stepstream_shared::event::{DecisionRecord, GoalStatus, StepSourceType};

use crate::context::Context;

/// Why something was not noted. The attempt goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    #[error("an attempt has at most {MAX_NOTES} notes")]
    Full,
    #[error("{0}")]
    Refused(String),
    #[error("the value cannot be recorded: {0}")]
    Value(#[from] DataError),
}

impl Context {
    /// Puts something on record with the outcome of this attempt.
    ///
    /// # Errors
    /// When the attempt has [`MAX_NOTES`] notes, or when a name or a number in the note is out of bounds.
    pub fn note(&self, note: Note) -> Result<(), NoteError> {
        if let Some(problem) = note.problem() {
            return Err(NoteError::Refused(problem));
        }
        if self.keep(note) { Ok(()) } else { Err(NoteError::Full) }
    }

    /// Finds more work for the map that this step is an item of: one more item with this input. Nothing comes of it
    /// unless the map declares `discover`, or when one of its bounds is reached; that is on record then.
    ///
    /// # Errors
    /// As [`Self::note`], and when the input cannot be represented.
    pub fn discover(&self, name: &str, input: impl Serialize, reason: &str) -> Result<(), NoteError> {
        let (name, reason, input) = (name.to_owned(), reason.to_owned(), Data::of(&input)?);
        self.note(Note::Discovered { name, input, source: StepSourceType::Discovered, reason })
    }

    /// Records a call of a tool.
    ///
    /// # Errors
    /// As [`Self::discover`].
    pub fn tool_call(
        &self,
        id: &str,
        name: &str,
        input: impl Serialize,
        output: impl Serialize,
    ) -> Result<(), NoteError> {
        let (id, name) = (id.to_owned(), name.to_owned());
        self.note(Note::ToolCall { id, name, input: Data::of(&input)?, output: Data::of(&output)?, error: None })
    }

    /// Records a call of a tool that failed. The attempt goes on.
    ///
    /// # Errors
    /// As [`Self::discover`].
    pub fn tool_call_failed(
        &self,
        id: &str,
        name: &str,
        input: impl Serialize,
        error: ExecutionError,
    ) -> Result<(), NoteError> {
        let (id, name, error) = (id.to_owned(), name.to_owned(), Some(Box::new(error)));
        self.note(Note::ToolCall { id, name, input: Data::of(&input)?, output: Data::null(), error })
    }

    /// Records a decision: what was chosen, on what grounds, and what else could have been.
    ///
    /// # Errors
    /// As [`Self::note`]: shares go from 0 to 1, lists and texts have bounds.
    pub fn decision(&self, record: DecisionRecord) -> Result<(), NoteError> {
        self.note(Note::Decision(Box::new(record)))
    }

    /// Records that the state is saved outside under this id. With `wait`, nothing new begins before somebody has seen it:
    /// the execution is held for `checkpoint` until the message `checkpoint` comes, or somebody resumes it.
    ///
    /// # Errors
    /// As [`Self::note`].
    pub fn checkpoint(&self, id: &str, state_hash: &str, wait: bool) -> Result<(), NoteError> {
        self.note(Note::Checkpoint { id: id.to_owned(), state_hash: state_hash.to_owned(), wait })
    }

    /// Says that hardly any room is left, in units of one's own such as tokens of a context or MiB. Nothing new begins: the
    /// execution is held for `memory_pressure` until the message `compact` comes, or somebody resumes it.
    ///
    /// # Errors
    /// As [`Self::note`].
    pub fn memory_pressure(&self, used: u64, max: u64) -> Result<(), NoteError> {
        self.note(Note::MemoryPressure { used, max })
    }

    /// Records how far a goal is reached; `score` goes from 0 to 1. One that is met ends the discovery that this step
    /// belongs to: items that have not ended are skipped, and the map is done.
    ///
    /// # Errors
    /// As [`Self::note`].
    pub fn goal(&self, id: &str, status: GoalStatus, score: Option<f64>, reason: &str) -> Result<(), NoteError> {
        let reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        self.note(Note::Goal { id: id.to_owned(), status, score, reason })
    }

    /// Records tokens that were used, at the price of the model's name unless the cost is given. Counts against the budget
    /// of the execution, also when the attempt fails.
    ///
    /// # Errors
    /// As [`Self::note`].
    pub fn usage(
        &self,
        model: &str,
        prompt_tokens: u64,
        completion_tokens: u64,
        cost: Option<Money>,
    ) -> Result<(), NoteError> {
        self.note(Note::Usage { model: model.to_owned(), prompt_tokens, completion_tokens, cost })
    }
}
