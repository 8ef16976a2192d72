//! The live feed of an execution: one walk through its log that goes on as the log grows.
//!
//! Hints wake the walk when this coordinator drives the execution; polling finds what another one did. The feed is a
//! stream that is pulled: a slow reader slows its own walk down and nobody else's.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::http::HeaderName;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::Value;
use stepstream_shared::id::{ExecutionId, TenantId};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Api;
use super::events::End;
use super::limits::FEED_POLL;
use super::problem::Problem;
use crate::ports::StoreError;
use crate::reading::{LogCursor, ReadError};
use crate::service::Hint;

struct Feed {
    execution: ExecutionId,
    cursor: LogCursor,
    after: u64,
    hints: broadcast::Receiver<Hint>,
    closing: CancellationToken,
    ready: VecDeque<Event>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

/// Opens a feed. What can be refused is refused here, before the first byte.
pub(super) async fn open(
    api: &Api,
    tenant: &TenantId,
    execution: ExecutionId,
    after: u64,
    closing: CancellationToken,
    permit: OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    // Before the first look at the log, so that nothing happens between the two unnoticed.
    let hints = api.service.hints();
    let mut cursor = api.service.reader().cursor(tenant, execution);
    let Some(first) = cursor.next_json(after).await? else { return Err(ReadError::NotFound(execution).into()) };
    let ready = first.iter().map(event).collect();
    let feed = Feed { execution, cursor, after, hints, closing, ready, over: false, _permit: permit };
    let events = stream::unfold(feed, |mut feed| async move {
        let next = feed.next().await?;
        Some((Ok::<_, Infallible>(next), feed))
    });
    let comments = KeepAlive::new().interval(api.limits.feed_comment_after).text("still here");
    // A proxy that collects answers before it passes them on would make the feed anything but live.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(comments)).into_response())
}

impl Feed {
    /// The next event, when there is one; `None` when the feed is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            // Looked at here and not only while waiting: a long log must not hold a shutdown up.
            if self.over || self.closing.is_cancelled() {
                return None;
            }
            match self.cursor.next_json(self.after).await {
                Ok(Some(events)) => self.ready.extend(events.iter().map(event)),
                Ok(None) if self.cursor.execution().state().is_terminal() => self.finish(),
                Ok(None) => self.growth().await,
                // The walk stands where it stood and can go on when the store is back.
                Err(ReadError::Store(StoreError::Unavailable(cause))) => {
                    tracing::debug!(cause = format!("{cause:#}"), "a feed waits for the store");
                    self.growth().await;
                }
                Err(error) => self.fail(error),
            }
        }
    }

    fn finish(&mut self) {
        self.over = true;
        let execution = self.cursor.execution();
        let end = End { state: execution.state().name(), sequence: execution.sequence() };
        let data = serde_json::to_string(&end).unwrap_or_default();
        self.ready.push_back(Event::default().event("end").data(data));
    }

    /// The answer has begun, so its status is spent: the problem comes as an event.
    fn fail(&mut self, error: ReadError) {
        self.over = true;
        let data = serde_json::to_string(&Problem::from(error)).unwrap_or_default();
        self.ready.push_back(Event::default().event("problem").data(data));
    }

    /// Waits until the log has probably grown, it is time to look anyway, or the server goes away.
    async fn growth(&mut self) {
        let look_again = Instant::now() + FEED_POLL;
        let known = self.cursor.execution().sequence();
        loop {
            let hint = tokio::select! {
                () = self.closing.cancelled() => return,
                hint = timeout_at(look_again, self.hints.recv()) => hint,
            };
            match hint {
                Ok(Ok(hint)) if hint.execution != self.execution || hint.sequence <= known => {}
                // Too many hints to keep are a hint as well.
                Ok(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) => return,
                Ok(Err(broadcast::error::RecvError::Closed)) => {
                    tokio::time::sleep_until(look_again).await;
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

/// An event as it goes over the wire.
fn event(value: &Value) -> Event {
    Event::default()
        .id(value["sequence"].to_string())
        .event(value["type"].as_str().unwrap_or("message"))
        .data(value.to_string())
}
