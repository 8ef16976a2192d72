//! `http`: one HTTP request.
//!
//! Statuses decide about retries: an overloaded or broken server may answer later (408, 425, 429, 5xx; `Retry-After` is
//! honoured), a refused request will be refused again. Requests that change something carry the step's idempotency key
//! as `Idempotency-Key`, so that a server that knows the header does it once.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepstream_runtime::reach::{OutOfReach, Reach};
use stepstream_shared::data;
use stepstream_shared::error::ErrorCategory;
use stepstream_shared::event::Violation;

use crate::callable::Callable;
use crate::context::Context;
use crate::failure::{self, Failure};

/// Time for the whole exchange, unless the input says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read, unless the input says otherwise; a step's output is no longer than the highest.
pub const DEFAULT_RESPONSE_BYTES: usize = 1024 * 1024;
pub const MAX_RESPONSE_BYTES: usize = data::MAX_BYTES;
/// Longer chains of redirects are loops more often than not.
pub const MAX_REDIRECTS: usize = 10;
/// A server that does not take the connection by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What of a refusing answer goes into a failure's details.
const BODY_HEAD_BYTES: usize = 2048;
/// Longest time that a server may make us wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

pub struct Http {
    reach: Reach,
    /// One client keeps connections open across attempts. Made at first use: where this machine has no usable TLS
    /// roots, that is a failed attempt and not a dead worker.
    client: OnceLock<Result<Client, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub url: String,
    #[serde(default = "get")]
    pub method: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
    /// A body that is sent as JSON.
    pub json: Option<Value>,
    pub timeout_ms: Option<u64>,
    pub max_response_bytes: Option<usize>,
    /// Statuses outside 200–299 that are no failure.
    #[serde(default)]
    pub allow_status: Vec<u16>,
}

fn get() -> String {
    "GET".to_owned()
}

#[derive(Debug, Serialize)]
pub struct Output {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    /// A value where the answer is JSON, text otherwise.
    pub body: Value,
}

impl Http {
    pub fn new(reach: Reach) -> Self {
        Http { reach, client: OnceLock::new() }
    }

    fn client(&self) -> Result<&Client, Failure> {
        self.client
            .get_or_init(|| {
                let mut client = Client::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .redirect(redirect::Policy::limited(MAX_REDIRECTS))
                    .user_agent(concat!("stepstream/", env!("CARGO_PKG_VERSION")));
                if !self.reach.is_anything() {
                    // A proxy would look up names by itself.
                    client = client.no_proxy().dns_resolver(self.reach.resolver()).redirect(within(self.reach.clone()));
                }
                client.build().map_err(|error| failure::chain(&error))
            })
            .as_ref()
            .map_err(|error| Failure::retryable(format!("this worker cannot make HTTP requests: {error}")))
    }
}

/// Follows redirects that lead to what may be reached.
fn within(reach: Reach) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| match reach.check_url(attempt.url()) {
        Err(error) => attempt.error(error),
        Ok(()) if attempt.previous().len() > MAX_REDIRECTS => attempt.error("too many redirects"),
        Ok(()) => attempt.follow(),
    })
}

impl Callable for Http {
    type Input = Input;
    type Output = Output;

    async fn call(&self, context: &Context, input: Input) -> Result<Output, Failure> {
        let url = url(&input)?;
        self.reach.check_url(&url).map_err(|error| out_of_reach(&error))?;
        let request = request(self.client()?, context, url, &input)?;
        let limit = response_limit(&input)?;
        let exchange = async {
            let response = request.send().await.map_err(sending)?;
            answer(response, limit, &input.allow_status).await
        };
        tokio::select! {
            result = exchange => result,
            () = context.cancelled() => Err(Failure::cancelled()),
        }
    }
}

fn response_limit(input: &Input) -> Result<usize, Failure> {
    match input.max_response_bytes.unwrap_or(DEFAULT_RESPONSE_BYTES) {
        limit @ 1..=MAX_RESPONSE_BYTES => Ok(limit),
        limit => Err(Failure::invalid_input(format!(
            "`max_response_bytes` is a number from 1 to {MAX_RESPONSE_BYTES}, not {limit}"
        ))),
    }
}

