//! `register`: graphs, so that executions and other graphs can name them.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

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
        document.compile()?;
        documents.push(document);
    }
    // With what they take in, which only the store knows.
    let mut registered_as: Vec<(String, String, String)> = Vec::new();
    match &place.target {
        Target::Data(dir) => {
            app.start_logs(LOGS_OF_A_RUN)?;
            let here = Embedded::open_to_ask(dir).await?;
            let mut answer = Ok(());
            for document in &documents {
                let registered = here.service.register_graph(&place.tenant, &document.name, &document.text);
                match here.or_trouble(registered).await {
                    Ok(found) => {
                        let graph = found.graph;
                        registered_as.push((graph.name.clone(), graph.version.clone(), graph.digest.to_string()));
                    }
                    Err(problem) => {
                        answer = Err(problem);
                        break;
                    }
                }
            }
            here.close().await;
            answer?;
        }
        Target::Server(url) => {
            let client = Client::new(url, place.tenant.clone())?;
            for document in &documents {
                let graph = client.register(&document.name, document.text.clone()).await?.into_inner();
                registered_as.push((graph.name, graph.version, graph.graph_id));
            }
        }
        Target::Postgres(_) => return Err(Problem::usage("`register` needs a data directory or a server")),
    }
    match args.output {
        Format::Text => {
            for (name, version, id) in &registered_as {
                output::line(&format!("{}@{}  {id}", printable(name), printable(version)))?;
            }
        }
        Format::Json => {
            let item = |(name, version, id): &(String, String, String)| json!({"graph_id": id, "name": name, "version": version});
            let items: Vec<_> = registered_as.iter().map(item).collect();
            output::json(&json!({ "items": items }))?;
        }
    }
    Ok(Exit::Done)
}
