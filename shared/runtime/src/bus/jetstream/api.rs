//! The management requests of JetStream, as the server documents them: JSON out, JSON in.
//!
//! The client library's own types leave out what they do not know; here everything that the server answers is seen,
//! which is what comparing settings needs. It also spares a worker rights that it should not have: nothing in this
//! file is used by the worker's side.

use async_nats::Client;
use async_nats::client::RequestErrorKind;
use bytes::Bytes;
use serde_json::Value;

use crate::bus::BusError;

/// Codes of the server that decide what we do next.
pub(super) mod code {
    pub(in super::super) const STREAM_NOT_FOUND: u64 = 10059;
    pub(in super::super) const CONSUMER_NOT_FOUND: u64 = 10014;
    pub(in super::super) const NO_MESSAGE: u64 = 10037;
    /// What is to be deleted is not there: by its place, and in the words of the store.
    pub(in super::super) const NO_SEQUENCE: u64 = 10043;
    pub(in super::super) const DELETE_FAILED: u64 = 10057;
    /// The stream holds as much as it may (discard: new), or its file could not be written.
    pub(in super::super) const STORE_FAILED: u64 = 10077;
    pub(in super::super) const INSUFFICIENT_RESOURCES: u64 = 10023;
    pub(in super::super) const STORAGE_EXCEEDED: u64 = 10047;
    pub(in super::super) const ACCOUNT_RESOURCES: u64 = 10002;
    /// Temporary states of a cluster.
    pub(in super::super) const UNAVAILABLE: u64 = 10008;
    pub(in super::super) const NO_LEADER: u64 = 10009;
}

/// Why a management request gave nothing.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The server said no, and said why.
    Refused {
        code: u64,
        description: String,
    },
    /// Nothing answers such requests: JetStream is off, or has no leader at the moment.
    NoResponders,
    Unreachable(String),
}

impl ApiError {
    pub(super) fn is(&self, wanted: u64) -> bool {
        matches!(self, ApiError::Refused { code, .. } if *code == wanted)
    }

    /// What a caller of the bus is told about `what`.
    pub(super) fn about(self, what: &str) -> BusError {
        match self {
            ApiError::Refused { code, description } => refusal(what, code, &description),
            ApiError::NoResponders => BusError::Unavailable(format!(
                "{what}: JetStream does not answer; it may be starting, or nats-server runs without `-js`"
            )),
            ApiError::Unreachable(reason) => BusError::Unavailable(format!("{what}: {reason}")),
        }
    }
}

/// Sorts a refusal by what its receiver can do about it. Codes decide, because the client library files most of them
/// under "other".
pub(super) fn refusal(what: &str, code: u64, description: &str) -> BusError {
    let text = format!("{what}: {description} (code {code})");
    match code {
        code::STORE_FAILED | code::INSUFFICIENT_RESOURCES | code::STORAGE_EXCEEDED | code::ACCOUNT_RESOURCES => {
            BusError::Full(text)
        }
        code::STREAM_NOT_FOUND | code::CONSUMER_NOT_FOUND | code::UNAVAILABLE | code::NO_LEADER => {
            BusError::Unavailable(text)
        }
        _ => BusError::Misconfigured(text),
    }
}

/// Sends one request, such as `STREAM.INFO.JOBS`.
pub(super) async fn call(client: &Client, request: &str, body: Option<&Value>) -> Result<Value, ApiError> {
    let payload = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let answer = client.request(format!("$JS.API.{request}"), payload).await.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => ApiError::NoResponders,
        _ => ApiError::Unreachable(error.to_string()),
    })?;
    let mut answer: Value = serde_json::from_slice(&answer.payload)
        .map_err(|error| ApiError::Unreachable(format!("the server's answer is not readable: {error}")))?;
    match answer.get_mut("error").map(Value::take) {
        None => Ok(answer),
        Some(error) => Err(ApiError::Refused {
            code: error["err_code"].as_u64().or_else(|| error["code"].as_u64()).unwrap_or_default(),
            description: error["description"].as_str().unwrap_or("no reason given").to_owned(),
        }),
    }
}
