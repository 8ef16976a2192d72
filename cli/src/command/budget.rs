//! `budget`: gives an execution another budget.

use clap::Args;
use stepstream_shared::cost::Money;
use stepstream_shared::execution::Steering;
use stepstream_shared::id::ExecutionId;

use super::asking::AskArgs;
use super::execution_id;
use crate::app::App;
use crate::exit::{Exit, Problem};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream budget exec_… --cost 7.50 --tokens 2000000
  stepstream budget --day           what the tenant has used today; `tenant limits` sets the day's budget

What is not given stays as it is. An execution that was held for want of budget goes on; one that
was paused is resumed with `stepstream resume EXEC`.")]
pub struct BudgetArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id, required_unless_present = "day")]
    execution: Option<ExecutionId>,

    /// Show what the tenant has used today instead
    #[arg(long, conflicts_with_all = ["execution", "cost", "tokens"])]
    day: bool,

    /// What it may spend in all, in dollars
    #[arg(long, value_name = "USD", required_unless_present_any = ["tokens", "day"], value_parser = money)]
    cost: Option<Money>,

    /// How many tokens it may use in all
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,

    #[command(flatten)]
    ask: AskArgs,
}

fn money(text: &str) -> Result<Money, String> {
    text.parse().map_err(|error: stepstream_shared::cost::NotMoney| error.to_string())
}

pub async fn run(args: BudgetArgs, app: &App) -> Result<Exit, Problem> {
    let Some(execution) = args.execution else {
        return args.ask.usage_of_today(app).await;
    };
    let what = Steering::Budget { max_cost: args.cost, max_tokens: args.tokens };
    args.ask.ask(app, execution, what, "has another budget").await
}
