//! When a schedule fires: the nominal times, and how much later each is carried out.

use std::time::Duration;

use chrono_tz::Tz;

use super::cron::Cron;
use crate::id::TriggerId;
use crate::time::Timestamp;

/// Shortest interval: schedules start executions, they do not replace loops.
pub const MIN_EVERY: Duration = Duration::from_secs(1);
/// Longest jitter.
pub const MAX_JITTER: Duration = Duration::from_secs(24 * 3600);

/// The nominal times of a schedule: those of its cron expression and those of its interval, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    pub cron: Option<Cron>,
    /// The time zone of the cron expression. Intervals have none.
    pub zone: Tz,
    /// At every multiple of this since 1970-01-01T00:00:00Z, `offset` later.
    pub every: Option<Duration>,
    /// Less than `every`.
    pub offset: Duration,
    /// No nominal time before this moment.
    pub start_at: Option<Timestamp>,
    /// No nominal time after this moment.
    pub end_at: Option<Timestamp>,
    /// Most executions that are started for nominal times.
    pub max_fires: Option<u64>,
    /// Each nominal time is carried out up to this much later, the same for everybody who works it out; never after the
    /// next one has come.
    pub jitter: Duration,
}

impl Timing {
    /// The first nominal time after `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let from = match self.start_at {
            Some(start) if after < start => Timestamp::from_micros(start.as_micros().saturating_sub(1)),
            _ => after,
        };
        if self.end_at.is_some_and(|end| from >= end) {
            return None;
        }
        let by_cron = self.cron.as_ref().and_then(|cron| cron.next_after(from, self.zone));
        let by_interval = self.every.and_then(|every| next_multiple(from, every, self.offset));
        let next = match (by_cron, by_interval) {
            (Some(a), Some(b)) => a.min(b),
            (one, other) => one.or(other)?,
        };
        self.end_at.is_none_or(|end| next <= end).then_some(next)
    }

    /// When a nominal time is carried out: at most `jitter` later, by a hash of schedule and time. Before the next one, so
    /// that they are carried out in their order: whoever waited for an earlier one would find the later ones too late.
    pub fn fires_at(&self, schedule: TriggerId, nominal: Timestamp) -> Timestamp {
        if self.jitter.is_zero() {
            return nominal;
        }
        let to_next = self.next_after(nominal).map_or(Duration::MAX, |next| next.since(nominal));
        let span = u64::try_from(self.jitter.min(to_next).as_micros()).unwrap_or(u64::MAX).max(1);
        let mut hasher = blake3::Hasher::new_derive_key("stepstream 2026 schedule jitter");
        hasher.update(schedule.as_bytes());
        hasher.update(&nominal.as_micros().to_be_bytes());
        let hash = hasher.finalize();
        let number = hash.as_bytes().first_chunk::<8>().copied().map_or(0, u64::from_be_bytes);
        nominal.after(Duration::from_micros(number % span))
    }
}

fn next_multiple(after: Timestamp, every: Duration, offset: Duration) -> Option<Timestamp> {
    let every = i64::try_from(every.as_micros()).ok().filter(|every| *every > 0)?;
    let offset = i64::try_from(offset.as_micros()).ok()?;
    let passed = after.as_micros().checked_sub(offset)?.div_euclid(every);
    let next = passed.checked_add(1)?.checked_mul(every)?.checked_add(offset)?;
    Some(Timestamp::from_micros(next))
}
