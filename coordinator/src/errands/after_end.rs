//! Errands of executions that have ended: the next attempt at one that failed, and callbacks.

use stepstream_shared::event::{EventData, ParentLink, ParentType, Share};
use stepstream_shared::execution::{AfterEnd, CallbackReport};
use stepstream_shared::graph::{LimitOverrides, NodeIx};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::wire::ForwardedRequest;

use crate::callback::{callback_body, callback_id};
use crate::error::ServiceError;
use crate::service::Service;

/// Begins the next attempt, as an execution of its own that waits for its moment; however often this is run, it begins
/// once, because its id follows from the first attempt and the number.
pub(super) async fn try_again(service: &Service, tenant: &TenantId, id: ExecutionId) -> Result<(), ServiceError> {
    let loaded = service.load(tenant, id, None).await?;
    let (execution, graph) = (&loaded.execution, &loaded.graph);
    let (Some(next), Some(run)) = (execution.owed_attempt(), execution.background()) else { return Ok(()) };
    let (next_id, background) = (next.execution, run.config().for_next_attempt(id, next.due));
    // What only the first event has.
    let created = service.reader().first_event(tenant, id).await?;
    let (metadata, limits) = match created {
        Some(EventData::ExecutionCreated { metadata, limits, .. }) => (metadata, *limits),
        _ => (None, LimitOverrides::default()),
    };
    let link = ParentLink {
        parent_id: background.first.unwrap_or(id).to_string(),
        parent_type: ParentType::Execution,
        execution: None,
        depth: execution.depth(),
        share: Share::default(),
    };
    let key = format!("attempt/{}", background.attempt);
    let what = ForwardedRequest::Start {
        graph: execution.graph(),
        inputs: execution.inputs().clone(),
        request_hash: None,
        metadata,
        breakpoints: execution.breakpoints().filter_map(|node| Some(graph.node(NodeIx(node))?.name.clone())).collect(),
        parent: Some(link),
        planning: false,
        limits,
        background: Some(Box::new(background)),
    };
    match service.between(tenant, next_id, Some(key), what).await {
        // It is there: it was begun before.
        Ok(()) | Err(ServiceError::KeyConflict) => {}
        Err(other) => return Err(other),
    }
    report(service, tenant, id, AfterEnd::AttemptBegun).await
}

/// Makes one attempt at a callback and says what became of it.
pub(super) async fn call_back(
    service: &Service,
    tenant: &TenantId,
    id: ExecutionId,
    attempt: u32,
) -> Result<(), ServiceError> {
    let loaded = service.reader().load_present(tenant, id).await?;
    let owed = loaded.execution.owed_callback().is_some_and(|callback| callback.attempts() + 1 == attempt);
    let url = loaded.execution.background().and_then(|run| run.config().callback_url.clone());
    let (true, Some(url), Some(body)) = (owed, url, callback_body(&loaded.execution)) else { return Ok(()) };
    let body = serde_json::to_vec(&body).map_err(|error| ServiceError::Internal(error.to_string()))?;
    let exchange = service.callbacks().call(tenant, &url, &callback_id(id), body).await;
    let (result, status, error) = (exchange.result, exchange.status, exchange.error);
    report(service, tenant, id, AfterEnd::Callback(CallbackReport { attempt, result, status, error })).await
}

pub(super) async fn report(
    service: &Service,
    tenant: &TenantId,
    id: ExecutionId,
    what: AfterEnd,
) -> Result<(), ServiceError> {
    match service.between(tenant, id, None, ForwardedRequest::AfterEnd(what)).await {
        // Somebody else has said it.
        Err(ServiceError::Conflict(_)) => Ok(()),
        other => other,
    }
}
