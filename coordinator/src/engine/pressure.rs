//! When no further execution is taken on: jobs are owed that the bus does not take.
//!
//! What was accepted is in the log and is dispatched whenever the bus takes it; so nothing would be lost by accepting more.
//! But whoever starts executions that nothing can begin with is better told than kept waiting.

use std::time::Duration;

use stepstream_shared::time::Timestamp;

use crate::error::ServiceError;

/// Jobs that wait for the bus to take them.
pub(super) const UNPUBLISHED_MOST: usize = 50_000;
/// How long the bus may have taken nothing while jobs wait.
pub(super) const UNPUBLISHED_FOR: Duration = Duration::from_secs(30);

/// Since when the bus refuses jobs.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    refuses_since: Option<Timestamp>,
}

impl Pressure {
    pub(super) fn refused(&mut self, now: Timestamp) {
        self.refuses_since.get_or_insert(now);
    }

    pub(super) fn taken(&mut self) {
        self.refuses_since = None;
    }

    /// Whether another execution is taken on while so many jobs wait.
    pub(super) fn admits(&self, waiting: usize, now: Timestamp) -> Result<(), ServiceError> {
        if waiting > UNPUBLISHED_MOST {
            return Err(ServiceError::Backlogged(format!(
                "{waiting} jobs wait for the bus to take them; no execution is taken on above {UNPUBLISHED_MOST}"
            )));
        }
        match self.refuses_since {
            Some(since) if waiting > 0 && since.after(UNPUBLISHED_FOR) <= now => {
                Err(ServiceError::Backlogged(format!(
                    "the bus has taken no job for {} s, and {waiting} wait for it: no execution is taken on meanwhile",
                    now.since(since).as_secs()
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    #[test]
    fn what_the_bus_takes_is_no_pressure() {
        let mut pressure = Pressure::default();
        assert!(pressure.admits(UNPUBLISHED_MOST, NOON).is_ok());
        pressure.refused(NOON);
        pressure.taken();
        assert!(pressure.admits(1, NOON.after(UNPUBLISHED_FOR)).is_ok());
    }

    #[test]
    fn a_bus_that_takes_nothing_for_long_or_too_many_jobs_keep_others_out() {
        let mut pressure = Pressure::default();
        assert!(matches!(pressure.admits(UNPUBLISHED_MOST + 1, NOON), Err(ServiceError::Backlogged(_))));
        pressure.refused(NOON);
        pressure.refused(NOON.after(UNPUBLISHED_FOR / 2));
        assert!(pressure.admits(1, NOON.after(UNPUBLISHED_FOR / 2)).is_ok());
        let refused = pressure.admits(1, NOON.after(UNPUBLISHED_FOR));
        assert!(matches!(&refused, Err(ServiceError::Backlogged(text)) if text.contains("30 s")), "{refused:?}");
        assert!(pressure.admits(0, NOON.after(UNPUBLISHED_FOR)).is_ok(), "nothing waits for it");
    }
}
