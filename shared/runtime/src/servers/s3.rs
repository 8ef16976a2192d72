//! A private server that speaks S3, for tests: moto, which keeps everything in memory.
//!
//! It knows what the artifact store asks of a bucket (conditional puts, uploads in parts with their least size, deletion of
//! many) because it is made after the service and not after us. It lets everybody in.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::ServerError;
use super::child::{Recipe, ServerProcess};
use super::find::{self, Search};

/// It imports much of Python's libraries first.
const READY_PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
/// In its log: what stands before the address that it has taken.
const RUNNING_ON: &str = "Running on ";

/// What may be chosen.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// For the log; made when it is not there.
    pub directory: PathBuf,
    pub search: Search,
    /// Remove the directory when the server is dropped or this process ends, however it ends.
    pub ephemeral: bool,
}

/// A running server. Dropping it stops it, and what it held is gone.
pub struct S3Server {
    process: ServerProcess,
    url: String,
}

impl S3Server {
    /// Finds the program, starts it on a port of its own choice and makes a bucket in it.
    ///
    /// # Errors
    /// When there is no program or the server does not get ready.
    pub async fn start(options: S3Options) -> Result<Self, ServerError> {
        let S3Options { directory, search, ephemeral } = options;
        let program = super::blocking(move || find::s3_server(&search)).await?;
        std::fs::create_dir_all(&directory).map_err(|source| ServerError::Files {
            what: "cannot make a directory for the S3 server",
            path: directory.clone(),
            source,
        })?;
        let process = ServerProcess::start(&Recipe {
            program,
            arguments: ["-H", "127.0.0.1", "-p", "0"].map(str::to_owned).to_vec(),
            log: directory.join("s3-server.log"),
            polite: Signal::SIGTERM,
            under: Vec::new(),
            remove: ephemeral.then(|| directory.clone()),
        })?;
        let mut server = S3Server { process, url: String::new() };
        server.await_ready().await?;
        Ok(server)
    }

    /// Where it listens: `http://127.0.0.1:…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn make_bucket(&self, name: &str) -> Result<(), ServerError> {
        let url = format!("{}/{name}", self.url);
        let made = async { reqwest::Client::builder().no_proxy().build()?.put(url).send().await?.error_for_status() };
        made.await.map(drop).map_err(|error| self.not_ready(format!("makes no bucket: {error}")))
    }

    /// Only our own process writes the log, so the address in it is ours.
    async fn await_ready(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            let log = std::fs::read_to_string(self.process.log()).unwrap_or_default();
            if let Some(url) = address(&log) {
                self.url = url;
                tracing::debug!(pid = self.pid(), url = %self.url, "the S3 server is ready");
                return Ok(());
            }
            if self.process.has_ended() {
                return Err(self.not_ready("ended while it was starting".to_owned()));
            }
            if Instant::now() >= deadline {
                return Err(self.not_ready(format!("was not ready within {} s", READY_PATIENCE.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn not_ready(&self, what: String) -> ServerError {
        let log = self.process.log().to_owned();
        ServerError::NotReady { server: "the S3 server", what, log, words: self.process.last_words() }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.process.end(Signal::SIGKILL, Duration::from_secs(2));
    }
}

/// The address in the log, once its line is complete. It listens before it says so.
fn address(log: &str) -> Option<String> {
    let (line, _) = log.split_once(RUNNING_ON)?.1.split_once('\n')?;
    let url: String = line.trim().chars().take_while(|c| c.is_ascii_graphic()).collect();
    url.starts_with("http://127.0.0.1:").then_some(url)
}

#[cfg(test)]
mod tests;
