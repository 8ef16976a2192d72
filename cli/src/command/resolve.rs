//! `resolve`: what became of a step that is in doubt, or is to become of one that is a dead letter.

use clap::Args;
use stepstream_shared::error::{ErrorCategory, ExecutionError};
use stepstream_shared::execution::{Steering, Verdict};
use stepstream_shared::id::ExecutionId;

use super::asking::AskArgs;
use super::execution_id;
use crate::app::App;
use crate::exit::{Exit, Problem};
use crate::input;

#[derive(Debug, Args)]
#[command(after_help = "\
A step with `delivery: at_most_once` is in doubt when its worker is lost: nobody knows how far it came, and nothing runs
again by itself. Look at what the step changes, by its idempotency key (EXEC/STEP), and say what you found.

  stepstream waits exec_…                                        which steps are in doubt, and who had them
  stepstream resolve exec_… pay --completed '{\"id\": 7}'          it happened, and gave this
  stepstream resolve exec_… pay --failed 'ToolError:no payment'  it did not; an error edge may take it
  stepstream resolve exec_… pay --retry                          another attempt, at once

--retry is safe only if what the step changes refuses the idempotency key a second time, or refuses a lower number of
the attempt than it has seen: the worker that was lost may still wake up and go on where it was.")]
pub struct ResolveArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    /// The step: its node's name, or step_… (from a loop's second round on; `stepstream waits` shows it)
    #[arg(value_name = "STEP")]
    step: String,

    #[command(flatten)]
    verdict: VerdictArgs,

    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct VerdictArgs {
    /// It happened, and gave this
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    completed: Option<String>,

    /// It did not happen, or not to its end: the step fails
    #[arg(long, value_name = "[CATEGORY:]MESSAGE", value_parser = failure)]
    failed: Option<ExecutionError>,

    /// Another attempt, at once
    #[arg(long)]
    retry: bool,
}

/// Without a category it is a ToolError.
fn failure(text: &str) -> Result<ExecutionError, String> {
    let named = text.split_once(':').and_then(|(category, rest)| Some((category.trim().parse().ok()?, rest)));
    let (category, message): (ErrorCategory, &str) = named.unwrap_or((ErrorCategory::ToolError, text));
    match message.trim() {
        "" => Err("say why it failed, such as `ToolError:no payment`".to_owned()),
        message => Ok(ExecutionError::new(category, message)),
    }
}

pub async fn run(args: ResolveArgs, app: &App) -> Result<Exit, Problem> {
    let step = args.step;
    let (verdict, done) = match args.verdict {
        VerdictArgs { retry: true, .. } => (Verdict::Retry, format!("tries {step} again")),
        VerdictArgs { failed: Some(error), .. } => {
            (Verdict::Failed { error }, format!("was told that {step} has failed"))
        }
        VerdictArgs { completed, .. } => {
            let output = input::value(completed.as_deref(), "--completed")?;
            (Verdict::Completed { output }, format!("was told that {step} has completed"))
        }
    };
    args.ask.ask(app, args.execution, Steering::Resolve { step, verdict }, &done).await
}
