//! Starts, watches and steers executions of a Stepstream server, over its HTTP API.
//!
//! Everything that the command line and the API can do to an execution is a method here: of [`Client`] what concerns
//! graphs, starts, schedules, tenants and many executions, of [`Handle`] what concerns one. Refusals are values ([`Refusal`], out of the
//! server's problem documents) that say what kind of refusal they are, so that a program need not read text. What a
//! server answers is there twice: what this version knows of it, by name, and all of it as it came ([`Answer::json`]),
//! so that a newer server's answers lose nothing.
//!
//! ```no_run
//! use serde_json::json;
//! use stepstream_client::{Client, Error, RefusalKind, Start};
//! use stepstream_shared::id::TenantId;
//!
//! # async fn example() -> Result<(), Error> {
//! let client = Client::new("http://127.0.0.1:8233", TenantId::default_tenant())?;
//! let graph = client.register("release.yaml", std::fs::read_to_string("release.yaml").unwrap_or_default()).await?;
//!
//! // The same key again gives the same execution, however often an answer is lost.
//! let start = Start::of(graph.graph_id.clone()).inputs(json!({"version": "1.4.0"})).key("release-1.4.0");
//! let release = client.start(&start).await?;
//!
//! // Somebody must approve it; who is not asked is refused, and the refusal says so.
//! let execution = client.execution(release.execution_id).by("ada");
//! match execution.approve("sign_off").comment("looks good").send().await {
//!     Err(Error::Refused(refusal)) if refusal.kind() == RefusalKind::Forbidden => println!("{refusal}"),
//!     other => other?,
//! }
//! let ended = execution.finished().await?;
//! println!("{}: {}", ended.state, ended.output);
//! # Ok(())
//! # }
//! ```

mod answer;
mod artifacts;
mod background;
mod client;
mod dead;
mod decision;
mod error;
mod executions;
mod family;
mod feed;
mod graphs;
mod handle;
mod health;
mod many;
mod schedules;
mod start;
mod steering;
mod tenant;
mod waits;

pub use answer::Answer;
pub use artifacts::{Artifact, Artifacts, Content};
pub use background::ListedBackground;
pub use client::Client;
pub use dead::DeadLetter;
pub use decision::Decision;
pub use error::{Error, Fault, Refusal, RefusalKind};
pub use executions::{Execution, Listed, State, Step, StepCounts};
pub use family::{Child, Children, Relative};
pub use feed::{Feed, Message};
pub use graphs::Graph;
pub use handle::{Handle, TREE_MOST};
pub use health::Status;
pub use many::{Controlled, Many, ManyAction, Part};
pub use schedules::{Backfilled, Schedule, Triggered};
pub use start::{Start, Started};
pub use steering::Asker;
pub use waits::{KeptSignal, Said, StepWait, Waits};
