//! Errands between executions: a parent's children are started, cancelled and looked after, a child's end is told.
//!
//! The engine owns executions one by one; what one of them owes to another travels as a request like any other, to the
//! owner of the other's partition. An errand may fail or be lost with this process: the state that owes it goes on
//! owing it, and the engine runs it again.

mod after_end;
mod callbacks;
mod turns;

pub(crate) use callbacks::run_callbacks;

use std::sync::Arc;
use std::time::Duration;

use stepstream_shared::background::Background;
use stepstream_shared::error::{ErrorCategory, ErrorCode, ExecutionError};
use stepstream_shared::event::{ChildEnding, ParentLink, Spent};
use stepstream_shared::execution::{AfterEnd, Bequest, ChildSpec, Execution, ExecutionState, Steering};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::wire::ForwardedRequest;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::ServiceError;
use crate::planted::{self, Bug};
use crate::service::{Ask, Service};

/// Errands that wait to be run; more are run again by whoever owes them.
pub(crate) const ERRANDS: usize = 4096;
/// Errands that are run at the same time.
const AT_A_TIME: usize = 64;

/// A callback that has waited here for longer is asked for again soon, and one is enough.
const STALE: Duration = Duration::from_secs(14);

/// Something that one execution owes to another.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(crate) tenant: TenantId,
    pub(crate) parent: ExecutionId,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Start(Box<ChildSpec>),
    Cancel {
        child: ExecutionId,
        reason: String,
    },
    /// Has it ended? Its end may have been told to nobody.
    LookAfter(ExecutionId),
    /// A child that inherits the inbox is to have these messages.
    HandOn(Bequest),
    /// It failed, and another attempt is to begin.
    TryAgain,
    /// It has ended, and whoever asked for it is to be told.
    CallBack {
        /// From 1.
        attempt: u32,
        asked: Instant,
    },
    /// It has ended: its parent is to know.
    Tell {
        parent: ExecutionId,
        ended: Box<Ended>,
    },
}

/// How a child has ended, and what it used.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) ending: ChildEnding,
    pub(crate) used: Spent,
}

impl Ended {
    /// There never was a child.
    fn unborn(ending: ChildEnding) -> Self {
        Ended { ending, used: Spent::default() }
    }
}

/// Runs errands until `shutdown`; those that are left are owed still.
pub(crate) async fn run(service: Service, mut errands: mpsc::Receiver<Errand>, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    while let Some(errand) = tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        errand = errands.recv() => errand,
    } {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let service = service.clone();
        tokio::spawn(async move {
            attempt(&service, errand).await;
            drop(permit);
        });
    }
}

async fn attempt(service: &Service, errand: Errand) {
    let (parent, what) = (errand.parent, errand.what.clone());
    if let Err(error) = one(service, errand).await {
        tracing::debug!(%parent, ?what, %error, "an errand was not run; it is owed still");
    }
}

async fn one(service: &Service, errand: Errand) -> Result<(), ServiceError> {
    let Errand { tenant, parent, what } = errand;
    if planted::has(Bug::ForgetsParents) && matches!(what, What::Tell { .. } | What::LookAfter(_)) {
        return Ok(());
    }
    match what {
        What::Start(spec) => start(service, &tenant, parent, *spec).await,
        What::Cancel { child, reason } => {
            // Under one key however often it is asked; what is over is told by itself.
            let ask = Ask {
                what: Steering::Cancel { reason },
                by: "parent".to_owned(),
                idempotency_key: Some(format!("cascade/{parent}")),
            };
            match service.load(&tenant, child, None).await {
                // It ends already, and would only put on record that it was asked to.
                Ok(loaded) if loaded.execution.is_ending() => return Ok(()),
                Ok(loaded) if loaded.execution.state().is_terminal() => {}
                _ => match service.steer(&tenant, child, ask).await {
                    Ok(()) | Err(ServiceError::Conflict(_)) => {}
                    Err(other) => return Err(other),
                },
            }
            // That it has ended may have been told to nobody.
            look_after(service, &tenant, parent, child).await
        }
        What::LookAfter(child) => look_after(service, &tenant, parent, child).await,
        What::TryAgain => after_end::try_again(service, &tenant, parent).await,
        What::CallBack { asked, .. } if asked.elapsed() > STALE => Ok(()), // It was asked for again.
        What::CallBack { attempt, .. } => after_end::call_back(service, &tenant, parent, attempt).await,
        What::HandOn(bequest) => hand_on(service, &tenant, parent, bequest).await,
        What::Tell { parent: told, ended } => {
            tell(service, &tenant, told, parent, *ended).await?;
            after_end::report(service, &tenant, parent, AfterEnd::ParentTold).await
        }
    }
}

