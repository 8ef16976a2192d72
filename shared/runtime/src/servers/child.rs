//! A server process that cannot outlive us.
//!
//! Between us and the server stands a shell that holds the reading end of a pipe whose other end only we have. When we
//! end, in whatever way, the pipe closes and the shell stops the server: politely first, then for good. No unsafe code,
//! no Linux-only call. The shell is in a process group of its own, so that Ctrl-C reaches us alone and we decide the
//! order in which things stop.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ServerError;

/// Tells the server's pid, ends when the server does, and stops the server when its own input ends; then it also
/// removes a directory that was only for this server. The inner loop gives the server five seconds. What runs in the
/// background has no input of its own, hence descriptor 3.
const WARDEN: &str = r#"
polite=$1; remove=$2; shift 2
exec 3<&0
"$@" </dev/null 3<&- >/dev/null &
server=$!
echo "$server"
(
    read -r _ <&3
    trap '' TERM
    kill -s "$polite" "$server"
    left=50
    while kill -0 "$server" && [ "$left" -gt 0 ]; do sleep 0.1; left=$((left - 1)); done
    kill -s KILL "$server"
    if [ -n "$remove" ]; then rm -rf -- "$remove"; fi
) >/dev/null 2>&1 &
watch=$!
wait "$server"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
"#;

/// How long a server may take to stop when asked, before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// What is started and how it is asked to stop.
pub(super) struct Recipe {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) log: PathBuf,
    /// The signal that makes it stop in order.
    pub(super) polite: Signal,
    /// Programs to run it under, such as one that changes the user.
    pub(super) under: Vec<String>,
    /// A directory that goes with us, however we end.
    pub(super) remove: Option<PathBuf>,
}

pub(super) struct ServerProcess {
    warden: Child,
    /// While it is open the server lives.
    leash: Option<ChildStdin>,
    pid: u32,
    log: PathBuf,
    remove: Option<PathBuf>,
}

impl ServerProcess {
    pub(super) fn start(recipe: &Recipe) -> Result<Self, ServerError> {
        let log = File::options().create(true).append(true).open(&recipe.log).map_err(|source| ServerError::Files {
            what: "cannot write the server's log",
            path: recipe.log.clone(),
            source,
        })?;
        let failed = |source| ServerError::Start { program: recipe.program.display().to_string(), source };
        let mut warden = Command::new("/bin/sh")
            .args(["-c", WARDEN, "stepstream-warden", recipe.polite.as_str().trim_start_matches("SIG")])
            .arg(recipe.remove.as_deref().unwrap_or(Path::new("")))
            .args(&recipe.under)
            .arg(&recipe.program)
            .args(&recipe.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let leash = warden.stdin.take();
        let mut line = String::new();
        let told = warden.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        if let Some(Err(source)) = told {
            return Err(failed(source));
        }
        let pid = line.trim().parse().map_err(|_| ServerError::Start {
            program: recipe.program.display().to_string(),
            source: std::io::Error::other("the shell that watches over it told no process id"),
        })?;
        Ok(ServerProcess { warden, leash, pid, log: recipe.log.clone(), remove: recipe.remove.clone() })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended. The warden ends right after the server, so the pid is the server's as long as this is
    /// `false`.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.warden.try_wait(), Ok(None))
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        if self.has_ended() {
            return;
        }
        // The only likely error is that it ended this moment.
        if let Err(error) = kill(pid(self.pid), signal) {
            tracing::debug!(pid = self.pid, %error, "a server did not take a signal");
        }
    }

    /// Asks it to stop, insists when that does not help, and waits until it is gone.
    pub(super) async fn stop(&mut self, signal: Signal) {
        self.signal(signal);
        if !self.gone_within(STOP_PATIENCE).await {
            tracing::warn!(pid = self.pid, "a server did not stop when asked and is killed");
            self.signal(Signal::SIGKILL);
            self.gone_within(STOP_PATIENCE).await;
        }
        self.leash = None;
    }

    /// Kills it and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.gone_within(STOP_PATIENCE).await;
        self.leash = None;
    }

    async fn gone_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// For drops, where nothing can be awaited: short, and never longer than the patience. Removes what was only for
    /// this server.
    pub(super) fn end(&mut self, signal: Signal, patience: Duration) {
        self.signal(signal);
        let deadline = Instant::now() + patience;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                self.signal(Signal::SIGKILL);
                break;
            }
            std::thread::sleep(POLL);
        }
        self.leash = None;
        if let Some(directory) = &self.remove
            && let Err(error) = std::fs::remove_dir_all(directory)
        {
            tracing::debug!(%error, path = %directory.display(), "a server's directory stays behind");
        }
    }

    /// For one that has ended by itself and is started anew in the same directory.
    pub(super) fn end_keeping(&mut self) {
        self.remove = None;
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of the log, for an error.
    pub(super) fn last_words(&self) -> String {
        last_lines(&self.log)
    }
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap_or(i32::MAX))
}

/// Whether there is a process of this id, be it another user's.
pub(super) fn exists(process: u32) -> bool {
    kill(pid(process), None) != Err(Errno::ESRCH)
}

/// The last lines of a file; a note when it cannot be read.
pub(super) fn last_lines(path: &Path) -> String {
    const LINES: usize = 12;
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LINES)..].join("\n")
        }
        Err(error) => format!("(cannot be read: {error})"),
    }
}
