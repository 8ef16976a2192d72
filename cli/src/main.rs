//! `stepstream`: the one command.
//!
//! This file is the table of contents; each command is a file under `command/`.

#![allow(unreachable_pub, reason = "a program has no outside: `pub` is what a module offers its neighbours")]

mod app;
mod bench;
mod client;
mod command;
mod data_dir;
mod embedded;
mod exit;
mod follow;
mod input;
mod log;
mod output;
mod render;
mod report;
mod settings;
mod stop;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use stepstream_coordinator::config::CoordinatorArgs;
use stepstream_worker::builtin;
use stepstream_worker::config::WorkerArgs;

use app::App;
use exit::{Exit, Problem};
use render::progress::Loudness;
use settings::Settings;

/// Expressions are evaluated on these threads, and evaluating recurses.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Whatever still blocks a thread does not hold the program when everything else has ended.
const LEFTOVERS: Duration = Duration::from_millis(100);

/// Runs graphs of steps durably: here in one process, or on a fleet
#[derive(Debug, Parser)]
#[command(name = "stepstream", version, after_help = exit::HELP, after_long_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    /// When to use colour; NO_COLOR is honoured
    #[arg(long, value_enum, default_value_t, global = true, value_name = "WHEN", help_heading = "Everywhere")]
    color: Color,

    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Everywhere")]
    quiet: bool,

    /// Say more; twice for debugging
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = "Everywhere")]
    verbose: u8,

    /// A configuration file [default: stepstream.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a graph to completion
    Run(command::run::RunArgs),
    /// Go on with what was interrupted or killed
    Resume(command::resume::ResumeArgs),
    /// End an execution, or many
    #[command(after_help = command::control::CANCEL_HELP)]
    Cancel(command::control::ControlArgs),
    /// Hold an execution, or many: nothing new begins and its time stands still until it is resumed
    #[command(after_help = command::control::PAUSE_HELP)]
    Pause(command::control::ControlArgs),
    /// Show what an execution waits for, and how to bring it
    Waits(command::waits::WaitsArgs),
    /// Agree to what a step asks
    #[command(after_help = command::decide::APPROVE_HELP)]
    Approve(command::decide::DecideArgs),
    /// Refuse what a step asks
    #[command(after_help = command::decide::REJECT_HELP)]
    Reject(command::decide::DecideArgs),
    /// Bring what a step waits for from a person or a program
    Answer(command::answer::AnswerArgs),
    /// Say what became of a step whose worker is lost and that must not run twice
    Resolve(command::resolve::ResolveArgs),
    /// List steps that have failed for good and are held, and try them again
    Dead(command::dead::DeadArgs),
    /// Tell an execution that something has happened
    Signal(command::signal::SignalArgs),
    /// Send a message to a running execution
    Send(command::send::SendArgs),
    /// Pause an execution before a node runs
    Break(command::breakpoint::BreakArgs),
    /// Give an execution another budget
    Budget(command::budget::BudgetArgs),
    /// Tell the end of a background execution once more
    Callback(command::callback::CallbackArgs),
    /// What all executions of a tenant may have together, and what they have used
    Tenant(command::tenant::TenantArgs),
    /// List executions and graphs, or look at one
    Get(command::get::GetArgs),
    /// Show an execution and the executions that its steps have started, and theirs
    Tree(command::tree::TreeArgs),
    /// Show what happened in an execution, in order
    Events(command::events::EventsArgs),
    /// List the bytes that steps have stored outside the log
    Artifacts(command::artifacts::ArtifactsArgs),
    /// Read an artifact
    Artifact(command::artifacts::ArtifactArgs),
    /// Fold an execution from its log, and check the log
    Replay(command::replay::ReplayArgs),
    /// Register graphs, so that executions and other graphs can name them
    Register(command::register::RegisterArgs),
    /// Start executions at times: cron in time zones, intervals
    Schedule(command::schedule::ScheduleArgs),
    /// Check graph documents without running them
    Validate(command::validate::ValidateArgs),
    /// Show a graph as a document or a picture
    Graph(command::graph::GraphArgs),
    /// Make graphs out of other systems' recordings
    Import(command::import::ImportArgs),
    /// The whole system in one process, for trying and developing
    Dev(command::dev::DevArgs),
    /// A coordinator, as it runs in a fleet
    Coordinator(Box<CoordinatorArgs>),
    /// A worker with the stock callables, as it runs in a fleet
    Worker(Box<WorkerArgs>),
    /// Measure how fast it is on this machine, against what the machine allows
    Bench(Box<command::bench::BenchCommand>),
    /// The worker of a bench's fleet
    #[command(hide = true)]
    BenchWorker(command::bench::BenchWorkerArgs),
    /// Repair what is derived from the log
    Admin(command::admin::AdminArgs),
    /// Say what is there, what is missing, and which versions
    Doctor(command::doctor::DoctorArgs),
    /// Print a completion script for a shell
    Completion(command::completion::CompletionArgs),
}

