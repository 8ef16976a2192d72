//! The command line as a terminal and a script see it: arguments in, text and exit codes out.

#![allow(unreachable_pub, reason = "a test program has no outside")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod background;
mod bad_input;
mod bulk;
mod delivery;
mod examples;
mod families;
mod harness;
mod holding;
mod people;
mod reading;
mod refusals;
mod resuming;
mod running;
mod scheduling;
mod serving;
mod steering;
mod tenants;
