//! Schedules: when executions are to be started without anybody asking, and what to do about those that are in the way.
//!
//! A [`Definition`] is what people write: a cron expression in a time zone, an interval, or both; bounds; a policy. It
//! gives *nominal times*, a strictly increasing sequence that is a function of the definition alone. Each nominal time is
//! dealt with once: an execution is started for it, or it is counted as skipped or missed. A [`ScheduleState`] says how
//! far that has come; [`ScheduleState::turn`] says what is to be done next, and whoever does it tells the state.
//!
//! The execution of a nominal time has an id that follows from tenant, schedule and time ([`firing_id`]), so that it is
//! started once by however many, however often. Nothing here knows a clock: the time is passed in.

mod cron;
mod definition;
mod firing;
mod policy;
mod state;
mod timing;
mod turn;

pub use cron::{Cron, MAX_CRON_BYTES};
pub use definition::{Definition, MAX_DEFINITION_BYTES, NAME_BYTES, is_name};
pub use firing::{Firing, FiringKind, firing_id, triggered_id};
pub use policy::{DEFAULT_CATCH_UP, DEFAULT_MAX_BUFFERED, MIN_CATCH_UP, Overlap, Policy};
pub use state::{
    Counts, MAX_NOTE_BYTES, MAX_PENDING, MAX_RECENT, MAX_RUNNING, Paused, Pending, Recent, Run, ScheduleState, Status,
};
pub use timing::{MAX_JITTER, MIN_EVERY, Timing};
pub use turn::{MAX_COUNTED, MAX_LOOKED_AT, Turn};

#[cfg(test)]
mod tests;
