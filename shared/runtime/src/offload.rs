//! Work that takes long enough to hold up whoever shares its thread.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinError;

/// Runs `work` on a thread for such work. On a runtime that was given one thread it runs where it is: whoever chose that
/// wants one order of things, and a second thread would give them another each time.
///
/// # Errors
/// When `work` panics on a thread of its own, or the runtime ends.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => tokio::task::spawn_blocking(work).await,
    }
}
