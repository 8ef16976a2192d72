//! What a tenant may have, and what it has used today.

use reqwest::Method;
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;

impl Client {
    /// The tenant's limits, as an object; what is absent is not limited. `weight` is its share of what tenants share.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal.
    pub async fn tenant_limits(&self) -> Result<Value, Error> {
        self.send(self.request(Method::GET, "/v1/tenant/limits")).await
    }

    /// Sets all of the tenant's limits: what is absent is not limited any more.
    ///
    /// # Errors
    /// [`RefusalKind::Invalid`](crate::RefusalKind::Invalid) for limits that no tenant can have.
    pub async fn set_tenant_limits(&self, limits: &Value) -> Result<Value, Error> {
        self.send(self.request(Method::PUT, "/v1/tenant/limits").json(limits)).await
    }

    /// What the tenant has used today, what is set aside, and its limits.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal.
    pub async fn tenant_usage(&self) -> Result<Value, Error> {
        self.send(self.request(Method::GET, "/v1/tenant/usage")).await
    }
}
