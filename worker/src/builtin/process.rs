//! `process`: runs a program on the worker's machine.
//!
//! There is no shell between the input and the program, and of the worker's environment only `PATH`, `HOME` and `LANG`
//! pass. The program leads a process group of its own; when the attempt ends, no member of that group is left. Two things
//! escape this: a program that moves its children to another session, and all of them when the worker itself is ended
//! by `kill -9` or lack of memory, because nothing is left to end them. A container around the worker catches both.

mod group;
mod memory;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepstream_shared::data;
use stepstream_shared::error::ErrorCategory;
use stepstream_shared::event::Violation;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use self::group::Group;
use crate::callable::Callable;
use crate::context::Context;
use crate::failure::Failure;

/// Bytes of standard output, and of standard error, that a program may write, unless its input says otherwise.
pub const DEFAULT_OUTPUT_BYTES: usize = 1024 * 1024;
/// Most that an input may ask for: a step's output is no longer.
pub const MAX_OUTPUT_BYTES: usize = data::MAX_BYTES;
/// What of standard error goes into a failure's details.
const STDERR_TAIL_BYTES: usize = 2048;
/// Between asking a group to end (TERM) and ending it (KILL). Shorter than the time a callable has to clean up.
const TERM_TO_KILL: Duration = Duration::from_millis(1_800);
/// How long the pipes may stay open after the group is gone: only an escaped process can hold them.
const PIPES_CLOSE: Duration = Duration::from_secs(1);
/// The part of the worker's environment that programs see: enough to be found, to find a home, and to write UTF-8.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

pub struct Process {
    pub allowed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The program and its arguments.
    pub argv: Vec<String>,
    pub cwd: Option<PathBuf>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub stdin: Option<String>,
    #[serde(default)]
    pub output: Format,
    pub max_output_bytes: Option<usize>,
    /// Exit codes that are no failure.
    #[serde(default = "zero")]
    pub allow_exit_codes: Vec<i32>,
}

fn zero() -> Vec<i32> {
    vec![0]
}

/// What standard output is read as.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Text,
    Json,
    Lines,
}

#[derive(Debug, Serialize)]
pub struct Output {
    pub exit_code: i32,
    pub stdout: Value,
    pub stderr: String,
    pub duration_ms: u64,
}

impl Callable for Process {
    type Input = Input;
    type Output = Output;

    async fn call(&self, context: &Context, input: Input) -> Result<Output, Failure> {
        if !self.allowed {
            return Err(Failure::new(
                ErrorCategory::PolicyViolation,
                "this worker does not run programs; start it with --allow-process where graphs may",
            )
            .code("permission_denied"));
        }
        let limit = check(&input)?;
        let began = Instant::now();
        let mut child = spawn(&input)?;
        // From here on, leaving this function by any way ends the group.
        let group = Group::led_by(&child);
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Some(mut pipe), Some(text)) = (stdin.take(), &input.stdin) {
                // A program may end without reading all it is given.
                let _ = pipe.write_all(text.as_bytes()).await;
            }
            drop(stdin);
            Ok(())
        };
        let exit = async {
            let status = child.wait().await;
            // What it left behind would hold the pipes open, and outlive the step.
            group.kill();
            status
        };
        // The first that is beyond its limit ends all three: a program that writes need not ever read.
        let read = async {
            let (stdout, stderr, ()) =
                tokio::try_join!(bounded(stdout, "stdout", limit), bounded(stderr, "stderr", limit), feed)?;
            Ok::<_, Failure>((stdout, stderr))
        };
        let finished = async {
            let mut exit = std::pin::pin!(exit);
            let mut read = std::pin::pin!(read);
            tokio::select! {
                read_first = &mut read => {
                    let (stdout, stderr) = read_first?;
                    Ok((exit.await?, stdout, stderr))
                }
                status = &mut exit => {
                    let status = status?;
                    let (stdout, stderr) = tokio::time::timeout(PIPES_CLOSE, read).await.map_err(|_| {
                        Failure::invalid_output("a process that left the program's group still holds its output open")
                    })??;
                    Ok((status, stdout, stderr))
                }
            }
        };
        let mut finished = std::pin::pin!(finished);
        let result: Result<(ExitStatus, Vec<u8>, Vec<u8>), Failure> = tokio::select! {
            result = &mut finished => result,
            () = context.cancelled() => {
                group.ask_to_end();
                let _ = tokio::time::timeout(TERM_TO_KILL, finished).await;
                return Err(Failure::cancelled());
            }
            bytes = memory::exceeded(group.leader(), context.max_memory()) => {
                group.kill();
                let _ = tokio::time::timeout(TERM_TO_KILL, finished).await;
                return Err(too_much_memory(&input, bytes, context.max_memory().unwrap_or_default()));
            }
        };
        let (status, stdout, stderr) = result?;
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        judge(&input, status, stdout, stderr, duration_ms)
    }
}

