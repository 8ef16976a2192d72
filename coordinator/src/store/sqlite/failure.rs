//! What an error of SQLite means to a caller. The text names the file and what to do, because the reader is often
//! somebody at a terminal whose disk is full.

use std::path::Path;

use crate::ports::StoreError;

/// Primary result codes; the extended ones have them in their low byte.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const NO_MEMORY: i32 = 7;
    pub(super) const READ_ONLY: i32 = 8;
    pub(super) const IO: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANNOT_OPEN: i32 = 14;
    pub(super) const NOT_A_DATABASE: i32 = 26;
}

pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Whether the file could not be opened, or not without writing beside it.
pub(super) fn is_about_opening(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(code::CANNOT_OPEN | code::READ_ONLY))
}

pub(super) fn classify(error: sqlx::Error, path: &Path) -> StoreError {
    let path = path.display();
    let exhausted = |what: &str, remedy: &str| StoreError::Exhausted { reason: format!("{what} {path}: {remedy}") };
    match primary_code(&error) {
        Some(code::FULL) => exhausted("no space left for", "free some space, then start again; nothing is lost"),
        Some(code::READ_ONLY) => {
            exhausted("no permission to write to", "make the file and its directory writable, or choose another")
        }
        Some(code::CANNOT_OPEN) => {
            exhausted("cannot open or create", "the directory must exist and be writable, or choose another")
        }
        Some(code::IO) => exhausted(
            &format!("reading or writing failed ({error}) at"),
            "check the disk and its free space, then start again; nothing acknowledged is lost",
        ),
        Some(code::NO_MEMORY) => exhausted("not enough memory to work with", "give the process more"),
        Some(code::BUSY | code::LOCKED) => StoreError::Unavailable(anyhow::Error::new(error)),
        Some(code::CORRUPT) => StoreError::Corrupt { reason: format!("{path}: {error}") },
        Some(code::NOT_A_DATABASE) => StoreError::Corrupt { reason: format!("{path} is not a SQLite database") },
        Some(_) => StoreError::Refused { reason: format!("SQLite at {path}: {error}") },
        None => match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                StoreError::Corrupt { reason: format!("{path}: {error}") }
            }
            sqlx::Error::Io(error) => exhausted(&format!("reading or writing failed ({error}) at"), "check the disk"),
            other => StoreError::Unavailable(anyhow::Error::new(other)),
        },
    }
}
