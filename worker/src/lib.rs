//! The worker SDK of Stepstream, and its stock callables.
//!
//! A worker takes jobs from queues, runs the callable that each names, and reports what became of it. It holds no
//! state and no credentials but the bus's; the log decides what its reports mean. So a worker may die at any moment,
//! and any number of them may serve one queue.
//!
//! ```
//! # use std::sync::Arc;
//! # use stepstream_runtime::{bus::in_process::{InProcessBus, InProcessOptions}, shutdown::Shutdown};
//! # use stepstream_worker::Worker;
//! #[derive(serde::Deserialize)]
//! struct Greet { name: String }
//!
//! # #[tokio::main] async fn main() -> anyhow::Result<()> {
//! let bus = InProcessBus::new(InProcessOptions::default()); // or `JetStreamBus::connect(url, options).await?`
//! let worker = Worker::builder().bus(Arc::new(bus)).queues(["default"]);
//! let worker = worker.register("greet", async |_, input: Greet| Ok(format!("Hello {}", input.name)));
//! let shutdown = Shutdown::on_signal()?;
//! # shutdown.request();
//! worker.build()?.run(shutdown).await?;
//! # Ok(()) }
//! ```

pub mod artifacts;
mod attempt;
pub mod builtin;
pub mod callable;
pub mod config;
pub mod context;
pub mod failure;
pub mod notes;
mod pulling;
pub mod registry;
mod runner;
mod running;
pub mod serve;
mod slots;
mod tenant;
#[cfg(test)]
mod testing;
mod worker;

pub use artifacts::{Artifacts, NewArtifact};
pub use callable::Callable;
pub use context::Context;
pub use failure::Failure;
pub use registry::{Registry, RegistryError};
pub use runner::{RunError, Summary};
pub use stepstream_shared::fairness::Weight;
pub use tenant::{TenantShare, TenantShareError};
pub use worker::{
    BuildError, DEFAULT_GRACE, DEFAULT_QUEUE, DEFAULT_SLOTS, MAX_QUEUES, MAX_TENANTS, Worker, WorkerBuilder,
};
