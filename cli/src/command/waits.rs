//! `waits`: what an execution waits for, and what has come for it.

use clap::Args;
use serde_json::Value;
use stepstream_coordinator::reading::Waits;
use stepstream_shared::id::ExecutionId;

use super::get::ListFormat;
use super::{execution_id, run};
use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Problem};
use crate::log;
use crate::output::{self, printable};
use crate::render::age::ago;
use crate::render::progress::Loudness;
use crate::render::table::table;
use crate::render::waits;
use crate::target::{LogArgs, Place, Target};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream waits exec_…                                  with the commands that bring what is waited for
  stepstream waits exec_… -o json | jq '.waits[].form'     what an approval asks to be filled in")]
pub struct WaitsArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    #[command(flatten)]
    place: LogArgs,

    /// What it looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

pub async fn run(args: WaitsArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let id = args.execution.to_string();
    let waits = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => {
            let loaded = reader.load(&place.tenant, args.execution, None).await?;
            serde_json::to_value(Waits::of(&loaded))
                .map_err(|error| Problem::new(Exit::Refused, format!("this cannot be shown: {error}")))?
        }
        (None, Target::Server(url)) => {
            Client::new(url, place.tenant.clone())?.execution(args.execution).waits().await?.json
        }
        (None, _) => return Err(Problem::usage("nowhere to look")),
    };
    match args.output {
        ListFormat::Json => output::json(&waits)?,
        ListFormat::Table => show(&waits, &place, &id, app.loudness)?,
    }
    Ok(Exit::Done)
}

fn show(waits: &Value, place: &Place, id: &str, loudness: Loudness) -> Result<(), Problem> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = |key: &str| waits[key].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = items("waits")
        .iter()
        .map(|wait| {
            let said = wait["decisions"].as_array().into_iter().flatten().map(|decision| {
                format!("{} {}", text(&decision["by"]), if decision["approved"] == true { "agrees" } else { "refuses" })
            });
            let due = wait["due"].as_str().map_or_else(|| "-".to_owned(), waits::due);
            let said = said.collect::<Vec<_>>().join(", ");
            vec![text(&wait["node"]), waits::words(&wait["wait"]), ago(&text(&wait["since"])), due, said]
        })
        .collect();
    if !rows.is_empty() {
        output::line(&table(&["STEP", "WAITS FOR", "SINCE", "UNTIL", "SO FAR"], rows))?;
    }
    for signal in items("signals") {
        let key = signal["correlation"].as_str().map(|key| format!(" ({key})")).unwrap_or_default();
        output::line(&printable(&format!("kept: the signal `{}`{key}", text(&signal["name"]))))?;
    }
    for message in items("inbox") {
        let said = ["content", "title", "message_type", "action"].iter().find_map(|key| message[*key].as_str());
        let line = format!("inbox: {} {}", text(&message["type"]), said.unwrap_or_default());
        output::line(&printable(&line))?;
    }
    for node in items("breakpoints") {
        output::line(&printable(&format!("breakpoint: before {}", text(node))))?;
    }
    if waits["left_out"] == true {
        output::note("there is more than can be shown; `stepstream events` has all of it");
    }
    let how = waits::lines(waits, place, &run::resume_command(id, place, false));
    if how.is_empty() {
        output::note(&format!("{id} is {} and waits for nobody", text(&waits["state"])));
    } else if loudness > Loudness::Quiet {
        how.iter().for_each(|line| output::note(line));
    }
    Ok(())
}