fn url(input: &Input) -> Result<Url, Failure> {
    let url = Url::parse(&input.url)
        .map_err(|error| Failure::invalid_input(format!("`url` {:?} is no URL: {error}", input.url)))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Failure::invalid_input(format!("`url` begins with http or https, not {}", url.scheme())));
    }
    Ok(url)
}

fn request(client: &Client, context: &Context, url: Url, input: &Input) -> Result<reqwest::RequestBuilder, Failure> {
    let method = Method::from_bytes(input.method.to_ascii_uppercase().as_bytes())
        .map_err(|_| Failure::invalid_input(format!("`method` {:?} is no HTTP method", input.method)))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &input.headers {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Failure::invalid_input(format!("`headers` holds {name:?}, which is no header name")))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| Failure::invalid_input(format!("the value of header {name:?} may not be sent")))?;
        headers.insert(header, value);
    }
    if !method.is_safe() && !headers.contains_key("idempotency-key") {
        let key = HeaderValue::from_str(&context.idempotency_key()).expect("ids are visible ASCII");
        headers.insert("idempotency-key", key);
    }
    let timeout = input.timeout_ms.map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    let has_type = headers.contains_key(CONTENT_TYPE);
    let request = client.request(method, url).headers(headers).timeout(timeout);
    match (&input.body, &input.json) {
        (Some(_), Some(_)) => Err(Failure::invalid_input("`body` and `json` exclude each other")),
        (Some(body), None) => Ok(request.body(body.clone())),
        (None, Some(json)) if has_type => Ok(request.body(json.to_string())),
        (None, Some(json)) => Ok(request.json(json)),
        (None, None) => Ok(request),
    }
}

/// No retry: the operator has to change something first.
fn out_of_reach(error: &OutOfReach) -> Failure {
    tracing::warn!(name = error.name, address = ?error.address, "a graph asked for what `http` may not reach");
    Failure::new(ErrorCategory::PolicyViolation, error.to_string()).code(Violation::NetworkViolation.name())
}

fn sending(error: reqwest::Error) -> Failure {
    if let Some(error) = OutOfReach::cause_of(&error) {
        return out_of_reach(error);
    }
    if error.is_redirect() {
        let message = format!("redirected more than {MAX_REDIRECTS} times, or in a circle: {}", failure::chain(&error));
        return Failure::network(message).code("invalid_request");
    }
    Failure::from(error)
}

async fn answer(mut response: Response, limit: usize, allow_status: &[u16]) -> Result<Output, Failure> {
    let status = response.status();
    let good = status.is_success() || allow_status.contains(&status.as_u16());
    let headers = headers(response.headers());
    if !good {
        let retry_after = retry_after(response.headers());
        let mut head = Vec::new();
        // The answer's beginning often says why; its absence says nothing new.
        while head.len() < BODY_HEAD_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            head.extend_from_slice(&chunk[..chunk.len().min(BODY_HEAD_BYTES - head.len())]);
        }
        return Err(refused(status, retry_after, &String::from_utf8_lossy(&head)));
    }
    let too_long = || Failure::invalid_output(format!("the answer is longer than {limit} bytes (max_response_bytes)"));
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_long());
    }
    let is_json = is_json(response.headers());
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&chunk);
    }
    let body = match serde_json::from_slice(&bytes) {
        Ok(value) if is_json => value,
        // Servers label text as JSON, too.
        _ => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
    };
    Ok(Output { status: status.as_u16(), headers, body })
}

fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        all.entry(name.to_string())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    all
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

fn refused(status: StatusCode, retry_after: Option<Duration>, head: &str) -> Failure {
    let message = format!("the server answered {status}");
    let failure = match status.as_u16() {
        408 | 425 => Failure::timeout(message),
        429 => Failure::network(message).code("rate_limit"),
        401 | 403 | 407 => Failure::network(message).code("auth_failed"),
        404 | 410 => Failure::network(message).code("not_found"),
        500.. => Failure::network(message),
        _ => Failure::network(message).code("invalid_request"),
    };
    let failure = failure.http_status(status.as_u16()).details(json!({ "status": status.as_u16(), "body": head }));
    match retry_after {
        Some(delay) if failure.error().is_retryable() => failure.retry_after(delay),
        _ => failure,
    }
}

/// Seconds, or an HTTP date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Duration::from_secs(u64::try_from(at).unwrap_or(0)).saturating_sub(now)
        }
    };
    Some(delay.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests;
