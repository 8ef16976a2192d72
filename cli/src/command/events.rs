//! `events`: what happened, in order.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;
use stepstream_coordinator::reading::Reader;
use stepstream_shared::id::{ExecutionId, TenantId};

use super::execution_id;
use crate::app::App;
use crate::client::{Client, Message};
use crate::exit::{Exit, Problem};
use crate::log;
use crate::output;
use crate::stop::{Stop, Stopped};
use crate::target::{LogArgs, Target};

/// How often a log that grows is looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    /// Only events after this sequence
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,

    /// Go on until the execution has ended
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    place: LogArgs,

    /// A table, or one JSON object a line
    #[arg(short, long, value_enum, default_value_t)]
    output: EventFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum EventFormat {
    #[default]
    Table,
    Jsonl,
}

pub async fn run(args: EventsArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let stop = Stop::new(None)?;
    match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => from_log(&args, &reader, &place.tenant, &stop).await,
        (None, Target::Server(url)) => from_server(&args, &Client::new(url, place.tenant.clone())?, &stop).await,
        (None, _) => Ok(Exit::Done),
    }
}

async fn from_log(args: &EventsArgs, reader: &Reader, tenant: &TenantId, stop: &Stop) -> Result<Exit, Problem> {
    let mut cursor = reader.cursor(tenant, args.execution);
    let mut printer = Printer::new(args.output);
    loop {
        while let Some(events) = cursor.next_json(args.after).await? {
            for event in &events {
                printer.print(event)?;
            }
            if output::closed() {
                return Ok(Exit::Done);
            }
        }
        if cursor.execution().sequence() == 0 {
            return Err(Problem::new(Exit::NotFound, format!("there is no execution {}", args.execution)));
        }
        if !args.follow || cursor.execution().state().is_terminal() {
            return Ok(Exit::Done);
        }
        tokio::select! {
            biased;
            stopped = stop.reached() => return Ok(stopped.exit()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn from_server(args: &EventsArgs, client: &Client, stop: &Stop) -> Result<Exit, Problem> {
    // Without --follow, the log ends where it does now.
    let end = if args.follow { u64::MAX } else { client.execution(args.execution).get().await?.sequence };
    if end <= args.after {
        return Ok(Exit::Done);
    }
    let mut printer = Printer::new(args.output);
    let mut feed = client.feed(args.execution, args.after);
    loop {
        let message = tokio::select! {
            biased;
            stopped = stop.reached() => return Ok(Stopped::exit(stopped)),
            message = feed.next() => message?,
        };
        match message {
            Message::Event(event) => {
                printer.print(&event)?;
                if output::closed() || event["sequence"].as_u64().unwrap_or(0) >= end {
                    return Ok(Exit::Done);
                }
            }
            Message::End => return Ok(Exit::Done),
            Message::Lost(why) => output::note(&format!("{why}; waiting for it")),
        }
    }
}

/// Lines come as events do, so the columns have widths that fit most of them.
struct Printer {
    format: EventFormat,
    headed: bool,
}

impl Printer {
    fn new(format: EventFormat) -> Self {
        Printer { format, headed: false }
    }

    fn print(&mut self, event: &Value) -> Result<(), Problem> {
        if self.format == EventFormat::Jsonl {
            return output::json_line(event);
        }
        if !self.headed {
            self.headed = true;
            output::line(&format!("{:>6}  {:12}  {:21}  {:24}  DETAIL", "SEQ", "TIME", "TYPE", "STEP"))?;
        }
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        // Of a time of day, milliseconds are enough; the date stands in the list of executions.
        let time = text("timestamp").get(11..23).unwrap_or_default();
        let step = step(event);
        let line = format!(
            "{:>6}  {time:12}  {:21}  {step:24}  {}",
            event["sequence"].as_u64().unwrap_or(0),
            text("type"),
            detail(event)
        );
        output::line(line.trim_end())
    }
}

fn step(event: &Value) -> String {
    let mut name = output::printable(event["node"].as_str().unwrap_or_default());
    if !event["undoes"].is_null() {
        name.insert_str(0, "undo ");
    }
    if let Some(index) = event["index"].as_u64() {
        name.push_str(&format!("[{index}]"));
    }
    for pass in event["iteration"].as_array().into_iter().flatten() {
        name.push_str(&format!(" #{pass}"));
    }
    name
}

/// Fields that are worth knowing at a glance, and what is said before them.
const WORDS: [(&str, &str); 17] = [
    ("worker", "worker"),
    ("action", ""),
    ("outcome", ""),
    ("by", "by"),
    ("comment", ""),
    ("signal", "signal"),
    ("correlation", "key"),
    ("tool_name", ""),
    ("goal_id", "goal"),
    ("status", ""),
    ("name", ""),
    ("model", ""),
    ("cost_usd", "USD"),
    ("limit", ""),
    ("graph", "graph"),
    ("child_execution_id", ""),
    ("reason", "reason"),
];

/// What is worth knowing at a glance.
fn detail(event: &Value) -> String {
    const SHOWN_CHARS: usize = 100;
    let mut parts = Vec::new();
    if let Some(attempt) = event["attempt"].as_u64().filter(|attempt| *attempt > 1) {
        parts.push(format!("attempt {attempt}"));
    }
    if let Some(message) = event["error"]["message"].as_str() {
        parts.push(format!("[{}] {message}", event["error"]["category"].as_str().unwrap_or_default()));
    }
    for (key, word) in WORDS {
        if let Some(text) = event[key].as_str() {
            parts.push(format!("{word} {text}").trim_start().to_owned());
        }
    }
    if let Some(tokens) = event["prompt_tokens"].as_u64() {
        parts.push(format!("{tokens} + {} tokens", event["completion_tokens"]));
    }
    if let (Some(current), Some(max)) = (event["current"].as_u64(), event["max"].as_u64()) {
        parts.push(format!("{current} of {max}"));
    }
    if let (Some(done), failed) = (event["compensation"]["done"].as_u64(), &event["compensation"]["failed"]) {
        parts.push(format!("{done} undone, {failed} failed"));
    }
    if let Some(items) = event["items"].as_u64() {
        parts.push(format!("{items} items"));
    }
    if let Some(taken) = event["taken"].as_array() {
        let names: Vec<&str> = taken.iter().filter_map(Value::as_str).collect();
        parts.push(format!("→ {}", if names.is_empty() { "nowhere".to_owned() } else { names.join(", ") }));
    }
    for key in ["output", "inputs", "payload", "form"] {
        if !event[key].is_null() {
            parts.push(event[key].to_string());
        }
    }
    let text = output::printable(&parts.join("  "));
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