fn main() -> ExitCode {
    // First of all: this process may have been started to evaluate jq filters.
    builtin::init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    // The only provider that is built in; said here so that a second one could not make it ambiguous. An error means
    // that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            output::problem(&Problem::new(Exit::Exhausted, format!("cannot start threads: {error}")));
            return Exit::Exhausted.into();
        }
    };
    // On a thread of the runtime and not on this one, whose stack is what the system gives.
    let ended = runtime.block_on(async { tokio::spawn(perform(cli)).await });
    runtime.shutdown_timeout(LEFTOVERS);
    output::finish();
    ended.unwrap_or_else(|_| Exit::Refused.into())
}

/// Help and version are results; anything else that the parser says is a wrong usage.
fn usage(error: &clap::Error) -> ExitCode {
    let styled = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match output::line(styled.ansi().to_string().trim_end()) {
                Ok(()) => Exit::Done.into(),
                Err(problem) => problem.exit.into(),
            }
        }
        _ => {
            output::note(styled.ansi().to_string().trim_end());
            Exit::Usage.into()
        }
    }
}

async fn perform(cli: Cli) -> ExitCode {
    // The long-running roles read flags and environment alone, like their own binaries.
    if matches!(cli.command, Command::Coordinator(_) | Command::Worker(_))
        && let Err(problem) = only_its_own(&cli)
    {
        output::problem(&problem);
        return problem.exit.into();
    }
    let command = match cli.command {
        Command::Coordinator(args) => return stepstream_coordinator::serve::serve(*args).await,
        Command::Worker(args) => return stepstream_worker::serve::serve(*args).await,
        other => other,
    };
    let loudness = match (cli.quiet, cli.verbose) {
        (true, _) => Loudness::Quiet,
        (false, 0) => Loudness::Normal,
        (false, _) => Loudness::Verbose,
    };
    let ended = match Settings::load(cli.config.as_deref()) {
        Ok(settings) => Box::pin(dispatch(command, &App { settings, loudness, verbose: cli.verbose })).await,
        Err(problem) => Err(problem),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(problem) => {
            output::problem(&problem);
            problem.exit.into()
        }
    }
}

/// What a role would ignore is refused: somebody counts on it.
fn only_its_own(cli: &Cli) -> Result<(), Problem> {
    let given = [("--config", cli.config.is_some()), ("--quiet", cli.quiet), ("--verbose", cli.verbose > 0)];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => Err(Problem::usage(format!("`{name}` means nothing to a coordinator or a worker")).hint(
            "they read their flags and the environment; RUST_LOG says how much they log, such as `warn` or `debug`",
        )),
    }
}

async fn dispatch(command: Command, app: &App) -> Result<Exit, Problem> {
    match command {
        Command::Run(args) => Box::pin(command::run::run(args, app)).await,
        Command::Resume(args) => command::resume::run(args, app).await,
        Command::Cancel(args) => command::control::run(command::control::Action::Cancel, args, app).await,
        Command::Pause(args) => command::control::run(command::control::Action::Pause, args, app).await,
        Command::Waits(args) => command::waits::run(args, app).await,
        Command::Approve(args) => command::decide::run(true, args, app).await,
        Command::Reject(args) => command::decide::run(false, args, app).await,
        Command::Answer(args) => command::answer::run(args, app).await,
        Command::Resolve(args) => command::resolve::run(args, app).await,
        Command::Dead(args) => command::dead::run(args, app).await,
        Command::Signal(args) => command::signal::run(args, app).await,
        Command::Send(args) => command::send::run(args, app).await,
        Command::Break(args) => command::breakpoint::run(args, app).await,
        Command::Budget(args) => command::budget::run(args, app).await,
        Command::Callback(args) => command::callback::run(args, app).await,
        Command::Tenant(args) => command::tenant::run(args, app).await,
        Command::Tree(args) => command::tree::run(args, app).await,
        Command::Register(args) => command::register::run(args, app).await,
        Command::Get(args) => command::get::run(args, app).await,
        Command::Events(args) => command::events::run(args, app).await,
        Command::Artifacts(args) => command::artifacts::list(args, app).await,
        Command::Artifact(args) => command::artifacts::run(args, app).await,
        Command::Replay(args) => command::replay::run(args, app).await,
        Command::Schedule(args) => command::schedule::run(args, app).await,
        Command::Validate(args) => command::validate::run(&args, app),
        Command::Graph(args) => command::graph::run(args, app).await,
        Command::Import(args) => command::import::run(args),
        Command::Dev(args) => command::dev::run(args, app).await,
        Command::Admin(args) => command::admin::run(args, app).await,
        Command::Bench(args) => command::bench::run(*args, app).await,
        Command::BenchWorker(args) => command::bench::worker(args).await,
        Command::Doctor(args) => command::doctor::run(args, app).await,
        Command::Completion(args) => command::completion::run(&args),
        Command::Coordinator(_) | Command::Worker(_) => Err(Problem::usage("this role was taken before")),
    }
}
