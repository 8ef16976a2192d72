//! `register`: graphs, so that executions and other graphs can name them.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stepstream_coordinator::Recover;

use super::Format;
use crate::app::{App, LOGS_OF_A_RUN};
use crate::client::Client;
use crate::embedded::Embedded;
use crate::exit::{Exit, Problem};
use crate::input;
use crate::output::{self, printable};
use crate::target::{Target, TargetArgs};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream register settle.yaml            a graph that another one names: graph: settle@1.0.0
  stepstream register graphs/*.yaml --server http://127.0.0.1:8233

The same document again changes nothing; another one under the same name is another version of it.")]
pub struct RegisterArgs {
    /// Graph documents, YAML or JSON; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    target: TargetArgs,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(args: RegisterArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.target.resolve(&app.settings)?;
    // All of them or none, as far as mistakes in them go.
    let mut documents = Vec::new();
    for file in &args.files {
        let document = input::document(file)?;
        let graph = document.compile()?;
        documents.push((document, graph));
    }
    match &place.target {
        Target::Data(dir) => {
            app.start_logs(LOGS_OF_A_RUN)?;
            let here = Embedded::open(dir, Recover::Only(Vec::new())).await?;
            let mut answer = Ok(());
            for (document, _) in &documents {
                let registered = here.service.register_graph(&place.tenant, &document.name, &document.text);
                answer = here.or_trouble(registered).await.map(|_| ());
                if answer.is_err() {
                    break;
                }
            }
            here.close().await;
            answer?;
        }
        Target::Server(url) => {
            let client = Client::new(url, place.tenant.clone())?;
            for (document, _) in &documents {
                client.register(&document.name, document.text.clone()).await?;
            }
        }
        Target::Postgres(_) => return Err(Problem::usage("`register` needs a data directory or a server")),
    }
    match args.output {
        Format::Text => {
            for (_, graph) in &documents {
                output::line(&format!("{}@{}  {}", printable(&graph.name), printable(&graph.version), graph.digest))?;
            }
        }
        Format::Json => {
            let item = |graph: &stepstream_shared::graph::CompiledGraph| json!({"graph_id": graph.digest, "name": graph.name, "version": graph.version});
            let items: Vec<_> = documents.iter().map(|(_, graph)| item(graph)).collect();
            output::json(&json!({ "items": items }))?;
        }
    }
    Ok(Exit::Done)
}
