//! The protocol between coordinators, workers and clients as a model whose every state is looked at.
//!
//! One execution with one step, two coordinators that may both believe they own it, two workers. Messages may be lost,
//! doubled and arrive in any order; processes die and come back under the same name; leases are misjudged; the store may
//! be restored from a copy. On top of that, as asked for: a timer, a cancellation and a signal by clients that ask again
//! when no answer comes.
//!
//! [`Protocol`] names the rules one by one. Each that is switched off is a mutant: the tests say of every one which
//! property it breaks, or which other rule covers for it. The rules stand for code as follows.
//!
//! | rule | code |
//! |---|---|
//! | `epochs`, `sequences` | the conditions of an append: `coordinator/src/store/*/append.rs` |
//! | `attempts`, `claims`, `finality` | what the fold refuses: `shared/src/execution/decide.rs`, `apply.rs` |
//! | `incarnations`, `restamping` | tokens: `shared/src/wire.rs`, `coordinator/src/engine/outcome.rs` |
//! | `redispatching` | `coordinator/src/engine/housekeeping.rs` |
//! | `durable_answers`, `durable_refusals`, `durable_effects` | `coordinator/src/engine/commit.rs` |
//! | `remembered_requests` | `Execution::requests`, `shared/src/execution/steering.rs` |
//! | `timers_in_log`, `timers_when_due`, `timers_once` | `Execution::next_deadline`, `coordinator/src/recovery.rs` |
//! | `early_signals` | `shared/src/execution/waiting.rs` |
//! | `fresh_claims` | `worker/src/runner.rs`: a claim id for each delivery |
//!
//! [`Protocol::claims_first`] is the variant in which a worker asks before it runs anything. Stepstream runs without: an
//! attempt may then run twice, and is accepted once all the same, which the model shows too.
//!
//! [`pipeline`] is a second model: an engine whose state in memory runs ahead of the log.

mod action;
mod check;
pub mod pipeline;
mod properties;
mod protocol;
mod state;

pub use action::Action;
pub use check::{Found, explore, stuck};
pub use protocol::{Budget, Protocol};
pub use state::State;
