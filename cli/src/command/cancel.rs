//! `cancel`: an execution ends here.

use clap::Args;
use serde_json::json;
use stepstream_coordinator::Recover;
use stepstream_shared::event::Actor;
use stepstream_shared::id::ExecutionId;

use super::{Format, execution_id};
use crate::app::{App, LOGS_OF_A_RUN};
use crate::client::Client;
use crate::embedded::Embedded;
use crate::exit::{Exit, Problem};
use crate::output;
use crate::target::{Target, TargetArgs};

#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    /// Why; stands in the log
    #[arg(long, value_name = "TEXT", default_value = "cancelled by request")]
    reason: String,

    #[command(flatten)]
    target: TargetArgs,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(args: CancelArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.target.resolve(&app.settings)?;
    let id = args.execution;
    match &place.target {
        Target::Data(dir) => {
            app.start_logs(LOGS_OF_A_RUN)?;
            crate::data_dir::existing_log(dir)?;
            let here = Embedded::open(dir, Recover::Only(Vec::new())).await?;
            let request = here.service.cancel(&place.tenant, id, args.reason, Actor::User("cli".to_owned()));
            let answer = here.or_trouble(request).await;
            here.close().await;
            answer?;
        }
        Target::Server(url) => Client::new(url, place.tenant.clone())?.cancel(&id.to_string(), &args.reason).await?,
        Target::Postgres(_) => return Err(Problem::usage("`cancel` needs a data directory or a server")),
    }
    match args.output {
        Format::Text => output::line(&format!("{id} cancelled"))?,
        Format::Json => output::json(&json!({"execution_id": id, "state": "Cancelled"}))?,
    }
    Ok(Exit::Done)
}
