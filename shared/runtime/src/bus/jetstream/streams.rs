//! The streams and consumers: what they must look like, and that they do.
//!
//! Making one is followed by reading it back, because a server drops settings that it does not know. One that exists
//! is compared field by field; a difference is an error that names it. Nothing is ever changed: another version of
//! this program, or an operator, may have meant it.

use std::time::Duration;

use async_nats::Client;
use serde_json::{Value, json};
use stepstream_shared::graph::Priority;
use stepstream_shared::id::PartitionId;

use super::api::{self, ApiError, code};
use super::names;
use super::options::JetStreamOptions;
use crate::bus::{BusError, QueueId};

pub(super) const JOBS: &str = "JOBS";
pub(super) const OUTCOMES: &str = "OUTCOMES";
pub(super) const COMMANDS: &str = "COMMANDS";

/// Deletes the messages of all streams that carry work, and answers how many there were.
pub(super) async fn clear(client: &Client) -> Result<u64, BusError> {
    let mut purged = 0;
    for name in [JOBS, OUTCOMES, COMMANDS] {
        match api::call(client, &format!("STREAM.PURGE.{name}"), None).await {
            Ok(answer) => purged += answer["purged"].as_u64().unwrap_or_default(),
            Err(error) if error.is(code::STREAM_NOT_FOUND) => {}
            Err(error) => return Err(error.about(&format!("stream {name}"))),
        }
    }
    Ok(purged)
}

/// Pull requests that may wait at one consumer. The server's own default is 512, and a worker too many is refused;
/// each worker keeps one waiting.
const MAX_WAITING: u32 = 16_384;

/// The settings that must hold, in the server's own words.
pub(super) struct Wanted {
    pub(super) name: String,
    settings: Value,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(i64::MAX as u64)
}

pub(super) fn streams(options: &JetStreamOptions) -> [Wanted; 5] {
    let stream = |name: &str, subject: &str, retention: &str, discard: &str, max_bytes: u64, max_age: Duration| {
        let mut settings = json!({
            "name": name,
            "subjects": [subject],
            "retention": retention,
            "discard": discard,
            "storage": "file",
            "max_bytes": max_bytes,
            "max_age": nanos(max_age),
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "max_consumers": -1,
            "num_replicas": options.replicas,
            // The server insists that the window is not longer than messages are kept.
            "duplicate_window": nanos(if max_age.is_zero() { options.duplicate_window } else { options.duplicate_window.min(max_age) }),
        });
        if options.async_persistence && options.replicas == 1 {
            settings["persist_mode"] = json!("async");
        }
        Wanted { name: name.to_owned(), settings }
    };
    let (queue, feed, forever) = ("workqueue", "limits", Duration::ZERO);
    [
        stream(JOBS, "jobs.>", queue, "new", options.jobs_max_bytes, forever),
        stream(OUTCOMES, "outcomes.>", queue, "new", options.outcomes_max_bytes, forever),
        stream(COMMANDS, "commands.>", queue, "new", options.commands_max_bytes, forever),
        stream("EVENTS", "events.>", feed, "old", options.events_max_bytes, options.events_max_age),
        stream("DEAD", "dead.>", feed, "old", options.dead_max_bytes, forever),
    ]
}

/// Where a consumer keeps what it has delivered.
///
/// A partition's consumer may forget with its server: its owner makes it again, and everything unsettled is delivered
/// at once. Keeping the state of 64 of them in files, each written ten times a second, is most of what a server does
/// at load. A queue's consumer stays, because workers and autoscalers look for it while no coordinator does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    InFile,
    InMemory,
}

fn consumer(name: String, filter: String, keeps: Keeps, options: &JetStreamOptions) -> Wanted {
    let settings = json!({
        "name": name,
        "durable_name": name,
        "filter_subject": filter,
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_policy": "explicit",
        "ack_wait": nanos(options.ack_wait),
        // After its last delivery a work-queue message would stay in the stream for ever, seen by nobody. The log
        // counts attempts and decides about poison.
        "max_deliver": -1,
        "max_ack_pending": options.max_ack_pending,
        "max_waiting": MAX_WAITING,
        "mem_storage": keeps == Keeps::InMemory,
    });
    Wanted { name, settings }
}

pub(super) fn job_consumers(queue: &QueueId, options: &JetStreamOptions) -> Result<[Wanted; 3], BusError> {
    let of = |priority: Priority| {
        Ok::<_, BusError>(consumer(
            names::job_consumer(queue, priority)?,
            names::job_subject(queue, priority)?,
            Keeps::InFile,
            options,
        ))
    };
    Ok([of(Priority::High)?, of(Priority::Normal)?, of(Priority::Low)?])
}

