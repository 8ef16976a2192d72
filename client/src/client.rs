//! A connection to a server, for one tenant.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stepstream_shared::id::{ExecutionId, TenantId};

use crate::answer::Answer;
use crate::error::{Error, Refusal};
use crate::handle::Handle;

/// How long a connection may take: a server that is there answers at once.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a request may take; the server gives up after 30 s by itself.
const REQUEST: Duration = Duration::from_secs(40);
/// Items on a page: the most that the server gives.
const PAGE: usize = 1000;
/// Graphs, or schedules, on a page: the server reads whole documents to make it.
const PAGE_OF_GRAPHS: usize = 100;

/// Talks to one server for one tenant. A copy shares its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    tenant: TenantId,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

impl Client {
    /// A client of the server at this URL, such as `http://127.0.0.1:8233`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Setup`] where this is no HTTP URL, or TLS cannot be set up.
    pub fn new(base: &str, tenant: TenantId) -> Result<Self, Error> {
        let base = base.trim_end_matches('/');
        let setup = |why: String| Error::Setup { server: base.to_owned(), why };
        let url = reqwest::Url::parse(base).map_err(|error| setup(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(setup("a server has an http or https URL, such as http://127.0.0.1:8233".to_owned()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .user_agent(concat!("stepstream/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| setup(chain(&error)))?;
        Ok(Client { http, base: base.to_owned(), tenant })
    }

    /// The server's URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What can be asked of one execution.
    pub fn execution(&self, id: ExecutionId) -> Handle {
        Handle::new(self.clone(), id)
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal.
    pub async fn version(&self) -> Result<String, Error> {
        let answer = self.send(self.request(Method::GET, "/v1/version")).await?;
        Ok(answer["version"].as_str().map_or_else(|| answer.to_string(), str::to_owned))
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).header("Stepstream-Tenant", self.tenant.as_str())
    }

    /// The JSON that answers a request.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Value, Error> {
        let response = request.timeout(REQUEST).send().await.map_err(|error| self.unreachable(&error))?;
        let response = self.accepted(response).await?;
        response.json().await.map_err(|error| {
            if error.is_decode() {
                self.odd(format!("it is no JSON: {}", chain(&error)))
            } else {
                // The connection broke before the answer was complete.
                self.unreachable(&error)
            }
        })
    }

    /// What answers a request, as far as it is known.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Answer<T>, Error> {
        let json = self.send(request).await?;
        self.read(json)
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, json: Value) -> Result<Answer<T>, Error> {
        Answer::of(json).map_err(|error| self.odd(error.to_string()))
    }

    pub(crate) async fn accepted(&self, response: Response) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = retry_after(response.headers());
        // An answer that breaks off is a refusal still: its status has come.
        let text = response.text().await.unwrap_or_default();
        Err(Error::Refused(Box::new(Refusal::of(&self.base, status, retry_after, &text))))
    }

    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Error {
        // The cause says more than "error sending request for url".
        let why = std::error::Error::source(error).map_or_else(|| error.to_string(), chain);
        Error::Unreachable { server: self.base.clone(), why }
    }

    pub(crate) fn odd(&self, why: String) -> Error {
        Error::Odd { server: self.base.clone(), why }
    }

    /// A list, page by page, at most `limit` items of it.
    pub(crate) async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        filter: &str,
        limit: usize,
    ) -> Result<Vec<Answer<T>>, Error> {
        let most = if path.ends_with("graphs") || path.ends_with("schedules") || path.ends_with("dead-letters") {
            PAGE_OF_GRAPHS
        } else {
            PAGE
        };
        let mut items = Vec::new();
        let mut cursor = String::new();
        while items.len() < limit {
            let size = (limit - items.len()).min(most);
            let answer = self.send(self.request(Method::GET, &format!("{path}?limit={size}{filter}{cursor}"))).await?;
            let page: Page = serde_json::from_value(answer).map_err(|error| self.odd(error.to_string()))?;
            for item in page.items {
                items.push(self.read(item)?);
            }
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={}", percent(&next)),
                None => break,
            }
        }
        Ok(items)
    }
}

/// In seconds; a date is not what this server sends.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// The text of an error and of what caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Text as it may stand in a path or a query.
pub(crate) fn percent(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@".contains(&byte);
    text.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests;
