//! `approve` and `reject`: what people say to an approval.

use clap::Args;
use stepstream_shared::data::Data;
use stepstream_shared::execution::Steering;
use stepstream_shared::id::ExecutionId;

use super::asking::AskArgs;
use super::execution_id;
use crate::app::App;
use crate::exit::{Exit, Problem};
use crate::input;

pub const APPROVE_HELP: &str = "\
Examples:
  stepstream waits exec_…                                        what is asked, of whom, and the form
  stepstream approve exec_… sign_off --as ada
  stepstream approve exec_… sign_off --form '{\"window\": \"tonight\"}' --comment 'after ten'

Exit code 6 where it is not assigned to this person, 2 where the form is not filled in as asked, 4 where the step does
not wait for a decision or this person has decided. In a data directory nothing drives an execution:
`stepstream resume EXEC` lets it go on.";

pub const REJECT_HELP: &str = "\
Example:
  stepstream reject exec_… sign_off --as bob --comment 'not before the holidays'

The comment is what people read later. The step fails with PolicyViolation, code `rejected`, once enough have said no;
an error edge may take it.";

#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    /// The step that waits: its node's name, or step_… (from a loop's second round on; `stepstream waits` shows it)
    #[arg(value_name = "STEP")]
    step: String,

    /// Why; stands in the log
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    comment: Option<String>,

    /// What the approval asks to be filled in
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    form: Option<String>,

    #[command(flatten)]
    ask: AskArgs,
}

pub async fn run(approve: bool, args: DecideArgs, app: &App) -> Result<Exit, Problem> {
    let form = match &args.form {
        Some(_) => input::value(args.form.as_deref(), "--form")?,
        None => Data::null(),
    };
    let done = format!("{} {}", if approve { "approved" } else { "rejected" }, args.step);
    let what = Steering::Decide { step: args.step, approve, comment: args.comment, form };
    args.ask.ask(app, args.execution, what, &done).await
}
