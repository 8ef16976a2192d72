//! The pure core of Stepstream.
//!
//! An execution is its log: events in, state out, through [`execution::Execution`] and nothing else. This crate holds
//! that fold, the graphs it walks, the decisions that extend the log, and the messages that programs exchange. It knows
//! no clock, no chance, no environment, no file, no socket and no async runtime; whoever calls it brings them.

pub mod artifact;
pub mod background;
pub mod cost;
pub mod data;
pub mod error;
pub mod event;
pub mod execution;
pub mod fairness;
pub mod graph;
pub mod id;
pub mod schedule;
pub mod time;
pub mod wire;
