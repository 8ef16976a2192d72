//! How things look at a terminal.

pub mod age;
pub mod progress;
pub mod table;
pub mod waiting;
pub mod waits;
