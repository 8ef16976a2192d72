//! `tenant`: what all executions of a tenant may have together, and what they have used today.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use stepstream_coordinator::ports::TenantLimits;

use super::Format;
use crate::app::{App, LOGS_OF_A_RUN};
use crate::client::Client;
use crate::embedded::Embedded;
use crate::exit::{Exit, Problem};
use crate::output;
use crate::target::{Place, Target, TargetArgs};

/// The limits there are, as they are written.
const NAMES: [&str; 6] =
    ["max_concurrent_executions", "cost_usd_per_day", "tokens_per_day", "warn_at", "on_limit", "weight"];

#[derive(Debug, Args)]
pub struct TenantArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show or set what all executions of a tenant may have together
    Limits(LimitsArgs),
    /// Show what a tenant has used today
    Usage(UsageArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Limits:
  max_concurrent_executions=N   executions that no step started and that are not over; one more is refused
  cost_usd_per_day=USD          money from midnight to midnight in UTC
  tokens_per_day=N              tokens from midnight to midnight in UTC
  warn_at=PERCENT               of a day's budget (80)
  on_limit=WHAT                 stop, pause, approve or fail_step, where the day's budget is used up (stop)
  weight=N                      its share of the places of background executions, in proportion to other
                                tenants that have some queued, 1 to 1000 (1)

Examples:
  stepstream tenant limits
  stepstream tenant limits --set cost_usd_per_day=50.00 --set on_limit=pause
  stepstream tenant limits --set cost_usd_per_day=          not limited any more
  stepstream tenant limits --tenant tenant_a --set weight=3

What a step may need at most (`reserve`) is set aside before it runs, so that any number of steps at
once stays inside the day's budget. Executions that began before their tenant had limits stay without.")]
pub struct LimitsArgs {
    /// Set a limit and leave the others as they are; without a value it is not limited any more
    #[arg(long = "set", value_name = "LIMIT=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,

    #[command(flatten)]
    target: TargetArgs,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  stepstream tenant usage --server http://127.0.0.1:8233

The day goes from midnight to midnight in UTC, by the store's clock.")]
pub struct UsageArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write LIMIT=VALUE")?;
    if !NAMES.contains(&name) {
        return Err(format!("there is no limit `{name}`; there are {}", NAMES.join(", ")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

pub async fn run(args: TenantArgs, app: &App) -> Result<Exit, Problem> {
    match args.what {
        What::Limits(args) => limits(args, app).await,
        What::Usage(args) => usage(args.target, args.output, app).await,
    }
}

async fn limits(args: LimitsArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.target.resolve(&app.settings)?;
    let limits = match &place.target {
        Target::Data(dir) => {
            app.start_logs(LOGS_OF_A_RUN)?;
            crate::data_dir::existing_log(dir)?;
            let here = Embedded::open_to_ask(dir).await?;
            let answer = embedded_limits(&here, &place, &args.set).await;
            here.close().await;
            answer?
        }
        Target::Server(url) => {
            let client = Client::new(url, place.tenant.clone())?;
            let limits = client.tenant_limits().await?;
            match args.set.is_empty() {
                true => limits,
                false => client.set_tenant_limits(&changed(limits, &args.set)?).await?,
            }
        }
        Target::Postgres(_) => return Err(Problem::usage("`tenant` needs a data directory or a server")),
    };
    match args.output {
        Format::Json => output::json(&limits)?,
        Format::Text => {
            for name in NAMES {
                output::line(&format!("{name:<26} {}", shown(&limits[name])))?;
            }
        }
    }
    Ok(Exit::Done)
}

async fn embedded_limits(here: &Embedded, place: &Place, set: &[(String, String)]) -> Result<Value, Problem> {
    let limits = here.or_trouble(here.service.tenant_limits(&place.tenant)).await?;
    let limits = as_json(&limits)?;
    if set.is_empty() {
        return Ok(limits);
    }
    let changed = changed(limits, set)?;
    let wanted: TenantLimits = serde_json::from_value(changed).map_err(|error| Problem::usage(error.to_string()))?;
    // As they are kept, which is as a server shows them.
    let kept = as_json(&wanted)?;
    here.or_trouble(here.service.set_tenant_limits(&place.tenant, wanted)).await?;
    Ok(kept)
}

fn as_json(limits: &TenantLimits) -> Result<Value, Problem> {
    let mut shown = serde_json::to_value(limits).map_err(|error| Problem::new(Exit::Refused, error.to_string()))?;
    // Left out where it is stored, shown as by a server.
    shown["weight"] = json!(limits.weight);
    Ok(shown)
}

/// The limits with what was set: money and words are text, everything else is a number.
fn changed(limits: Value, set: &[(String, String)]) -> Result<Value, Problem> {
    let Value::Object(mut limits) = limits else { return Ok(Value::Object(Map::new())) };
    for (name, value) in set {
        if value.is_empty() {
            limits.remove(name);
            continue;
        }
        let value = match name.as_str() {
            "cost_usd_per_day" | "on_limit" => json!(value),
            _ => {
                let number: u64 = value.parse().map_err(|_| {
                    Problem::usage(format!("`{name}` is a whole number, not `{}`", output::printable(value)))
                })?;
                json!(number)
            }
        };
        limits.insert(name.clone(), value);
    }
    Ok(Value::Object(limits))
}

fn shown(limit: &Value) -> String {
    match limit {
        Value::Null => "-".to_owned(),
        Value::String(text) => output::printable(text),
        other => other.to_string(),
    }
}

/// What the tenant has used today; also what `budget --day` shows.
pub async fn usage(target: TargetArgs, format: Format, app: &App) -> Result<Exit, Problem> {
    let place = target.resolve(&app.settings)?;
    let usage = match &place.target {
        Target::Data(dir) => {
            app.start_logs(LOGS_OF_A_RUN)?;
            crate::data_dir::existing_log(dir)?;
            let here = Embedded::open_to_ask(dir).await?;
            let answer = embedded_usage(&here, &place).await;
            here.close().await;
            answer?
        }
        Target::Server(url) => Client::new(url, place.tenant.clone())?.tenant_usage().await?,
        Target::Postgres(_) => return Err(Problem::usage("this needs a data directory or a server")),
    };
    if format == Format::Json {
        output::json(&usage)?;
        return Ok(Exit::Done);
    }
    let of = |limit: &Value| if limit.is_null() { String::new() } else { format!(" of {}", shown(limit)) };
    let limits = &usage["limits"];
    output::line(&format!("day     {} (UTC)", shown(&usage["day"])))?;
    let (cost, tokens) = (of(&limits["cost_usd_per_day"]), of(&limits["tokens_per_day"]));
    output::line(&format!(
        "cost    {} USD{cost}, {} set aside",
        shown(&usage["cost_usd"]),
        shown(&usage["reserved_cost_usd"])
    ))?;
    output::line(&format!("tokens  {}{tokens}, {} set aside", usage["tokens"], usage["reserved_tokens"]))?;
    Ok(Exit::Done)
}

async fn embedded_usage(here: &Embedded, place: &Place) -> Result<Value, Problem> {
    let account = here.or_trouble(here.service.tenant_account(&place.tenant)).await?;
    let limits = here.or_trouble(here.service.tenant_limits(&place.tenant)).await?;
    Ok(json!({
        "day": account.day_name(), "cost_usd": account.cost, "tokens": account.tokens,
        "reserved_cost_usd": account.reserved_cost, "reserved_tokens": account.reserved_tokens,
        "warned": account.warns(&limits), "limits": as_json(&limits)?,
    }))
}
