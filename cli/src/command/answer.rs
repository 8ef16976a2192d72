//! `answer`: what a step waits for from a person or a program, or why it will not come.

use clap::Args;
use stepstream_shared::error::{ErrorCategory, ExecutionError};
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
  stepstream answer exec_… which_port --value 8080
  stepstream answer exec_… build --value @result.json
  stepstream answer exec_… build --error 'ToolError:the build is broken'

The value is what the step gives. With --error the step fails instead; only what waits for a program (`external`) can.")]
pub struct AnswerArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    /// The step that waits: its node's name, or step_… (from a loop's second round on; `stepstream waits` shows it)
    #[arg(value_name = "STEP")]
    step: String,

    /// What the step gives [default: null]
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    value: Option<String>,

    /// Why nothing comes
    #[arg(long, value_name = "CATEGORY:MESSAGE", value_parser = failure, conflicts_with = "value")]
    error: Option<ExecutionError>,

    #[command(flatten)]
    ask: AskArgs,
}

fn failure(text: &str) -> Result<ExecutionError, String> {
    let (category, message) = text
        .split_once(':')
        .ok_or("an error is a category and a message, such as `ToolError:the build is broken`".to_owned())?;
    let category: ErrorCategory = category.trim().parse().map_err(|error| format!("{error}"))?;
    Ok(ExecutionError::new(category, message.trim()))
}

pub async fn run(args: AnswerArgs, app: &App) -> Result<Exit, Problem> {
    let step = args.step;
    let (what, done) = match args.error {
        Some(error) => (Steering::GiveUp { step: step.clone(), error }, format!("was told that {step} has failed")),
        None => {
            let value = input::value(args.value.as_deref(), "--value")?;
            (Steering::Answer { step: step.clone(), value }, format!("was answered {step}"))
        }
    };
    args.ask.ask(app, args.execution, what, &done).await
}
