//! Private servers in temporary directories. The tools are installed once into a cache; a test that cannot have
//! its server fails and says how to get it.

use std::path::PathBuf;

use stepstream_runtime::servers::find::{Search, cached_tools};
use stepstream_runtime::servers::{
    NatsOptions, NatsServer, PostgresOptions, PostgresServer, S3Options, S3Server, ServerError,
};

/// Where servers are looked for, and installed when they are nowhere: shared by all test binaries.
pub fn search() -> Search {
    let tools = cached_tools().unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools"));
    Search { explicit: None, tools: Some(tools), install: true }
}

/// A server in a fresh directory that is removed with it, or when the test binary ends.
///
/// # Errors
/// When there is no binary, and none can be installed, or it does not start.
pub async fn nats() -> Result<NatsServer, ServerError> {
    NatsServer::start(nats_options()?).await
}

/// What [`nats`] starts with, to be changed first.
///
/// # Errors
/// When there is no room for a directory.
pub fn nats_options() -> Result<NatsOptions, ServerError> {
    Ok(NatsOptions { search: search(), ephemeral: true, ..NatsOptions::new(fresh_directory("nats")?) })
}

/// A server in a fresh directory that is removed with it, or when the test binary ends.
///
/// # Errors
/// When there is no binary, and none can be installed, or it does not start.
pub async fn postgres() -> Result<PostgresServer, ServerError> {
    let directory = fresh_directory("postgres")?;
    PostgresServer::start(PostgresOptions { search: search(), ephemeral: true, ..PostgresOptions::new(directory) })
        .await
}

/// A server that speaks S3, in a fresh directory that is removed with it, or when the test binary ends.
///
/// # Errors
/// When there is no program, and none can be installed, or it does not start.
pub async fn s3() -> Result<S3Server, ServerError> {
    S3Server::start(S3Options { directory: fresh_directory("s3")?, search: search(), ephemeral: true }).await
}

fn fresh_directory(kind: &str) -> Result<PathBuf, ServerError> {
    let made = tempfile::Builder::new().prefix(&format!("stepstream-{kind}-")).tempdir();
    made.map(tempfile::TempDir::keep).map_err(|source| ServerError::Files {
        what: "cannot make a directory",
        path: std::env::temp_dir(),
        source,
    })
}
