//! The file `stepstream.toml`: what one would otherwise repeat on every command line.
//!
//! A flag wins over the environment, the environment over this file, this file over the default.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::builder::{BoolishValueParser, TypedValueParser};
use serde::Deserialize;

use crate::exit::Problem;

/// Looked for in the working directory.
const DEFAULT_FILE: &str = "stepstream.toml";

/// A key that is not known is an error: a misspelt one would be ignored in silence.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Directory of the embedded store.
    pub data: Option<PathBuf>,
    /// URL of a server, instead of an embedded store.
    pub server: Option<String>,
    pub tenant: Option<String>,
    /// Let graphs run programs on this machine.
    pub allow_process: Option<bool>,
    /// Steps at once in this process.
    pub slots: Option<usize>,
    /// The file of the working directory wanted programs to be allowed. It comes with whatever somebody downloaded, so
    /// it decides nothing.
    #[serde(skip)]
    pub allow_process_ignored: bool,
}

impl Settings {
    /// Reads the file that was named, or the one in the working directory if there is one.
    pub fn load(named: Option<&Path>) -> Result<Self, Problem> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Problem::usage(format!("cannot read {}: {error}", path.display()))),
        };
        let mut settings: Settings = toml::from_str(&text).map_err(|error| {
            Problem::usage(format!("{} is not a configuration: {error}", path.display()))
                .hint("known keys: data, server, tenant, allow-process, slots")
        })?;
        if named.is_none() && settings.allow_process == Some(true) {
            settings.allow_process = None;
            settings.allow_process_ignored = true;
        }
        Ok(settings)
    }
}

/// A variable that is set to something.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A switch in the environment, if it is set to something: the same words as for flags that read their variable.
///
/// # Errors
/// Wrong usage when the word says neither yes nor no.
pub fn env_switch(name: &str) -> Result<Option<bool>, Problem> {
    env(name).map(|value| switch(name, &value)).transpose()
}

fn switch(name: &str, value: &str) -> Result<bool, Problem> {
    BoolishValueParser::new().parse_ref(&clap::Command::new("stepstream"), None, OsStr::new(value)).map_err(|_| {
        Problem::usage(format!("{name} is `{}`, which says neither yes nor no", crate::output::printable(value)))
            .hint("yes is one of 1, true, t, yes, y, on; no is one of 0, false, f, no, n, off")
    })
}

#[cfg(test)]
mod tests;
