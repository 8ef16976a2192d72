//! `break`: pauses an execution before a node runs.

use clap::Args;
use stepstream_shared::execution::Steering;
use stepstream_shared::id::ExecutionId;

use super::asking::AskArgs;
use super::execution_id;
use crate::app::App;
use crate::exit::{Exit, Problem};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream run graph.yaml --break deploy       from the beginning
  stepstream break exec_… deploy
  stepstream break exec_… deploy --off

It is paused each time it is about to run the node; `stepstream resume EXEC` lets it run it.")]
pub struct BreakArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    /// The node's name in the graph
    #[arg(value_name = "NODE")]
    node: String,

    /// Take the breakpoint away
    #[arg(long)]
    off: bool,

    #[command(flatten)]
    ask: AskArgs,
}

pub async fn run(args: BreakArgs, app: &App) -> Result<Exit, Problem> {
    let on = !args.off;
    let done = format!("{} {}", if on { "pauses before" } else { "does not pause any more before" }, args.node);
    args.ask.ask(app, args.execution, Steering::Breakpoint { node: args.node, on }, &done).await
}
