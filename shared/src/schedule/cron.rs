//! Cron expressions in time zones.
//!
//! The `croner` crate reads and evaluates them. What it does where clocks are put forward or back is tested in `tests/`,
//! because it is what users rely on: an expression that names one time of day runs once on each of its days, right after
//! a gap that swallows that time, and the first time of two; one that names many times a day goes by the clock on the
//! wall, so what falls into a gap does not happen, and what happens in an hour that comes twice happens twice.

use chrono::{DateTime, Datelike, NaiveDate, SubsecRound, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

use crate::time::Timestamp;

/// Longest cron expression in bytes. Lists of every minute of an hour fit.
pub const MAX_CRON_BYTES: usize = 256;

/// A cron expression: five fields (minute, hour, day of month, month, day of week), six with seconds before them, or a
/// nickname such as `@daily`.
#[derive(Debug, Clone)]
pub struct Cron {
    parsed: croner::Cron,
    written: String,
    /// There is a day that it names.
    ever: bool,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Cron {}

impl Cron {
    /// # Errors
    /// Why the text is no cron expression, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_CRON_BYTES {
            return Err(format!("it has {} bytes; the limit is {MAX_CRON_BYTES} (cron limit)", text.len()));
        }
        let fields = text.split_whitespace().count();
        if !(5..=6).contains(&fields) && !text.trim_start().starts_with('@') {
            return Err(format!(
                "it has {fields} {}, and five or six are needed",
                if fields == 1 { "field" } else { "fields" }
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Optional).build();
        match parser.parse(text) {
            Ok(parsed) => Ok(Cron { ever: names_a_day(&parsed), parsed, written: text.to_owned() }),
            Err(error) => {
                let text = error.to_string();
                let text = text.strip_prefix("Component error: ").unwrap_or(&text);
                let text = text.strip_prefix("Invalid pattern: ").unwrap_or(text);
                Err(text.trim_end_matches('.').to_owned())
            }
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether it names any day at all: there is no 30th of February.
    pub fn names_a_day(&self) -> bool {
        self.ever
    }

    /// The first moment after `after` that the expression names in this zone; `None` if there is none before the year
    /// 5000. The search does not take long: what names a day names one in any four hundred years.
    pub fn next_after(&self, after: Timestamp, zone: Tz) -> Option<Timestamp> {
        if !self.ever {
            return None;
        }
        // Moments are whole seconds: the first one after this is the first one after the second that it lies in.
        let utc = DateTime::<Utc>::from_timestamp_micros(after.as_micros())?.trunc_subsecs(0);
        let utc = if utc.timestamp_micros() > after.as_micros() { utc - chrono::TimeDelta::seconds(1) } else { utc };
        let next = self.parsed.find_next_occurrence(&utc.with_timezone(&zone), false).ok()?;
        let next = Timestamp::from_micros(next.timestamp_micros());
        // Whatever the crate says: time goes on, or whoever asks again and again would never end.
        (next > after).then_some(next)
    }
}

/// The calendar repeats itself after four hundred years. Most expressions name a day of the first month that is looked at.
fn names_a_day(cron: &croner::Cron) -> bool {
    let months = (2000..2400).flat_map(|year| (1..=12).map(move |month| (year, month)));
    let months = months.filter(|(_, month)| cron.pattern.month_match(*month).unwrap_or(false));
    let mut days = months.filter_map(|(year, month)| NaiveDate::from_ymd_opt(year, month, 1)).flat_map(|first| {
        let month = first.month();
        first.iter_days().take_while(move |day| day.month() == month)
    });
    days.any(|day| {
        let weekday = croner::Weekday::from_days_from_sunday(day.weekday().num_days_from_sunday());
        cron.pattern.day_match(day.year(), day.month(), day.day(), weekday).unwrap_or(false)
    })
}