async fn start(service: &Service, tenant: &TenantId, parent: ExecutionId, spec: ChildSpec) -> Result<(), ServiceError> {
    let ChildSpec { ordinal: _, step, child, graph, input, depth, limits, share, held, background } = spec;
    let refused = |category, code: &str, error: &ServiceError| {
        let message = format!("the child cannot be started: {error}");
        let error = ExecutionError::new(category, message).with_code(ErrorCode::new(code)).cut();
        Ended::unborn(ChildEnding::Failed { error })
    };
    let ended = match service.reader().find_graph(tenant, &graph).await.map_err(ServiceError::from) {
        Ok(compiled) => {
            let link = ParentLink::of_step(parent, step, depth, share);
            let wall_time = limits.over(&compiled.limits).wall_time;
            let what = ForwardedRequest::Start {
                graph: compiled.digest,
                inputs: input,
                request_hash: None,
                metadata: None,
                breakpoints: Vec::new(),
                parent: Some(link),
                planning: held,
                limits,
                background: background.then(|| Box::new(Background::of_child(wall_time))),
            };
            match service.between(tenant, child, Some(step.to_string()), what).await {
                // It is there: it was asked for before.
                Ok(()) | Err(ServiceError::KeyConflict) => {
                    let what = ForwardedRequest::ChildStarted { child };
                    return service.between(tenant, parent, None, what).await;
                }
                Err(error @ (ServiceError::InvalidInputs(_) | ServiceError::BadGraph(_))) => {
                    refused(ErrorCategory::ValidationError, "invalid_inputs", &error)
                }
                Err(error @ ServiceError::TooLarge(_)) => {
                    refused(ErrorCategory::QuotaExceeded, "payload_limit", &error)
                }
                Err(other) => return Err(other),
            }
        }
        Err(error @ ServiceError::GraphNotFound(_)) => {
            refused(ErrorCategory::ValidationError, "graph_not_found", &error)
        }
        Err(other) => return Err(other),
    };
    tell(service, tenant, parent, child, ended).await
}

/// Brings messages to a child, and tells the parent that it has them.
async fn hand_on(
    service: &Service,
    tenant: &TenantId,
    parent: ExecutionId,
    bequest: Bequest,
) -> Result<(), ServiceError> {
    let Bequest { child, mut messages } = bequest;
    loop {
        let what = ForwardedRequest::Inherit { from: parent, messages: messages.clone() };
        match service.between(tenant, child, None, what).await {
            Ok(()) => {
                let messages = messages.into_iter().map(|(sequence, _)| sequence).collect();
                let what = ForwardedRequest::InboxForwarded { child, messages };
                return match service.between(tenant, parent, None, what).await {
                    // It is over, or has heard of the child's end: nobody keeps the message for it any more.
                    Err(ServiceError::Conflict(_) | ServiceError::NotFound(_)) => Ok(()),
                    other => other,
                };
            }
            // There may be room for one.
            Err(ServiceError::Full(_) | ServiceError::TooLarge(_)) if messages.len() > 1 => messages.truncate(1),
            // It has ended, which the parent may not have been told.
            Err(ServiceError::Conflict(_)) => return look_after(service, tenant, parent, child).await,
            Err(other) => return Err(other),
        }
    }
}

async fn tell(
    service: &Service,
    tenant: &TenantId,
    parent: ExecutionId,
    child: ExecutionId,
    ended: Ended,
) -> Result<(), ServiceError> {
    let Ended { ending, used } = ended;
    let told = service.between(tenant, parent, None, ForwardedRequest::ChildEnded { child, ending, used }).await;
    let told = match told {
        // What it gave is more than coordinators can say to each other. The parent's can read it where it is stored.
        Err(ServiceError::TooLarge(_)) => {
            service.between(tenant, parent, None, ForwardedRequest::LookAfter { child }).await
        }
        other => other,
    };
    match told {
        // It is over, or does not know the child any more: nobody is left to be told.
        Err(ServiceError::Conflict(_) | ServiceError::NotFound(_)) => Ok(()),
        other => other,
    }
}

/// Reads whether a child has ended, and tells its parent.
pub(crate) async fn look_after(
    service: &Service,
    tenant: &TenantId,
    parent: ExecutionId,
    child: ExecutionId,
) -> Result<(), ServiceError> {
    let Some(listed) = service.reader().store().find(tenant, child).await? else { return Ok(()) };
    if !listed.summary.terminal {
        return service.wake_here(tenant, child).await;
    }
    let loaded = service.load(tenant, child, None).await?;
    match ending_of(&loaded.execution) {
        Some(ended) => tell(service, tenant, parent, child, ended).await,
        None => Ok(()),
    }
}

/// How an execution has ended, for whoever waits for it.
pub(crate) fn ending_of(execution: &Execution) -> Option<Ended> {
    let ending = match execution.state() {
        ExecutionState::Completed => ChildEnding::Completed { output: execution.output().clone() },
        ExecutionState::Failed => {
            let unknown = || ExecutionError::new(ErrorCategory::KernelInternal, "it failed and did not say why");
            ChildEnding::Failed { error: execution.error().cloned().unwrap_or_else(unknown) }
        }
        ExecutionState::Cancelled => {
            ChildEnding::Cancelled { reason: execution.reason().unwrap_or_default().to_owned() }
        }
        _ => return None,
    };
    Some(Ended { ending, used: execution.spent() })
}
