//! Keeps sandboxes, hands them filters, and ends the ones that do not answer.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;

use super::{Answer, Input, frame, sandbox};

/// Most sandboxes at once. Each may use one core and its share of memory; more filters wait for their turn.
const MAX_SANDBOXES: usize = 4;

pub(crate) struct Host {
    program: Option<PathBuf>,
    free: Semaphore,
    idle: Mutex<Vec<Sandbox>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("the time for the filter is over")]
    OutOfTime,
    #[error("the sandbox died")]
    Died,
    #[error("this program cannot evaluate jq filters: its `main` does not begin with `builtin::init()`")]
    NotInitialised,
    #[error("the sandbox did not start")]
    Start(#[source] io::Error),
}

/// A running sandbox; ended when dropped.
struct Sandbox {
    stdin: ChildStdin,
    stdout: ChildStdout,
    _child: Child,
}

impl Host {
    pub(crate) fn new(program: Option<PathBuf>) -> Self {
        Host { program, free: Semaphore::new(MAX_SANDBOXES), idle: Mutex::new(Vec::new()) }
    }

    /// Evaluates within `limit`, counted from when a sandbox takes the filter. Dropping the future ends the sandbox.
    pub(crate) async fn evaluate(&self, input: &Input, limit: Duration) -> Result<Answer, HostError> {
        let request = match frame::encode(input) {
            Ok(request) => request,
            Err(error) => return Ok(Answer::BadFilter(error.to_string())),
        };
        let _turn = self.free.acquire().await.expect("nobody closes this semaphore");
        // An idle sandbox may have died unseen; a new one has not.
        if let Some(sandbox) = self.take_idle()
            && let Some(answer) = self.ask(sandbox, &request, limit).await?
        {
            return Ok(answer);
        }
        let sandbox = self.start()?;
        self.ask(sandbox, &request, limit).await?.ok_or(HostError::Died)
    }

    fn take_idle(&self) -> Option<Sandbox> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// `None` where the sandbox died. It goes back to the idle ones only with an answer.
    async fn ask(&self, mut sandbox: Sandbox, request: &[u8], limit: Duration) -> Result<Option<Answer>, HostError> {
        match tokio::time::timeout(limit, sandbox.ask(request)).await {
            Err(_) => Err(HostError::OutOfTime),
            Ok(Err(_)) => Ok(None),
            Ok(Ok(answer)) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sandbox);
                Ok(Some(answer))
            }
        }
    }

    fn start(&self) -> Result<Sandbox, HostError> {
        let program = self.program.as_ref().or(sandbox::program()).ok_or(HostError::NotInitialised)?;
        let mut child = Command::new(program)
            .arg(sandbox::ARGUMENT)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C at a terminal is for the worker; it ends its sandboxes itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(HostError::Start)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.expect("both were asked for");
        Ok(Sandbox { stdin, stdout, _child: child })
    }
}

impl Sandbox {
    async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stdin.write_all(request).await?;
        self.stdin.flush().await?;
        let mut head = [0; 4];
        self.stdout.read_exact(&mut head).await?;
        let mut body = vec![0; frame::length(head)?];
        self.stdout.read_exact(&mut body).await?;
        Ok(serde_json::from_slice(&body)?)
    }
}
