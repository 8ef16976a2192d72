//! Where executions live: a directory of one's own, or a server.

use std::path::{Path, PathBuf};

use clap::Args;
use stepstream_shared::id::TenantId;

use crate::exit::Problem;
use crate::settings::{Settings, env};

/// The directory where nothing else is said.
pub const DEFAULT_DATA: &str = ".stepstream";

/// On every command that touches executions or graphs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Where executions live")]
pub struct TargetArgs {
    /// Directory of the embedded store [default: .stepstream] [env: STEPSTREAM_DATA]
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    pub data: Option<PathBuf>,

    /// URL of a server, such as http://127.0.0.1:8233, instead of an embedded store [env: STEPSTREAM_SERVER]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,

    /// Whose executions [default: tenant_default] [env: STEPSTREAM_TENANT]
    #[arg(long, value_name = "ID")]
    pub tenant: Option<String>,
}

/// On commands that only read the log, or repair what is derived from it.
#[derive(Debug, Clone, Default, Args)]
pub struct LogArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    /// Read the log in this PostgreSQL database, past the server
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "server"], help_heading = "Where executions live")]
    pub postgres: Option<String>,
}

/// Where a command looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Data(PathBuf),
    Server(String),
    Postgres(String),
}

/// Where a command looks, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub target: Target,
    pub tenant: TenantId,
}

impl TargetArgs {
    pub fn resolve(&self, settings: &Settings) -> Result<Place, Problem> {
        self.resolve_with(settings, &env)
    }

    fn resolve_with(&self, settings: &Settings, env: &dyn Fn(&str) -> Option<String>) -> Result<Place, Problem> {
        let levels = [
            (self.data.clone(), self.server.clone(), "the command line"),
            (env("STEPSTREAM_DATA").map(PathBuf::from), env("STEPSTREAM_SERVER"), "the environment"),
            (settings.data.clone(), settings.server.clone(), "stepstream.toml"),
        ];
        let mut target = None;
        for (data, server, source) in levels {
            target = match (data, server) {
                (None, None) => continue,
                (Some(data), None) => Some(Target::Data(data)),
                (None, Some(server)) => Some(Target::Server(check_url(&server)?)),
                (Some(_), Some(_)) => {
                    let message = format!("{source} names both a data directory and a server");
                    return Err(
                        Problem::usage(message).hint("executions live in one of them: choose with --data or --server")
                    );
                }
            };
            break;
        }
        let target = target.unwrap_or_else(|| Target::Data(DEFAULT_DATA.into()));
        let tenant = self.tenant.clone().or_else(|| env("STEPSTREAM_TENANT")).or_else(|| settings.tenant.clone());
        let tenant = match tenant {
            None => TenantId::default_tenant(),
            Some(text) => text.parse().map_err(|error| {
                Problem::usage(format!("`{}` is no tenant: {error}", crate::output::printable(&text)))
                    .hint("such as tenant_acme: letters, digits, `_` and `-` after `tenant_`")
            })?,
        };
        Ok(Place { target, tenant })
    }
}

impl LogArgs {
    pub fn resolve(&self, settings: &Settings) -> Result<Place, Problem> {
        let mut place = self.target.resolve(settings)?;
        if let Some(url) = &self.postgres {
            place.target = Target::Postgres(url.clone());
        }
        Ok(place)
    }
}

impl Place {
    /// What to add to a command line so that it looks in the same place.
    pub fn as_arguments(&self) -> String {
        let mut text = match &self.target {
            Target::Data(data) if data == Path::new(DEFAULT_DATA) => String::new(),
            Target::Data(data) => format!(" --data {}", shell_word(&data.to_string_lossy())),
            Target::Server(url) => format!(" --server {}", shell_word(url)),
            Target::Postgres(url) => format!(" --postgres {}", shell_word(&without_password(url))),
        };
        if self.tenant != TenantId::default_tenant() {
            text.push_str(&format!(" --tenant {}", self.tenant));
        }
        text
    }
}

/// The URL of a database as it may be shown.
fn without_password(url: &str) -> String {
    const HIDDEN: &str = "***";
    let Ok(mut parsed) = reqwest::Url::parse(url) else { return "URL".to_owned() };
    if parsed.password().is_some() && parsed.set_password(Some(HIDDEN)).is_err() {
        return "URL".to_owned();
    }
    if parsed.query_pairs().any(|(name, _)| name == "password") {
        let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
        let shown = pairs.iter().map(|(name, value)| (name, if name == "password" { HIDDEN } else { value }));
        parsed.query_pairs_mut().clear().extend_pairs(shown);
    }
    parsed.into()
}

/// A word that a shell reads as this text.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn check_url(text: &str) -> Result<String, Problem> {
    let url = text.trim_end_matches('/');
    let parsed = reqwest::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match parsed {
        Some(_) => Ok(url.to_owned()),
        None => Err(Problem::usage(format!("`{}` is no URL of a server", crate::output::printable(text)))
            .hint("such as http://127.0.0.1:8233")),
    }
}

#[cfg(test)]
mod tests;
