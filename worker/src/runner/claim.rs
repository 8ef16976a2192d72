//! Attempts that a worker asks for before it runs them, and reports that it hears the answer to.
//!
//! A yes is believed. A no is believed only from somebody who knows the log at least as far as this worker does: a
//! coordinator that has lost its partition, and does not know yet, would tell a rightful worker that it is fenced. No
//! answer says nothing, so it is asked again: the same claim is granted again, the same end is taken once.

use std::time::Duration;

use stepstream_runtime::bus::BusError;
use stepstream_shared::graph::CLAIM_LEASE;
use stepstream_shared::wire::{Job, Judgement, Outcome, OutcomeResult};
use tokio::time::Instant;

use super::{Backoff, HAND_BACK, Held};

/// How long one answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What became of a claim.
pub(super) enum Claimed {
    /// The attempt is ours, as of this place in the log.
    Granted { position: u64 },
    /// It is somebody else's, or nobody wants it now.
    Refused,
    /// The worker goes away, or the lease was over before the answer came. It may have been granted all the same.
    TooLate,
}

/// How an end was taken.
pub(super) enum Heard {
    /// It is in the log, or the log has decided otherwise: either way there is nothing more to say.
    Judged { taken: bool },
    /// The worker goes away. The bus has the report, if it took it.
    Departed,
}

/// How long the holder of the job's claim may be silent.
fn lease(job: &Job) -> Duration {
    job.heartbeat_ms.map_or(CLAIM_LEASE, Duration::from_millis)
}

impl Held<'_> {
    async fn ask(&self, outcome: &Outcome) -> Result<Judgement, BusError> {
        let shared = self.shared;
        shared.bus.ask(self.context.tenant(), self.context.job().partition, outcome, ANSWER_WITHIN).await
    }

    /// Asks for the attempt until there is an answer that counts.
    ///
    /// The lease counts from the first question on, because that may be the one that was granted. A process that was
    /// stopped meanwhile, for however long, finds it over.
    pub(super) async fn claim(&self) -> Claimed {
        let job = self.context.job();
        let asked_at = Instant::now();
        let question = self.outcome(OutcomeResult::Claim);
        let departing = &self.shared.departure.hand_back;
        let mut delay = Backoff::new();
        loop {
            let answer = tokio::select! {
                biased;
                () = departing.cancelled() => return Claimed::TooLate,
                answer = self.ask(&question) => answer,
            };
            match answer {
                _ if asked_at.elapsed() >= lease(job) => return Claimed::TooLate,
                Ok(judgement) if judgement.granted => return Claimed::Granted { position: judgement.position },
                Ok(judgement) if judgement.counts(&job.token, job.position) => return Claimed::Refused,
                Ok(judgement) => {
                    tracing::debug!(parent: self.context.span(), ?judgement, "an old view of the log; asking again");
                }
                Err(error) => {
                    tracing::debug!(parent: self.context.span(), %error, "no answer to a claim; asking again");
                }
            }
            tokio::select! {
                () = departing.cancelled() => return Claimed::TooLate,
                () = tokio::time::sleep(delay.next()) => {}
            }
            let _ = self.settle.progress().await; // The bus would give the job to somebody else.
        }
    }

    /// The attempt was not begun and will not be: another worker may have it at once.
    pub(super) async fn release(&self) {
        let given_back = self.outcome(OutcomeResult::Released);
        let said = tokio::time::timeout(HAND_BACK, async {
            match self.ask(&given_back).await {
                Ok(judgement) => Ok(judgement),
                Err(_) => self.send(&given_back).await.map(|()| Judgement::new(0, 0, true)),
            }
        });
        if !matches!(said.await, Ok(Ok(_))) {
            tracing::warn!(parent: self.context.span(), "not given back; it is found by its silence");
        }
    }

    /// Reports the end of an attempt until somebody says how it was taken. `position` is that of the grant.
    pub(super) async fn report_claimed(&self, result: OutcomeResult, position: u64) -> Heard {
        let mut outcome = Outcome { notes: self.context.take_notes(), ..self.outcome(result) };
        let departing = &self.shared.departure.hand_back;
        let (mut delay, mut shrunk, mut on_the_bus) = (Backoff::new(), false, false);
        loop {
            if departing.is_cancelled() {
                let last = tokio::time::timeout(HAND_BACK, async {
                    if !on_the_bus {
                        let _ = self.send(&outcome).await;
                    }
                    self.ask(&outcome).await
                });
                return match last.await {
                    Ok(Ok(judgement)) if judgement.counts(&self.context.job().token, position) => {
                        Heard::Judged { taken: judgement.granted }
                    }
                    _ => Heard::Departed,
                };
            }
            let answer = tokio::select! {
                answer = self.ask(&outcome) => answer,
                () = departing.cancelled() => continue,
            };
            match answer {
                Ok(judgement) if judgement.counts(&self.context.job().token, position) => {
                    return Heard::Judged { taken: judgement.granted };
                }
                Ok(judgement) => {
                    tracing::debug!(parent: self.context.span(), ?judgement, "an old view of the log; asking again");
                }
                Err(BusError::TooLarge { found, limit }) if !shrunk => {
                    shrunk = true;
                    outcome = self.shrunk(outcome, found, limit);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(parent: self.context.span(), %error, "no answer to an outcome; asking again");
                    // Should this worker die before anybody answers, the bus has what it found.
                    on_the_bus = on_the_bus || self.send(&outcome).await.is_ok();
                }
            }
            tokio::select! {
                () = departing.cancelled() => continue,
                () = tokio::time::sleep(delay.next()) => {}
            }
            let _ = self.settle.progress().await;
        }
    }
}
