//! The stock worker, as a program of its own.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use stepstream_worker::builtin;
use stepstream_worker::config::WorkerArgs;
use stepstream_worker::serve::serve;

/// Takes jobs of Stepstream from NATS and runs the stock callables
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    worker: WorkerArgs,
}

/// User code that blocks a thread does not hold the program when everything else has ended.
const LEFTOVERS: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    builtin::init();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(serve(cli.worker));
    runtime.shutdown_timeout(LEFTOVERS);
    code
}
