//! What every command is told.

use stepstream_runtime::telemetry::{self, Telemetry};

use crate::exit::Problem;
use crate::render::progress::Loudness;
use crate::settings::Settings;

pub struct App {
    pub settings: Settings,
    pub loudness: Loudness,
    /// `-v` given so often.
    pub verbose: u8,
}

impl App {
    /// Logs of what runs inside this process. A person who runs a graph sees steps, not logs, unless asked for.
    pub fn start_logs(&self, usual: &str) -> Result<(), Problem> {
        let default_filter = match self.verbose {
            0 => usual,
            1 => "info",
            _ => "debug",
        };
        let telemetry = Telemetry { default_filter: default_filter.to_owned(), ..Telemetry::default() };
        telemetry::init(&telemetry).map_err(|error| Problem::usage(error.to_string()))
    }
}

/// Parts of this program that say something only when it is wrong. That an append failed is told by the command itself.
pub const LOGS_OF_A_RUN: &str = "error,stepstream_coordinator::engine::commit=off";
