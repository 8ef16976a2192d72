//! The options of the stock worker, the same for `stepstream-worker` and `stepstream worker`.

mod http;

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use stepstream_runtime::artifact::ArtifactsUrl;
use stepstream_runtime::telemetry::LogFormat;
use stepstream_shared::artifact::{DEFAULT_INLINE_BYTES, inline_bytes};

use crate::tenant::TenantShare;
use crate::worker::{DEFAULT_QUEUE, MAX_SLOTS, check_queue};

pub use http::{BadHttpArgs, HttpArgs};

/// Longest time that a worker may be asked to drain.
const MAX_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Flags win over the environment, the environment over the defaults.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// Where NATS is, several servers of one cluster separated by commas; NATS_URL or nats://127.0.0.1:4222 if absent
    #[arg(long, value_name = "URL", env = "STEPSTREAM_NATS", hide_env_values = true)]
    nats: Option<String>,

    /// A tenant whose jobs are run; may be given several times, or as a list with commas. Tenants share the slots by the
    /// time that their attempts hold them, evenly or by weight: `--tenant tenant_a=3 --tenant tenant_b`
    #[arg(
        long = "tenant",
        value_name = "ID[=WEIGHT]",
        env = "STEPSTREAM_TENANT",
        default_value = "tenant_default",
        value_delimiter = ','
    )]
    pub tenants: Vec<TenantShare>,

    /// A queue to take jobs from; may be given several times, or as a list with commas
    #[arg(
        long = "queue", value_name = "NAME", env = "STEPSTREAM_QUEUE", default_value = DEFAULT_QUEUE,
        value_delimiter = ',', value_parser = queue
    )]
    pub queues: Vec<String>,

    /// How many attempts run at once
    #[arg(long, value_name = "N", env = "STEPSTREAM_SLOTS", default_value = "16", value_parser = slots)]
    pub slots: NonZeroUsize,

    /// What people see in the log of an execution; host name and process id unless given
    #[arg(long, env = "STEPSTREAM_WORKER_NAME")]
    name: Option<String>,

    /// Let graphs run programs on this machine, with the rights of this worker
    #[arg(long, env = "STEPSTREAM_ALLOW_PROCESS", value_parser = BoolishValueParser::new())]
    pub allow_process: bool,

    #[command(flatten)]
    pub http: HttpArgs,

    /// Where artifacts are: a folder that all programs see, or s3://bucket/prefix with the AWS_ variables; none if absent
    #[arg(long, value_name = "URL", env = "STEPSTREAM_ARTIFACTS")]
    pub artifacts: Option<ArtifactsUrl>,

    /// Outputs of more bytes than this are put into the artifact store, if there is one
    #[arg(long, value_name = "BYTES", env = "STEPSTREAM_INLINE_BYTES", default_value_t = DEFAULT_INLINE_BYTES, value_parser = inline_bytes)]
    pub inline_bytes: usize,

    /// Time to finish what is in flight after SIGTERM, such as 30s, 500ms, 2m
    #[arg(long, value_name = "DURATION", env = "STEPSTREAM_GRACE", default_value = "30s", value_parser = duration)]
    pub grace: Duration,

    /// How log lines look: text or json
    #[arg(long, value_name = "FORMAT", env = "STEPSTREAM_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

impl WorkerArgs {
    pub fn nats(&self) -> String {
        let given = self.nats.clone().or_else(|| std::env::var("NATS_URL").ok());
        given.filter(|url| !url.is_empty()).unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned())
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
        .unwrap_or_else(|| "worker".to_owned())
}

fn queue(text: &str) -> Result<String, String> {
    check_queue(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn slots(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .ok()
        .filter(|slots: &NonZeroUsize| slots.get() <= MAX_SLOTS)
        .ok_or_else(|| format!("a worker has 1 to {MAX_SLOTS} slots"))
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
    if duration > MAX_GRACE { Err("at most 24h".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests;
