//! Subjects and names of consumers. Whatever comes from outside is checked before it becomes part of one.

use stepstream_shared::graph::Priority;
use stepstream_shared::id::{PartitionId, TenantId};

use crate::bus::{BusError, QueueId, priority_token};

/// Longest token that we let into a subject: names of queues have the same limit.
const MAX_TOKEN: usize = 64;

/// A tenant id is checked where it is parsed; every other name is checked here.
fn token<'a>(what: &str, text: &'a str) -> Result<&'a str, BusError> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if text.is_empty() || text.len() > MAX_TOKEN || !text.chars().all(safe) {
        let shown: String = text.chars().take(MAX_TOKEN).collect();
        return Err(BusError::Misconfigured(format!(
            "{what} `{}` may not stand in a subject: 1 to {MAX_TOKEN} of A-Z a-z 0-9 _ - are allowed",
            shown.escape_debug()
        )));
    }
    Ok(text)
}

pub(super) fn job_subject(queue: &QueueId, priority: Priority) -> Result<String, BusError> {
    let name = token("the queue", &queue.name)?;
    Ok(format!("jobs.{}.{name}.{}", queue.tenant, priority_token(priority)))
}

/// `~` stands between the parts because neither a tenant nor a queue can contain it: no two queues share a consumer,
/// whatever `_` and `-` their names hold. It is also safe in a file name and in a URL.
pub(super) fn job_consumer(queue: &QueueId, priority: Priority) -> Result<String, BusError> {
    let name = token("the queue", &queue.name)?;
    Ok(format!("jobs~{}~{name}~{}", queue.tenant, priority_token(priority)))
}

pub(super) fn outcome_subject(tenant: &TenantId, partition: PartitionId) -> String {
    format!("outcomes.{tenant}.{partition}")
}

pub(super) fn command_subject(tenant: &TenantId, partition: PartitionId) -> String {
    format!("commands.{tenant}.{partition}")
}

/// Under no stream: what nobody answers is asked again.
pub(super) fn ask_subject(tenant: &TenantId, partition: PartitionId) -> String {
    format!("asks.{tenant}.{partition}")
}

pub(super) fn ask_subjects(partition: PartitionId) -> String {
    format!("asks.*.{partition}")
}

pub(super) fn control_subject(tenant: &TenantId) -> String {
    format!("control.{tenant}")
}

pub(super) fn dead_subject(tenant: &TenantId, queue: &str) -> Result<String, BusError> {
    Ok(format!("dead.{tenant}.{}", token("the queue", queue)?))
}

pub(super) fn event_subject(
    tenant: &TenantId,
    execution: &impl std::fmt::Display,
    kind: &str,
) -> Result<String, BusError> {
    Ok(format!("events.{tenant}.{execution}.{}", token("the event type", kind)?))
}

/// The tenant that the server enforced: the second token of the subject, never anything in the body.
pub(super) fn tenant_of(subject: &str) -> Option<TenantId> {
    subject.split('.').nth(1)?.parse().ok()
}

/// Whether one can publish to it: no empty token, no wildcard, no blank.
pub(super) fn is_plain(subject: &str) -> bool {
    subject.split('.').all(|token| !token.is_empty())
        && !subject.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>'))
}

#[cfg(test)]
mod tests;
