//! When a command that waits gives up: a signal, or a time that somebody set.

use std::time::{Duration, Instant};

use stepstream_runtime::shutdown::Shutdown;

use crate::exit::{Exit, Problem};

/// Between a second signal and the end of the process.
const LAST_MOMENT: Duration = Duration::from_millis(300);

#[derive(Clone)]
pub struct Stop {
    signals: Shutdown,
    deadline: Option<Instant>,
}

/// Why nobody waits any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    TimedOut,
    Interrupted,
}

impl Stopped {
    pub fn exit(self) -> Exit {
        match self {
            Stopped::TimedOut => Exit::TimedOut,
            Stopped::Interrupted => Exit::Interrupted,
        }
    }
}

impl Stop {
    /// From now on SIGINT, SIGTERM and SIGHUP are wishes; a second one ends the process, and its programs, at once.
    pub fn new(timeout: Option<Duration>) -> Result<Self, Problem> {
        let signals = Shutdown::on_signal()
            .map_err(|error| Problem::new(Exit::Refused, format!("cannot listen for signals: {error}")))?;
        end_when_impatient(signals.clone());
        // A time beyond what can be counted is no bound.
        Ok(Stop { signals, deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) })
    }

    /// Ends when somebody asked twice.
    pub async fn impatient(&self) {
        self.signals.requested_now().await;
    }

    /// Ends when nobody waits any more.
    pub async fn reached(&self) -> Stopped {
        let timeout = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.signals.requested() => Stopped::Interrupted,
            () = timeout => Stopped::TimedOut,
        }
    }
}

/// At the second signal the process ends, whatever still runs in it.
pub fn end_when_impatient(signals: Shutdown) {
    tokio::spawn(async move {
        signals.requested_now().await;
        // The worker heard it too and ends its programs: they lead groups of their own, and would stay.
        tokio::time::sleep(LAST_MOMENT).await;
        std::process::exit(Exit::Interrupted as i32);
    });
}

/// A number and its unit, as on the command line: `500ms`, `30s`, `2m`, `1h`, `1.5h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is a number and a unit: 500ms, 30s, 2m, 1h, 1d".to_owned();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        let read = ["500ms", "30s", "2m", "1.5h", "1d"].map(|text| duration(text).unwrap().as_millis());
        assert_eq!(read, [500, 30_000, 120_000, 5_400_000, 86_400_000]);
        for bad in ["", "10", "s", "-1s", "1w", "1e400s", "1..2s", "ms"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
