//! Runs the program in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far beyond any healthy run: reaching it means that the program is wrong, not that the machine is slow.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(20);

/// One test's directory, where commands run.
pub struct Desk(tempfile::TempDir);

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Desk {
    pub fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program, ready to be given arguments. Nothing of this process's configuration reaches it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepstream"));
        command.current_dir(self.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("STEPSTREAM_") || ["NATS_URL", "DATABASE_URL", "RUST_LOG"].contains(&name.as_str()) {
                command.env_remove(name);
            }
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        ended(self.start(args))
    }

    pub fn start(&self, args: &[&str]) -> Child {
        self.command().args(args).spawn().unwrap()
    }

    /// Runs and expects an end with this code.
    #[track_caller]
    pub fn expect(&self, code: i32, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{args:?}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked"), "{args:?}: {}", ran.stderr);
        ran
    }

    /// A graph of ten steps in a row, of which each adds a line to `side` and takes a while.
    pub fn slow_graph(&self) -> PathBuf {
        let nodes: String = (0..10)
            .map(|n| {
                let next = if n < 9 { format!(", next: [{{ to: s{} }}]", n + 1) } else { String::new() };
                format!(
                    "  s{n}: {{ task: process, with: {{ argv: [sh, -c, \"echo {n} >> side; sleep 0.2\"] }}{next} }}\n"
                )
            })
            .collect();
        self.write("slow.yaml", format!("stepstream: 1\nname: slow\nnodes:\n{nodes}"))
    }

    pub fn hello(&self) -> PathBuf {
        self.write("hello.yaml", "stepstream: 1\nname: hello\ninputs: { type: object, properties: { n: { type: integer } } }\nnodes:\n  a: { task: echo, with: { said: hello } }\noutput: \"=steps.a.output.said\"\n")
    }

    /// Lines that steps of [`Desk::slow_graph`] wrote so far.
    pub fn side(&self) -> Vec<String> {
        std::fs::read_to_string(self.path().join("side")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The id of the execution that was started last.
    pub fn last_execution(&self) -> String {
        let list = self.expect(0, &["get", "executions", "-o", "json"]).json();
        list["items"][0]["execution_id"].as_str().expect("an execution").to_owned()
    }

    pub fn events(&self, execution: &str) -> Vec<Value> {
        let events = self.expect(0, &["events", execution, "-o", "jsonl"]);
        events.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Ran {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Waits for a command that was started.
pub fn ended(child: Child) -> Ran {
    let pid = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    match receiver.recv_timeout(PATIENCE) {
        Ok(output) => output.into(),
        Err(_) => {
            signal(pid, nix::sys::signal::Signal::SIGKILL);
            panic!("it never ended");
        }
    }
}

pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// Checks often and gives up late.
#[track_caller]
pub fn until(what: &str, mut check: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < give_up, "never happened: {what}");
        std::thread::sleep(LOOK);
    }
}
