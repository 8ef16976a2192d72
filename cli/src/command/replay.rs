//! `replay`: an execution's state, folded from its log and from nothing else.
//!
//! Nothing is run again: no callable, no expression, no network but the store's. With `--verify` the log is checked
//! first: its sequence has no gap, each append is chained to the one before, everything folds, and what is derived from
//! it agrees: the snapshot with the state at its place, the list of executions with where the log ends.

use clap::Args;
use serde_json::{Value, json};
use stepstream_coordinator::ports::StoreError;
use stepstream_coordinator::reading::{Loaded, ReadError, Reader};
use stepstream_shared::graph::NodeIx;
use stepstream_shared::id::ExecutionId;

use super::{Format, execution_id};
use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Problem};
use crate::log;
use crate::output::{self, BOLD, DIM, GOOD};
use crate::render::table::table;
use crate::report::Report;
use crate::target::{LogArgs, Place, Target};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream replay exec_… --to 17          the state as it was after event 17
  stepstream replay exec_… --verify         exit code 8 when the log was changed or does not fold

Reads the log itself, so it takes a data directory or a PostgreSQL database; from a server only the present state can
be had.")]
pub struct ReplayArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    /// The state after this event; after the last one if not given
    #[arg(long, value_name = "N", value_parser = event_number)]
    to: Option<u64>,

    /// Check the log from end to end: gaps, hash chain, fold, and its snapshot if there is one
    #[arg(long)]
    verify: bool,

    #[command(flatten)]
    place: LogArgs,

    /// What the state looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

