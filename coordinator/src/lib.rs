//! The coordinator of Stepstream.
//!
//! It turns the steps of graphs into jobs on the bus, folds outcomes into the log, and serves the API. The decisions
//! are the core's ([`stepstream_shared::execution`]); here is the loop around them, and the adapters.

pub mod api;
pub mod artifacts;
pub mod callback;
pub mod config;
pub mod coordinator;
mod engine;
mod errands;
mod error;
mod forwarding;
mod hint;
mod incarnation;
mod keeper;
mod ownership;
mod permits;
#[doc(hidden)]
pub mod planted;
pub mod ports;
mod pulling;
pub mod reading;
mod recovery;
mod refusals;
pub mod schedules;
mod seals;
pub mod serve;
pub mod service;
pub mod store;
mod tenants;

pub use coordinator::{Coordinator, DEFAULT_QUEUE, Options, Recover, start, start_by};
pub use engine::AtRest;
pub use refusals::{RefusedOutcomes, RefusedRequests};
pub use service::{Service, ServiceError};
