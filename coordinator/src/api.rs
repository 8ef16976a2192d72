//! The HTTP API: what programs outside the fleet use to start, watch, steer and end executions.
//!
//! Everything here translates: a request becomes one call of [`Service`], its answer becomes JSON, and whatever goes
//! wrong becomes a problem document (RFC 9457) in one place, `problem`. Nothing here decides anything about an
//! execution, and nothing is kept between requests but counters of what is open.
//!
//! The tenant comes from the header `Stepstream-Tenant` and goes into every call, so another tenant's execution looks
//! exactly like one that does not exist. Requests are strict: an unknown parameter, an unknown field or a body of
//! another type is refused, because a misspelt option that is ignored does the wrong thing in silence.

mod admission;
mod artifacts;
mod asking;
mod background;
mod body;
mod breakpoints;
mod budget;
mod children;
mod closing;
mod control;
mod controls;
mod cursor;
mod dead;
mod document;
mod events;
mod executions;
mod feed;
mod giving;
mod graphs;
mod health;
mod limits;
mod listening;
mod messages;
mod problem;
mod query;
mod reference;
mod request;
mod schedules;
mod steps;
mod tenant;
mod trace;
mod waits;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::service::Service;
use problem::Problem;

pub use document::openapi;
pub use limits::ApiLimits;
pub use listening::serve;
pub use problem::{Fault, Problem as ProblemDocument};

/// What every handler has.
#[derive(Clone)]
struct Api {
    service: Service,
    limits: Arc<ApiLimits>,
    /// Requests that may still be let in.
    requests: Arc<Semaphore>,
    /// Feeds and waits that may still be opened.
    streams: Arc<Semaphore>,
    /// Room for bodies, in KiB.
    bodies: Arc<Semaphore>,
}

/// The API of one coordinator.
pub fn router(service: Service, limits: ApiLimits) -> Router {
    let api = Api {
        service,
        requests: Arc::new(Semaphore::new(limits.concurrent_requests)),
        streams: Arc::new(Semaphore::new(limits.streams)),
        bodies: Arc::new(Semaphore::new(body::permits(limits.bodies_bytes) as usize)),
        limits: Arc::new(limits),
    };
    let (bounded, _) = bounded().split_for_parts();
    let (held, _) = held().split_for_parts();
    let (health, _) = health().split_for_parts();
    bounded
        .layer(from_fn_with_state(api.clone(), admission::within_time))
        .merge(held)
        .layer(from_fn_with_state(api.clone(), admission::admit))
        // Health is asked when everything is full, and is not refused then.
        .merge(health)
        .with_state(api)
        .fallback(|uri: Uri| async move { Problem::no_route(uri.path()) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            Problem::wrong_method(method.as_str(), uri.path())
        })
        .layer(CatchPanicLayer::custom(admission::after_panic))
        .layer(from_fn(trace::observe))
}

/// Routes that answer within the request timeout.
fn bounded() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(graphs::register, graphs::list))
        .routes(routes!(graphs::get))
        .routes(routes!(executions::start, executions::list))
        .routes(routes!(executions::get))
        .routes(routes!(background::list))
        .routes(routes!(background::retry_callback))
        .routes(routes!(control::cancel))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::hold))
        .routes(routes!(control::input))
        .routes(routes!(controls::control))
        .routes(routes!(giving::signal))
        .routes(routes!(giving::decide))
        .routes(routes!(giving::answer))
        .routes(routes!(dead::list))
        .routes(routes!(dead::resolve))
        .routes(routes!(dead::redrive))
        .routes(routes!(messages::send))
        .routes(routes!(budget::set))
        .routes(routes!(breakpoints::set, breakpoints::remove))
        .routes(routes!(children::get))
        .routes(routes!(artifacts::list))
        .routes(routes!(waits::get))
        .routes(routes!(events::get))
        .routes(routes!(steps::list))
        .routes(routes!(schedules::create, schedules::list))
        .routes(routes!(schedules::get, schedules::replace, schedules::change, schedules::delete))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::trigger))
        .routes(routes!(schedules::backfill))
        .routes(routes!(tenant::limits, tenant::set))
        .routes(routes!(tenant::usage))
        .routes(routes!(health::version))
        .routes(routes!(health::status))
        .routes(routes!(document::get))
}

/// Routes that answer when something has happened, or for as long as there is something to send.
fn held() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(executions::wait))
        .routes(routes!(artifacts::get))
        .routes(routes!(artifacts::get_by_digest))
}

/// Routes for those who start and stop this process.
fn health() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(health::livez)).routes(routes!(health::readyz))
}
