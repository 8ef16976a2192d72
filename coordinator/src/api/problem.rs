//! What a refusal looks like: RFC 9457 problem documents, and the one place where errors become them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use stepstream_shared::data::DataError;
use utoipa::ToSchema;

use crate::ports::StoreError;
use crate::reading::ReadError;
use crate::service::ServiceError;

/// The media type of problem documents.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// What a problem's `type` starts with.
const URN: &str = "urn:stepstream:problem:";
/// When to try again after a refusal for lack of room, in seconds: requests take milliseconds, so room comes soon.
const RETRY_SOON: u32 = 1;
/// When to try again when something that is needed is away, in seconds: a failover takes about as long.
const RETRY_LATER: u32 = 5;

/// Why a request was not carried out (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// A stable URN, for programs: `urn:stepstream:problem:<name>`.
    #[serde(rename = "type")]
    kind: String,
    /// What kind of problem it is, for people.
    title: &'static str,
    /// The HTTP status of the answer.
    #[serde(serialize_with = "status_code")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What is wrong with this request.
    detail: String,
    /// Each fault, where there are several or where its place can be named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    #[serde(skip)]
    retry_after: Option<u32>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    pub detail: String,
    /// Where in the body: a JSON pointer as a URI fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Which query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Which header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<&'static str>,
}

impl Fault {
    pub(super) fn plain(detail: impl Into<String>) -> Self {
        Fault { detail: detail.into(), pointer: None, parameter: None, header: None }
    }

    pub(super) fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Fault { pointer: Some(pointer.into()), ..Fault::plain(detail) }
    }

    pub(super) fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Fault { parameter: Some(name.into()), ..Fault::plain(detail) }
    }
}

fn status_code<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(status: StatusCode, name: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let kind = format!("{URN}{name}");
        Problem { kind, title, status, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    fn with(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    // 400: the request is wrong and stays wrong.

    pub(super) fn invalid_id(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-id", "The path holds no id", detail)
    }

    pub(super) fn invalid_digest(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-digest", "The path holds no content hash", detail)
    }

    pub(super) fn invalid_reference(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-reference", "This cannot name a graph", detail)
    }

    pub(super) fn invalid_header(name: &'static str, detail: impl Into<String>) -> Self {
        let detail = format!("{name}: {}", detail.into());
        let fault = Fault { header: Some(name), ..Fault::plain(detail.clone()) };
        Problem::new(StatusCode::BAD_REQUEST, "invalid-header", "A header is malformed", detail).with(vec![fault])
    }

    pub(super) fn invalid_query(faults: Vec<Fault>) -> Self {
        let detail = sentence(&faults);
        Problem::new(StatusCode::BAD_REQUEST, "invalid-query", "The query is malformed", detail).with(faults)
    }

    pub(super) fn invalid_body(fault: Fault) -> Self {
        let detail = fault.detail.clone();
        Problem::new(StatusCode::BAD_REQUEST, "invalid-body", "The body is malformed", detail).with(vec![fault])
    }

    pub(super) fn invalid_limits(faults: Vec<Fault>) -> Self {
        let detail = sentence(&faults);
        Problem::new(StatusCode::BAD_REQUEST, "invalid-limits", "The limits are none", detail).with(faults)
    }

    pub(super) fn unreadable_body(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "unreadable-body", "The body did not arrive", detail)
    }

    pub(super) fn slow_body(limit: std::time::Duration) -> Self {
        let detail = format!("the body did not arrive within {} s (body time limit)", limit.as_secs_f64());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "slow-body", "The body did not arrive", detail)
    }

    fn invalid_graph(diagnostics: String) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-graph", "The graph does not compile", diagnostics)
    }

    fn invalid_inputs(detail: String, problems: Vec<String>) -> Self {
        let faults = problems.into_iter().map(|problem| Fault::at("#/inputs", problem)).collect();
        Problem::new(StatusCode::BAD_REQUEST, "invalid-inputs", "The inputs do not fit the graph", detail).with(faults)
    }

    fn invalid_form(detail: String, problems: Vec<String>) -> Self {
        let faults = problems.into_iter().map(Fault::plain).collect();
        Problem::new(StatusCode::BAD_REQUEST, "invalid-form", "What was given does not fit", detail).with(faults)
    }

    /// A value that cannot be stored, in the field of this name.
    pub(super) fn from_data(error: &DataError, field: &str) -> Self {
        match error {
            DataError::TooLarge { .. } => Problem::too_large(format!("`{field}` is too large: {error}")),
            other => {
                let detail = format!("`{field}` cannot be taken: {other}");
                Problem::invalid_body(Fault::at(format!("#/{field}"), detail))
            }
        }
    }

    // 4xx: other rules of HTTP.

    pub(super) fn no_route(path: &str) -> Self {
        let detail = format!("there is nothing at {path}; /openapi.json lists what there is");
        Problem::new(StatusCode::NOT_FOUND, "unknown-route", "No such route", detail)
    }

    pub(super) fn wrong_method(method: &str, path: &str) -> Self {
        let detail = format!("{path} does not take {method}; the header Allow says what it takes");
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "Wrong method", detail)
    }

    pub(super) fn wrong_content_type(found: Option<&str>, expected: &str) -> Self {
        let detail = match found {
            Some(found) => format!("the body is said to be {found}; this route takes {expected}"),
            None => format!("the body has no Content-Type; this route takes {expected}"),
        };
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong-content-type", "Wrong content type", detail)
    }

    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
    }

    fn not_found(detail: String) -> Self {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    // 5xx: not the caller's fault.

    pub(super) fn overloaded(limit: usize) -> Self {
        let detail = format!("{limit} requests are being answered already (limit of concurrent requests)");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many requests at once", detail)
            .retry_after(RETRY_SOON)
    }

    pub(super) fn overloaded_bodies(limit: usize) -> Self {
        let detail = format!("bodies of {limit} bytes in all are being worked on already (limit of bodies in memory)");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too much at once", detail).retry_after(RETRY_SOON)
    }

    pub(super) fn too_many_streams(limit: usize) -> Self {
        let detail = format!("{limit} feeds and waits are open already (limit of streams)");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", "Too many feeds at once", detail)
            .retry_after(RETRY_LATER)
    }

    pub(super) fn not_ready(reasons: Vec<String>) -> Self {
        let faults: Vec<Fault> = reasons.into_iter().map(Fault::plain).collect();
        let detail = sentence(&faults);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready", detail)
            .with(faults)
            .retry_after(RETRY_SOON)
    }

    pub(super) fn timeout(after: std::time::Duration) -> Self {
        let detail = format!(
            "no answer within {} s; what was asked for may have happened or may still happen, so try again with the \
             same Idempotency-Key or look first",
            after.as_secs_f64()
        );
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "Timed out", detail)
    }

    fn unavailable(detail: String) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", detail).retry_after(RETRY_LATER)
    }

    fn exhausted(detail: String) -> Self {
        Problem::new(StatusCode::INSUFFICIENT_STORAGE, "exhausted", "No room left", detail)
    }

    fn corrupt(detail: String) -> Self {
        tracing::error!(detail, "what is stored cannot be read");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "corrupt", "What is stored cannot be read", detail)
    }

    /// The cause is for the log alone: it may name files, hosts and statements.
    pub(super) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed for a reason inside");
        let detail = "something inside went wrong; the log of the server has it under this answer's X-Request-Id";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }
}

