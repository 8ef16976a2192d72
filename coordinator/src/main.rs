//! The coordinator, as a program of its own.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use stepstream_coordinator::config::CoordinatorArgs;
use stepstream_coordinator::serve::serve;

/// Drives executions of Stepstream: turns steps into jobs on NATS, folds outcomes into the log, serves the API
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    coordinator: CoordinatorArgs,
}

/// Expressions are evaluated on these threads, and evaluating recurses.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Whatever still blocks a thread does not hold the program when everything else has ended.
const LEFTOVERS: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: cannot start threads: {error}"); // Nobody listens, then.
            return ExitCode::FAILURE;
        }
    };
    // On a thread of the runtime and not on this one, whose stack is what the system gives.
    let served = runtime.block_on(async { tokio::spawn(serve(cli.coordinator)).await });
    runtime.shutdown_timeout(LEFTOVERS);
    served.unwrap_or(ExitCode::FAILURE)
}
