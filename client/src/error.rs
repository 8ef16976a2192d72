//! What can go wrong between a program and a server.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::feed::MAX_LINE_BYTES;

/// What of an answer that is no problem document is shown, in characters.
const SHOWN_CHARS: usize = 200;
/// What a problem's `type` starts with.
const URN: &str = "urn:stepstream:problem:";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answered: not there, gone meanwhile, or too slow. Whether the request was carried out is not known; under
    /// an idempotency key it can be sent again.
    #[error("{server} cannot be reached: {why}")]
    Unreachable { server: String, why: String },
    /// The server says no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// This is no server of Stepstream, or not one of this version.
    #[error("the answer of {server} is not understood: {why}")]
    Odd { server: String, why: String },
    /// No header can hold it.
    #[error("{what} has characters that cannot be sent")]
    NotSendable { what: &'static str },
    /// Too large or too deep for a value.
    #[error("{what} cannot be sent: {why}")]
    NotAValue { what: &'static str, why: String },
    #[error("the server sent a line of more than {MAX_LINE_BYTES} bytes (line limit)")]
    LineTooLong,
    /// No client can be made: the base is no URL, or the machine has no usable TLS.
    #[error("no client can be made for {server}: {why}")]
    Setup { server: String, why: String },
}

impl Error {
    /// Whether the same request may be answered later: nobody was there, or the server is not ready.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Unreachable { .. } => true,
            Error::Refused(refusal) => refusal.kind() == RefusalKind::Unavailable,
            _ => false,
        }
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Error::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// What a refusal means to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The request is wrong and stays wrong.
    Invalid,
    /// Whoever asks may not.
    Forbidden,
    /// There is no such execution, graph, step, signal or artifact, or its bytes were collected.
    NotFound,
    /// It means nothing as the execution stands, or the key was used for another request.
    Conflict,
    /// A limit was reached: too large, too many, a full disk.
    Exhausted,
    /// Something that the server needs is away; later it may do it.
    Unavailable,
    /// The log was changed, or does not fold.
    Corrupt,
    /// The server's own fault.
    Internal,
}

/// Why a server did not do what it was asked: an RFC 9457 problem document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    #[serde(rename = "type", default)]
    urn: String,
    /// What kind of problem it is, for people.
    #[serde(default)]
    pub title: String,
    /// The HTTP status of the answer.
    #[serde(default)]
    pub status: u16,
    /// What is wrong with this request.
    #[serde(default)]
    pub detail: String,
    /// Each fault, where there are several or where its place can be named.
    #[serde(default)]
    pub errors: Vec<Fault>,
    /// When to try again, where the server says so.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fault {
    #[serde(default)]
    pub detail: String,
    /// Where in the body: a JSON pointer as a URI fragment.
    #[serde(default)]
    pub pointer: Option<String>,
    /// Which query parameter.
    #[serde(default)]
    pub parameter: Option<String>,
    /// Which header.
    #[serde(default)]
    pub header: Option<String>,
}

impl Refusal {
    /// Its stable name, such as `not-found`; empty where the answer was no problem document.
    pub fn name(&self) -> &str {
        self.urn.strip_prefix(URN).unwrap_or_default()
    }

    pub fn kind(&self) -> RefusalKind {
        match (self.status, self.name()) {
            (_, "corrupt") => RefusalKind::Corrupt,
            (_, "idempotency-key-reused") | (409, _) => RefusalKind::Conflict,
            (401 | 403, _) => RefusalKind::Forbidden,
            (404 | 410, _) => RefusalKind::NotFound,
            (408 | 502 | 503 | 504, _) => RefusalKind::Unavailable,
            (413 | 429 | 507, _) => RefusalKind::Exhausted,
            (400..=499, _) => RefusalKind::Invalid,
            _ => RefusalKind::Internal,
        }
    }

    /// What a refused request was answered.
    pub(crate) fn of(server: &str, status: StatusCode, retry_after: Option<Duration>, text: &str) -> Self {
        let document: Option<Refusal> = serde_json::from_str(text).ok();
        match document.filter(|document| !document.detail.is_empty() || !document.title.is_empty()) {
            Some(document) => Refusal { status: status.as_u16(), retry_after, ..document },
            None => {
                let shown: String =
                    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARS).collect();
                Refusal {
                    urn: String::new(),
                    title: String::new(),
                    status: status.as_u16(),
                    detail: format!("{server} answered {status}: {shown}"),
                    errors: Vec::new(),
                    retry_after,
                }
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.detail.is_empty() { &self.title } else { &self.detail })
    }
}

impl std::error::Error for Refusal {}
