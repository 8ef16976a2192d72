//! How a server stands.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::answer::Answer;
use crate::client::Client;
use crate::error::Error;

/// How the coordinator that answered stands; what it refused is in [`Answer::json`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// Slices of executions that it drives at present.
    pub partitions_held: usize,
    pub partitions: u16,
    /// Grows with every restore of the store.
    pub incarnation: u64,
    /// What an acknowledged write has survived.
    pub durability: String,
}

impl Client {
    /// Whether the process lives; asks nothing else.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn alive(&self) -> Result<(), Error> {
        self.send(self.request(Method::GET, "/livez")).await.map(drop)
    }

    /// Whether requests can be carried out.
    ///
    /// # Errors
    /// [`Unavailable`](crate::RefusalKind::Unavailable) with the reasons, or [`Error::Unreachable`].
    pub async fn ready(&self) -> Result<(), Error> {
        self.send(self.request(Method::GET, "/readyz")).await.map(drop)
    }

    /// What the coordinator that answers drives, and what it has refused.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal.
    pub async fn status(&self) -> Result<Answer<Status>, Error> {
        self.ask(self.request(Method::GET, "/v1/status")).await
    }

    /// The server's own description of its API, an OpenAPI document.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal.
    pub async fn api_document(&self) -> Result<Value, Error> {
        self.send(self.request(Method::GET, "/openapi.json")).await
    }
}
