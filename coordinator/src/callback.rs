//! Callbacks: whoever asked for a background execution is told of its end, by a signed request.
//!
//! The form is that of the Standard Webhooks specification (standardwebhooks.com): the headers `webhook-id`, the same for
//! every attempt, `webhook-timestamp` and `webhook-signature`. Where a URL comes from somebody who may start executions,
//! a coordinator must not become a way into the network that it stands in: only public addresses are called, by https,
//! unless the operator allows others; names are resolved here, every address is checked, and the connection goes to an
//! address that was checked, so a name that changes its meaning in between changes nothing; redirects are not followed.

mod body;
mod sender;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use stepstream_runtime::reach::Allowed;
use stepstream_shared::id::TenantId;

pub use signature::{BadSecret, Secret, Secrets};

pub(crate) use body::callback_body;
pub(crate) use sender::{Exchange, callback_id};

/// How long one attempt may take, from looking up the name to the answer's head.
pub const CALLBACK_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest output that a callback carries, in bytes of JSON; of a longer one it says where to get it.
pub const CALLBACK_OUTPUT_BYTES: usize = 64 * 1024;

/// What an operator says of callbacks.
#[derive(Debug, Clone, Default)]
pub struct CallbackOptions {
    /// Without one, executions with a `callback_url` are refused.
    pub secrets: Secrets,
    /// Call plain `http://` URLs, too.
    pub allow_http: bool,
    /// Hosts and networks that are called although they are not public.
    pub allow: Vec<Allowed>,
}

/// Checks and makes callbacks. Cheap to clone.
#[derive(Clone)]
pub struct Callbacks(Arc<sender::Sender>);

impl Callbacks {
    pub(crate) fn new(options: CallbackOptions) -> Self {
        Callbacks(Arc::new(sender::Sender::new(options, None)))
    }

    /// Whether an execution of this tenant may ask to be called back there.
    ///
    /// # Errors
    /// In words for whoever asks.
    pub fn check(&self, tenant: &TenantId, url: &str) -> Result<(), String> {
        self.0.check(tenant, url).map(drop).map_err(|why| why.to_string())
    }

    /// Makes one attempt.
    pub(crate) async fn call(&self, tenant: &TenantId, url: &str, id: &str, body: Vec<u8>) -> Exchange {
        self.0.call(tenant, url, id, body).await
    }
}

#[cfg(test)]
mod tests;
