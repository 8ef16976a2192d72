//! A server's API, from the caller's side.

mod feed;
mod steering;

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use stepstream_shared::id::TenantId;

use crate::exit::{Exit, Problem, chain};
use crate::target::{Place, Target};

pub use feed::{Feed, Message};
pub use steering::{Asker, Many};

/// How long a connection may take: a server that is there answers at once.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a request may take; the server gives up after 30 s by itself.
const REQUEST: Duration = Duration::from_secs(40);
/// Items on a page: the most that the server gives.
const PAGE: usize = 1000;
/// What of an answer that is no problem document is shown.
const SHOWN_CHARS: usize = 200;

/// Talks to one server for one tenant.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    tenant: TenantId,
}

/// An RFC 9457 problem document.
#[derive(Debug, Deserialize)]
struct ProblemDocument {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    detail: String,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

impl Client {
    pub fn new(base: &str, tenant: TenantId) -> Result<Self, Problem> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .user_agent(concat!("stepstream/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Problem::new(Exit::Unreachable, chain(&error)))?;
        Ok(Client { http, base: base.to_owned(), tenant })
    }

    /// Where this looks, and for whom.
    pub fn place(&self) -> Place {
        Place { target: Target::Server(self.base.clone()), tenant: self.tenant.clone() }
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).header("Stepstream-Tenant", self.tenant.as_str())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Problem> {
        let response = request.timeout(REQUEST).send().await.map_err(|error| self.unreachable(&error))?;
        let response = self.accepted(response).await?;
        response.json().await.map_err(|error| {
            Problem::new(
                Exit::Unreachable,
                format!("{} answered something else than JSON: {}", self.base, chain(&error)),
            )
        })
    }

    async fn accepted(&self, response: Response) -> Result<Response, Problem> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        Err(refusal(&self.base, status, &text))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Problem {
        // The cause says more than "error sending request for url".
        let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), chain);
        Problem::new(Exit::Unreachable, format!("{} cannot be reached: {cause}", self.base)).hint(
            "is the server running? `stepstream dev` starts one; without --server, executions run in this process",
        )
    }

    /// Registers a document and answers the graph's id.
    pub async fn register(&self, file: &str, text: String) -> Result<String, Problem> {
        let json = file.rsplit('.').next().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let content_type = if json { "application/json" } else { "application/yaml" };
        let request = self.request(Method::POST, "/v1/graphs").header("Content-Type", content_type).body(text);
        let answer = self.send(request).await?;
        self.text_of(&answer, "graph_id")
    }

    /// Starts an execution and answers its id.
    pub async fn start(
        &self,
        graph: &str,
        inputs: &Value,
        breakpoints: &[String],
        key: Option<&str>,
    ) -> Result<String, Problem> {
        let mut body = json!({"graph": graph, "inputs": inputs});
        // A server of an earlier version knows of none, and need not.
        if !breakpoints.is_empty() {
            body["breakpoints"] = json!(breakpoints);
        }
        let mut request = self.request(Method::POST, "/v1/executions").json(&body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = self.send(request).await?;
        self.text_of(&answer, "execution_id")
    }

    pub async fn execution(&self, id: &str) -> Result<Value, Problem> {
        self.send(self.request(Method::GET, &format!("/v1/executions/{id}"))).await
    }

    /// A graph's document, by id, name or `name@version`.
    pub async fn graph(&self, reference: &str) -> Result<Value, Problem> {
        self.send(self.request(Method::GET, &format!("/v1/graphs/{}", percent(reference)))).await
    }

    /// Executions, newest first, at most `limit`.
    pub async fn executions(&self, state: Option<&str>, limit: usize) -> Result<Vec<Value>, Problem> {
        let filter = state.map(|state| format!("&state={}", percent(state))).unwrap_or_default();
        self.pages("/v1/executions", &filter, limit).await
    }

    pub async fn graphs(&self, limit: usize) -> Result<Vec<Value>, Problem> {
        self.pages("/v1/graphs", "", limit).await
    }

    /// What the server says of itself.
    pub async fn version(&self) -> Result<String, Problem> {
        let answer = self.send(self.request(Method::GET, "/v1/version")).await?;
        Ok(answer["version"].as_str().map_or_else(|| answer.to_string(), str::to_owned))
    }

    /// Every step of an execution as it stands.
    pub async fn steps(&self, id: &str) -> Result<Vec<Value>, Problem> {
        self.pages(&format!("/v1/executions/{id}/steps"), "", usize::MAX).await
    }

    async fn pages(&self, path: &str, filter: &str, limit: usize) -> Result<Vec<Value>, Problem> {
        let most = if path.ends_with("graphs") { PAGE / 10 } else { PAGE };
        let mut items = Vec::new();
        let mut cursor = String::new();
        while items.len() < limit {
            let size = (limit - items.len()).min(most);
            let answer = self.send(self.request(Method::GET, &format!("{path}?limit={size}{filter}{cursor}"))).await?;
            let page: Page = serde_json::from_value(answer).map_err(|error| self.odd(&error.to_string()))?;
            items.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={}", percent(&next)),
                None => break,
            }
        }
        Ok(items)
    }

    /// The events of an execution as they come, those after `after` first.
    pub fn feed(&self, id: &str, after: u64) -> Feed {
        Feed::new(self.clone(), format!("/v1/executions/{id}/events"), after)
    }

    fn text_of(&self, answer: &Value, field: &str) -> Result<String, Problem> {
        answer[field].as_str().map(str::to_owned).ok_or_else(|| self.odd(&format!("there is no `{field}` in it")))
    }

    fn odd(&self, why: &str) -> Problem {
        Problem::new(Exit::Unreachable, format!("the answer of {} is not understood: {why}", self.base))
            .hint("is this a server of Stepstream, and of this version?")
    }
}

/// What a refused request means here.
fn refusal(base: &str, status: StatusCode, text: &str) -> Problem {
    let document: Option<ProblemDocument> = serde_json::from_str(text).ok();
    let document = document.map(|document| ProblemDocument { status: status.as_u16(), ..document });
    match document {
        Some(document) if !document.detail.is_empty() || !document.title.is_empty() => problem_of(&document),
        _ => {
            let shown: String = crate::output::printable(text).chars().take(SHOWN_CHARS).collect();
            Problem::new(exit_of(status.as_u16(), ""), format!("{base} answered {status}: {shown}"))
        }
    }
}

/// What a problem document says.
fn problem_of(document: &ProblemDocument) -> Problem {
    let name = document.kind.rsplit(':').next().unwrap_or_default();
    let message = if document.detail.is_empty() { &document.title } else { &document.detail };
    Problem::new(exit_of(document.status, name), message)
}

fn exit_of(status: u16, name: &str) -> Exit {
    match (status, name) {
        (_, "corrupt") => Exit::Diverged,
        (_, "idempotency-key-reused") | (409, _) => Exit::Conflict,
        (401 | 403, _) => Exit::Refused,
        (404, _) => Exit::NotFound,
        (408 | 502 | 503 | 504, _) => Exit::Unreachable,
        (413 | 429 | 507, _) => Exit::Exhausted,
        (400..=499, _) => Exit::Usage,
        _ => Exit::Refused,
    }
}

/// Text as it may stand in a path or a query.
fn percent(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@".contains(&byte);
    text.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests;
