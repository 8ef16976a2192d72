//! `get`: what there is.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use stepstream_coordinator::ports::{BackgroundFilter, ListCursor};
use stepstream_coordinator::reading::Reader;
use stepstream_shared::background::BackgroundStatus;
use stepstream_shared::id::{ExecutionId, TenantId};

use super::background::{self, Mode};
use super::execution_id;
use super::state::State;
use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Problem};
use crate::follow;
use crate::log;
use crate::output;
use crate::render::age::{ago, span};
use crate::render::table::table;
use crate::report::Report;
use crate::target::{LogArgs, Target};

/// Rows that are read at a time.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub struct GetArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Executions, newest first
    Executions(ExecutionsArgs),
    /// One execution as it stands
    Execution(ExecutionArgs),
    /// Background executions, newest first
    Background(BackgroundArgs),
    /// Graphs that are registered
    Graphs(GraphsArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ListFormat {
    #[default]
    Table,
    Json,
}

#[derive(Debug, Args)]
struct ExecutionsArgs {
    /// Only those in this state
    #[arg(long, value_enum, ignore_case = true)]
    state: Option<State>,

    /// Most rows
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    place: LogArgs,

    /// What the list looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

#[derive(Debug, Args)]
struct ExecutionArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    #[command(flatten)]
    place: LogArgs,

    /// What it looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
    Timeout,
}

impl Status {
    const fn status(self) -> BackgroundStatus {
        match self {
            Status::Queued => BackgroundStatus::Queued,
            Status::Running => BackgroundStatus::Running,
            Status::Completed => BackgroundStatus::Completed,
            Status::Failed => BackgroundStatus::Failed,
            Status::Cancelled => BackgroundStatus::Cancelled,
            Status::Timeout => BackgroundStatus::Timeout,
        }
    }
}

#[derive(Debug, Args)]
struct BackgroundArgs {
    /// Only those of this status
    #[arg(long, value_enum)]
    status: Option<Status>,

    /// Only those of this mode
    #[arg(long, value_enum)]
    mode: Option<Mode>,

    /// Most rows
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    place: LogArgs,

    /// What the list looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

#[derive(Debug, Args)]
struct GraphsArgs {
    /// Most rows
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    place: LogArgs,

    /// What the list looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

pub async fn run(args: GetArgs, app: &App) -> Result<Exit, Problem> {
    match args.what {
        What::Executions(args) => executions(args, app).await,
        What::Execution(args) => execution(args, app).await,
        What::Background(args) => in_background(args, app).await,
        What::Graphs(args) => graphs(args, app).await,
    }
}

async fn executions(args: ExecutionsArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let state = args.state.map(State::name);
    let items = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => listed(&reader, &place.tenant, state, args.limit).await?,
        (None, Target::Server(url)) => {
            let found = Client::new(url, place.tenant.clone())?.executions(state, args.limit).await?;
            found.into_iter().map(|row| row.json).collect()
        }
        (None, _) => Vec::new(),
    };
    match args.output {
        ListFormat::Json => output::json(&json!({"items": items}))?,
        ListFormat::Table => {
            let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let rows = items.iter().map(|row| {
                vec![text(row, "execution_id"), text(row, "state"), text(row, "graph"), ago(&text(row, "created_at"))]
            });
            print_table(&["EXECUTION", "STATE", "GRAPH", "CREATED"], rows.collect(), "no executions")?;
        }
    }
    Ok(Exit::Done)
}

fn print_table(headings: &[&str], rows: Vec<Vec<String>>, none: &str) -> Result<(), Problem> {
    if rows.is_empty() {
        output::note(none);
        return Ok(());
    }
    output::line(&table(headings, rows))
}

async fn listed(reader: &Reader, tenant: &TenantId, state: Option<&str>, limit: usize) -> Result<Vec<Value>, Problem> {
    let mut items = Vec::new();
    let mut after = None;
    while items.len() < limit {
        let size = u32::try_from(limit - items.len()).unwrap_or(PAGE).min(PAGE);
        let page = reader.list(tenant, state, after, size).await?;
        after = page.last().map(|row| ListCursor { created_at: row.summary.created_at, execution: row.execution });
        let complete = page.len() < size as usize;
        items.extend(page.into_iter().map(|row| {
            json!({
                "execution_id": row.execution,
                "state": row.summary.state,
                "graph": row.summary.graph_name,
                "graph_id": row.summary.graph,
                "created_at": row.summary.created_at,
                "updated_at": row.summary.updated_at,
            })
        }));
        if complete {
            break;
        }
    }
    Ok(items)
}

async fn in_background(args: BackgroundArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let filter = BackgroundFilter { mode: args.mode.and_then(Mode::mode), status: args.status.map(Status::status) };
    let items = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => listed_background(&reader, &place.tenant, filter, args.limit).await?,
        (None, Target::Server(url)) => {
            let client = Client::new(url, place.tenant.clone())?;
            let found = client.background(filter.mode, filter.status, args.limit).await?;
            found.into_iter().map(|row| row.json).collect()
        }
        (None, _) => Vec::new(),
    };
    match args.output {
        ListFormat::Json => output::json(&json!({"items": items}))?,
        ListFormat::Table => {
            let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let keys = ["execution_id", "status", "mode", "graph"];
            let rows = items.iter().map(|row| {
                let mut cells: Vec<String> = keys.iter().map(|key| text(row, key)).collect();
                cells.push(ago(&text(row, "created_at")));
                cells
            });
            let headings = ["EXECUTION", "STATUS", "MODE", "GRAPH", "CREATED"];
            print_table(&headings, rows.collect(), "no background executions")?;
        }
    }
    Ok(Exit::Done)
}

async fn listed_background(
    reader: &Reader,
    tenant: &TenantId,
    filter: BackgroundFilter,
    limit: usize,
) -> Result<Vec<Value>, Problem> {
    let mut items = Vec::new();
    let mut after = None;
    while items.len() < limit {
        let size = u32::try_from(limit - items.len()).unwrap_or(PAGE).min(PAGE);
        let page = reader.list_background(tenant, filter, after, size).await?;
        after = page.last().map(|row| ListCursor { created_at: row.summary.created_at, execution: row.execution });
        let complete = page.len() < size as usize;
        items.extend(page.into_iter().filter_map(|row| {
            let of = row.summary.background?;
            Some(json!({
                "execution_id": row.execution,
                "mode": of.mode,
                "status": of.status,
                "state": row.summary.state,
                "graph": row.summary.graph_name,
                "graph_id": row.summary.graph,
                "created_at": row.summary.created_at,
                "updated_at": row.summary.updated_at,
            }))
        }));
        if complete {
            break;
        }
    }
    Ok(items)
}

async fn execution(args: ExecutionArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let report = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => Report::of(&reader.load(&place.tenant, args.execution, None).await?),
        (None, Target::Server(url)) => {
            let client = Client::new(url, place.tenant.clone())?;
            follow::report(&client, args.execution).await?
        }
        (None, _) => return Err(Problem::usage("nowhere to look")),
    };
    match args.output {
        ListFormat::Json => output::json(&report)?,
        ListFormat::Table => {
            let steps = report.steps;
            let mut rows = vec![
                vec!["execution".to_owned(), report.execution_id.clone()],
                vec!["state".to_owned(), report.state.clone()],
                vec!["graph".to_owned(), report.graph.clone()],
                vec!["created".to_owned(), format!("{} ({})", report.created_at, ago(&report.created_at))],
                vec!["took".to_owned(), span(std::time::Duration::from_millis(report.duration_ms))],
                vec![
                    "steps".to_owned(),
                    format!(
                        "{} completed, {} failed, {} skipped, {} in all",
                        steps.completed, steps.failed, steps.skipped, steps.total
                    ),
                ],
                vec!["events".to_owned(), report.events.to_string()],
            ];
            if !report.artifacts.is_none() {
                let artifacts = report.artifacts;
                rows.push(vec![
                    "artifacts".to_owned(),
                    format!("{}, {} bytes (`stepstream artifacts` lists them)", artifacts.count, artifacts.bytes),
                ]);
            }
            if let Some(compensation) = &report.compensation {
                rows.push(vec!["undo".to_owned(), compensation.to_string()]);
            }
            if let Some(reason) = &report.reason {
                rows.push(vec!["reason".to_owned(), reason.clone()]);
            }
            if let Some(waiting_for) = &report.waiting_for {
                rows.push(vec!["waits for".to_owned(), format!("{waiting_for} (`stepstream waits` says more)")]);
            }
            if !report.breakpoints.is_empty() {
                rows.push(vec!["breakpoints".to_owned(), report.breakpoints.join(", ")]);
            }
            for (name, text) in report.background.iter().flat_map(background::lines) {
                rows.push(vec![name.to_owned(), text]);
            }
            for (name, value) in [("error", &report.error), ("output", &report.output)] {
                if !value.is_null() {
                    rows.push(vec![name.to_owned(), value.to_string()]);
                }
            }
            let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0) + 2;
            for row in rows {
                output::line(&format!("{:width$}{}", row[0], output::printable(&row[1])))?;
            }
        }
    }
    Ok(Exit::Done)
}

async fn graphs(args: GraphsArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let items = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => {
            let limit = u32::try_from(args.limit).unwrap_or(u32::MAX);
            let found = reader.list_graphs(&place.tenant, None, limit).await?;
            found
                .into_iter()
                .map(|graph| {
                    json!({
                        "graph_id": graph.digest,
                        "name": graph.name,
                        "version": graph.version,
                        "registered_at": graph.registered_at,
                    })
                })
                .collect()
        }
        (None, Target::Server(url)) => {
            let found = Client::new(url, place.tenant.clone())?.graphs(args.limit).await?;
            found.into_iter().map(|row| row.json).collect()
        }
        (None, _) => Vec::new(),
    };
    match args.output {
        ListFormat::Json => output::json(&json!({"items": items}))?,
        ListFormat::Table => {
            let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let rows = items.iter().map(|row| {
                vec![text(row, "name"), text(row, "version"), text(row, "graph_id"), ago(&text(row, "registered_at"))]
            });
            print_table(&["NAME", "VERSION", "GRAPH", "REGISTERED"], rows.collect(), "no graphs")?;
        }
    }
    Ok(Exit::Done)
}
