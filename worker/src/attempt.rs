//! One attempt: from a job to a verdict.
//!
//! User code runs inside this future, beside its timers: one task per attempt, and no timer at all for code that is
//! done at its first poll. Whatever user code does (panic, stall, answer nonsense) becomes a value here.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use stepstream_shared::data::Data;
use stepstream_shared::error::ErrorCategory;
use stepstream_shared::wire::OutcomeResult;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::artifacts;
use crate::context::{Context, Stop};
use crate::failure::Failure;
use crate::registry::Registry;

/// How long a callable may clean up after it was told to stop. Longer would hold the slot of somebody else.
pub(crate) const CLEANUP: Duration = Duration::from_secs(2);
/// Attempts that run longer than this are put on record while they run.
const STARTED_AFTER: Duration = Duration::from_secs(1);
/// No two progress reports follow each other faster: each is a message, and a person reads them.
const NOTE_INTERVAL: Duration = Duration::from_millis(250);
/// A lost sign of life must not be the last before the silence counts as death.
const SIGNS_PER_SILENCE: u32 = 3;
/// Shortest interval between signs of life, whatever a job asks for.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// What an attempt came to.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Completed(Data),
    Failed(Failure),
    /// Told to stop, and it has stopped; the outcome is for somebody else to make.
    Stopped(Stop),
}

/// How a running attempt says that it is alive. Answers whether the sign was given.
pub(crate) trait SignsOfLife: Send + Sync {
    fn report<'a>(&'a self, result: OutcomeResult) -> BoxFuture<'a, bool>;
    /// Tells the bus that the job is still being worked on.
    fn hold<'a>(&'a self) -> BoxFuture<'a, bool>;
}

/// When this worker goes away.
pub(crate) struct Departure {
    /// Attempts stop and are handed back.
    pub(crate) hand_back: CancellationToken,
    /// There is no time to clean up.
    pub(crate) now: CancellationToken,
}

