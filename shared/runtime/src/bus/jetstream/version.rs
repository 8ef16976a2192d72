//! Which servers are good enough.
//!
//! Older ones take settings that they do not know and drop them without a word: a work queue that is none, a limit
//! that never holds. Asking for the version is the only way to notice before it matters.

use std::fmt;

use crate::bus::BusError;

/// The first release with every setting that we use.
const NEEDED: Version = Version(2, 12, 0);
const NEEDED_TEXT: &str = "2.12.0";
/// Before it, known losses of messages in work queues and a hole between accounts are not yet closed.
const ADVISED: Version = Version(2, 14, 7);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u16, u16, u16);

impl Version {
    /// `2.15.1`, also with a suffix as in `2.15.0-dev` or `v2.14.0-RC.1+build`.
    fn parse(text: &str) -> Option<Self> {
        let release = text.trim().trim_start_matches('v').split(['-', '+']).next()?;
        let mut numbers = release.split('.').map(str::parse);
        let version = Version(numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        numbers.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Lets the server pass, or says why not. One that does not tell its version is refused like an old one.
pub(super) fn admit(found: &str) -> Result<(), BusError> {
    match Version::parse(found) {
        Some(version) if version >= ADVISED => Ok(()),
        Some(version) if version >= NEEDED => {
            tracing::warn!(
                found = %version,
                advised = %ADVISED,
                "this nats-server works, but a later one closes known losses in work queues: please upgrade"
            );
            Ok(())
        }
        _ => Err(BusError::TooOld { found: found.to_owned(), needed: NEEDED_TEXT }),
    }
}

#[cfg(test)]
mod tests;
