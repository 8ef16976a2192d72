//! One token for "stop taking work and finish", one for "stop now".
//!
//! The first SIGTERM, SIGINT or SIGHUP asks for a drain; a second SIGTERM or SIGINT, whichever it is, means that whoever
//! sent the first has lost patience. (A terminal that closes may send SIGHUP several times.) Every part of a program watches the same [`Shutdown`], so nothing decides on its own when to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A wish to stop, shared by all parts of a program.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    now: CancellationToken,
    interrupted: Arc<AtomicBool>,
}

impl Shutdown {
    /// Asked by nobody but [`Self::request`]: for parts inside a program, and for tests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asked by SIGTERM, SIGINT and SIGHUP. Must be called inside a tokio runtime; from then on the process no longer dies
    /// of these signals by itself. A SIGHUP that whoever started the process wants ignored (`nohup`) stays ignored.
    pub fn on_signal() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        let shutdown = Self::new();
        let told = shutdown.clone();
        tokio::spawn(async move {
            loop {
                let interrupted = tokio::select! {
                    received = terminate.recv() => { if received.is_none() { return } false }
                    received = interrupt.recv() => { if received.is_none() { return } true }
                    () = hung_up(&mut hangup) => {
                        if !told.is_requested() {
                            tracing::info!("the terminal is gone: finishing what is in flight");
                            told.request();
                        }
                        continue;
                    }
                };
                if interrupted {
                    told.interrupted.store(true, Ordering::SeqCst);
                }
                if told.is_requested() {
                    tracing::warn!("second signal: stopping now");
                    told.request_now();
                    return;
                }
                tracing::info!("signal: finishing what is in flight; once more to stop now");
                told.request();
            }
        });
        Ok(shutdown)
    }

    /// Asks for a drain.
    pub fn request(&self) {
        self.drain.cancel();
    }

    /// Asks for an end without a drain.
    pub fn request_now(&self) {
        self.drain.cancel();
        self.now.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.drain.is_cancelled()
    }

    pub fn is_now(&self) -> bool {
        self.now.is_cancelled()
    }

    /// Whether SIGINT was among the signals: a person at a terminal, who gets exit code 130.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Ends when a drain is asked for.
    pub async fn requested(&self) {
        self.drain.cancelled().await;
    }

    /// Ends when patience has run out.
    pub async fn requested_now(&self) {
        self.now.cancelled().await;
    }

    /// Cancelled with the drain, for parts that take a token.
    pub fn token(&self) -> CancellationToken {
        self.drain.clone()
    }
}

async fn hung_up(signal: &mut Option<Signal>) {
    let received = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending().await
    }
}

/// What the kernel says of this process: the mask has one bit for each signal, SIGHUP's is the lowest.
fn hangup_is_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests;
