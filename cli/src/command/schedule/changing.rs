//! Commands that make, change and use schedules.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};
use stepstream_coordinator::service::{Backfill, ScheduleChange};
use stepstream_coordinator::{Service, ServiceError};
use stepstream_shared::id::TenantId;
use stepstream_shared::time::Timestamp;

use super::moment;
use super::showing::shown;
use crate::app::{App, LOGS_OF_A_RUN};
use crate::client::{Asker, Client};
use crate::command::Format;
use crate::command::asking::NameArgs;
use crate::embedded::Embedded;
use crate::exit::{Exit, Problem};
use crate::input::{self, Document};
use crate::output::{self, printable};
use crate::render::progress::Loudness;
use crate::target::{Place, Target, TargetArgs};

/// Where, in whose name, and what it says afterwards.
#[derive(Debug, Args)]
struct ChangeArgs {
    #[command(flatten)]
    name: NameArgs,

    #[command(flatten)]
    target: TargetArgs,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// A file with the schedule, YAML or JSON; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Paused from the beginning
    #[arg(long)]
    paused: bool,

    /// Why it is paused
    #[arg(long, value_name = "TEXT", requires = "paused")]
    note: Option<String>,

    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The schedule, by id or name
    #[arg(value_name = "SCHEDULE")]
    schedule: String,

    /// A file with the new document, YAML or JSON; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only if it is in this revision, as `get` shows it
    #[arg(long, value_name = "N")]
    revision: Option<u64>,

    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The schedule, by id or name
    #[arg(value_name = "SCHEDULE")]
    schedule: String,

    /// For whoever wonders later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,

    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "What came meanwhile is not made up for; `stepstream schedule backfill` can.")]