/// Runs the attempt to its verdict, giving signs of life meanwhile.
pub(crate) async fn run(
    registry: &Registry,
    context: &Context,
    signs: &dyn SignsOfLife,
    ack_wait: Duration,
    departure: &Departure,
) -> Verdict {
    let mut work = pin!(call(registry, context).instrument(context.span().clone()));
    if let Poll::Ready(result) = futures::poll!(work.as_mut()) {
        return judge(result, context.stopped());
    }
    let mut due = Due::new(context, ack_wait);
    let mut sign: Option<(BoxFuture<'_, bool>, Sign)> = None;
    let mut cleanup_until: Option<Instant> = None;
    loop {
        if cleanup_until.is_none() && context.cancellation().is_cancelled() {
            cleanup_until = Some(Instant::now() + CLEANUP);
        }
        let deadline = cleanup_until.or(context.due());
        let idle = sign.is_none();
        let wake = [deadline, idle.then(|| due.next()).flatten()].into_iter().flatten().min();
        tokio::select! {
            biased;
            result = &mut work => return judge(result, context.stopped()),
            () = departure.now.cancelled(), if cleanup_until.is_some() => {
                return Verdict::Stopped(context.stopped().unwrap_or(Stop::HandBack));
            }
            () = context.cancelled(), if cleanup_until.is_none() => {}
            () = departure.hand_back.cancelled(), if cleanup_until.is_none() => context.stop(Stop::HandBack),
            (given, what) = give(&mut sign), if !idle => {
                sign = None;
                due.given(what, given);
            }
            () = context.noted(), if due.note.is_none() => if context.has_note() { due.note_soon() },
            () = wake_at(wake) => {
                let now = Instant::now();
                if deadline.is_some_and(|deadline| deadline <= now) {
                    if cleanup_until.is_none() {
                        context.stop(Stop::TimedOut);
                    } else {
                        return judge(Err(Failure::cancelled()), context.stopped());
                    }
                } else if idle && let Some(what) = due.pick(now) {
                    sign = Some((match what {
                        Sign::Started => signs.report(OutcomeResult::Started),
                        Sign::Hold => signs.hold(),
                        Sign::Progress => signs.report(OutcomeResult::Progress { note: context.take_note() }),
                    }, what));
                }
            }
        }
    }
}

async fn wake_at(wake: Option<Instant>) {
    match wake {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn give(sign: &mut Option<(BoxFuture<'_, bool>, Sign)>) -> (bool, Sign) {
    match sign {
        Some((future, what)) => (future.await, *what),
        None => std::future::pending().await,
    }
}

/// Work that ended well counts, even when it was told to stop: it was done. Not after its deadline: the log may have
/// moved on, and "too late" must not depend on who was quicker.
fn judge(result: Result<Data, Failure>, stopped: Option<Stop>) -> Verdict {
    match (result, stopped) {
        (_, Some(Stop::TimedOut)) => {
            Verdict::Failed(Failure::timeout("the attempt ran longer than its start_to_close"))
        }
        (Ok(output), _) => Verdict::Completed(output),
        (Err(_), Some(stop)) => Verdict::Stopped(stop),
        (Err(failure), None) => Verdict::Failed(failure),
    }
}

async fn call(registry: &Registry, context: &Context) -> Result<Data, Failure> {
    let job = context.job();
    if job.tenant != *context.tenant() {
        let claimed = &job.tenant;
        return Err(Failure::new(
            ErrorCategory::PolicyViolation,
            format!("the job says {claimed} and came over the connection of {}", context.tenant()),
        )
        .code("permission_denied"));
    }
    let callable = registry.find(&job.callable)?;
    let input = if callable.takes_references() { job.input.to_json() } else { artifacts::input_of(context).await? };
    let output = AssertUnwindSafe(async { callable.call(context, input).await })
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(panicked(&*panic)))?;
    artifacts::output_of(context, output).await
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("the panic carries no text");
    Failure::new(ErrorCategory::ToolError, format!("the callable panicked: {text}")).code("panic")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Started,
    /// To the bus: the job is being worked on.
    Hold,
    /// To the coordinator: alive, with the latest note.
    Progress,
}

/// When the next sign of each kind is due.
struct Due {
    started: Option<Instant>,
    hold: Instant,
    hold_every: Duration,
    heartbeat: Instant,
    heartbeat_every: Duration,
    note: Option<Instant>,
    last_progress: Option<Instant>,
}

impl Due {
    fn new(context: &Context, ack_wait: Duration) -> Self {
        let now = Instant::now();
        let hold_every = (ack_wait / SIGNS_PER_SILENCE).max(MIN_INTERVAL);
        let asked = context.job().heartbeat_ms.map(|silence| Duration::from_millis(silence) / SIGNS_PER_SILENCE);
        // Also when the job asks for none: a coordinator looks for jobs that are silent for as long as the bus waits for
        // an acknowledgement, and what runs must not be taken for lost.
        let every = asked.unwrap_or(hold_every).clamp(MIN_INTERVAL, hold_every);
        Due {
            started: Some(now + STARTED_AFTER),
            hold: now + hold_every,
            hold_every,
            heartbeat: now + every,
            heartbeat_every: every,
            note: None,
            last_progress: None,
        }
    }

    fn next(&self) -> Option<Instant> {
        [self.started, Some(self.hold), Some(self.heartbeat), self.note].into_iter().flatten().min()
    }

    fn note_soon(&mut self) {
        let now = Instant::now();
        self.note = Some(self.last_progress.map_or(now, |last| (last + NOTE_INTERVAL).max(now)));
    }

    fn pick(&self, now: Instant) -> Option<Sign> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        // The bus first: it is the one that would give the job to somebody else.
        if is_due(Some(self.hold)) {
            Some(Sign::Hold)
        } else if is_due(self.started) {
            Some(Sign::Started)
        } else if is_due(Some(self.heartbeat)) || is_due(self.note) {
            Some(Sign::Progress)
        } else {
            None
        }
    }

    fn given(&mut self, what: Sign, given: bool) {
        let now = Instant::now();
        match what {
            Sign::Started => self.started = (!given).then(|| now + STARTED_AFTER),
            Sign::Hold => self.hold = now + self.hold_every,
            Sign::Progress => {
                self.last_progress = Some(now);
                self.note = None;
                self.heartbeat = now + self.heartbeat_every;
            }
        }
    }
}
