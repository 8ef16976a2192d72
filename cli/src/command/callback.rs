//! `callback`: what is told of the end of a background execution.

use clap::{Args, Subcommand};
use stepstream_shared::execution::Steering;
use stepstream_shared::id::ExecutionId;

use super::asking::AskArgs;
use super::execution_id;
use crate::app::App;
use crate::exit::{Exit, Problem};

#[derive(Debug, Args)]
pub struct CallbackArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a callback once more, whether it was given up or delivered
    Retry(RetryArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  stepstream get execution exec_…        # how its callback stands
  stepstream callback retry exec_… --server http://127.0.0.1:8233

It is due at once, with the same `webhook-id`, and tried as often as the first time.")]
struct RetryArgs {
    /// The execution, which has ended
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    #[command(flatten)]
    ask: AskArgs,
}

pub async fn run(args: CallbackArgs, app: &App) -> Result<Exit, Problem> {
    let What::Retry(args) = args.what;
    args.ask.ask(app, args.execution, Steering::RetryCallback, "is called back once more").await
}
