//! What an error of PostgreSQL means to a caller: try again, stop, or ask what happened.

use crate::ports::StoreError;

/// When the error came: whether something may have been written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    Committing,
}

/// An error of a statement that can be asked again without harm.
pub(super) fn reading(error: sqlx::Error) -> StoreError {
    classify(error, Stage::Reading)
}

/// An error of connecting to a database that is to be there already.
pub(super) fn finding(error: sqlx::Error) -> StoreError {
    match error.as_database_error() {
        Some(missing) if missing.code().is_some_and(|code| code == "3D000") => {
            StoreError::Absent { reason: format!("PostgreSQL: {}", missing.message()) }
        }
        _ => reading(error),
    }
}

/// An error of a statement that commits by itself: without a word from the server its fate is open.
pub(super) fn committing(error: sqlx::Error) -> StoreError {
    classify(error, Stage::Committing)
}

/// Serialization failures and deadlocks: the server has undone the transaction and asks to run it again.
pub(super) fn is_retryable(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "40001" || code == "40P01")
}

/// Whether the session can be used after this error: the server answered, and has not ended the session.
pub(super) fn leaves_session_usable(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| !is_connection_class(&code))
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

/// Class 08 is the connection; 57P is the server or an administrator ending it; 25P03 is the idle time-out; 40003 says
/// in so many words that nobody knows whether the statement completed.
fn is_connection_class(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("57P") || code == "25P03" || code == "40003"
}

fn classify(error: sqlx::Error, stage: Stage) -> StoreError {
    let Some(code) = code(&error) else {
        return match error {
            sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) | sqlx::Error::Encode(_) => {
                StoreError::Refused { reason: error.to_string() }
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) if stage == Stage::Reading => {
                StoreError::Corrupt { reason: error.to_string() }
            }
            // Connection refused, reset, closed, timed out; TLS; a protocol error: the answer was not understood.
            _ => lost(error, stage),
        };
    };
    let message = error.as_database_error().map(|error| error.message().to_owned()).unwrap_or_default();
    match code.as_str() {
        "57P04" | "3D000" => StoreError::Refused { reason: format!("PostgreSQL: {message}") },
        // The connection ended while a commit may have been under way.
        code if is_connection_class(code) => lost(error, stage),
        // Too many connections, a lock not given in time, a query cancelled, a deadlock once too often: undone.
        "53300" | "55P03" | "57014" | "40001" | "40P01" => StoreError::Unavailable(anyhow::Error::new(error)),
        code if code.starts_with("53") || code == "58030" => StoreError::Exhausted {
            reason: format!("PostgreSQL: {message} ({code}); free space or raise the limit, then start again"),
        },
        "25006" => StoreError::Exhausted {
            reason: format!("PostgreSQL: {message}: it is a standby or set to read-only; give the primary's address"),
        },
        code if code.starts_with("XX") => StoreError::Corrupt { reason: format!("PostgreSQL: {message} ({code})") },
        "42P01" | "42703" => StoreError::Refused {
            reason: format!("PostgreSQL: {message}: this database does not hold a complete Stepstream store"),
        },
        _ => StoreError::Refused { reason: format!("PostgreSQL: {message} ({code})") },
    }
}

fn lost(error: sqlx::Error, stage: Stage) -> StoreError {
    match stage {
        Stage::Reading => StoreError::Unavailable(anyhow::Error::new(error)),
        Stage::Committing => StoreError::Unknown(anyhow::Error::new(error)),
    }
}

/// How often a statement that the server asks to run again is run: contention that outlives this is an outage.
const TRIES: u32 = 8;

/// Counts the tries of one statement.
#[derive(Default)]
pub(super) struct Tries(u32);

impl Tries {
    /// Whether to run the statement again after this error.
    pub(super) fn again(&mut self, error: &sqlx::Error) -> bool {
        self.0 += 1;
        self.0 < TRIES && is_retryable(error)
    }
}