pub struct ResumeArgs {
    /// The schedule, by id or name
    #[arg(value_name = "SCHEDULE")]
    schedule: String,

    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct TriggerArgs {
    /// The schedule, by id or name
    #[arg(value_name = "SCHEDULE")]
    schedule: String,

    /// The same key again is the same execution
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    idempotency_key: Option<String>,

    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each nominal time from the first moment to the second is carried out, one after the other. Those that were carried out
already find their execution there: the same range again does nothing.")]
pub struct BackfillArgs {
    /// The schedule, by id or name
    #[arg(value_name = "SCHEDULE")]
    schedule: String,

    /// Nominal times from this moment on
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    from: Timestamp,

    /// Up to this moment, which is not in the future
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    to: Timestamp,

    /// All at once, and not one after the other
    #[arg(long)]
    at_once: bool,

    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The schedule, by id or name
    #[arg(value_name = "SCHEDULE")]
    schedule: String,

    #[command(flatten)]
    change: ChangeArgs,
}

/// What is asked for.
enum Wish {
    Create { document: Document, paused: Option<String> },
    Update { schedule: String, document: Document, revision: Option<u64> },
    Pause { schedule: String, note: String },
    Resume { schedule: String },
    Trigger { schedule: String, key: Option<String> },
    Backfill { schedule: String, range: Backfill },
    Delete { schedule: String },
}

impl Wish {
    async fn here(
        self,
        service: &Service,
        tenant: &TenantId,
        by: &str,
    ) -> Result<Result<Value, Problem>, ServiceError> {
        let change = async |schedule: &str, change, revision| {
            service.change_schedule(tenant, schedule, by, change, revision).await.map(|view| shown(&view))
        };
        match self {
            Wish::Create { document, paused } => {
                let paused = paused.as_deref().map(|note| (by, note));
                let view = service.create_schedule(tenant, &document.name, &document.text, paused).await?;
                Ok(shown(&view))
            }
            Wish::Update { schedule, document, revision } => {
                let new = ScheduleChange::Replace { file: document.name, text: document.text };
                change(&schedule, new, revision).await
            }
            Wish::Pause { schedule, note } => change(&schedule, ScheduleChange::Pause { note }, None).await,
            Wish::Resume { schedule } => change(&schedule, ScheduleChange::Resume, None).await,
            Wish::Trigger { schedule, key } => {
                let started = service.trigger_schedule(tenant, &schedule, by, key.as_deref()).await?;
                Ok(Ok(json!({"execution_id": started.execution, "created": started.created})))
            }
            Wish::Backfill { schedule, range } => {
                let done = service.backfill_schedule(tenant, &schedule, range).await?;
                Ok(Ok(json!({"found": done.found, "taken_up": done.taken_up})))
            }
            Wish::Delete { schedule } => {
                let id = service.delete_schedule(tenant, &schedule).await?;
                Ok(Ok(json!({"schedule_id": id})))
            }
        }
    }

    async fn there(self, client: &Client, by: &str) -> Result<Value, Problem> {
        let asker = Asker { by: Some(by), key: None };
        Ok(match self {
            Wish::Create { document: Document { name, text }, paused } => {
                client.create_schedule(&name, text, paused.as_deref(), asker).await?.json
            }
            Wish::Update { schedule, document: Document { name, text }, revision } => {
                client.replace_schedule(&schedule, &name, text, revision, asker).await?.json
            }
            Wish::Pause { schedule, note } => client.pause_schedule(&schedule, &note, asker).await?.json,
            Wish::Resume { schedule } => client.resume_schedule(&schedule, asker).await?.json,
            Wish::Trigger { schedule, key } => {
                client.trigger_schedule(&schedule, Asker { key: key.as_deref(), ..asker }).await?.json
            }
            Wish::Backfill { schedule, range: Backfill { from, to, at_once } } => {
                client.backfill_schedule(&schedule, from, to, at_once, asker).await?.json
            }
            Wish::Delete { schedule } => json!({"schedule_id": client.delete_schedule(&schedule, asker).await?}),
        })
    }
}

impl ChangeArgs {
    /// Carries it out where schedules live, and shows what came of it: JSON, or `said` of it.
    async fn carry_out(
        self,
        app: &App,
        wish: Wish,
        said: impl FnOnce(&Value, &Place) -> (String, Option<String>) + Send,
    ) -> Result<Exit, Problem> {
        let place = self.target.resolve(&app.settings)?;
        let by = self.name.name();
        let answer = match &place.target {
            Target::Data(dir) => {
                app.start_logs(LOGS_OF_A_RUN)?;
                crate::data_dir::existing_log(dir)?;
                let here = Embedded::open_to_ask(dir).await?;
                let answer = here.or_trouble(wish.here(&here.service, &place.tenant, &by)).await;
                here.close().await;
                answer??
            }
            Target::Server(url) => wish.there(&Client::new(url, place.tenant.clone())?, &by).await?,
            Target::Postgres(_) => return Err(Problem::usage("this needs a data directory or a server")),
        };
        match self.output {
            Format::Json => output::json(&answer)?,
            Format::Text => {
                let (line, hint) = said(&answer, &place);
                output::line(&printable(&line))?;
                if let Some(hint) = hint.filter(|_| app.loudness > Loudness::Quiet) {
                    output::note(&hint);
                }
            }
        }
        Ok(Exit::Done)
    }
}

/// Nothing fires from a data directory that nobody serves.
fn who_fires(place: &Place) -> Option<String> {
    match &place.target {
        Target::Data(_) => Some(format!("it fires while `stepstream dev{}` runs", place.as_arguments())),
        _ => None,
    }
}

fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap_or_default()
}

/// What a schedule is about to do.
fn prospect(answer: &Value) -> String {
    match answer["next_at"].as_str() {
        Some(next) => format!("{}  next at {next}", text(answer, "name")),
        None => format!("{}  {}", text(answer, "name"), text(answer, "status")),
    }
}

pub(super) async fn create(args: CreateArgs, app: &App) -> Result<Exit, Problem> {
    let document = input::document(&args.file)?;
    let paused = args.paused.then(|| args.note.unwrap_or_default());
    let wish = Wish::Create { document, paused };
    args.change
        .carry_out(app, wish, |answer, place| {
            (format!("{}  {}", text(answer, "schedule_id"), prospect(answer)), who_fires(place))
        })
        .await
}

pub(super) async fn update(args: UpdateArgs, app: &App) -> Result<Exit, Problem> {
    let document = input::document(&args.file)?;
    let wish = Wish::Update { schedule: args.schedule, document, revision: args.revision };
    args.change.carry_out(app, wish, |answer, place| (prospect(answer), who_fires(place))).await
}

pub(super) async fn pause(args: PauseArgs, app: &App) -> Result<Exit, Problem> {
    let wish = Wish::Pause { schedule: args.schedule, note: args.note };
    args.change.carry_out(app, wish, |answer, _| (prospect(answer), None)).await
}

pub(super) async fn resume(args: ResumeArgs, app: &App) -> Result<Exit, Problem> {
    let wish = Wish::Resume { schedule: args.schedule };
    args.change.carry_out(app, wish, |answer, place| (prospect(answer), who_fires(place))).await
}

pub(super) async fn trigger(args: TriggerArgs, app: &App) -> Result<Exit, Problem> {
    let wish = Wish::Trigger { schedule: args.schedule, key: args.idempotency_key };
    args.change
        .carry_out(app, wish, |answer, place| {
            let id = text(answer, "execution_id");
            let go_on = match &place.target {
                Target::Data(_) => Some(format!("go on with: stepstream resume {id}{}", place.as_arguments())),
                _ => None,
            };
            (id.to_owned(), go_on)
        })
        .await
}

pub(super) async fn backfill(args: BackfillArgs, app: &App) -> Result<Exit, Problem> {
    let range = Backfill { from: args.from, to: args.to, at_once: args.at_once };
    let wish = Wish::Backfill { schedule: args.schedule, range };
    args.change
        .carry_out(app, wish, |answer, place| {
            (format!("{} nominal times, {} taken up", answer["found"], answer["taken_up"]), who_fires(place))
        })
        .await
}

pub(super) async fn delete(args: DeleteArgs, app: &App) -> Result<Exit, Problem> {
    let wish = Wish::Delete { schedule: args.schedule };
    args.change.carry_out(app, wish, |answer, _| (format!("{} is gone", text(answer, "schedule_id")), None)).await
}
