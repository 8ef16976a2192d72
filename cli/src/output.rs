//! Standard output carries results, standard error everything else.
//!
//! Nobody who closes the other end of a pipe has made a mistake: `stepstream events … | head` ends quietly. So nothing
//! here panics, and whoever writes for long asks [`closed`] from time to time.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::Value;

use crate::exit::{Exit, Problem};

static CLOSED: AtomicBool = AtomicBool::new(false);

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const BAD: Style = AnsiColor::Red.on_default();
pub const WARN: Style = AnsiColor::Yellow.on_default();

/// Whether the reader of standard output has gone.
pub fn closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Writes one line of result. A reader that has gone is no error.
///
/// # Errors
/// Whatever else keeps the result from arriving, such as a full disk behind a redirection.
pub fn line(text: &str) -> Result<(), Problem> {
    if closed() {
        return Ok(());
    }
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => Err(Problem::new(Exit::Exhausted, format!("the result cannot be written: {error}"))),
    }
}

/// One object on one line.
pub fn json_line(value: &impl Serialize) -> Result<(), Problem> {
    line(&to_json(value, serde_json::to_string)?)
}

/// One object, for people and programs.
pub fn json(value: &impl Serialize) -> Result<(), Problem> {
    line(&to_json(value, serde_json::to_string_pretty)?)
}

fn to_json<T: Serialize>(value: &T, write: fn(&T) -> serde_json::Result<String>) -> Result<String, Problem> {
    write(value).map_err(|error| Problem::new(Exit::Refused, format!("the result cannot be shown as JSON: {error}")))
}

/// A value as a person at a terminal wants it: text as it is, everything else as JSON.
pub fn value(value: &Value) -> Result<(), Problem> {
    match value {
        Value::String(text) => line(text),
        other => json(other),
    }
}

/// Says something on standard error. Whoever closed that did not want to hear it.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A warning on standard error.
pub fn warn(text: &str) {
    note(&format!("{WARN}warning:{WARN:#} {text}"));
}

/// The problem that ends the program, on standard error.
pub fn problem(problem: &Problem) {
    // The compiler's messages begin with a word of their own.
    if problem.message.starts_with("error") {
        note(problem.message.trim_end());
    } else {
        note(&format!("{BAD}error:{BAD:#} {}", problem.message.trim_end()));
    }
    if let Some(hint) = &problem.hint {
        for line in hint.lines() {
            note(&format!("{DIM} hint:{DIM:#} {line}"));
        }
    }
}

/// Flushes what the standard library may still hold.
pub fn finish() {
    let _ = io::stdout().flush();
}

/// Control characters would move the cursor of a terminal; names and messages come from anywhere.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
