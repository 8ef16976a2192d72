//! The options of the coordinator, the same for `stepstream-coordinator` and `stepstream coordinator`.

mod callbacks;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use stepstream_runtime::artifact::ArtifactsUrl;
use stepstream_runtime::telemetry::LogFormat;
use stepstream_shared::artifact::{DEFAULT_INLINE_BYTES, inline_bytes};

pub use self::callbacks::{BadCallbackArgs, CallbackArgs};
use crate::coordinator::DEFAULT_BACKGROUND_LIMIT;

/// Longest lease: a dead coordinator's executions rest for as long.
const MAX_LEASE: Duration = Duration::from_secs(300);
/// Shortest lease: renewals come three to a lease, and a slow disk must not lose one.
const MIN_LEASE: Duration = Duration::from_millis(500);
/// Longest of the other times.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);
/// Most partitions: each costs a renewal and a consumer.
const MAX_PARTITIONS: i64 = 4096;

/// Flags win over the environment, the environment over the defaults.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("store").args(["postgres", "sqlite"]))]
pub struct CoordinatorArgs {
    /// Where NATS is; several servers of one cluster separated by commas
    #[arg(long, value_name = "URL", env = "STEPSTREAM_NATS", hide_env_values = true)]
    nats: Option<String>,

    /// Read where `--nats` and STEPSTREAM_NATS are absent, as NATS tools do
    #[arg(long = "nats-url-fallback", hide = true, env = "NATS_URL", hide_env_values = true)]
    nats_url: Option<String>,

    /// The PostgreSQL database that holds the log; made ready when it is empty
    #[arg(long, value_name = "URL", env = "STEPSTREAM_POSTGRES", hide_env_values = true)]
    postgres: Option<String>,

    /// Read where `--postgres`, STEPSTREAM_POSTGRES and `--sqlite` are absent
    #[arg(long = "database-url-fallback", hide = true, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// A SQLite file that holds the log instead: one coordinator and no other
    #[arg(long, value_name = "PATH", env = "STEPSTREAM_SQLITE")]
    sqlite: Option<PathBuf>,

    /// Where the API listens; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", env = "STEPSTREAM_LISTEN", default_value = "127.0.0.1:8233")]
    pub listen: String,

    /// What people see in lists and logs; host name and process id unless given
    #[arg(long, env = "STEPSTREAM_COORDINATOR_NAME")]
    name: Option<String>,

    /// Others take this coordinator's partitions so long after it was heard of last
    #[arg(long, value_name = "DURATION", env = "STEPSTREAM_LEASE", default_value = "5s", value_parser = lease)]
    pub lease: Duration,

    /// Slices of the executions; counts only when the store is created
    #[arg(
        long, value_name = "N", env = "STEPSTREAM_PARTITIONS", default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=MAX_PARTITIONS)
    )]
    pub partitions: u16,

    /// Silence after which a job is looked for on the bus, and sent again if it is gone
    #[arg(long, value_name = "DURATION", env = "STEPSTREAM_REDISPATCH_AFTER", default_value = "30s", value_parser = duration)]
    pub redispatch_after: Duration,

    /// Background executions that run here at the same time; the others are queued
    #[arg(long, value_name = "N", env = "STEPSTREAM_BACKGROUND_LIMIT", default_value_t = DEFAULT_BACKGROUND_LIMIT)]
    pub background_limit: NonZeroUsize,

    /// Publish events to the stream EVENTS as they happen
    #[arg(long, env = "STEPSTREAM_FEED")]
    pub feed: bool,

    /// Where artifacts are: a folder that all programs see, or s3://bucket/prefix with the AWS_ variables; none if absent
    #[arg(long, value_name = "URL", env = "STEPSTREAM_ARTIFACTS")]
    pub artifacts: Option<ArtifactsUrl>,

    /// Inputs and signals of more bytes than this are put into the artifact store, if there is one
    #[arg(long, value_name = "BYTES", env = "STEPSTREAM_INLINE_BYTES", default_value_t = DEFAULT_INLINE_BYTES, value_parser = inline_bytes)]
    pub inline_bytes: usize,

    /// Time to finish what is in flight after SIGTERM
    #[arg(long, value_name = "DURATION", env = "STEPSTREAM_GRACE", default_value = "25s", value_parser = duration)]
    pub grace: Duration,

    /// How log lines look: text or json
    #[arg(long, value_name = "FORMAT", env = "STEPSTREAM_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    #[command(flatten)]
    pub callbacks: CallbackArgs,
}

/// Where the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    Postgres(String),
    Sqlite(PathBuf),
}

impl CoordinatorArgs {
    pub fn nats(&self) -> &str {
        let given = [&self.nats, &self.nats_url].into_iter().flatten().find(|url| !url.is_empty());
        given.map_or("nats://127.0.0.1:4222", String::as_str)
    }

    /// Where the log is; `None` when nobody said.
    pub fn store(&self) -> Option<StoreChoice> {
        let named = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
        if let Some(path) = &self.sqlite {
            return Some(StoreChoice::Sqlite(path.clone()));
        }
        named(&self.postgres).or_else(|| named(&self.database_url)).map(StoreChoice::Postgres)
    }

    pub fn name(&self) -> String {
        self.name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| format!("{}-{}", host(), std::process::id()))
    }
}

/// The machine's name, or something to call it by.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "coordinator".to_owned())
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if (MIN_LEASE..=MAX_LEASE).contains(&lease) {
        Ok(lease)
    } else {
        Err(format!("a lease lasts {} ms to {} s", MIN_LEASE.as_millis(), MAX_LEASE.as_secs()))
    }
}

/// A whole number and its unit: `ms`, `s`, `m` or `h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is a whole number and a unit: 500ms, 30s, 2m, 1h".to_owned();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let duration = Duration::from_millis(number.checked_mul(millis).ok_or_else(wrong)?);
    if duration > MAX_TIME { Err("at most 24h".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests;
