//! One suite of rules for each port. Every adapter passes the suite of its port, so that the in-memory ones stay honest.

pub mod artifact;
pub mod bus;
pub mod store;
