//! `cancel` and `pause`: what is asked of an execution from outside.

use clap::Args;
use serde_json::json;
use stepstream_coordinator::Recover;
use stepstream_shared::id::ExecutionId;

use super::{Format, execution_id};
use crate::app::{App, LOGS_OF_A_RUN};
use crate::client::Client;
use crate::embedded::Embedded;
use crate::exit::{Exit, Problem};
use crate::output;
use crate::target::{Target, TargetArgs};

#[derive(Debug, Args)]
pub struct ControlArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    /// Why; stands in the log [default: by request]
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    target: TargetArgs,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Clone, Copy)]
pub enum Action {
    Cancel,
    Pause,
}

impl Action {
    /// The command, what it does to an execution, and the state that follows.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Action::Cancel => ("cancel", "cancelled", "Cancelled"),
            Action::Pause => ("pause", "paused", "Paused"),
        }
    }
}

pub async fn run(action: Action, args: ControlArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.target.resolve(&app.settings)?;
    let (command, done, state) = action.words();
    let id = args.execution;
    let reason = args.reason.unwrap_or_else(|| format!("{done} by request"));
    match &place.target {
        Target::Data(dir) => {
            app.start_logs(LOGS_OF_A_RUN)?;
            crate::data_dir::existing_log(dir)?;
            let here = Embedded::open(dir, Recover::Only(Vec::new())).await?;
            let (service, tenant) = (here.service.clone(), &place.tenant);
            let answer = match action {
                Action::Cancel => here.or_trouble(service.cancel(tenant, id, reason, "cli")).await,
                Action::Pause => here.or_trouble(service.pause(tenant, id, reason, "cli")).await,
            };
            here.close().await;
            answer?;
        }
        Target::Server(url) => {
            let client = Client::new(url, place.tenant.clone())?;
            match action {
                Action::Cancel => client.cancel(&id.to_string(), &reason).await?,
                Action::Pause => client.pause(&id.to_string(), &reason).await?,
            }
        }
        Target::Postgres(_) => return Err(Problem::usage(format!("`{command}` needs a data directory or a server"))),
    }
    match args.output {
        Format::Text => output::line(&format!("{id} {done}"))?,
        Format::Json => output::json(&json!({"execution_id": id, "state": state}))?,
    }
    Ok(Exit::Done)
}
