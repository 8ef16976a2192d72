//! The directory of an embedded store: the log in one file, and a lock that says who drives it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use stepstream_runtime::artifact::ArtifactStore;

use crate::command::artifacts::store_problem;
use crate::exit::{Exit, Problem};

const LOG_FILE: &str = "stepstream.db";
const ARTIFACTS_FOLDER: &str = "artifacts";
const LOCK_FILE: &str = "lock";
/// Longest process id that is read back from a lock file.
const PID_BYTES: u64 = 20;

/// A directory that this process alone drives, until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl DataDir {
    /// Makes the directory where there is none, and takes the lock.
    ///
    /// # Errors
    /// Conflict, naming the other process, when it is taken; exhausted when nothing can be written there.
    pub fn take(path: &Path) -> Result<Self, Problem> {
        std::fs::create_dir_all(path).map_err(|error| cannot_write(path, "create", &error))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| cannot_write(path, "write to", &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(path, &mut lock)),
            Err(TryLockError::Error(error)) => return Err(cannot_write(path, "lock", &error)),
        }
        // For the message of whoever comes second.
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .map_err(|error| cannot_write(path, "write to", &error))?;
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn log(&self) -> PathBuf {
        self.path.join(LOG_FILE)
    }

    /// The artifacts of this directory, in a folder that is made where there is none.
    pub fn artifacts(&self) -> Result<ArtifactStore, Problem> {
        ArtifactStore::in_folder(&artifacts_of(&self.path)).map_err(|error| store_problem(&error))
    }
}

/// Where the artifacts of a data directory are.
pub fn artifacts_of(path: &Path) -> PathBuf {
    path.join(ARTIFACTS_FOLDER)
}

/// The log of a directory that is only read.
///
/// # Errors
/// Not found when the directory holds none.
pub fn existing_log(path: &Path) -> Result<PathBuf, Problem> {
    let log = path.join(LOG_FILE);
    if log.is_file() {
        return Ok(log);
    }
    Err(Problem::new(Exit::NotFound, format!("there is no store in {}", path.display()))
        .hint("`stepstream run` makes one; --data or STEPSTREAM_DATA names another directory"))
}

fn taken(path: &Path, lock: &mut File) -> Problem {
    let mut holder = String::new();
    let holder = match lock.take(PID_BYTES).read_to_string(&mut holder) {
        Ok(1..) => format!("process {}", holder.trim()),
        _ => "another process".to_owned(),
    };
    Problem::new(Exit::Conflict, format!("{} is in use by {holder}", path.display()))
        .hint("wait for it or stop it, name another directory with --data, or talk to a running server with --server")
}

fn cannot_write(path: &Path, what: &str, error: &std::io::Error) -> Problem {
    let exit = match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => Exit::Usage,
        _ => Exit::Exhausted,
    };
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space; what was acknowledged is not lost",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => "--data names a directory",
        _ => "the directory must be writable; --data or STEPSTREAM_DATA names another",
    };
    Problem::new(exit, format!("cannot {what} the data directory {}: {error}", path.display())).hint(hint)
}

#[cfg(test)]
mod tests;
