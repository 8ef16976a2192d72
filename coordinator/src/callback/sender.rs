//! One attempt at a callback.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode, Url, redirect};
use stepstream_runtime::reach::{Lookup, OutOfReach, Reach, Scope};
use stepstream_shared::execution::CallbackResult;
use stepstream_shared::id::{ExecutionId, MessageId, TenantId};

use super::{CALLBACK_TIMEOUT, CallbackOptions, Secrets};
use crate::error::chain;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) result: CallbackResult,
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
}

impl Exchange {
    fn refused(why: String) -> Self {
        Exchange { result: CallbackResult::Refused, status: None, error: Some(why) }
    }

    fn failed(why: String) -> Self {
        Exchange { result: CallbackResult::Failed, status: None, error: Some(why) }
    }
}

/// The id of the callback of an execution: whoever gets it twice knows it by this.
pub(crate) fn callback_id(execution: ExecutionId) -> String {
    MessageId::derived("stepstream 2026 callback", &[execution.as_bytes()]).to_string()
}

/// Why a URL is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Uncallable {
    #[error("this is no URL: {0}")]
    NoUrl(String),
    #[error("callbacks are signed, and this server has no webhook secret (--webhook-secret)")]
    NoSecret,
    #[error("callbacks go by https; an operator may allow http (--callback-allow-http)")]
    PlainHttp,
    #[error("callbacks go by https, not by `{0}`")]
    Scheme(String),
    #[error("a callback URL has no user name and no password in it")]
    Credentials,
    #[error("a callback URL names a host")]
    NoHost,
    #[error(transparent)]
    OutOfReach(#[from] OutOfReach),
}

impl Uncallable {
    /// What becomes of an attempt. All but a text that is no URL was callable when the execution was accepted: a server
    /// that was started with other options since, or for which a name means something else, may be put right.
    fn exchange(&self) -> Exchange {
        match self {
            Uncallable::NoUrl(_) => Exchange::refused(self.to_string()),
            _ => Exchange::failed(self.to_string()),
        }
    }
}

pub(super) struct Sender {
    secrets: Secrets,
    allow_http: bool,
    reach: Reach,
    /// `Err` where this machine cannot make such requests at all.
    client: Result<Client, String>,
}

impl Sender {
    /// `lookup` finds addresses; this machine's resolver if absent.
    pub(super) fn new(options: CallbackOptions, lookup: Option<Arc<dyn Lookup>>) -> Self {
        let CallbackOptions { secrets, allow_http, allow } = options;
        let reach = Reach::new(Scope::Public, allow, "--callback-allow");
        let resolver = lookup.map_or_else(|| reach.resolver(), |lookup| reach.resolver_over(lookup));
        let client = Client::builder()
            .dns_resolver(resolver)
            .redirect(redirect::Policy::none())
            // A proxy would look up names by itself.
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALLBACK_TIMEOUT)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("stepstream/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| chain(&error));
        Sender { secrets, allow_http, reach, client }
    }

    /// The URL, if it may be called as far as can be seen from itself.
    pub(super) fn check(&self, tenant: &TenantId, url: &str) -> Result<Url, Uncallable> {
        let url = Url::parse(url).map_err(|error| Uncallable::NoUrl(error.to_string()))?;
        if self.secrets.of(tenant).is_empty() {
            return Err(Uncallable::NoSecret);
        }
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(Uncallable::PlainHttp),
            other => return Err(Uncallable::Scheme(other.to_owned())),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Uncallable::Credentials);
        }
        if url.host_str().is_none() {
            return Err(Uncallable::NoHost);
        }
        self.reach.check_url(&url)?;
        Ok(url)
    }

    pub(super) async fn call(&self, tenant: &TenantId, url: &str, id: &str, body: Vec<u8>) -> Exchange {
        let url = match self.check(tenant, url) {
            Ok(url) => url,
            Err(why) => {
                tracing::warn!(%tenant, callback = id, %why, "a callback cannot be made");
                return why.exchange();
            }
        };
        let client = match &self.client {
            Ok(client) => client,
            Err(why) => return Exchange::failed(format!("this server cannot make requests: {why}")),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let timestamp = i64::try_from(now).unwrap_or(i64::MAX);
        let signatures: Vec<String> =
            self.secrets.of(tenant).iter().map(|secret| secret.sign(id, timestamp, &body)).collect();
        let request = client
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures.join(" "))
            .body(body);
        match request.send().await {
            // What it says besides is not read.
            Ok(answer) => judge(answer.status()),
            Err(error) => {
                let error = error.without_url();
                if let Some(OutOfReach { name, address, .. }) = OutOfReach::cause_of(&error) {
                    tracing::warn!(%tenant, callback = id, name, ?address, "a callback leads to an address that is not public");
                }
                // It may mean something else the next time: one answer of a name server is not the last word.
                Exchange::failed(chain(&error))
            }
        }
    }
}

fn judge(status: StatusCode) -> Exchange {
    let code = Some(status.as_u16());
    if status.is_success() {
        return Exchange { result: CallbackResult::Delivered, status: code, error: None };
    }
    let (result, error) = match status {
        StatusCode::GONE => (CallbackResult::Refused, "the other side does not want it any more (410)".to_owned()),
        _ if status.is_redirection() => {
            (CallbackResult::Failed, format!("answered {status}; redirects are not followed"))
        }
        _ => (CallbackResult::Failed, format!("answered {status}")),
    };
    Exchange { result, status: code, error: Some(error) }
}