fn event_number(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("events begin at 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

pub async fn run(args: ReplayArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => from_log(&args, &reader, &place).await,
        (None, Target::Server(url)) => from_server(&args, &Client::new(url, place.tenant.clone())?).await,
        (None, _) => Ok(Exit::Done),
    }
}

async fn from_log(args: &ReplayArgs, reader: &Reader, place: &Place) -> Result<Exit, Problem> {
    let verified = if args.verify { Some(verify(reader, place, args.execution).await?) } else { None };
    if let (Some(loaded), None, Format::Text) = (&verified, args.to, args.output) {
        return say_verified(loaded);
    }
    let loaded = match (verified.clone(), args.to) {
        (Some(loaded), None) => loaded,
        _ => reader.load(&place.tenant, args.execution, args.to).await.map_err(|error| diverged(error, place))?,
    };
    if let Some(to) = args.to
        && loaded.execution.sequence() < to
    {
        let last = loaded.execution.sequence();
        return Err(Problem::new(Exit::NotFound, format!("there is no event {to}: the log ends with event {last}")));
    }
    let mut state = state(&loaded);
    if let Some(verified) = &verified {
        state["verified"] = json!(true);
        state["verified_events"] = json!(verified.execution.sequence());
    }
    match args.output {
        Format::Json => output::json(&state)?,
        Format::Text => show(&state)?,
    }
    Ok(Exit::Done)
}

/// Checks everything that can be checked without running anything.
async fn verify(reader: &Reader, place: &Place, id: ExecutionId) -> Result<Loaded, Problem> {
    let tenant = &place.tenant;
    // The list first: a log that grows meanwhile is then ahead of it, never behind.
    let listed = reader.store().find(tenant, id).await?;
    let loaded = match (reader.verify(tenant, id).await, &listed) {
        (Ok(loaded), _) => loaded,
        (Err(ReadError::NotFound(_)), Some(_)) => {
            return Err(Problem::new(
                Exit::Diverged,
                format!("the log of {id} is gone: the list has it, no event is there"),
            ));
        }
        (Err(error), _) => return Err(diverged(error, place)),
    };
    let (state, events) = (loaded.execution.state(), loaded.execution.sequence());
    match listed {
        Some(row) if row.summary.terminal && row.summary.state != state.name() => Err(Problem::new(
            Exit::Diverged,
            format!(
                "the list has {id} as {}, its log ends with event {events} as {state}: the end of the log is missing",
                row.summary.state
            ),
        )
        .hint(format!("if it is the list that is wrong, `{}` makes it anew from the log", rebuild(place)))),
        None => Err(Problem::new(Exit::Diverged, format!("{id} has a log and is not in the list"))
            .hint(format!("`{}` makes the list anew from the log", rebuild(place)))),
        Some(_) => Ok(loaded),
    }
}

/// While replaying, whatever cannot be read is a log that is not what was written.
fn diverged(error: ReadError, place: &Place) -> Problem {
    match error {
        ReadError::BadGraph { .. } | ReadError::GraphNotFound(_) | ReadError::Store(StoreError::Corrupt { .. }) => {
            Problem::new(Exit::Diverged, crate::exit::chain(&error))
        }
        ReadError::Snapshot { .. } => Problem::from(error)
            .hint(format!("if the log is right, `{}` makes the snapshots anew from it", rebuild(place))),
        other => other.into(),
    }
}

/// The command that makes anew, in this place, what is derived from the log.
fn rebuild(place: &Place) -> String {
    format!("stepstream admin rebuild{}", place.as_arguments())
}

fn say_verified(loaded: &Loaded) -> Result<Exit, Problem> {
    let execution = &loaded.execution;
    output::line(&format!(
        "{GOOD}verified{GOOD:#} {BOLD}{}{BOLD:#}: {} events, chained and folded, {}",
        execution.id(),
        execution.sequence(),
        execution.state()
    ))?;
    output::line(&format!("{DIM}chain{DIM:#} {}", hex(&loaded.head)))?;
    output::line(&format!(
        "{DIM}state{DIM:#} {} (version {})",
        hex(&execution.state_hash()),
        execution.state_version()
    ))?;
    Ok(Exit::Done)
}

/// The whole state as one object.
fn state(loaded: &Loaded) -> Value {
    let execution = &loaded.execution;
    let steps: Vec<Value> = (0_u32..)
        .zip(execution.steps())
        .map(|(ordinal, step)| {
            let node = loaded.graph.node(NodeIx(step.node())).map_or("", |node| node.name.as_str());
            json!({
                "step_id": execution.step_id(ordinal, node),
                "node": node,
                "undoes": step.undoes().and_then(|undone| execution.step_id(undone, node)),
                "iteration": step.iterations(),
                "index": step.index(),
                "state": step.state().name(),
                "attempt": step.attempt(),
                "worker": step.worker(),
                "skip_reason": step.skip_reason().map(|reason| reason.name()),
                "error": step.error(),
                "output": step.output(),
                "scheduled_at": step.scheduled_at(),
                "started_at": step.started_at(),
                "ended_at": step.ended_at(),
            })
        })
        .collect();
    let report = Report::of(loaded);
    json!({
        "execution_id": report.execution_id,
        "state": report.state,
        "reason": report.reason,
        "sequence": execution.sequence(),
        "state_hash": hex(&execution.state_hash()),
        "state_version": execution.state_version(),
        // The chain is known where an append ends.
        "graph": report.graph,
        "graph_id": execution.graph(),
        "inputs": execution.inputs(),
        "output": report.output,
        "error": report.error,
        "created_at": report.created_at,
        "ended_at": execution.ended_at(),
        "counts": report.steps,
        "steps": steps,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn show(state: &Value) -> Result<(), Problem> {
    let text = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
    output::line(&format!(
        "{BOLD}{}{BOLD:#} {} after event {}",
        text("execution_id"),
        text("state"),
        state["sequence"]
    ))?;
    output::line(&format!("{DIM}graph{DIM:#}  {} ({})", text("graph"), text("graph_id")))?;
    if !state["state_hash"].is_null() {
        output::line(&format!("{DIM}state{DIM:#}  {} (version {})", text("state_hash"), state["state_version"]))?;
    }
    for key in ["reason", "error", "output"] {
        if !state[key].is_null() {
            output::line(&format!("{DIM}{key}{DIM:#}  {}", output::printable(&state[key].to_string())))?;
        }
    }
    let rows: Vec<Vec<String>> = state["steps"].as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    output::line("")?;
    output::line(&table(&["STEP", "STATE", "ATTEMPT", "RESULT"], rows))
}

fn row(step: &Value) -> Vec<String> {
    const SHOWN_CHARS: usize = 60;
    let mut name = step["node"].as_str().unwrap_or_default().to_owned();
    if let Some(index) = step["index"].as_u64() {
        name.push_str(&format!("[{index}]"));
    }
    for pass in step["iteration"].as_array().into_iter().flatten() {
        name.push_str(&format!(" #{pass}"));
    }
    let result = match (step["error"]["message"].as_str(), step["skip_reason"].as_str(), &step["output"]) {
        (_, Some(reason), _) => reason.to_owned(),
        (Some(message), ..) => message.to_owned(),
        (None, None, Value::Null) => String::new(),
        (None, None, output) => output.to_string(),
    };
    let result = match result.char_indices().nth(SHOWN_CHARS) {
        Some((cut, _)) => format!("{}…", &result[..cut]),
        None => result,
    };
    vec![name, step["state"].as_str().unwrap_or_default().to_owned(), step["attempt"].to_string(), result]
}

async fn from_server(args: &ReplayArgs, client: &Client) -> Result<Exit, Problem> {
    if args.verify || args.to.is_some() {
        return Err(Problem::usage("a server gives the present state only; --verify and --to read the log itself")
            .hint("name the log with --data DIR or --postgres URL"));
    }
    let execution = client.execution(args.execution);
    let mut state = execution.get().await?.json;
    state["counts"] = state["steps"].take();
    state["steps"] = execution.steps().await?.into_iter().map(|step| step.json).collect();
    match args.output {
        Format::Json => output::json(&state)?,
        Format::Text => show(&state)?,
    }
    Ok(Exit::Done)
}
