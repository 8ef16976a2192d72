//! `signal`: tells an execution that something has happened.

use clap::Args;
use stepstream_shared::execution::Steering;
use stepstream_shared::id::ExecutionId;

use super::asking::AskArgs;
use super::execution_id;
use crate::app::App;
use crate::exit::{Exit, Problem};
use crate::input;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream signal exec_… paid --key order-17 --payload '{\"sum\": 40}'
  stepstream signal exec_… deployed --payload @result.json --server http://127.0.0.1:8233

A signal that comes before a step waits for it is kept. Exit code 7 where no `wait` of the graph takes it.")]
pub struct SignalArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    /// The signal, as the graph names it
    #[arg(value_name = "NAME")]
    signal: String,

    /// What it brings; the step gives it as its output
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    payload: Option<String>,

    /// Which of several it belongs to: the `correlation` that the step waits with
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,

    #[command(flatten)]
    ask: AskArgs,
}

pub async fn run(args: SignalArgs, app: &App) -> Result<Exit, Problem> {
    let payload = input::value(args.payload.as_deref(), "--payload")?;
    let done = format!("was signalled {}", args.signal);
    let what = Steering::Signal { name: args.signal, correlation: args.key, payload };
    args.ask.ask(app, args.execution, what, &done).await
}
