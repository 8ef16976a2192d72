//! `graph`: a graph as a document or as a picture.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Value;
use stepstream_shared::graph::{CompiledGraph, render};

use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Problem};
use crate::input;
use crate::log;
use crate::output;
use crate::target::{Target, TargetArgs};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream graph examples/repo-audit.yaml -o dot | dot -Tsvg > graph.svg
  stepstream graph refine@1 --server http://127.0.0.1:8233 -o json")]
pub struct GraphArgs {
    /// A graph document, or the id, NAME or NAME@VERSION of a registered graph
    graph: PathBuf,

    #[command(flatten)]
    target: TargetArgs,

    /// Canonical JSON, Graphviz, or Mermaid
    #[arg(short, long, value_enum, default_value_t)]
    output: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum GraphFormat {
    #[default]
    Json,
    Dot,
    Mermaid,
}

pub async fn run(args: GraphArgs, app: &App) -> Result<Exit, Problem> {
    let graph = if args.graph == Path::new("-") || args.graph.exists() || looks_like_a_file(&args.graph) {
        input::document(&args.graph)?.compile()?
    } else {
        registered(&args, app).await?
    };
    match args.output {
        GraphFormat::Json => {
            let document: Value = serde_json::from_str(&graph.canonical)
                .map_err(|error| Problem::new(Exit::Refused, format!("the canonical document is not JSON: {error}")))?;
            output::json(&document)?;
        }
        GraphFormat::Dot => output::line(render::to_dot(&graph).trim_end())?,
        GraphFormat::Mermaid => output::line(render::to_mermaid(&graph).trim_end())?,
    }
    Ok(Exit::Done)
}

fn looks_like_a_file(path: &Path) -> bool {
    let known =
        |extension: &std::ffi::OsStr| ["yaml", "yml", "json"].iter().any(|name| extension.eq_ignore_ascii_case(name));
    path.extension().is_some_and(known) || path.components().count() > 1
}

async fn registered(args: &GraphArgs, app: &App) -> Result<CompiledGraph, Problem> {
    let place = args.target.resolve(&app.settings)?;
    let name = args.graph.to_string_lossy();
    let text = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => reader.find_graph(&place.tenant, &name).await?.canonical.clone(),
        (None, Target::Server(url)) => Client::new(url, place.tenant.clone())?.graph(&name).await?.to_string(),
        (None, _) => return Err(Problem::usage("nowhere to look")),
    };
    CompiledGraph::from_canonical(&text).map_err(|problems| Problem::new(Exit::Refused, problems.to_string()))
}
