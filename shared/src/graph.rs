//! Graphs: the document people write, the compiler that refuses bad ones, and the compiled form the reducer walks.

mod compile;
pub mod compiled;
pub mod diagnose;
pub(crate) mod document;
pub mod expression;
mod overrides;
mod policy;
pub mod render;
mod room;
mod schema;
pub(crate) mod suggest;
pub mod wfcommons;

pub(crate) use compile::input_problems as form_problems;
pub use compile::{Source, compile, compile_knowing, compile_unlooked, inline_references};
pub use diagnose::{Diagnostic, Diagnostics, Place};
pub(crate) use document::parse_duration;
pub use document::{MAX_DOCUMENT_BYTES, MAX_EDGES, MAX_NODES, MAX_STEPS, read_limits};
pub use overrides::LimitOverrides;
pub use policy::LongRunningPolicy;
pub use schema::json_schema;

pub use compiled::{
    Allocation, CLAIM_LEASE, Collect, CompiledGraph, ConcurrencyRule, DeadLettering, Discover, Edge, EdgeIx, EdgeKind,
    Frame, FrameIx, GraphDigest, GraphLimits, Graphs, Guarantee, Join, Loop, LoopIx, Map, Node, NodeIx, NodeKind,
    OnLimit, PermitRules, Priority, RateRule, Reserve, Routing, Spawn, SubGraph, Task, Timeouts, WaitFor, WaitNode,
};

#[cfg(test)]
mod tests;
