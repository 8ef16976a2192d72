//! The stored form of events: what it is for ever, and how small it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod golden;
mod kinds;
mod size;
