//! Contract suites, system tests with real processes, and their harness.

pub mod contract;
pub mod harness;
pub mod poll;
pub mod servers;
