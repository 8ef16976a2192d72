//! `import`: graphs out of other systems' recordings, as documents on standard output.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stepstream_shared::graph::wfcommons::{self, ImportError, ImportOptions};

use crate::exit::{Exit, Problem};
use crate::input;
use crate::output;

#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// A recorded scientific workflow (WfFormat 1.5 of the WfCommons project)
    Wfcommons(WfcommonsArgs),
}

#[derive(Debug, Args)]
struct WfcommonsArgs {
    /// The recording, JSON; - is standard input
    file: PathBuf,

    /// Recorded seconds are multiplied by this; 0 makes every task immediate
    #[arg(long, value_name = "F", default_value_t = 1.0, allow_hyphen_values = true)]
    time_scale: f64,

    /// What each node runs
    #[arg(long, value_name = "NAME", default_value = "sleep")]
    callable: String,
}

pub fn run(args: ImportArgs) -> Result<Exit, Problem> {
    let From::Wfcommons(args) = args.from;
    let recording = input::recording(&args.file)?;
    let options =
        ImportOptions { source: recording.name.clone(), time_scale: args.time_scale, callable: args.callable };
    let document = wfcommons::import(&recording.text, &options).map_err(|error| {
        let exit = match &error {
            ImportError::TooLarge { .. } | ImportError::TooManyTasks { .. } => Exit::Exhausted,
            _ => Exit::Usage,
        };
        match error {
            // It names the place.
            ImportError::NotJson(problems) => Problem::new(exit, problems),
            error => Problem::new(exit, format!("{}: {error}", recording.name)),
        }
    })?;
    output::json(&document)?;
    Ok(Exit::Done)
}
