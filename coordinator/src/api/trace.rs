//! How a request is followed: its id in the answer and in every log line, its trace in the log of the execution.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use stepstream_shared::wire::TraceContext;
use tracing::Instrument;

use super::limits::REQUEST_ID_MAX;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// What W3C asks to be carried at least, and enough; longer ones are dropped whole.
const TRACESTATE_MAX: usize = 512;

/// Gives each request an id, the caller's own if it is fit to be printed, and logs how it ended.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).filter(|id| printable(id)).cloned().unwrap_or_else(fresh_id);
    let traceparent = trace_context(request.headers()).and_then(|trace| HeaderValue::from_str(&trace.traceparent).ok());
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        request_id = id.to_str().unwrap_or_default(),
    );
    let began = std::time::Instant::now();
    let mut response = async {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), elapsed = ?began.elapsed(), "answered");
        response
    }
    .instrument(span)
    .await;
    response.headers_mut().insert(REQUEST_ID, id);
    if let Some(traceparent) = traceparent {
        response.headers_mut().insert(TRACEPARENT, traceparent);
    }
    response
}

fn printable(id: &HeaderValue) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_MAX && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn fresh_id() -> HeaderValue {
    let id = u128::from_le_bytes(stepstream_runtime::random::bytes());
    HeaderValue::from_str(&format!("{id:032x}")).expect("hexadecimal digits may stand in a header")
}

/// The trace that the caller is part of, if any.
pub(super) struct Trace(pub(super) Option<TraceContext>);

impl<S: Sync> FromRequestParts<S> for Trace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Trace(trace_context(&parts.headers)))
    }
}

/// As W3C asks, a malformed one is ignored with its state: it is the caller's
/// instrumentation that is broken, and not the request.
fn trace_context(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(&TRACEPARENT).iter();
    let (parent, None) = (parents.next()?, parents.next()) else { return None };
    let traceparent = parent.to_str().ok().filter(|text| is_traceparent(text))?.to_owned();
    let states: Option<Vec<&str>> =
        headers.get_all(&TRACESTATE).iter().map(|state| state.to_str().ok().map(str::trim)).collect();
    let tracestate = states.map(|states| states.join(",")).filter(|state| !state.is_empty());
    Some(TraceContext { traceparent, tracestate: tracestate.filter(|state| state.len() <= TRACESTATE_MAX) })
}

/// `version-trace-parent-flags` in lower-case hexadecimal. Version 00 is exactly that; a later one may go on after
/// another `-`; ff is none.
fn is_traceparent(text: &str) -> bool {
    let mut parts = text.splitn(5, '-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let goes_on = parts.next().is_some();
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(is_lower_hex);
    let zeros = |part: &str| part.bytes().all(|c| c == b'0');
    hex(version, 2)
        && hex(trace, 32)
        && hex(parent, 16)
        && hex(flags, 2)
        && version != "ff"
        && !(version == "00" && goes_on)
        && !zeros(trace)
        && !zeros(parent)
}

fn is_lower_hex(c: u8) -> bool {
    matches!(c, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests;
