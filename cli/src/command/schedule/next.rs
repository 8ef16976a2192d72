//! `schedule next`: when it would fire, worked out here.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_shared::graph::Source;
use stepstream_shared::id::TriggerId;
use stepstream_shared::schedule::{Definition, Firing, FiringKind};
use stepstream_shared::time::Timestamp;

use super::moment;
use crate::command::get::ListFormat;
use crate::exit::{Exit, Problem};
use crate::input;
use crate::output;
use crate::render::age::span;
use crate::render::table::table;

pub const HELP: &str = "\
Examples:
  stepstream schedule next --cron '0 9 * * 1-5' --time-zone America/New_York
  stepstream schedule next --cron '30 2 * * *' --time-zone Europe/Berlin --after 2027-03-26T00:00:00Z
  stepstream schedule next --every 15m --offset 5m -n 4
  stepstream schedule next nightly.yaml

The five fields of a cron expression, with an optional sixth for seconds before them:

  ┌ minute (0-59)   ┌ hour (0-23)   ┌ day of month (1-31, L: the last)   ┌ month (1-12, JAN-DEC)   ┌ day of week (0-7, SUN-SAT)
  30                2               *                                    *                         1-5

`*` is any, `1-5` a range, `*/15` a step, `1,15` a list, MON#1 the first Monday. If both days are named, either will do.
Where clocks are put forward, a single time of day that does not exist happens right after the gap; where they are put
back, it happens the first time. An expression with many times a day goes by the clock on the wall.";

/// Most times that are shown.
const MOST: u16 = 1000;

#[derive(Debug, Args)]
pub struct NextArgs {
    /// A file with a schedule, instead of the options below; - is standard input
    #[arg(value_name = "FILE", conflicts_with_all = ["cron", "every"])]
    file: Option<PathBuf>,

    /// A cron expression
    #[arg(long, value_name = "CRON")]
    cron: Option<String>,

    /// Its time zone, by its IANA name [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    time_zone: Option<String>,

    /// An interval, such as 15m, counted from 1970-01-01T00:00:00Z
    #[arg(long, value_name = "DURATION")]
    every: Option<String>,

    /// How much later than the multiples of the interval
    #[arg(long, value_name = "DURATION", requires = "every")]
    offset: Option<String>,

    /// How many times
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST)))]
    number: u16,

    /// Times after this moment [default: now]
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    after: Option<Timestamp>,

    /// What it looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

pub fn run(args: &NextArgs) -> Result<Exit, Problem> {
    let now = SystemClock.now();
    let after = args.after.unwrap_or(now);
    let (name, text) = match &args.file {
        Some(file) => {
            let document = input::document(file)?;
            (document.name, document.text)
        }
        None if args.cron.is_none() && args.every.is_none() => {
            return Err(Problem::usage("there is nothing to look at")
                .hint("give a file with a schedule, --cron '30 2 * * *' or --every 15m"));
        }
        None => ("options.json".to_owned(), document(args)?),
    };
    let definition = Definition::read(&Source { name: &name, text: &text }, Some(after))
        .map_err(|problems| Problem::usage(problems.to_string()))?;
    let times: Vec<Timestamp> =
        std::iter::successors(definition.timing.next_after(after), |time| definition.timing.next_after(*time))
            .take(usize::from(args.number).min(
                definition.timing.max_fires.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)),
            ))
            .collect();
    // Whose time it is, is all that is asked of it.
    let id = TriggerId::from_bytes([0; 20]);
    let local = |time: Timestamp| {
        let seen = Firing { id, definition: &definition, time, kind: FiringKind::Scheduled }.seen();
        seen["local"].as_str().unwrap_or_default().to_owned()
    };
    match args.output {
        ListFormat::Json => {
            let items: Vec<Value> = times.iter().map(|time| json!({"time": time, "local": local(*time)})).collect();
            output::json(&json!({"time_zone": definition.timing.zone.name(), "items": items}))?;
        }
        ListFormat::Table => {
            let rows = times.iter().map(|time| {
                let distance = if *time > now { format!("in {}", span(time.since(now))) } else { "-".to_owned() };
                vec![local(*time), time.to_string().replace(".000000Z", "Z"), distance]
            });
            output::line(&table(&[definition.timing.zone.name(), "UTC", "FROM NOW"], rows))?;
            let changes = times.windows(2).any(|pair| offset(&local(pair[0])) != offset(&local(pair[1])));
            if changes && definition.timing.cron.is_some() {
                output::note("clocks are put forward or back in between");
            }
            if !definition.timing.jitter.is_zero() {
                output::note(&format!("each up to {} later (jitter)", span(definition.timing.jitter)));
            }
        }
    }
    Ok(Exit::Done)
}

/// The end of a local time: `+02:00`, or `Z`.
fn offset(local: &str) -> &str {
    local.rfind(['+', '-', 'Z']).and_then(|at| local.get(at..)).unwrap_or_default()
}

/// The document that the options stand for.
fn document(args: &NextArgs) -> Result<String, Problem> {
    let mut fields = Map::from_iter([("name".to_owned(), json!("next")), ("graph".to_owned(), json!("next"))]);
    let given =
        [("cron", &args.cron), ("time_zone", &args.time_zone), ("every", &args.every), ("offset", &args.offset)];
    for (name, value) in given {
        if let Some(value) = value {
            fields.insert(name.to_owned(), json!(value));
        }
    }
    serde_json::to_string_pretty(&fields).map_err(|error| Problem::usage(error.to_string()))
}
