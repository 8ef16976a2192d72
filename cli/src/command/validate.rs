//! `validate`: every problem of every document, without running anything.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stepstream_shared::graph::{Source, compile_unlooked};

use super::Format;
use crate::app::App;
use crate::exit::{Exit, Problem};
use crate::input;
use crate::output::{self, GOOD};
use crate::target::TargetArgs;

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Graph documents, YAML or JSON; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    // Taken so that a script can give every command the same options; a document is checked without looking anywhere.
    #[command(flatten)]
    target: TargetArgs,

    /// What the findings look like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub fn run(args: &ValidateArgs, app: &App) -> Result<Exit, Problem> {
    args.target.resolve(&app.settings)?;
    let mut items: Vec<Value> = Vec::new();
    let mut bad = 0;
    let mut worst = Exit::Exhausted;
    for file in &args.files {
        let document = match input::document(file) {
            Ok(document) => document,
            Err(problem) => {
                bad += 1;
                if problem.exit != Exit::Exhausted {
                    worst = Exit::Usage;
                }
                let place = json!({"line": Value::Null, "column": Value::Null, "message": problem.message});
                items.push(json!({"file": file.to_string_lossy(), "valid": false, "problems": [place]}));
                if args.output == Format::Text {
                    output::problem(&problem);
                }
                continue;
            }
        };
        let unlooked = document.takes_in();
        match compile_unlooked(&Source { name: &document.name, text: &document.text }) {
            Ok(graph) => {
                let (nodes, edges) = (graph.nodes.len(), graph.edges.len());
                items.push(json!({
                    "file": document.name, "valid": true, "problems": [], "graph_id": graph.digest,
                    "name": graph.name, "version": graph.version, "nodes": nodes, "edges": edges, "not_looked_up": unlooked,
                }));
                if args.output == Format::Text {
                    let file = output::printable(&document.name);
                    output::line(&format!(
                        "{GOOD}ok{GOOD:#} {file}: {} {}, {nodes} nodes, {edges} edges, {}",
                        graph.name, graph.version, graph.digest
                    ))?;
                    if !unlooked.is_empty() {
                        output::note(&format!(
                            "  takes in {}: not looked up here, and what it will run has another id; `register` looks them up",
                            output::printable(&unlooked.join(", "))
                        ));
                    }
                }
            }
            Err(problems) => {
                bad += 1;
                worst = Exit::Usage;
                let list: Vec<Value> = problems
                    .iter()
                    .map(|problem| {
                        json!({
                            "code": problem.code, "line": problem.place.line, "column": problem.place.column,
                            "message": problem.message, "hint": problem.hint,
                        })
                    })
                    .collect();
                items.push(json!({
                    "file": document.name, "valid": false, "problems": list, "count": problems.count(),
                }));
                if args.output == Format::Text {
                    output::note(problems.to_string().trim_end());
                    output::note("");
                }
            }
        }
    }
    if args.output == Format::Json {
        output::json(&json!({"items": items}))?;
    }
    if bad == 0 {
        return Ok(Exit::Done);
    }
    if args.output == Format::Text {
        output::note(&format!("{bad} of {} documents cannot run", args.files.len()));
    }
    // A document that is too large was not even read; where any other is wrong, that says more.
    Ok(worst)
}
