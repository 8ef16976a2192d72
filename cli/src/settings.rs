//! The file `stepstream.toml`: what one would otherwise repeat on every command line.
//!
//! A flag wins over the environment, the environment over this file, this file over the default.

use std::path::{Path, PathBuf};

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
        toml::from_str(&text).map_err(|error| {
            Problem::usage(format!("{} is not a configuration: {error}", path.display()))
                .hint("known keys: data, server, tenant, allow-process, slots")
        })
    }
}

/// A variable that is set to something.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A switch in the environment: anything but `0`, `false` and `no` turns it on.
pub fn env_switch(name: &str) -> Option<bool> {
    env(name).map(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "false" | "no"))
}

#[cfg(test)]
mod tests;
