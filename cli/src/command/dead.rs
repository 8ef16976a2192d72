//! `dead`: steps that have failed for good and are held, for somebody to redrive them.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stepstream_coordinator::reading::DeadLetter;
use stepstream_shared::execution::Steering;
use stepstream_shared::id::ExecutionId;

use super::asking::AskArgs;
use super::execution_id;
use super::get::ListFormat;
use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Problem};
use crate::log;
use crate::output::{self, printable};
use crate::render::age::ago;
use crate::render::table::table;
use crate::target::{LogArgs, Place, Target};

/// Executions whose letters are read at a time.
const PAGE: u32 = 100;

/// Dead letters listed unless somebody wants more.
const LISTED: u32 = 100;

#[derive(Debug, Args)]
pub struct DeadArgs {
    #[command(subcommand)]
    command: DeadCommand,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// List dead letters, those of the newest execution first
    List(ListArgs),
    /// Show the dead letters of an execution, with their errors
    Show(ShowArgs),
    /// Try dead letters again: of a step, of an execution, or of many
    Redrive(RedriveArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
A step becomes a dead letter when its job was delivered ten times and no worker lived to report, or, with
`dead_letter: exhausted`, when its failure is not tried again. Its execution is held; what else it has goes on.

Examples:
  stepstream dead list
  stepstream dead list --graph nightly -o json | jq -r '.items[].execution_id'")]
pub struct ListArgs {
    /// Only those of the graph with this name or id
    #[arg(long, value_name = "GRAPH")]
    graph: Option<String>,

    /// Most dead letters; an execution's are shown together
    #[arg(long, value_name = "N", default_value_t = LISTED)]
    limit: u32,

    #[command(flatten)]
    place: LogArgs,

    /// What it looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  stepstream dead show exec_… -o json | jq '.items[].error'")]
pub struct ShowArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    #[command(flatten)]
    place: LogArgs,

    /// What it looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream dead redrive exec_…                  all that it has
  stepstream dead redrive exec_… resize           one step
  stepstream dead redrive --all --graph nightly   many

Each is another attempt, at once, so put right what they failed of before. An execution that is over has no dead letters:
it is started anew. `stepstream resolve EXEC STEP` says how one ends instead.")]
pub struct RedriveArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id, required_unless_present = "all", conflicts_with = "all")]
    execution: Option<ExecutionId>,

    /// The step: its node's name, or step_… [default: all that the execution has]
    #[arg(value_name = "STEP", conflicts_with = "all")]
    step: Option<String>,

    /// Of every execution that has any
    #[arg(long)]
    all: bool,

    /// With --all: only those of the graph with this name or id
    #[arg(long, value_name = "GRAPH", requires = "all", conflicts_with = "execution")]
    graph: Option<String>,

    #[command(flatten)]
    ask: AskArgs,
}

pub async fn run(args: DeadArgs, app: &App) -> Result<Exit, Problem> {
    match args.command {
        DeadCommand::List(args) => list(args, app).await,
        DeadCommand::Show(args) => show(args, app).await,
        DeadCommand::Redrive(args) => redrive(args, app).await,
    }
}

async fn list(args: ListArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let limit = args.limit as usize;
    let letters = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => {
            let (mut letters, mut after) = (Vec::new(), None);
            loop {
                let (some, next) = reader.dead_letters(&place.tenant, args.graph.as_deref(), after, PAGE).await?;
                letters.extend(some);
                after = next;
                if after.is_none() || letters.len() >= limit {
                    break;
                }
            }
            as_json(&letters)?
        }
        (None, Target::Server(url)) => {
            let client = Client::new(url, place.tenant.clone())?;
            let letters = client.dead_letters(args.graph.as_deref(), limit).await?;
            letters.into_iter().map(|letter| letter.json).collect()
        }
        (None, _) => return Err(Problem::usage("nowhere to look")),
    };
    print(&letters, &place, args.output)
}

async fn show(args: ShowArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let letters = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => as_json(&DeadLetter::of(&reader.load(&place.tenant, args.execution, None).await?))?,
        (None, Target::Server(url)) => {
            let waits = Client::new(url, place.tenant.clone())?.execution(args.execution).waits().await?.json;
            let waits = waits["waits"].as_array().into_iter().flatten();
            let dead = waits.filter(|wait| wait["reason"] == "dead_letter");
            let letter = |wait: &Value| {
                json!({
                    "execution_id": args.execution, "step_id": wait["step_id"], "node": wait["node"],
                    "iteration": wait["iteration"], "reason": wait["wait"]["dead_letter"],
                    "error": wait["wait"]["error"], "since": wait["since"],
                })
            };
            dead.map(letter).collect()
        }
        (None, _) => return Err(Problem::usage("nowhere to look")),
    };
    print(&letters, &place, args.output)
}

fn as_json(letters: &[DeadLetter]) -> Result<Vec<Value>, Problem> {
    let letters = letters.iter().map(serde_json::to_value).collect::<Result<_, _>>();
    letters.map_err(|error| Problem::new(Exit::Refused, format!("this cannot be shown: {error}")))
}

fn print(letters: &[Value], place: &Place, format: ListFormat) -> Result<Exit, Problem> {
    if format == ListFormat::Json {
        output::json(&json!({ "items": letters }))?;
        return Ok(Exit::Done);
    }
    if letters.is_empty() {
        output::note("there are no dead letters");
        return Ok(Exit::Done);
    }
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let rows = letters.iter().map(|letter| {
        let error = format!("[{}] {}", text(&letter["error"]["category"]), text(&letter["error"]["message"]));
        let since = letter["since"].as_str().map(ago).unwrap_or_default();
        vec![text(&letter["execution_id"]), text(&letter["node"]), text(&letter["reason"]), since, error]
    });
    output::line(&table(&["EXECUTION", "NODE", "REASON", "SINCE", "ERROR"], rows))?;
    output::note(&format!("try them again with: stepstream dead redrive EXEC{}", place.as_arguments()));
    Ok(Exit::Done)
}

async fn redrive(args: RedriveArgs, app: &App) -> Result<Exit, Problem> {
    let Some(execution) = args.execution else { return args.ask.redrive_all(app, args.graph).await };
    let done = match &args.step {
        Some(step) => format!("tries {step} again"),
        None => "tries its dead letters again".to_owned(),
    };
    args.ask.ask(app, execution, Steering::Redrive { step: args.step }, &done).await
}
