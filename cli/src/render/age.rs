//! Times as people read them.

use std::time::Duration;

use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_shared::time::Timestamp;

/// A span in the unit that fits: `12 ms`, `3.4 s`, `2 min 05 s`, `3 h 20 min`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.is_zero() => "0 ms".to_owned(),
        0 if duration.as_millis() == 0 => format!("{} µs", duration.as_micros()),
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// How long ago an RFC 3339 time was; the text itself where it is none.
pub fn ago(text: &str) -> String {
    let Ok(time) = text.parse::<Timestamp>() else { return text.to_owned() };
    let seconds = SystemClock.now().since(time).as_secs();
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_unit_that_fits() {
        let spans =
            [40, 12_000, 999_999, 3_400_000, 125_000_000, 12_000_000_000].map(|us| span(Duration::from_micros(us)));
        assert_eq!(spans, ["40 µs", "12 ms", "999 ms", "3.4 s", "2 min 05 s", "3 h 20 min"]);
    }
}
