//! A long-running process whose words go to a file, shown when a test fails.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::poll;

/// Lines of a log that are shown.
const SHOWN_LINES: usize = 60;
/// Longest that an orderly end may take.
const STOP_PATIENCE: Duration = Duration::from_secs(45);

pub struct Process {
    pub name: String,
    child: Child,
    pid: Pid,
    stdout: PathBuf,
    log: PathBuf,
}

impl Process {
    /// # Panics
    /// When it does not start.
    pub fn start(name: &str, mut command: Command, logs: &Path) -> Self {
        let log = logs.join(format!("{name}.log"));
        let stdout = logs.join(format!("{name}.out"));
        let append = std::fs::File::options().create(true).append(true).open(&log).expect("the log can be written");
        let out = std::fs::File::create(&stdout).expect("the output can be written");
        let child = command.stdout(Stdio::from(out)).stderr(append).spawn().expect("the built program starts");
        let pid = Pid::from_raw(child.id().expect("just started").try_into().expect("a process id"));
        Process { name: name.to_owned(), child, pid, stdout, log }
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours can be asked")
    }

    /// Waits for text in its log.
    pub async fn says(&mut self, text: &str) {
        poll::until(&format!("{} says {text:?}", self.name), async || {
            if let Some(status) = self.ended() {
                panic!("{} ended with {status}:\n{}", self.name, self.log());
            }
            self.log().contains(text).then_some(())
        })
        .await;
    }

    /// As a crash would.
    pub async fn kill9(&mut self) {
        self.child.kill().await.expect("a child of ours can be killed");
    }

    /// # Panics
    /// When it has ended already.
    pub fn signal(&mut self, signal: Signal) {
        assert_eq!(self.ended(), None, "{} has ended:\n{}", self.name, self.log());
        kill(self.pid, signal).expect("a child of ours takes signals");
    }

    /// Waits for its end and tells its exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let status = tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("{} does not end:\n{}", self.name, self.tail()));
        status.expect("a child of ours can be waited for").code()
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {} (end of its log)\n{}", self.name, self.tail());
        }
        // The child is killed with its handle.
    }
}