/// Refuses what cannot be run, and answers the output limit.
fn check(input: &Input) -> Result<usize, Failure> {
    match input.argv.first() {
        None => return Err(Failure::invalid_input("`argv` is empty; its first item is the program")),
        Some(program) if program.is_empty() => return Err(Failure::invalid_input("`argv[0]` names no program")),
        Some(_) => {}
    }
    if input.argv.iter().any(|text| text.contains('\0')) {
        return Err(Failure::invalid_input("`argv` holds a NUL byte; programs cannot be given one"));
    }
    let odd_name = |name: &String| name.is_empty() || name.contains(['=', '\0']);
    if let Some((name, _)) = input.env.iter().find(|(name, value)| odd_name(name) || value.contains('\0')) {
        return Err(Failure::invalid_input(format!("`env` holds {name:?}, which is no variable that can be set")));
    }
    if let Some(cwd) = &input.cwd
        && !cwd.is_dir()
    {
        return Err(Failure::invalid_input(format!("`cwd` {} is no directory on this worker", cwd.display())));
    }
    match input.max_output_bytes.unwrap_or(DEFAULT_OUTPUT_BYTES) {
        limit @ 1..=MAX_OUTPUT_BYTES => Ok(limit),
        limit => Err(Failure::invalid_input(format!(
            "`max_output_bytes` is a number from 1 to {MAX_OUTPUT_BYTES}, not {limit}"
        ))),
    }
}

fn spawn(input: &Input) -> Result<tokio::process::Child, Failure> {
    let inherited = INHERITED.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let program = &input.argv[0];
    let mut command = Command::new(program);
    command
        .args(&input.argv[1..])
        .env_clear()
        .envs(inherited)
        .envs(&input.env)
        .stdin(if input.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(cwd) = &input.cwd {
        command.current_dir(cwd);
    }
    command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let hint = if Path::new(program).components().count() > 1 { "" } else { " (searched in PATH)" };
            tool_error(format!("there is no program `{program}` on this worker{hint}")).code("not_found")
        }
        ErrorKind::PermissionDenied => {
            tool_error(format!("`{program}` may not be run by this worker")).code("permission_denied")
        }
        ErrorKind::ArgumentListTooLong => Failure::invalid_input(format!("`argv` and `env` are too long: {error}")),
        // Too many processes or files: another attempt, later or elsewhere, may get through.
        _ => tool_error(format!("`{program}` could not be started: {error}")),
    })
}

/// No retry: it would need as much again. Whoever knows better has an error edge, or another bound.
fn too_much_memory(input: &Input, bytes: u64, limit: u64) -> Failure {
    const MIB: u64 = 1024 * 1024;
    let message = format!(
        "`{}` had {} MiB in memory, and limits.max_memory_mb is {}; it was ended",
        input.argv[0],
        bytes.div_ceil(MIB),
        limit / MIB
    );
    Failure::new(Violation::MemoryLimit.category(), message)
        .code(Violation::MemoryLimit.name())
        .details(json!({ "bytes": bytes, "limit_bytes": limit }))
}

fn tool_error(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCategory::ToolError, message)
}

async fn bounded(pipe: Option<impl AsyncRead + Unpin>, name: &str, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(limit as u64 + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() > limit {
        return Err(Failure::invalid_output(format!(
            "the program wrote more than {limit} bytes to {name} (max_output_bytes); it was ended"
        )));
    }
    Ok(bytes)
}

fn judge(
    input: &Input,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    duration_ms: u64,
) -> Result<Output, Failure> {
    use std::os::unix::process::ExitStatusExt;
    let program = &input.argv[0];
    let exit_code = status.code();
    let Some(exit_code) = exit_code.filter(|code| input.allow_exit_codes.contains(code)) else {
        let how = match (exit_code, status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended without an exit code".to_owned(),
        };
        let tail = tail(&stderr);
        let last_line = tail.trim_end().lines().last().unwrap_or_default();
        let said = if last_line.is_empty() { String::new() } else { format!(": {last_line}") };
        return Err(tool_error(format!("`{program}` {how}{said}")).code("execution_failed").details(json!({
            "exit_code": exit_code, "signal": status.signal(), "stderr": tail, "duration_ms": duration_ms,
        })));
    };
    let stdout = match input.output {
        Format::Text => Value::String(text(stdout)),
        Format::Lines => text(stdout).lines().map(Value::from).collect(),
        Format::Json => serde_json::from_slice(&stdout).map_err(|error| {
            Failure::invalid_output(format!("the standard output of `{program}` is not JSON: {error}"))
        })?,
    };
    Ok(Output { exit_code, stdout, stderr: text(stderr), duration_ms })
}

/// Bytes that are no UTF-8 become U+FFFD: a step's output is JSON-like.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn tail(bytes: &[u8]) -> String {
    let from = bytes.len().saturating_sub(STDERR_TAIL_BYTES);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

#[cfg(test)]
mod tests;
