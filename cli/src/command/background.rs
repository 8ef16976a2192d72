//! `run --background`: how an execution runs that nobody stands by.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_shared::background::{BackgroundMode, BackgroundRequest, BindingRequest, RetryRequest};
use stepstream_shared::id::TriggerId;
use stepstream_shared::time::Timestamp;

use crate::exit::Problem;
use crate::input;
use crate::stop::duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Mode {
    /// Nobody waits for what it gives
    FireAndForget,
    /// Somebody waits for what it gives, nobody watches it
    Silent,
    /// It begins later: with --run-at or --run-in
    Deferred,
    /// What follows from the other options
    #[value(hide = true)]
    Auto,
}

impl Mode {
    pub const fn mode(self) -> Option<BackgroundMode> {
        match self {
            Mode::FireAndForget => Some(BackgroundMode::FireAndForget),
            Mode::Silent => Some(BackgroundMode::Silent),
            Mode::Deferred => Some(BackgroundMode::Deferred),
            Mode::Auto => None,
        }
    }
}

/// Everything but `--background` itself means something with it only.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "In the background")]
pub struct BackgroundArgs {
    /// Queue it, print its id, and do not wait for it; =silent, =deferred and =fire_and_forget (the default) say how
    #[arg(
        long, value_name = "MODE", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "auto",
        conflicts_with_all = ["wait", "timeout"]
    )]
    background: Option<Mode>,

    /// Higher is sooner, 0 to 255 [default: 50]
    #[arg(long, value_name = "N", requires = "background")]
    priority: Option<u8>,

    /// How long it may run, from its start on [default: 5m]
    #[arg(long, value_name = "DURATION", requires = "background", value_parser = duration)]
    time_limit: Option<Duration>,

    /// Begin at this moment, such as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME", requires = "background", conflicts_with = "run_in", value_parser = moment)]
    run_at: Option<Timestamp>,

    /// Begin after this time, such as 10m
    #[arg(long, value_name = "DURATION", requires = "background", value_parser = duration)]
    run_in: Option<Duration>,

    /// Attempts in all, where it fails of something that another one can mend [default: 1; 3 with --backoff]
    #[arg(long, value_name = "N", requires = "background")]
    attempts: Option<u32>,

    /// Wait before the second attempt; each later one is twice as long
    #[arg(long, value_name = "DURATION", requires = "background", value_parser = duration)]
    backoff: Option<Duration>,

    /// Tell its end to this URL, by a signed request
    #[arg(long, value_name = "URL", requires = "background")]
    callback: Option<String>,

    /// What to make of its output: a type such as thread.title, or a binding as JSON or @FILE
    #[arg(long, value_name = "TYPE|JSON|@FILE", requires = "background")]
    bind: Option<String>,

    /// What has started it: trigger_…
    #[arg(long, value_name = "ID", requires = "background", value_parser = trigger)]
    trigger: Option<TriggerId>,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "a moment is written as 2026-12-24T18:00:00Z".to_owned())
}

fn trigger(text: &str) -> Result<TriggerId, String> {
    text.parse().map_err(|error: stepstream_shared::id::ParseIdError| error.to_string())
}

impl BackgroundArgs {
    /// What is asked for, checked; `None` without `--background`.
    pub fn request(&self) -> Result<Option<BackgroundRequest>, Problem> {
        let Some(mode) = self.background else { return Ok(None) };
        let now = SystemClock.now();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let retry = (self.attempts.is_some() || self.backoff.is_some()).then(|| RetryRequest {
            max_attempts: self.attempts,
            backoff_ms: self.backoff.map(millis),
            backoff_multiplier: None,
        });
        let request = BackgroundRequest {
            mode: mode.mode(),
            priority: self.priority,
            timeout_ms: self.time_limit.map(millis),
            run_at: self.run_at.or_else(|| self.run_in.map(|time| now.after(time))),
            retry,
            callback_url: self.callback.clone(),
            target_binding: self.bind.as_deref().map(binding).transpose()?,
            trigger_id: self.trigger,
        };
        // Before anything is begun.
        if let Err(problems) = request.clone().check(now) {
            let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Err(Problem::usage(format!("--background: {}", text.join("; "))));
        }
        Ok(Some(request))
    }
}

fn binding(text: &str) -> Result<BindingRequest, Problem> {
    let value = match text.starts_with(['{', '@']) {
        true => input::value(Some(text), "--bind")?.to_json(),
        false => serde_json::json!({ "target_type": text }),
    };
    let wrong = |error: serde_json::Error| Problem::usage(format!("--bind: {error}"));
    serde_json::from_value(value).map_err(wrong)
}

/// What is shown of a background execution, in lines of a name and a text.
pub fn lines(background: &Value) -> Vec<(&'static str, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = vec![(
        "background",
        format!(
            "{}, {} (priority {})",
            text(&background["mode"]),
            text(&background["status"]),
            background["config"]["priority"]
        ),
    )];
    let config = &background["config"];
    if !config["run_at"].is_null() && background["queued_at"].is_null() {
        lines.push(("begins", text(&config["run_at"])));
    }
    if !config["retry"].is_null() || background["attempt"] != 1 {
        let most = config["retry"]["max_attempts"].as_u64().unwrap_or(1);
        lines.push(("attempt", format!("{} of {most}", background["attempt"])));
    }
    for (name, key) in [("first", "first_execution_id"), ("next", "next_execution_id")] {
        if !background[key].is_null() {
            lines.push((name, text(&background[key])));
        }
    }
    let bound = &background["target_binding"];
    if !bound.is_null() {
        let what = if bound["success"] == true { bound["applied_value"].to_string() } else { text(&bound["error"]) };
        lines.push(("binding", format!("{}: {what}", text(&bound["target_type"]))));
    }
    let callback = &background["callback"];
    if !callback.is_null() {
        let mut said = format!("{} after {} attempts", text(&callback["state"]), callback["attempts"]);
        if !callback["error"].is_null() {
            said = format!("{said}: {}", text(&callback["error"]));
        }
        if !callback["due"].is_null() {
            said = format!("{said}; due {}", text(&callback["due"]));
        }
        lines.push(("callback", said));
    }
    lines
}