pub(super) fn outcome_consumer(partition: PartitionId, options: &JetStreamOptions) -> Wanted {
    consumer(format!("outcomes_{partition}"), format!("outcomes.*.{partition}"), Keeps::InMemory, options)
}

pub(super) fn command_consumer(partition: PartitionId, options: &JetStreamOptions) -> Wanted {
    consumer(format!("commands_{partition}"), format!("commands.*.{partition}"), Keeps::InMemory, options)
}

/// Makes the stream unless it is there, and checks what is there.
pub(super) async fn ensure_stream(client: &Client, wanted: &Wanted) -> Result<(), BusError> {
    let what = format!("stream {}", wanted.name);
    let info = format!("STREAM.INFO.{}", wanted.name);
    let found = match api::call(client, &info, None).await {
        Err(error) if error.is(code::STREAM_NOT_FOUND) => {
            let create = format!("STREAM.CREATE.{}", wanted.name);
            api::call(client, &create, Some(&wanted.settings)).await.map_err(|error| creation(error, &what))?;
            tracing::info!(stream = wanted.name, "made the stream");
            api::call(client, &info, None).await
        }
        found => found,
    };
    wanted.compare(&what, &found.map_err(|error| error.about(&what))?["config"])
}

/// Makes the consumer unless it is there, and checks what is there. Answers with the deliveries that it waits for
/// acknowledgements of.
pub(super) async fn ensure_consumer(client: &Client, stream: &str, wanted: &Wanted) -> Result<u64, BusError> {
    let what = format!("consumer {} of stream {stream}", wanted.name);
    let info = format!("CONSUMER.INFO.{stream}.{}", wanted.name);
    let found = match api::call(client, &info, None).await {
        Err(error) if error.is(code::CONSUMER_NOT_FOUND) => {
            let filter = wanted.settings["filter_subject"].as_str().unwrap_or_default();
            let create = format!("CONSUMER.CREATE.{stream}.{}.{filter}", wanted.name);
            let body = json!({ "stream_name": stream, "config": wanted.settings, "action": "create" });
            api::call(client, &create, Some(&body)).await.map_err(|error| creation(error, &what))?;
            api::call(client, &info, None).await
        }
        found => found,
    };
    let found = found.map_err(|error| error.about(&what))?;
    wanted.compare(&what, &found["config"])?;
    Ok(found["num_ack_pending"].as_u64().unwrap_or_default())
}

/// Takes over a consumer that one owner at a time uses: what the previous owner had taken and not settled is
/// delivered again now, not after its wait. In a work queue the messages stay when their consumer goes.
pub(super) async fn adopt_consumer(client: &Client, stream: &str, wanted: &Wanted) -> Result<(), BusError> {
    let unsettled = ensure_consumer(client, stream, wanted).await?;
    if unsettled > 0 {
        let delete = format!("CONSUMER.DELETE.{stream}.{}", wanted.name);
        match api::call(client, &delete, None).await {
            Ok(_) => {}
            Err(error) if error.is(code::CONSUMER_NOT_FOUND) => {}
            Err(error) => return Err(error.about(&format!("consumer {} of stream {stream}", wanted.name))),
        }
        ensure_consumer(client, stream, wanted).await?;
        tracing::info!(consumer = wanted.name, unsettled, "took over from a previous owner");
    }
    Ok(())
}

/// A refusal to make something is a matter of settings, unless the server says that it is full or not ready.
fn creation(error: ApiError, what: &str) -> BusError {
    match error {
        ApiError::Refused { code, description } => match api::refusal(what, code, &description) {
            BusError::Full(text) => BusError::Misconfigured(format!(
                "{text}: the server has less room than this stream is to have; choose a smaller limit or give it more"
            )),
            other => other,
        },
        other => other.about(what),
    }
}

impl Wanted {
    /// Compares every setting that we ask for with what is there. A server leaves out what is zero, false or empty.
    fn compare(&self, what: &str, found: &Value) -> Result<(), BusError> {
        let Some(settings) = self.settings.as_object() else { return Ok(()) };
        let differences: Vec<String> = settings
            .iter()
            .filter(|(field, wanted)| {
                let there = &found[field.as_str()];
                !(there == *wanted || there.is_null() && is_nothing(wanted))
            })
            .map(|(field, wanted)| format!("{field} is {}, wanted {wanted}", found[field.as_str()]))
            .collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(BusError::Misconfigured(format!("{what} differs: {}", differences.join("; "))))
    }
}

fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value.as_u64() == Some(0) || value.as_str() == Some("")
}

#[cfg(test)]
mod tests;
