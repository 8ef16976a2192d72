//! Permits for the executions of this coordinator: asked for, given back, and brought to whoever has them.
//!
//! The engine says what attempts ask for and which are over; here that goes to the store, as much at a time as has
//! gathered, and what the store grants goes to the owners of the executions as a request like any other. Everything here
//! may be lost with the process: what is asked for is owed by the state that asks, and what is over is found by whoever
//! owns the partition next.

mod batch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use stepstream_shared::execution::{EXECUTION_PERMIT, PermitStanding};
use stepstream_shared::id::PartitionId;
use stepstream_shared::wire::ForwardedRequest;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::ServiceError;
use crate::ownership::OwnedPartitions;
use crate::ports::{
    AttemptRef, Crossed, Denied, EndOf, Granted, PERMITS_AT_A_TIME, PermitAnswer, PermitCursor, PermitEnd,
    PermitRequest, PermitRow, Settled, Spent, StoreError,
};
use crate::reading::{Loaded, ReadError};
use crate::service::Service;

use batch::Batch;
pub(crate) use batch::Kept;

/// Asks and ends that wait for the store. What does not fit is asked for again, or found by the next look.
pub(crate) const PERMIT_WORK: usize = 16_384;
/// Grants on their way to their executions at the same time.
const GRANTS_AT_A_TIME: usize = 64;
/// For how long what was said last waits for the store, when the coordinator ends.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Rest after the store failed.
const REST: Duration = Duration::from_millis(200);
/// How often the partitions held are compared with those before.
const LOOK: Duration = Duration::from_millis(500);
/// How often permits that were granted or denied are compared with the logs, and how long one must have stood for that: whatever was
/// lost between is mended within about twice this time.
const SWEEP: Duration = Duration::from_secs(30);
/// The same for what waits. Nobody is blocked by a row of an attempt that is over; it is granted something in vain once.
const SWEEP_WAITING: Duration = Duration::from_secs(600);
/// Rows read at a time.
const PAGE: u32 = 256;

/// Something for the store.
#[derive(Debug)]
pub(crate) enum PermitWork {
    Ask(PermitRequest, Kept),
    End(PermitEnd),
    /// What an execution has used in all.
    Spent(Spent),
    /// Whoever asks is answered when everything before it is in the store, and everybody was told what follows.
    Settled(oneshot::Sender<()>),
}

/// How to reach the keeper.
pub(crate) type Permits = mpsc::Sender<PermitWork>;

/// Asks and gives back, until the engine has `stopped` and what it said last is in the store, so that the account of the
/// day has what was used by executions that ended right before.
pub(crate) async fn keep(
    service: Service,
    permits: Permits,
    mut work: mpsc::Receiver<PermitWork>,
    stopped: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(GRANTS_AT_A_TIME));
    let mut batch = Vec::with_capacity(PERMITS_AT_A_TIME);
    loop {
        let count = tokio::select! {
            biased;
            count = work.recv_many(&mut batch, PERMITS_AT_A_TIME) => count,
            () = stopped.cancelled() => return,
        };
        if count == 0 {
            return;
        }
        let mut batch = Batch::of(batch.drain(..));
        let settled = tokio::select! {
            biased;
            settled = settle(&service, &batch) => settled,
            () = too_late(&stopped) => return,
        };
        // What the store refused is asked for again by whoever waits for it.
        let Some(settled) = settled else { continue };
        batch.is_kept();
        for each in settled {
            let Ok(leave) = Arc::clone(&room).acquire_owned().await else { return };
            let (service, permits) = (service.clone(), permits.clone());
            tokio::spawn(async move {
                bring(&service, &permits, each).await;
                drop(leave);
            });
        }
        let asked = batch.asked_whether_settled();
        if !asked.is_empty() {
            let room = Arc::clone(&room);
            tokio::spawn(async move {
                let told = room.acquire_many(GRANTS_AT_A_TIME as u32).await;
                for reply in asked {
                    let _ = reply.send(()); // Whoever asked may have given up.
                }
                drop(told);
            });
        }
    }
}

