//! Real processes under test: the built programs, started as an operator would start them, and what must be true of
//! the log when they are through.

pub mod api;
pub mod asking;
pub mod fleet;
pub mod graphs;
pub mod process;
pub mod programs;
pub mod receiver;
pub mod recordings;
pub mod s3;
pub mod stage;
pub mod story;
pub mod unruly;
pub mod verdict;
