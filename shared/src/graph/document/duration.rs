//! Durations: `500ms`, `30s`, `1m`, `2h`, `1d`, and sums such as `1h30m`.

use std::time::Duration;

use super::fields::short;
use super::tree::{Shape, Tree};
use crate::graph::diagnose::Reporter;

/// Longest duration of any kind.
pub(crate) const MAX: Duration = Duration::from_secs(366 * 24 * 3600);

const HINT: &str = "write a number and ms, s, m, h or d, for example 500ms, 30s or 1h30m";

/// Whether nothing is a duration at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zero {
    Allowed,
    Refused,
}

pub(crate) fn read(tree: &Tree, what: &str, zero: Zero, reporter: &mut Reporter<'_>) -> Option<Duration> {
    let Shape::Text(text) = &tree.shape else {
        reporter.report_with(tree.place, "bad-duration", format!("`{what}` is a duration, not {}", tree.kind()), HINT);
        return None;
    };
    let Some(duration) = parse(text) else {
        let message = format!("`{what}` cannot be `{}`: not a duration", short(text));
        reporter.report_with(tree.place, "bad-duration", message, HINT);
        return None;
    };
    if duration > MAX || (zero == Zero::Refused && duration.is_zero()) {
        let least = if zero == Zero::Refused { "above 0" } else { "at least 0" };
        let message = format!("`{what}` cannot be `{}`; it is {least} and at most 366d", short(text));
        reporter.report(tree.place, "out-of-range", message);
        return None;
    }
    Some(duration)
}

pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match rest.get(..letters)? {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        // Largest unit first, each once: `30m1h` is a slip.
        if unit >= last {
            return None;
        }
        last = unit;
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = rest.get(letters..)?;
    }
    (last != u64::MAX).then(|| Duration::from_millis(total))
}
