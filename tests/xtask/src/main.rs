//! What contributors run: `cargo xtask test` is all that CI runs, word for word.

mod command;
mod purity;
mod steps;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test            everything that must hold: format, lints, purity of the core, build, all tests, docs,
                            licences, two minutes of simulated faults, a short run of every fuzz target
cargo xtask quick           the same without the fuzz targets and the licence check
cargo xtask tools           installs nats-server, PostgreSQL, cargo-deny and cargo-fuzz where they are missing
cargo xtask fuzz SECONDS    every fuzz target for that long
cargo xtask simulate --minutes N
                            schedules of faults, one after the other, for so long; `SEED=N cargo xtask simulate` runs one
                            and tells it";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test"] => steps::everything(steps::Extent::Full),
        ["quick"] => steps::everything(steps::Extent::Quick),
        ["tools"] => tools::servers().and_then(|_| tools::cargo_tools()).map(drop),
        ["simulate", arguments @ ..] => steps::simulate(arguments),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => steps::fuzz(seconds),
            Err(_) => {
                eprintln!("xtask: `{seconds}` is not a number of seconds\n\n{HELP}");
                return ExitCode::from(2);
            }
        },
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("xtask: unknown task `{}`\n\n{HELP}", other.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
