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

    // More than one may come, without any impatience.
    if hangup_is_ignored() {
        shutdown.request(); // Under `nohup` there is none.
    } else {
        raise(Signal::SIGHUP).unwrap();
        timeout(FAR, shutdown.requested()).await.unwrap();
        raise(Signal::SIGHUP).unwrap();
    }
    assert!(!shutdown.is_now() && !shutdown.was_interrupted());

    raise(Signal::SIGINT).unwrap();
    timeout(FAR, shutdown.requested_now()).await.unwrap();
    assert!(shutdown.was_interrupted());

    let shutdown = Shutdown::on_signal().unwrap();
    raise(Signal::SIGTERM).unwrap();
    timeout(FAR, shutdown.requested()).await.unwrap();
    assert!(!shutdown.is_now());
    assert!(!shutdown.was_interrupted());

    raise(Signal::SIGINT).unwrap();
    timeout(FAR, shutdown.requested_now()).await.unwrap();
    assert!(shutdown.was_interrupted());
}

#[test]
fn a_hangup_that_is_ignored_is_known_from_the_mask() {
    assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
    assert!(!ignores_hangup("Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
    assert!(!ignores_hangup(""));
}

#[tokio::test]
async fn stopping_now_includes_draining() {
    let shutdown = Shutdown::new();
    shutdown.clone().request_now();
    assert!(shutdown.is_requested() && shutdown.is_now() && shutdown.token().is_cancelled());
}
