use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use tokio::time::timeout;

use super::*;

const FAR: Duration = Duration::from_secs(30);

/// One test for all signals: they are the process's, and tests share a process.
#[tokio::test]
async fn the_first_signal_drains_and_the_second_ends() {
    let shutdown = Shutdown::on_signal().unwrap();
    assert!(!shutdown.is_requested());

    raise(Signal::SIGTERM).unwrap();
    timeout(FAR, shutdown.requested()).await.unwrap();
    assert!(!shutdown.is_now());
    assert!(!shutdown.was_interrupted());

    raise(Signal::SIGINT).unwrap();
    timeout(FAR, shutdown.requested_now()).await.unwrap();
    assert!(shutdown.was_interrupted());
}

#[tokio::test]
async fn stopping_now_includes_draining() {
    let shutdown = Shutdown::new();
    shutdown.clone().request_now();
    assert!(shutdown.is_requested() && shutdown.is_now() && shutdown.token().is_cancelled());
}
