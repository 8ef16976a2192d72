//! Where the built programs are.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// Far beyond any healthy run.
const PATIENCE: Duration = Duration::from_secs(240);

/// Whatever a developer has exported must not steer a test.
const PREFIXES: [&str; 2] = ["STEPSTREAM_", "OTEL_"];
const NAMES: [&str; 3] = ["NATS_URL", "DATABASE_URL", "RUST_LOG"];

/// The `stepstream` of the profile that this test was built with.
///
/// # Panics
/// When it is not built: a test cannot build it, because cargo holds its lock while it runs tests.
pub fn stepstream() -> PathBuf {
    let test = std::env::current_exe().expect("a test has an executable");
    // target/<profile>/deps/<test>
    let folder = test.parent().and_then(Path::parent).expect("a test lies in its profile's folder");
    let program = folder.join("stepstream");
    assert!(
        program.is_file(),
        "{} is not there; system tests run the built programs: cargo build --workspace --bins{}",
        program.display(),
        if folder.ends_with("release") { " --release" } else { "" }
    );
    program
}

/// A command line of `stepstream` in a directory, free of the surroundings' settings.
pub fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if PREFIXES.iter().any(|prefix| text.starts_with(prefix)) || NAMES.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    command.current_dir(directory).env("NO_COLOR", "1").stdin(std::process::Stdio::null()).kill_on_drop(true);
    command
}

/// What a command that ended by itself said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// # Panics
    /// When standard output is not one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:#?}"))
    }

    /// # Panics
    /// When the command ended otherwise.
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `stepstream` to its end.
///
/// # Panics
/// When it does not end: that is a defect, and it is killed.
pub async fn run(directory: &Path, arguments: &[&str]) -> Said {
    let ended = command(&stepstream(), directory).args(arguments).output();
    let output = tokio::time::timeout(PATIENCE, ended).await;
    let output = output.unwrap_or_else(|_| panic!("`stepstream {}` does not end", arguments.join(" ")));
    output.expect("the built program starts").into()
}