/// The store has had its time after the engine has stopped.
async fn too_late(stopped: &CancellationToken) {
    stopped.cancelled().await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// Waits until what was said so far of permits and of what was used is in the store and with those whom it concerns, or
/// until that has taken too long.
pub(crate) async fn settled(permits: &Permits) {
    let (reply, answer) = oneshot::channel();
    let settled = async {
        // Where nobody keeps permits any more, nobody is to be waited for.
        if permits.send(PermitWork::Settled(reply)).await.is_ok() {
            let _ = answer.await; // The store has failed for good, which was told.
        }
    };
    if tokio::time::timeout(LAST_WORDS, settled).await.is_err() {
        tracing::warn!("the store did not take in time what was used last");
    }
}

/// An answer to an attempt, or news for an execution.
enum Answer {
    Granted(Granted),
    Denied(Denied),
    Crossed(Crossed),
}

/// What was spent is counted before what was set aside for it is given back.
async fn settle(service: &Service, Batch { ends, asks, spent, .. }: &Batch) -> Option<Vec<Answer>> {
    let permits = service.reader().store().permits();
    // What was counted is not counted anew when the rest has to be tried again, and what follows from it is told once.
    let mut crossed: Option<Vec<Crossed>> = spent.is_empty().then(Vec::new);
    loop {
        let settled = async {
            if crossed.is_none() {
                crossed = Some(permits.record_spent(spent).await?);
            }
            if ends.is_empty() && asks.is_empty() {
                return Ok(Settled::default());
            }
            permits.settle_permits(ends, asks).await
        };
        match settled.await {
            Ok(Settled { granted, denied }) => {
                let granted = granted.into_iter().map(Answer::Granted);
                let told = crossed.unwrap_or_default().into_iter().map(Answer::Crossed);
                return Some(granted.chain(denied.into_iter().map(Answer::Denied)).chain(told).collect());
            }
            Err(error) if error.is_passing() || matches!(error, StoreError::Exhausted { .. }) => {
                tracing::debug!(%error, "permits have to wait for the store");
                tokio::time::sleep(REST).await;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store gives no permits");
                return None;
            }
        }
    }
}

/// Tells an execution of its permit. One that has no use for it gives it back.
async fn bring(service: &Service, permits: &Permits, answer: Answer) {
    let (attempt, grant, what) = match answer {
        Answer::Crossed(crossed) => return tell(service, crossed).await,
        // Nobody waits for the place of an execution: whoever asked for it has gone.
        Answer::Granted(Granted { attempt, grant, .. }) if attempt.step == EXECUTION_PERMIT => {
            let _ = permits.try_send(PermitWork::End(PermitEnd { attempt, why: EndOf::Grant(grant) })); // Swept later.
            return;
        }
        Answer::Granted(Granted { attempt, from, grant }) => {
            let what = ForwardedRequest::PermitGranted { step: attempt.step, attempt: attempt.attempt, from };
            (attempt, Some(grant), what)
        }
        Answer::Denied(Denied { attempt: at, limit, current, max, on_limit }) => {
            let (step, attempt) = (at.step, at.attempt);
            (at, None, ForwardedRequest::PermitDenied { step, attempt, limit, current, max, on_limit })
        }
    };
    match service.between(&attempt.tenant, attempt.execution, None, what).await {
        Ok(()) => {}
        Err(ServiceError::Conflict(_) | ServiceError::NotFound(_)) => {
            if let Some(grant) = grant {
                let _ = permits.try_send(PermitWork::End(PermitEnd { attempt, why: EndOf::Grant(grant) })); // Swept later.
            }
        }
        Err(error) => tracing::debug!(execution = %attempt.execution, %error, "a permit was not brought; later"),
    }
}

/// Tells an execution that what it used has brought its tenant near the end of the day's budget. Whoever drives it next
/// tells the account again what it has used, and so is told again; what is on record is refused.
async fn tell(service: &Service, Crossed { tenant, execution, limit, current, max, day }: Crossed) {
    let what = ForwardedRequest::TenantWarned { limit, current, max, day };
    match service.between(&tenant, execution, None, what).await {
        Ok(()) | Err(ServiceError::Conflict(_) | ServiceError::NotFound(_)) => {}
        Err(error) => tracing::warn!(%execution, %error, "a warning of the tenant's budget was not brought"),
    }
}

/// Compares permits with the logs: at once when a partition was won, because who had it may have died between an append and
/// what follows from it, or with grants on their way to any execution; and now and then.
pub(crate) async fn sweep(service: Service, permits: Permits, owned: OwnedPartitions, shutdown: CancellationToken) {
    let mut known = BTreeSet::new();
    let mut due = Instant::now() + SWEEP;
    let mut waiting_due = Instant::now() + SWEEP_WAITING;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let held = owned.all();
        let all: Vec<PartitionId> = held.iter().copied().collect();
        let won = held.difference(&known).next().is_some();
        let looked = async {
            if won || Instant::now() >= due {
                due = Instant::now() + SWEEP;
                compare(&service, &permits, &all, true, if won { Duration::ZERO } else { SWEEP }).await?;
            }
            if Instant::now() >= waiting_due {
                waiting_due = Instant::now() + SWEEP_WAITING;
                compare(&service, &permits, &all, false, SWEEP_WAITING).await?;
                service.reader().store().permits().forget_idle_keys().await?;
            }
            Ok::<_, StoreError>(())
        };
        match looked.await {
            Ok(()) => known = held,
            Err(error) => tracing::warn!(%error, "permits were not compared with the logs; trying again"),
        }
    }
}

