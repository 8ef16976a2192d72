//! `cancel` and `pause`: what is asked of an execution from outside, or of many.

use clap::Args;
use serde_json::{Value, json};
use stepstream_coordinator::service::{Ask, Bulk, BulkAction};
use stepstream_shared::execution::Steering;
use stepstream_shared::id::ExecutionId;

use super::asking::NameArgs;
use super::state::State;
use super::{Format, execution_id};
use crate::app::{App, LOGS_OF_A_RUN};
use crate::client::{Asker, Client, Many, ManyAction};
use crate::embedded::Embedded;
use crate::exit::{Exit, Problem};
use crate::output;
use crate::target::{Place, Target, TargetArgs};

pub const CANCEL_HELP: &str = "\
Examples:
  stepstream cancel exec_… --reason 'not needed any more'
  stepstream cancel exec_… --subtree
  stepstream cancel --all --state Waiting --graph approval

With --all and no --state: every execution that is not over.";

pub const PAUSE_HELP: &str = "\
Attempts that workers have already may end, and are recorded. `stepstream resume EXEC` lets it go on.

Examples:
  stepstream pause exec_… --reason 'wait for the new key'
  stepstream pause --all --graph nightly          those that run or wait; `resume --all --state Paused` lets them go on";

/// Which of many.
#[derive(Debug, Clone, Default, Args)]
pub struct ManyArgs {
    /// With --all: only those in this state
    #[arg(long, value_enum, ignore_case = true, requires = "all", conflicts_with = "execution")]
    pub state: Option<State>,

    /// With --all: only those of the graph with this name or id
    #[arg(long, value_name = "GRAPH", requires = "all", conflicts_with = "execution")]
    pub graph: Option<String>,
}

#[derive(Debug, Args)]
pub struct ControlArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id, required_unless_present = "all", conflicts_with = "all")]
    execution: Option<ExecutionId>,

    /// Every execution that it can mean anything to
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    many: ManyArgs,

    /// Also the executions that its steps have started, and theirs
    #[arg(long, requires = "execution")]
    subtree: bool,

    /// Why; stands in the log [default: by request]
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    name: NameArgs,

    #[command(flatten)]
    target: TargetArgs,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Clone, Copy)]
pub enum Action {
    Cancel,
    Pause,
}

impl Action {
    /// The command, what it does to an execution, and the state that follows.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Action::Cancel => ("cancel", "cancelled", "Cancelled"),
            Action::Pause => ("pause", "paused", "Paused"),
        }
    }
}

/// What became of each of many.
pub(super) type Outcomes = Vec<(String, Result<(), Problem>)>;

pub async fn run(action: Action, args: ControlArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.target.resolve(&app.settings)?;
    let Some(id) = args.execution.filter(|_| !args.subtree) else { return many(action, args, &place, app).await };
    let (command, done, state) = action.words();
    let by = args.name.name();
    let reason = args.reason.unwrap_or_else(|| format!("{done} by request"));
    let what = match action {
        Action::Cancel => Steering::Cancel { reason },
        Action::Pause => Steering::Pause { reason },
    };
    match &place.target {
        Target::Data(dir) => {
            app.start_logs(LOGS_OF_A_RUN)?;
            crate::data_dir::existing_log(dir)?;
            let here = Embedded::open_to_ask(dir).await?;
            let answer = here.or_trouble(here.service.steer(&place.tenant, id, Ask::new(by, what))).await;
            here.close().await;
            answer?;
        }
        Target::Server(url) => {
            let asker = Asker { by: Some(&by), key: None };
            Client::new(url, place.tenant.clone())?.steer(id, &what, asker).await?;
        }
        Target::Postgres(_) => return Err(Problem::usage(format!("`{command}` needs a data directory or a server"))),
    }
    match args.output {
        Format::Text => output::line(&format!("{id} {done}"))?,
        Format::Json => output::json(&json!({"execution_id": id, "state": state}))?,
    }
    Ok(Exit::Done)
}

async fn many(action: Action, args: ControlArgs, place: &Place, app: &App) -> Result<Exit, Problem> {
    let (command, done, _) = action.words();
    let by = args.name.name();
    let outcomes = match &place.target {
        Target::Data(dir) => {
            app.start_logs(LOGS_OF_A_RUN)?;
            crate::data_dir::existing_log(dir)?;
            let bulk = Bulk {
                action: match action {
                    Action::Cancel => BulkAction::Cancel,
                    Action::Pause => BulkAction::Pause,
                },
                state: args.many.state.map(|state| state.name().to_owned()),
                graph: args.many.graph.clone(),
                subtree_of: args.execution,
                reason: args.reason.clone(),
                by,
                idempotency_key: None,
            };
            let here = Embedded::open_to_ask(dir).await?;
            let outcomes = all_here(&here, place, &bulk).await;
            here.close().await;
            outcomes?
        }
        Target::Server(url) => {
            let client = Client::new(url, place.tenant.clone())?;
            let many = Many {
                action: match action {
                    Action::Cancel => ManyAction::Cancel,
                    Action::Pause => ManyAction::Pause,
                },
                state: args.many.state.map(State::of_server),
                graph: args.many.graph.clone(),
                subtree_of: args.execution,
                reason: args.reason.clone(),
            };
            let done = client.control(&many, Asker { by: Some(&by), key: None }).await?;
            done.into_iter().map(|each| (each.execution_id, each.outcome.map_err(Problem::from))).collect()
        }
        Target::Postgres(_) => return Err(Problem::usage(format!("`{command}` needs a data directory or a server"))),
    };
    print(&outcomes, done, args.output)
}

pub(super) async fn all_here(here: &Embedded, place: &Place, bulk: &Bulk) -> Result<Outcomes, Problem> {
    let mut outcomes = Vec::new();
    let mut after = None;
    loop {
        let part = here.or_trouble(here.service.steer_all(&place.tenant, bulk, after, u32::MAX)).await?;
        outcomes.extend(part.done.into_iter().map(|(id, outcome)| (id.to_string(), outcome.map_err(Problem::from))));
        match part.next {
            Some(next) => after = Some(next),
            None => return Ok(outcomes),
        }
    }
}

/// One that refuses stops no other; the first refusal is how the command ends.
pub(super) fn print(outcomes: &Outcomes, done: &str, format: Format) -> Result<Exit, Problem> {
    match format {
        Format::Json => {
            let item = |(id, outcome): &(String, Result<(), Problem>)| -> Value {
                let error = outcome.as_ref().err().map(|problem| &problem.message);
                json!({"execution_id": id, "ok": error.is_none(), "error": error})
            };
            output::json(&json!({"items": outcomes.iter().map(item).collect::<Vec<_>>()}))?;
        }
        Format::Text if outcomes.is_empty() => output::note("there is no such execution"),
        Format::Text => {
            for (id, outcome) in outcomes {
                match outcome {
                    Ok(()) => output::line(&format!("{id} {done}"))?,
                    Err(problem) => output::note(&format!("{id}: {}", output::printable(&problem.message))),
                }
            }
        }
    }
    let refused = outcomes.iter().find_map(|(_, outcome)| outcome.as_ref().err());
    Ok(refused.map_or(Exit::Done, |problem| problem.exit))
}
