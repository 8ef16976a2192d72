//! The HTTP API over a real coordinator with a store in memory and the in-process bus: what each rule answers.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod bulk;
mod children;
mod client;
mod control;
mod dead;
mod events;
mod executions;
mod feed;
mod graphs;
mod harness;
mod limits;
mod messages;
mod openapi;
mod operations;
mod refusals;
mod requests;
mod schedules;
mod serving;
mod status;
mod steering;
mod tenant_limits;
mod tenants;
mod waits;
