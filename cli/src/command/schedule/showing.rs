//! `schedule list` and `schedule get`.

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::client::Client;
use crate::command::get::ListFormat;
use crate::exit::{Exit, Problem};
use crate::log;
use crate::output::{self, printable};
use crate::render::age::ago;
use crate::render::table::table;
use crate::render::waits::due;
use crate::target::{LogArgs, Target};

/// Rows read at a time.
const PAGE: u32 = 100;

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Most schedules that are shown
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u32,

    #[command(flatten)]
    place: LogArgs,

    /// What it looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// The schedule, by id or name
    #[arg(value_name = "SCHEDULE")]
    schedule: String,

    #[command(flatten)]
    place: LogArgs,

    /// What it looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

pub(super) fn shown(value: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(value).map_err(|error| Problem::new(Exit::Refused, format!("this cannot be shown: {error}")))
}

pub(super) async fn list(args: ListArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let limit = args.limit as usize;
    let items: Vec<Value> = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => {
            let mut items = Vec::new();
            let mut after: Option<String> = None;
            while items.len() < limit {
                let page = reader.schedules(&place.tenant, after.as_deref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.name.clone());
                for schedule in &page {
                    items.push(shown(schedule)?);
                }
            }
            items.truncate(limit);
            items
        }
        (None, Target::Server(url)) => {
            let client = Client::new(url, place.tenant.clone())?;
            client.schedules(limit).await?.into_iter().map(|schedule| schedule.json).collect()
        }
        (None, _) => return Err(Problem::usage("nowhere to look")),
    };
    match args.output {
        ListFormat::Json => output::json(&json!({ "items": items }))?,
        ListFormat::Table if items.is_empty() => output::note("there are no schedules"),
        ListFormat::Table => {
            let rows = items.iter().map(|item| {
                let next = item["next_at"].as_str().map_or_else(|| "-".to_owned(), due);
                let last = item["last_at"].as_str().map_or_else(|| "-".to_owned(), ago);
                let counts = &item["counts"];
                vec![
                    text(&item["name"]),
                    text(&item["status"]),
                    when(&item["definition"]),
                    text(&item["definition"]["graph"]),
                    next,
                    last,
                    counts["started"].to_string(),
                    counts["missed"].to_string(),
                ]
            });
            let headings = ["NAME", "STATUS", "WHEN", "GRAPH", "NEXT", "LAST", "STARTED", "MISSED"];
            output::line(&table(&headings, rows))?;
        }
    }
    Ok(Exit::Done)
}

pub(super) async fn get(args: GetArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let schedule = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => shown(&reader.schedule(&place.tenant, &args.schedule).await?)?,
        (None, Target::Server(url)) => Client::new(url, place.tenant.clone())?.schedule(&args.schedule).await?.json,
        (None, _) => return Err(Problem::usage("nowhere to look")),
    };
    match args.output {
        ListFormat::Json => output::json(&schedule)?,
        ListFormat::Table => show(&schedule)?,
    }
    Ok(Exit::Done)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `30 2 * * * (Europe/Berlin)`, `every 15m`.
fn when(definition: &Value) -> String {
    let cron = definition["cron"].as_str().map(|cron| match definition["time_zone"].as_str() {
        Some(zone) => format!("{cron} ({zone})"),
        None => cron.to_owned(),
    });
    let every = definition["every"].as_str().map(|every| format!("every {every}"));
    cron.into_iter().chain(every).collect::<Vec<_>>().join(", ")
}

fn show(schedule: &Value) -> Result<(), Problem> {
    let line = |name: &str, value: &str| output::line(&printable(&format!("{name:<10}{value}")));
    line("schedule", &format!("{} ({})", text(&schedule["name"]), text(&schedule["schedule_id"])))?;
    let paused = &schedule["paused"];
    let status = match paused.is_object() {
        true => {
            format!("paused {} by {}: {}", ago(&text(&paused["since"])), text(&paused["by"]), text(&paused["note"]))
        }
        false => text(&schedule["status"]),
    };
    line("status", status.trim_end_matches(": "))?;
    line("when", &when(&schedule["definition"]))?;
    line("graph", &text(&schedule["definition"]["graph"]))?;
    line("revision", &schedule["revision"].to_string())?;
    let counts = schedule["counts"].as_object().into_iter().flatten().filter(|(_, count)| **count != json!(0));
    let counts: Vec<String> = counts.map(|(name, count)| format!("{count} {name}")).collect();
    let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
    line("so far", &counts)?;
    if schedule["waiting"] != json!(0) {
        line("waiting", &schedule["waiting"].to_string())?;
    }
    let items = |key: &str| schedule[key].as_array().map_or(&[][..], Vec::as_slice);
    if !items("next").is_empty() {
        let rows = items("next").iter().map(|next| vec![text(&next["time"]), due(&text(&next["fires_at"]))]);
        output::line("")?;
        output::line(&table(&["NEXT", ""], rows))?;
    }
    if !items("runs").is_empty() {
        let rows = items("runs").iter().map(|run| {
            let what = run["execution_id"].as_str().map_or_else(|| text(&run["problem"]), str::to_owned);
            vec![text(&run["time"]), text(&run["kind"]), ago(&text(&run["at"])), text(&run["state"]), what]
        });
        output::line("")?;
        output::line(&table(&["TIME", "WHY", "DONE", "STATE", "EXECUTION"], rows))?;
    }
    Ok(())
}
