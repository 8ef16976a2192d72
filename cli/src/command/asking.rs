//! What every command has that asks something of an execution: in whose name, where, and what it says afterwards.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;
use stepstream_coordinator::reading::Waits;
use stepstream_coordinator::service::{Ask, Bulk, BulkAction};
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_shared::execution::Steering;
use stepstream_shared::execution::steering::NAME_BYTES;
use stepstream_shared::id::ExecutionId;

use super::{Format, control, rights, run};
use crate::app::{App, LOGS_OF_A_RUN};
use crate::client::{Asker, Client, Many, ManyAction};
use crate::embedded::Embedded;
use crate::exit::{Exit, Problem};
use crate::output;
use crate::render::progress::Loudness;
use crate::render::waits;
use crate::settings::env;
use crate::target::{Place, Target, TargetArgs};

/// Whoever asks where nothing says who.
const NOBODY: &str = "cli";

/// In whose name something is asked.
#[derive(Debug, Clone, Default, Args)]
pub struct NameArgs {
    /// In whose name: approvals know people by it, and it stands in the log [default: $USER, or cli]
    #[arg(long = "as", value_name = "NAME", value_parser = person)]
    by: Option<String>,
}

impl NameArgs {
    pub fn name(&self) -> String {
        let user = || env("USER").filter(|name| person(name).is_ok());
        self.by.clone().or_else(user).unwrap_or_else(|| NOBODY.to_owned())
    }
}

fn person(text: &str) -> Result<String, String> {
    if (1..=NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(format!("a name is 1 to {NAME_BYTES} bytes of text on one line"))
    }
}

#[derive(Debug, Args)]
pub struct AskArgs {
    #[command(flatten)]
    name: NameArgs,

    /// The same key and the same request again are done once
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    idempotency_key: Option<String>,

    #[command(flatten)]
    target: TargetArgs,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl AskArgs {
    /// In whose name it is asked.
    pub fn by(&self) -> String {
        self.name.name()
    }

    /// Tries the dead letters of every execution again, or of those of one graph.
    pub async fn redrive_all(self, app: &App, graph: Option<String>) -> Result<Exit, Problem> {
        let place = self.target.resolve(&app.settings)?;
        let by = self.by();
        let outcomes = match &place.target {
            Target::Data(dir) => {
                app.start_logs(LOGS_OF_A_RUN)?;
                crate::data_dir::existing_log(dir)?;
                let bulk = Bulk {
                    action: BulkAction::Redrive,
                    state: None,
                    graph,
                    subtree_of: None,
                    reason: None,
                    by,
                    idempotency_key: self.idempotency_key,
                };
                let here = Embedded::open_to_ask(dir).await?;
                let outcomes = control::all_here(&here, &place, &bulk).await;
                here.close().await;
                outcomes?
            }
            Target::Server(url) => {
                let client = Client::new(url, place.tenant.clone())?;
                let many = Many { graph, ..Many::all(ManyAction::Redrive) };
                let asker = Asker { by: Some(&by), key: self.idempotency_key.as_deref() };
                let done = client.control(&many, asker).await?;
                done.into_iter().map(|each| (each.execution_id, each.outcome.map_err(Problem::from))).collect()
            }
            Target::Postgres(_) => return Err(Problem::usage("this needs a data directory or a server")),
        };
        control::print(&outcomes, "tries its dead letters again", self.output)
    }

    /// Shows what the tenant has used today.
    pub async fn usage_of_today(self, app: &App) -> Result<Exit, Problem> {
        super::tenant::usage(self.target, self.output, app).await
    }

    /// Asks, and says what was done: `done` follows the execution's id, as in `exec_… approved sign_off`.
    pub async fn ask(self, app: &App, id: ExecutionId, what: Steering, done: &str) -> Result<Exit, Problem> {
        let place = self.target.resolve(&app.settings)?;
        let by = self.by();
        let asked = what.name();
        let brings = matches!(
            what,
            Steering::Resolve { .. } | Steering::Decide { .. } | Steering::Answer { .. } | Steering::Signal { .. }
        );
        let hint = |problem: Problem| match problem.exit {
            // Wrong is what was brought, and what is asked for can be looked up.
            Exit::Usage if brings => {
                problem.hint(format!("what is asked for: stepstream waits {id}{} -o json", place.as_arguments()))
            }
            _ => problem,
        };
        let next = match &place.target {
            Target::Data(dir) => {
                app.start_logs(LOGS_OF_A_RUN)?;
                crate::data_dir::existing_log(dir)?;
                let here = Embedded::open_to_ask(dir).await?;
                let ask = Ask { what, by, idempotency_key: self.idempotency_key };
                let answer = match here.or_trouble(here.service.steer(&place.tenant, id, ask)).await {
                    Ok(()) => next_step(&here, &place, id).await,
                    Err(problem) => Err(problem),
                };
                here.close().await;
                answer.map_err(hint)?
            }
            Target::Server(url) => {
                let asker = Asker { by: Some(&by), key: self.idempotency_key.as_deref() };
                let client = Client::new(url, place.tenant.clone())?;
                client.steer(id, &what, asker).await.map_err(|error| hint(error.into()))?;
                Vec::new()
            }
            Target::Postgres(_) => return Err(Problem::usage("this needs a data directory or a server")),
        };
        match self.output {
            Format::Text => output::line(&format!("{id} {}", output::printable(done)))?,
            Format::Json => output::json(&json!({"execution_id": id, "done": asked}))?,
        }
        if app.loudness > Loudness::Quiet {
            next.iter().for_each(|line| output::note(line));
        }
        Ok(Exit::Done)
    }
}

/// Nobody drives what lies in a data directory: what to do so that it goes on, or what it still waits for.
async fn next_step(here: &Embedded, place: &Place, id: ExecutionId) -> Result<Vec<String>, Problem> {
    let loaded = here.service.load(&place.tenant, id, None).await?;
    let execution = &loaded.execution;
    if execution.owed_callback().is_some() {
        let go_on = run::resume_command(&id.to_string(), place, false);
        return Ok(vec![format!("make it with: {go_on}")]);
    }
    if execution.state().is_terminal() {
        return Ok(vec![format!("it is {}", execution.state().name())]);
    }
    let allowed = !run::runs_programs(&loaded.graph) || rights::given(&here.service, &place.tenant, id).await?;
    let go_on = run::resume_command(&id.to_string(), place, !allowed);
    if !execution.stands_still(SystemClock.now()) {
        return Ok(vec![format!("go on with: {go_on}")]);
    }
    let waits = serde_json::to_value(Waits::of(&loaded))
        .map_err(|error| Problem::new(Exit::Refused, format!("what it waits for cannot be shown: {error}")))?;
    Ok(waits::lines(&waits, place, &go_on))
}
