//! Logs: to standard error, as text for people or JSON for machines, filtered by `RUST_LOG`.
//!
//! Standard output belongs to results. Nothing here is durable; what happened to an execution stands in its log.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, UnknownLogFormat> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(UnknownLogFormat(text.to_owned())),
        }
    }
}

impl std::fmt::Display for LogFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no log format; there are text and json")]
pub struct UnknownLogFormat(String);

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("RUST_LOG is not a filter: {0}")]
    Filter(String),
    #[error("logs are set up already")]
    Twice,
}

/// What the logs should be.
#[derive(Debug, Clone)]
pub struct Telemetry {
    pub format: LogFormat,
    /// The filter where `RUST_LOG` says nothing.
    pub default_filter: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry { format: LogFormat::Text, default_filter: "info".to_owned() }
    }
}

/// Starts logging. Once per process, at the edge: it reads `RUST_LOG` and `NO_COLOR`.
pub fn init(telemetry: &Telemetry) -> Result<(), TelemetryError> {
    let wanted = std::env::var("RUST_LOG").ok();
    let filter = filter(wanted.as_deref(), &telemetry.default_filter)?;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !no_color);
    match telemetry.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(|_| TelemetryError::Twice)
}

/// An empty variable counts as absent, as `RUST_LOG= program` is how people switch it off.
fn filter(wanted: Option<&str>, default: &str) -> Result<EnvFilter, TelemetryError> {
    let directives = wanted.filter(|text| !text.is_empty()).unwrap_or(default);
    EnvFilter::try_new(directives).map_err(|error| TelemetryError::Filter(error.to_string()))
}

#[cfg(test)]
mod tests;
