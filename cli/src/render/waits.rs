//! What an execution waits for, in words, and the commands that bring it.

mod example;

use serde_json::Value;
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_shared::time::Timestamp;

use super::age::span;
use crate::output::printable;
use crate::settings::env;
use crate::target::{Place, shell_word};

/// Longest example of a form that is written into a command.
const EXAMPLE_BYTES: usize = 400;
/// Why an execution is held that has spent what it may.
const COST: &str = "cost_threshold";

/// What a step waits for, such as `a decision by ada or bob`. Takes the wait as outside programs read it.
pub fn words(wait: &Value) -> String {
    let people = |key: &str| -> Vec<String> {
        wait[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(printable).collect()
    };
    let text = |key: &str| printable(wait[key].as_str().unwrap_or_default());
    match wait["reason"].as_str().unwrap_or_default() {
        "approval" => {
            let assigned = people("assignees");
            match (wait["policy"].as_str(), wait["quorum"].as_u64().unwrap_or(1)) {
                (Some("all"), _) => format!("decisions by {}, all of them", assigned.join(", ")),
                (Some("quorum"), 2..) if assigned.is_empty() => format!("{} people to agree", wait["quorum"]),
                (Some("quorum"), 2..) => format!("{} of {} to agree", wait["quorum"], assigned.join(", ")),
                _ => format!("a decision{}", by(&assigned)),
            }
        }
        "user_input" => format!("an answer{}", by(&people("from"))),
        "external" => "the result of a program outside".to_owned(),
        "signal" => {
            let key = if wait["correlation"].is_null() { String::new() } else { format!(" ({})", text("correlation")) };
            format!("the signal `{}`{key}", text("signal"))
        }
        "timer" => match (wait["for_us"].as_u64(), wait["until"].as_str()) {
            (Some(us), _) => format!("{} to pass", span(std::time::Duration::from_micros(us))),
            (None, Some(_)) => text("until"),
            (None, None) => "a timer".to_owned(),
        },
        "sub_agent" => format!("the execution {}", text("execution_id")),
        "rate_limit" => turn(wait),
        "in_doubt" => {
            let asked = match wait["reconciliation"]["state"].as_str() {
                Some("Failed") => "; the target was asked in vain",
                Some(_) => "; the target is being asked",
                None => "",
            };
            format!(
                "somebody to say what became of it: worker `{}` was lost ({}){asked}",
                text("worker"),
                text("cause")
            )
        }
        "dead_letter" => format!("a redrive: it is a dead letter ({})", text("dead_letter")),
        other => printable(other),
    }
}

/// What is shared with other executions, such as `one of 3 places under `payments``.
fn turn(wait: &Value) -> String {
    let key = |rule: &Value| printable(rule["key"].as_str().unwrap_or_default());
    let mut parts = Vec::new();
    let place = &wait["concurrency"];
    if !place.is_null() {
        parts.push(format!("one of {} places under `{}`", place["max"], key(place)));
    }
    let rate = &wait["rate"];
    if !rate.is_null() {
        let per = span(std::time::Duration::from_micros(rate["per_us"].as_u64().unwrap_or_default()));
        parts.push(format!("its turn at {} in {per} under `{}`", rate["max"], key(rate)));
    }
    if parts.is_empty() { "its turn".to_owned() } else { parts.join(" and ") }
}

fn by(people: &[String]) -> String {
    if people.is_empty() { String::new() } else { format!(" by {}", people.join(" or ")) }
}

/// When a wait ends by itself, and how long that is from now.
pub fn due(text: &str) -> String {
    let Ok(due) = text.parse::<Timestamp>() else { return printable(text) };
    let now = SystemClock.now();
    if due <= now { format!("{text}, which is past") } else { format!("{text}, in {}", span(due.since(now))) }
}

/// The command that brings what one step waits for; `None` for time, which nobody brings.
pub fn command(id: &str, wait: &Value, place: &Place) -> Option<String> {
    let what = &wait["wait"];
    // In a later round of a loop the node's name may mean an earlier one, and is refused.
    let later = wait["iteration"].as_array().into_iter().flatten().any(|round| round.as_u64() > Some(1));
    let step = if later { &wait["step_id"] } else { &wait["node"] };
    let step = shell_word(&printable(step.as_str().unwrap_or_default()));
    let given = |option: &str| match example::of(&wait["form"]) {
        Some(value) if value.to_string().len() <= EXAMPLE_BYTES => {
            format!(" --{option} {}", shell_word(&value.to_string()))
        }
        _ => String::new(),
    };
    let value = || Some(given("value")).filter(|text| !text.is_empty()).unwrap_or_else(|| " --value '{}'".to_owned());
    let command = match wait["reason"].as_str()? {
        "approval" => format!("approve {id} {step}{}{}", in_the_name_of(wait, "assignees"), given("form")),
        "user_input" => format!("answer {id} {step}{}{}", in_the_name_of(wait, "from"), value()),
        "external" => format!("answer {id} {step}{}", value()),
        "signal" => {
            let name = shell_word(&printable(what["signal"].as_str().unwrap_or_default()));
            let key = what["correlation"].as_str().map(|key| format!(" --key {}", shell_word(&printable(key))));
            format!("signal {id} {name}{}{}", key.unwrap_or_default(), given("payload"))
        }
        "in_doubt" => format!("resolve {id} {step} --completed JSON|--failed TEXT|--retry"),
        "dead_letter" => format!("dead redrive {id} {step}"),
        "sub_agent" => format!("waits {}", printable(what["execution_id"].as_str().unwrap_or_default())),
        _ => return None,
    };
    Some(format!("stepstream {command}{}", place.as_arguments()))
}

/// `--as`, where somebody else than this user has to say it.
fn in_the_name_of(wait: &Value, assigned: &str) -> String {
    let names = |value: &Value, key: Option<&str>| -> Vec<String> {
        let of = |each: &Value| key.map_or(each, |key| &each[key]).as_str().map(str::to_owned);
        value.as_array().into_iter().flatten().filter_map(of).collect()
    };
    let assigned = names(&wait["wait"][assigned], None);
    let spoken = names(&wait["decisions"], Some("by"));
    let me = env("USER").unwrap_or_default();
    let mut open = assigned.iter().filter(|name| !spoken.contains(name));
    if assigned.is_empty() || open.clone().any(|name| *name == me) {
        return String::new();
    }
    open.next().map(|name| format!(" --as {}", shell_word(&printable(name)))).unwrap_or_default()
}

/// All that an execution waits for, a line each, with the commands that bring it. Takes what `waits` gives.
pub fn lines(waits: &Value, place: &Place, how_to_resume: &str) -> Vec<String> {
    let id = printable(waits["execution_id"].as_str().unwrap_or_default());
    let mut lines = Vec::new();
    if waits["paused"] == true {
        let reason = printable(waits["reason"].as_str().unwrap_or_default());
        lines.push(format!("paused: {reason}"));
        lines.push(format!("  {how_to_resume}"));
    }
    if waits["held"] == true {
        let reason = printable(waits["waiting_for"].as_str().unwrap_or_default());
        lines.push(format!("held: {reason}"));
        if reason == COST {
            lines.push(format!("  stepstream budget {id} --cost USD{}", place.as_arguments()));
        }
        lines.push(format!("  {how_to_resume}"));
    }
    for wait in waits["waits"].as_array().into_iter().flatten() {
        let node = printable(wait["node"].as_str().unwrap_or_default());
        let until = wait["due"].as_str().map(|text| format!(" (until {})", due(text))).unwrap_or_default();
        lines.push(format!("{node} waits for {}{until}", words(&wait["wait"])));
        lines.extend(command(&id, wait, place).map(|command| format!("  {command}")));
    }
    lines
}

#[cfg(test)]
mod tests;
