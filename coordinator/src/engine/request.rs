//! What the API and other coordinators ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stepstream_shared::event::{Actor, Causation, codec};
use stepstream_shared::execution::{Command, Execution, StartRequest};
use stepstream_shared::graph::{CompiledGraph, Graphs};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::wire::TraceContext;

use super::Engine;
use super::commit::{Occasion, Reply};
use super::live::Live;
use super::loading::Waiting;
use crate::error::ServiceError;
use crate::ports::Agenda;

/// A request for one execution.
pub(crate) struct Request {
    pub(crate) tenant: TenantId,
    pub(crate) execution: ExecutionId,
    pub(crate) actor: Actor,
    /// The idempotency key, if the caller gave one.
    pub(crate) key: Option<String>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) body: RequestBody,
    /// Answered when what follows is durable.
    pub(crate) reply: Reply,
}

pub(crate) enum RequestBody {
    /// The execution does not exist as far as the caller knows.
    Start { graph: Arc<CompiledGraph>, request: Box<StartRequest> },
    /// A command to an execution that exists; the name is what the log calls it.
    Command { name: &'static str, command: Command },
    /// Only loads it, so that it is driven.
    Wake,
}

impl Engine {
    pub(super) async fn request(&mut self, request: Request) {
        let partition = PartitionId::of(request.execution, self.meta.partitions);
        if self.held.get(&partition).is_none_or(|held| held.releasing.is_some()) {
            let _ = request.reply.send(Err(ServiceError::Unavailable("the partition has moved; try again".to_owned())));
            return;
        }
        // A fresh id cannot have a log; a derived one may have.
        let fresh = matches!(request.body, RequestBody::Start { .. }) && request.key.is_none();
        if fresh || self.live.contains_key(&request.execution) {
            self.live_request(request).await;
        } else {
            let (tenant, id) = (request.tenant.clone(), request.execution);
            self.load(&tenant, id, None, Waiting::Request(Box::new(request)));
        }
    }

    /// Carries out a request whose execution is in memory, or is known not to exist.
    pub(super) async fn live_request(&mut self, request: Request) {
        let Request { tenant, execution: id, actor, key, trace, body, reply } = request;
        let live = self.live.get(&id);
        if live.is_some_and(|live| *live.execution.tenant() != tenant) {
            let _ = reply.send(Err(ServiceError::NotFound(id)));
            return;
        }
        match body {
            RequestBody::Start { graph, request } => {
                if live.is_some() {
                    // Whether it is the same request, the caller reads from the log.
                    self.refuse(id, None, Some(reply), Err(ServiceError::KeyConflict));
                    return;
                }
                // Children are taken on: their parents have been.
                if request.parent.is_none()
                    && let Err(error) = self.pressure.admits(self.unsent.len(), self.clock.now())
                {
                    let _ = reply.send(Err(error)); // The caller may have gone.
                    return;
                }
                self.next_generation += 1;
                let partition = PartitionId::of(id, self.meta.partitions);
                let fresh = Live {
                    execution: Execution::empty(id, tenant.clone()),
                    graphs: Graphs::one(graph.clone()),
                    graph,
                    partition,
                    generation: self.next_generation,
                    head: codec::genesis(&tenant, id),
                    last_first_seq: 0,
                    snapshot: 0,
                    in_flight: 0,
                    last_ticket: 0,
                    listed: None,
                    agenda: Some(Agenda::Nothing),
                    touched: self.clock.now(),
                    deadline: None,
                    dispatched: BTreeMap::new(),
                    withdrawn: BTreeSet::new(),
                    doubtful: BTreeSet::new(),
                    errands: BTreeMap::new(),
                    asked: BTreeMap::new(),
                    told: None,
                    after_end: None,
                };
                self.live.insert(id, fresh);
                let causation = Causation::Command { name: "start".to_owned(), key };
                let occasion = Occasion { actor, causation, trace, settle: None, reply: Some(reply) };
                self.act(id, Command::Create(request), occasion).await;
                // A refused start leaves an execution behind that never was.
                if self.live.get(&id).is_some_and(|live| live.execution.sequence() == 0) {
                    self.live.remove(&id);
                }
            }
            RequestBody::Command { name, command } => {
                if live.is_none() {
                    let _ = reply.send(Err(ServiceError::NotFound(id)));
                    return;
                }
                let causation = Causation::Command { name: name.to_owned(), key };
                let occasion = Occasion { actor, causation, trace, settle: None, reply: Some(reply) };
                self.act(id, command, occasion).await;
            }
            RequestBody::Wake => {
                let answer = if live.is_some() { Ok(()) } else { Err(ServiceError::NotFound(id)) };
                let _ = reply.send(answer); // The caller may have gone.
            }
        }
    }
}