fn sentence(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.detail.as_str()).collect::<Vec<_>>().join("; ")
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let detail = error.to_string();
        match error {
            ServiceError::NotFound(_) | ServiceError::GraphNotFound(_) => Problem::not_found(detail),
            ServiceError::BadGraph(diagnostics) => Problem::invalid_graph(diagnostics),
            ServiceError::BadSchedule(_) => {
                Problem::new(StatusCode::BAD_REQUEST, "invalid-schedule", "This is no schedule", detail)
            }
            ServiceError::ScheduleConflict(_) => {
                Problem::new(StatusCode::CONFLICT, "schedule-conflict", "The schedule is not as expected", detail)
            }
            ServiceError::InvalidInputs(problems) => Problem::invalid_inputs(detail, problems),
            ServiceError::KeyConflict => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The idempotency key is taken",
                detail,
            ),
            ServiceError::Conflict(_) => {
                Problem::new(StatusCode::CONFLICT, "conflict", "The execution is in no state for this", detail)
            }
            ServiceError::TooLarge(_) => Problem::too_large(detail),
            ServiceError::InvalidForm(problems) => Problem::invalid_form(detail, problems),
            ServiceError::Forbidden(_) => {
                Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not for this caller", detail)
            }
            ServiceError::NotThere(_) => Problem::not_found(detail),
            ServiceError::Gone(_) => Problem::new(StatusCode::GONE, "collected", "Not there any more", detail),
            ServiceError::NoArtifacts => {
                Problem::new(StatusCode::NOT_IMPLEMENTED, "no-artifact-store", "No artifact store", detail)
            }
            ServiceError::Full(_) => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "full", "As much as there may be", detail)
                    .retry_after(RETRY_LATER)
            }
            ServiceError::TooMany(_) => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "concurrency_limit", "As many as there may be", detail)
                    .retry_after(RETRY_LATER)
            }
            ServiceError::Backlogged(_) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "backlogged", "The jobs that are owed come first", detail)
                    .retry_after(RETRY_LATER)
            }
            ServiceError::Unavailable(_) => Problem::unavailable(detail),
            ServiceError::Exhausted(_) => Problem::exhausted(detail),
            ServiceError::Corrupt(_) => Problem::corrupt(detail),
            ServiceError::Internal(cause) => Problem::internal(&cause),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let detail = error.to_string();
        match error {
            ReadError::NotFound(_) | ReadError::GraphNotFound(_) => Problem::not_found(detail),
            ReadError::Store(error) => error.into(),
            ReadError::BadGraph { .. }
            | ReadError::Codec { .. }
            | ReadError::Fold { .. }
            | ReadError::Gap { .. }
            | ReadError::Panicked(_)
            | ReadError::Snapshot { .. } => Problem::corrupt(detail),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Unavailable(cause) | StoreError::Unknown(cause) => {
                tracing::warn!(cause = format!("{cause:#}"), "the store failed a request");
                Problem::unavailable(detail)
            }
            StoreError::Exhausted { .. } => Problem::exhausted(detail),
            StoreError::Corrupt { .. } => Problem::corrupt(detail),
            StoreError::Absent { .. } | StoreError::NewerSchema { .. } => Problem::unavailable(detail),
            StoreError::BadUrl { .. } | StoreError::Refused { .. } => Problem::internal(&detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Strings and numbers alone: nothing in it can fail to become JSON.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests;
