//! Waiting for facts.

use std::time::Duration;

/// Longest wait: running out of it means that the system is wrong, not that the machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

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
