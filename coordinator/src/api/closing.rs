//! How a request that is held open learns that the server is going away.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio_util::sync::CancellationToken;

/// Cancelled when the server shuts down; never, when the router is used without one.
#[derive(Clone, Default)]
pub(super) struct Closing(pub(super) CancellationToken);

impl<S: Sync> FromRequestParts<S> for Closing {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Closing>().cloned().unwrap_or_default())
    }
}
