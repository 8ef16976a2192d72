//! `import`: graphs out of other systems' recordings, as documents on standard output.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stepstream_shared::graph::wfcommons::{self, ImportError, ImportOptions};

use crate::exit::{Exit, Problem, chain};
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
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    time_scale: f64,

    /// What each node runs
    #[arg(long, value_name = "NAME", default_value = "sleep")]
    callable: String,
}

pub fn run(args: ImportArgs) -> Result<Exit, Problem> {
    let From::Wfcommons(args) = args.from;
    let bytes = if args.file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let limit = wfcommons::MAX_BYTES as u64 + 1;
        std::io::Read::read_to_end(&mut std::io::Read::take(std::io::stdin().lock(), limit), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(&args.file)
    };
    let shown = args.file.display();
    let bytes = bytes.map_err(|error| Problem::usage(format!("cannot read {shown}: {}", chain(&error))))?;
    let text = String::from_utf8(bytes).map_err(|_| Problem::usage(format!("{shown} is not UTF-8")))?;
    let options = ImportOptions { time_scale: args.time_scale, callable: args.callable };
    let document = wfcommons::import(&text, &options).map_err(|error| {
        let exit = match &error {
            ImportError::TooLarge { .. } | ImportError::TooManyTasks { .. } => Exit::Exhausted,
            _ => Exit::Usage,
        };
        Problem::new(exit, format!("{shown}: {error}"))
    })?;
    output::json(&document)?;
    Ok(Exit::Done)
}
