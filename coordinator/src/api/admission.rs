//! Who is let in, for how long, and what is left of a request that blew up.

use std::any::Any;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::problem::Problem;

/// Lets a request in while there is room, and refuses it at once when there is none.
pub(super) async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Ok(_permit) = api.requests.try_acquire() else {
        return Problem::overloaded(api.limits.concurrent_requests).into_response();
    };
    next.run(request).await
}

/// Gives up on a request that takes too long. What it had asked for may still happen.
pub(super) async fn within_time(State(api): State<Api>, request: Request, next: Next) -> Response {
    let limit = api.limits.request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::timeout(limit).into_response(),
    }
}

/// A place among the feeds and waits, free again when it is dropped.
pub(super) fn open_stream(api: &Api) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&api.streams).try_acquire_owned().map_err(|_| Problem::too_many_streams(api.limits.streams))
}

/// One request's bug ends that request.
pub(super) fn after_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Problem::internal(&format_args!("panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests;
