//! Waiting for facts.

use std::time::Duration;

/// Longest wait: running out of it means that the system is wrong, not that the machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest wait in all for something that goes on.
const LONGEST: Duration = Duration::from_secs(900);

/// Waits for the end of something that shows that it goes on: `check` gives the end, or how far it is. Only a standstill
/// is an error, however slow the machine is.
///
/// # Panics
/// When it stands still for as long as [`until`] waits, or goes on for a quarter of an hour.
pub async fn until_the_end<T, P: PartialEq>(what: &str, mut check: impl AsyncFnMut() -> Result<T, P>) -> T {
    let begun = tokio::time::Instant::now();
    let (mut last, mut moved) = (None, begun);
    loop {
        match check().await {
            Ok(end) => return end,
            Err(far) if last.as_ref() != Some(&far) => (last, moved) = (Some(far), tokio::time::Instant::now()),
            Err(_) => assert!(moved.elapsed() < PATIENCE, "stands still: {what}"),
        }
        assert!(begun.elapsed() < LONGEST, "does not end: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checks often and gives up late. Prefer a channel to wait on.
///
/// # Panics
/// When it never happens.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(seen) = check().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never happened: {what}"))
}
