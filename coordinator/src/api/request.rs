//! What handlers take from paths and headers, checked before anything else happens.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use stepstream_shared::execution::steering::NAME_BYTES;
use stepstream_shared::id::{ExecutionId, TenantId};

use super::executions::CALLER;
use super::limits::IDEMPOTENCY_KEY_MAX;
use super::problem::Problem;

/// On whose behalf a request is made.
pub(super) struct Tenant(pub(super) TenantId);

impl<S: Send + Sync> FromRequestParts<S> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        const NAME: &str = "Stepstream-Tenant";
        match single(&parts.headers, NAME)? {
            None => Ok(Tenant(TenantId::default_tenant())),
            Some(value) => match value.to_str().map(str::parse) {
                Ok(Ok(tenant)) => Ok(Tenant(tenant)),
                Ok(Err(error)) => Err(Problem::invalid_header(NAME, error.to_string())),
                Err(_) => Err(Problem::invalid_header(NAME, "a tenant id is ASCII")),
            },
        }
    }
}

/// Whoever asks, by the name under which approvals know people. Nobody proves it yet: whoever reaches the API is trusted.
pub(super) struct Caller(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        const NAME: &str = "Stepstream-Actor";
        let Some(value) = single(&parts.headers, NAME)? else { return Ok(Caller(CALLER.to_owned())) };
        // People have names that ASCII cannot write.
        match std::str::from_utf8(value.as_bytes()) {
            Ok(name) if (1..=NAME_BYTES).contains(&name.len()) && !name.contains(char::is_control) => {
                Ok(Caller(name.to_owned()))
            }
            _ => Err(Problem::invalid_header(NAME, format!("a name is 1 to {NAME_BYTES} bytes of printable UTF-8"))),
        }
    }
}

/// The execution that the path names.
pub(super) struct OfExecution(pub(super) ExecutionId);

impl<S: Send + Sync> FromRequestParts<S> for OfExecution {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = in_path(parts, state, "execution_id").await?;
        text.parse().map(OfExecution).map_err(|error| Problem::invalid_id(format!("{error}")))
    }
}

/// The schedule that the path names, by id or name.
pub(super) struct OfSchedule(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for OfSchedule {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        in_path(parts, state, "schedule").await.map(OfSchedule)
    }
}

/// The node of its graph that the path names.
pub(super) struct OfNode(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for OfNode {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        in_path(parts, state, "node").await.map(OfNode)
    }
}

/// The artifact that the path names: its id, its content hash, or a name.
pub(super) struct OfArtifact(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for OfArtifact {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        in_path(parts, state, "artifact").await.map(OfArtifact)
    }
}

/// A part of the path, by the name that its route gives it.
async fn in_path<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Result<String, Problem> {
    let Path(mut named) = Path::<HashMap<String, String>>::from_request_parts(parts, state)
        .await
        .map_err(|error| Problem::invalid_id(error.body_text()))?;
    named.remove(name).ok_or_else(|| Problem::internal(&format!("the route has no `{name}`")))
}

/// The key under which a request may be repeated.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        const NAME: &str = "Idempotency-Key";
        let Some(value) = single(&parts.headers, NAME)? else { return Ok(IdempotencyKey(None)) };
        match value.to_str() {
            Ok(key) if (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) && key.bytes().all(|c| c != b'\t') => {
                Ok(IdempotencyKey(Some(key.to_owned())))
            }
            _ => {
                let detail = format!("a key is 1 to {IDEMPOTENCY_KEY_MAX} printable ASCII characters");
                Err(Problem::invalid_header(NAME, detail))
            }
        }
    }
}

/// The event that a feed's reader saw last.
pub(super) struct LastEventId(pub(super) Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        const NAME: &str = "Last-Event-ID";
        // A reader that has seen no event yet sends it empty.
        let value = single(&parts.headers, NAME)?.filter(|value| !value.is_empty());
        let Some(value) = value else { return Ok(LastEventId(None)) };
        match value.to_str().map(str::parse) {
            Ok(Ok(sequence)) => Ok(LastEventId(Some(sequence))),
            _ => Err(Problem::invalid_header(NAME, "the id of an event in a feed is its sequence, a number")),
        }
    }
}

/// A header that may be given once: of two, nobody knows which one was meant.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(Problem::invalid_header(name, "it is given more than once")),
    }
}
