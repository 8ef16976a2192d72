//! The log, and what is kept beside it: three adapters of [`EventStore`](crate::ports::EventStore), one contract.
//!
//! - [`PostgresStore`]: production, any number of coordinators.
//! - [`SqliteStore`]: one process and one file.
//! - [`MemoryStore`]: the contract in a hundred lines, for tests.
//!
//! In front of a store stands [`GroupCommit`], which makes one transaction of whatever is waiting.
//!
//! The log of an execution is a chain of rows. A row is written only when its predecessor is there and ends right
//! before it, or when it is the first; the key (execution, first sequence) admits one row per place. By induction there
//! is never a gap and never an overlap, whoever writes, and however many at once. Rows are never changed.
//!
//! A log can continue another one. Its first row then stands for what it shares, at the place where a log that begins by
//! itself has its first append, and is written together with the append behind it: so the same key admits one beginning,
//! and the induction holds. Reading goes through such rows to the logs that have the events.

mod check;
pub mod group_commit;
mod lineage;
pub mod memory;
mod permits;
pub mod postgres;
mod rows;
pub mod sqlite;

pub use group_commit::{Completion, Completions, GroupCommit, SubmitError, Submitter};
pub use memory::MemoryStore;
pub use postgres::{PostgresOptions, PostgresStore};
pub use sqlite::SqliteStore;
