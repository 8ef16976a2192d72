//! A whole installation on one thread: the real engine, the real worker loop and the real reducer, against a store, a bus
//! and clocks that lose, double, delay, reorder, roll back and answer wrongly, all by one seed.
//!
//! Time is tokio's paused clock: nothing waits, whatever is next happens. A process that dies is one whose ports never
//! answer again ([`process`]); what it had asked for may have been done. The same seed is the same history, to the last
//! poll, so a history that breaks a promise is found again, and [`shrink`] takes away whatever faults it does not need.
//!
//! Each run has two parts. First faults strike and processes die while clients ask for things, and ask again until they
//! are answered. Then everything heals but what is dead, and all executions must come to their end in bounded time. What
//! must hold throughout is in [`book`], which reads along with the store; what must hold at the end in [`verdict`].

pub mod book;
pub mod bus;
pub mod chance;
pub mod clients;
pub mod complaints;
pub mod faults;
pub mod installation;
pub mod process;
pub mod run;
pub mod shrink;
pub mod store;
pub mod verdict;
pub mod work;
pub mod world;

pub use run::{Report, Run, run};
