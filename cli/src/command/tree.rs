//! `tree`: an execution and the executions that its steps have started, and theirs.

use clap::Args;
use serde_json::{Value, json};
use stepstream_coordinator::reading::Reader;
use stepstream_shared::id::{ExecutionId, TenantId};

use super::{Format, execution_id};
use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Problem};
use crate::log;
use crate::output::{self, printable};
use crate::target::{LogArgs, Target};

/// Executions shown: a family may be as wide as it is deep.
const SHOWN: usize = 10_000;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream tree exec_…
  stepstream tree exec_… -o json | jq '.children[].execution_id'")]
pub struct TreeArgs {
    /// The execution at the top
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    #[command(flatten)]
    place: LogArgs,

    /// What it looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Where children are asked for.
enum Source {
    Log(Box<Reader>, TenantId),
    Server(Client),
}

impl Source {
    async fn children(&self, id: ExecutionId) -> Result<Value, Problem> {
        match self {
            Source::Log(reader, tenant) => {
                let children = reader.children(&reader.load(tenant, id, None).await?).await?;
                serde_json::to_value(children)
                    .map_err(|error| Problem::new(Exit::Refused, format!("this cannot be shown: {error}")))
            }
            Source::Server(client) => Ok(client.execution(id).children().await?.json),
        }
    }
}

pub async fn run(args: TreeArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let source = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => Source::Log(Box::new(reader), place.tenant.clone()),
        (None, Target::Server(url)) => Source::Server(Client::new(url, place.tenant.clone())?),
        (None, _) => return Err(Problem::usage("nowhere to look")),
    };
    let mut shown = 0;
    let top = source.children(args.execution).await?;
    let tree = grow(&source, top, &mut shown).await?;
    match args.output {
        Format::Json => output::json(&tree)?,
        Format::Text => {
            let mut lines = Vec::new();
            draw(&tree, "", "", &mut lines);
            lines.iter().try_for_each(|line| output::line(line))?;
        }
    }
    if shown >= SHOWN {
        output::warn(&format!("only the first {SHOWN} executions are shown"));
    }
    Ok(Exit::Done)
}

/// With the children of its children, as deep as executions start executions.
async fn grow(source: &Source, of: Value, shown: &mut usize) -> Result<Value, Problem> {
    *shown += 1;
    let mut children = Vec::new();
    for item in of["items"].as_array().into_iter().flatten() {
        if *shown >= SHOWN {
            break;
        }
        let id = item["execution_id"].as_str().unwrap_or_default();
        let id: ExecutionId = id.parse().map_err(|error| Problem::new(Exit::Refused, format!("{error}")))?;
        let below = match source.children(id).await {
            Ok(found) => Box::pin(grow(source, found, shown)).await?,
            // It is to be started yet.
            Err(problem) if problem.exit == Exit::NotFound => json!({"children": []}),
            Err(problem) => return Err(problem),
        };
        let mut child = item.clone();
        child["children"] = below["children"].clone();
        children.push(child);
    }
    // The attempt that follows this one, with those that follow it.
    if let Some(next) = of["next_attempt"].as_str().filter(|_| *shown < SHOWN) {
        let next: ExecutionId = next.parse().map_err(|error| Problem::new(Exit::Refused, format!("{error}")))?;
        match source.children(next).await {
            Ok(found) => {
                let number = found["attempt"].clone();
                let mut attempt = Box::pin(grow(source, found, shown)).await?;
                attempt["node"] = json!(format!("attempt {number}"));
                children.push(attempt);
            }
            Err(problem) if problem.exit == Exit::NotFound => {}
            Err(problem) => return Err(problem),
        }
    }
    let keys = ["execution_id", "state", "graph", "parent", "depth"];
    let mut tree: Value =
        keys.into_iter().map(|key| (key.to_owned(), of[key].clone())).collect::<serde_json::Map<_, _>>().into();
    tree["children"] = json!(children);
    Ok(tree)
}

fn draw(of: &Value, first: &str, rest: &str, lines: &mut Vec<String>) {
    let text = |key: &str| printable(of[key].as_str().unwrap_or_default());
    let node = of["node"].as_str().map(|node| format!("{}: ", printable(node))).unwrap_or_default();
    let background = if of["background"] == json!(true) { "  (background)" } else { "" };
    lines.push(format!("{first}{node}{}  {}  {}{background}", text("graph"), text("execution_id"), text("state")));
    let children = of["children"].as_array().map_or(&[][..], Vec::as_slice);
    for (at, child) in children.iter().enumerate() {
        let (branch, line) = if at + 1 == children.len() { ("└── ", "    ") } else { ("├── ", "│   ") };
        draw(child, &format!("{rest}{branch}"), &format!("{rest}{line}"), lines);
    }
}
