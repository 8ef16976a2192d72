//! The events of an execution: a page at a time, or as they come.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use stepstream_shared::id::{ExecutionId, TenantId};
use utoipa::ToSchema;

use super::admission::open_stream;
use super::closing::Closing;
use super::limits::PAGE_MAX;
use super::problem::Problem;
use super::query::Parameters;
use super::request::{LastEventId, OfExecution, Tenant};
use super::{Api, feed};

/// One event. What else it holds depends on its type.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes events to readers of the OpenAPI document")]
pub(super) struct Event {
    /// Its place in the log: 1, 2, 3 and so on without gaps.
    sequence: u64,
    /// `evt_…`
    event_id: String,
    #[schema(format = DateTime)]
    timestamp: String,
    /// Such as `step_completed`.
    r#type: String,
    execution_id: String,
    step_id: Option<String>,
    node: Option<String>,
    attempt: Option<u32>,
}

/// A page of events, in order.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes pages to readers of the OpenAPI document; they are put together as text")]
pub(super) struct EventPage {
    items: Vec<Event>,
    /// `after` of the next page; null when this one reaches the end of the log as it was.
    #[schema(required)]
    next_after: Option<u64>,
}

/// What a feed's final event holds.
#[derive(Serialize, ToSchema)]
pub(super) struct End {
    /// Completed, Failed or Cancelled.
    pub(super) state: &'static str,
    pub(super) sequence: u64,
}

/// Read the events of an execution, or follow them.
///
/// With `Accept: text/event-stream` this is a feed of server-sent events: `id` is the sequence, `event` the type,
/// `data` the event. It goes on as the log grows and ends with an event `end` after the last one. A reader that lost
/// its connection goes on where it was with `Last-Event-ID`.
#[utoipa::path(
    get,
    path = "/v1/executions/{execution_id}/events",
    operation_id = "readEvents",
    tag = "executions",
    params(
        ("execution_id" = String, Path, description = "`exec_…`"),
        ("after" = Option<u64>, Query, description = "Only events after this sequence (0)"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "Most items on the page (100); not for feeds"),
        ("Last-Event-ID" = Option<u64>, Header, description = "For feeds: the sequence that was seen last"),
    ),
    responses((status = 200, description = "A page, or the feed", content(
        (EventPage = "application/json"),
        ("text/event-stream", item_schema = Event),
    ))),
)]
pub(super) async fn get(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    LastEventId(last_seen): LastEventId,
    Closing(closing): Closing,
    headers: HeaderMap,
    mut query: Parameters,
) -> Result<Response, Problem> {
    let after = query.take::<u64>("after");
    if !wants_feed(&headers) {
        let limit = query.limit(PAGE_MAX);
        query.finish()?;
        return page(&api, &tenant, id, after.unwrap_or(0), limit).await;
    }
    if query.take::<String>("limit").is_some() {
        query.refuse("limit", "a feed has no `limit`; it ends with the execution");
    }
    query.finish()?;
    // A reader that comes back knows better than the address it began with.
    let after = last_seen.or(after).unwrap_or(0);
    let permit = open_stream(&api)?;
    feed::open(&api, &tenant, id, after, closing, permit).await
}

/// Whether the caller asks for server-sent events, which nobody does by accident.
fn wants_feed(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let refused = parts.any(|parameter| matches!(parameter.to_ascii_lowercase().as_str(), "q=0" | "q=0.0"));
        media_type.eq_ignore_ascii_case("text/event-stream") && !refused
    })
}

/// Events are turned into text one by one as they are read, so that a page of large ones ends before it is too large.
async fn page(api: &Api, tenant: &TenantId, id: ExecutionId, after: u64, limit: u32) -> Result<Response, Problem> {
    let mut log = api.service.reader().page(tenant, id, after);
    let mut body = String::from("{\"items\":[");
    let (mut count, mut last, mut more) = (0, after, false);
    'reading: while let Some(events) = log.next_json().await? {
        for event in events {
            if count == limit || (count > 0 && body.len() >= api.limits.page_bytes) {
                more = true;
                break 'reading;
            }
            if count > 0 {
                body.push(',');
            }
            body.push_str(&event.to_string());
            last = event["sequence"].as_u64().unwrap_or(last);
            count += 1;
        }
    }
    log.end()?;
    let next_after = if more { last.to_string() } else { "null".to_owned() };
    body.push_str("],\"next_after\":");
    body.push_str(&next_after);
    body.push('}');
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
