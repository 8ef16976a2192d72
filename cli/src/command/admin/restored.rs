//! `admin restored`: the store may have lost its end.

use std::sync::Arc;

use clap::Args;
use serde_json::json;
use stepstream_coordinator::ports::EventStore;
use stepstream_coordinator::store::{PostgresOptions, PostgresStore, SqliteStore};
use stepstream_runtime::bus::jetstream::{JetStreamBus, JetStreamOptions};

use super::PARTITIONS;
use crate::app::App;
use crate::command::Format;
use crate::command::dev::bus_failed;
use crate::data_dir::{DataDir, existing_log};
use crate::exit::{Exit, Problem};
use crate::output;
use crate::target::{Target, TargetArgs};

#[derive(Debug, Args)]
pub struct RestoredArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// The PostgreSQL database that holds the log
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "server"])]
    postgres: Option<String>,

    /// Where NATS is: jobs and reports that lie there are of the log that is gone, and are deleted
    #[arg(long, value_name = "URL", env = "STEPSTREAM_NATS", hide_env_values = true)]
    nats: Option<String>,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(args: RestoredArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.target.resolve(&app.settings)?;
    let target = args.postgres.clone().map_or(place.target, Target::Postgres);
    // Before anything changes: a bus that cannot be reached now is better known now.
    let bus = match &args.nats {
        Some(url) => {
            let options = JetStreamOptions { name: "admin".to_owned(), ..JetStreamOptions::default() };
            Some(JetStreamBus::connect(url, options).await.map_err(|error| bus_failed(url, &error))?)
        }
        None => None,
    };
    let incarnation = match target {
        Target::Data(dir) => {
            existing_log(&dir)?;
            let dir = DataDir::take(&dir)?;
            let store = Arc::new(SqliteStore::open(dir.log(), PARTITIONS).await?);
            let begun = store.begin_incarnation().await;
            store.close().await;
            begun?
        }
        Target::Postgres(url) => {
            PostgresStore::open(&PostgresOptions::existing(url)).await?.begin_incarnation().await?
        }
        Target::Server(_) => {
            return Err(Problem::usage("`admin restored` works on the store itself")
                .hint("name it with --data DIR or --postgres URL"));
        }
    };
    let mut cleared = None;
    if let (Some(bus), Some(url)) = (bus, &args.nats) {
        let gone = bus.clear().await.map_err(|error| {
            bus_failed(url, &error)
                .hint("the incarnation has begun; what lies on the bus is refused when it is reported")
        })?;
        cleared = Some(gone);
        if let Err(error) = bus.close().await {
            tracing::debug!(%error, "the connection to NATS was not closed cleanly");
        }
    }
    match args.output {
        Format::Text => {
            let cleared = cleared.map_or(String::new(), |gone| format!("; {gone} messages deleted from the bus"));
            output::line(&format!("incarnation {incarnation} of the store has begun{cleared}"))?;
        }
        Format::Json => output::json(&json!({ "incarnation": incarnation, "messages_deleted": cleared }))?,
    }
    Ok(Exit::Done)
}