async fn compare(
    service: &Service,
    permits: &Permits,
    partitions: &[PartitionId],
    answered: bool,
    older: Duration,
) -> Result<(), StoreError> {
    let mut after = None;
    let mut last_read = None;
    loop {
        let page =
            service.reader().store().permits().standing_permits(partitions, answered, older, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        let AttemptRef { execution, step, attempt, .. } = last.attempt;
        after = Some(PermitCursor { execution, step, attempt });
        for row in page {
            if let Some(work) = mend(service, row, older, &mut last_read).await
                && permits.send(work).await.is_err()
            {
                return Ok(()); // The keeper has gone.
            }
        }
    }
}

/// What was last read for a permit. The rows of an execution follow each other.
type LastRead = Option<(AttemptRef, Result<Loaded, ReadError>)>;

/// What a permit needs that its log knows more about.
async fn mend(service: &Service, row: PermitRow, older: Duration, last: &mut LastRead) -> Option<PermitWork> {
    let PermitRow { attempt: at, answer } = row;
    let known = last.take().filter(|(of, _)| of.execution == at.execution && of.tenant == at.tenant);
    let (_, loaded) = match known {
        Some(known) => last.insert(known),
        None => last.insert((at.clone(), service.reader().load_present(&at.tenant, at.execution).await)),
    };
    let end = |why| Some(PermitWork::End(PermitEnd { attempt: at.clone(), why }));
    let execution = match loaded {
        Ok(loaded) => &loaded.execution,
        // An execution has its place before it has a log.
        Err(ReadError::NotFound(_)) if older.is_zero() => return None,
        Err(ReadError::NotFound(_)) => return end(EndOf::Attempt),
        Err(error) => {
            tracing::debug!(execution = %at.execution, %error, "a permit was not compared with its log");
            return None;
        }
    };
    match remedy(execution.permit_standing(at.step, at.attempt), answer, older)? {
        Remedy::End(why) => end(why),
        Remedy::Ask => {
            let spec = execution.owed_permit(at.step)?;
            let partition = PartitionId::of(at.execution, service.partitions());
            let sequence = execution.sequence();
            Some(PermitWork::Ask(PermitRequest { attempt: at, partition, sequence, ask: spec.ask }, Kept::default()))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    End(EndOf),
    /// It was told to nobody. Asking again is answered at once.
    Ask,
}

/// What to do about a permit that has stood for as long as `older`.
fn remedy(standing: PermitStanding, answer: Option<PermitAnswer>, older: Duration) -> Option<Remedy> {
    match (standing, answer) {
        (PermitStanding::Holds, _) | (PermitStanding::Asks, None) => None,
        (PermitStanding::Asks, Some(_)) => Some(Remedy::Ask),
        (PermitStanding::Over, _) => Some(Remedy::End(EndOf::Attempt)),
        // It may go on, and ask, while this is looked at; what is granted it in vain it gives back, and what was denied it
        // is in nobody's way.
        (PermitStanding::Withheld, None | Some(PermitAnswer::Denied)) => None,
        // It may go on and take a grant that is on its way still; an older one is not.
        (PermitStanding::Withheld, Some(PermitAnswer::Granted(_))) if older < SWEEP => None,
        (PermitStanding::Withheld, Some(PermitAnswer::Granted(grant))) => Some(Remedy::End(EndOf::Grant(grant))),
    }
}

#[cfg(test)]
mod tests;
