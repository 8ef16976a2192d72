//! Requests between coordinators: a request that reached one goes to the owner of its partition by the bus.
//!
//! It is answered only when what follows from it is durable, so the bus never holds the only copy of anything that was
//! acknowledged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stepstream_runtime::bus::{CommandRequest, CoordinatorBus};
use stepstream_shared::id::{ExecutionId, PartitionId};
use stepstream_shared::wire::{Answer, Forwarded};
use tokio_util::sync::CancellationToken;

use crate::ownership::OwnedPartitions;
use crate::service::{Service, ServiceError};

/// How often the set of partitions is compared with what is listened for.
const LOOK: Duration = Duration::from_millis(250);

/// What a caller elsewhere is told.
fn answer_of(result: Result<(), ServiceError>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(ServiceError::NotFound(_)) => Answer::NotFound,
        Err(ServiceError::GraphNotFound(graph)) => Answer::GraphNotFound(graph),
        Err(ServiceError::BadGraph(text)) => Answer::BadGraph(text),
        Err(ServiceError::InvalidInputs(problems)) => Answer::InvalidInputs(problems),
        Err(ServiceError::KeyConflict) => Answer::KeyConflict,
        Err(ServiceError::Conflict(text)) => Answer::Conflict(text),
        Err(ServiceError::TooLarge(text)) => Answer::TooLarge(text),
        Err(ServiceError::Unavailable(text)) => Answer::Unavailable(text),
        Err(ServiceError::Exhausted(text)) => Answer::Exhausted(text),
        Err(ServiceError::Corrupt(text)) => Answer::Corrupt(text),
        Err(ServiceError::Internal(text)) => Answer::Internal(text),
    }
}

/// What an answer from elsewhere means for a request to this execution.
pub(crate) fn result_of(answer: Answer, execution: ExecutionId) -> Result<(), ServiceError> {
    Err(match answer {
        Answer::Done => return Ok(()),
        Answer::NotFound => ServiceError::NotFound(execution),
        Answer::GraphNotFound(graph) => ServiceError::GraphNotFound(graph),
        Answer::BadGraph(text) => ServiceError::BadGraph(text),
        Answer::InvalidInputs(problems) => ServiceError::InvalidInputs(problems),
        Answer::KeyConflict => ServiceError::KeyConflict,
        Answer::Conflict(text) => ServiceError::Conflict(text),
        Answer::TooLarge(text) => ServiceError::TooLarge(text),
        Answer::Unavailable(text) => ServiceError::Unavailable(text),
        Answer::Exhausted(text) => ServiceError::Exhausted(text),
        Answer::Corrupt(text) => ServiceError::Corrupt(text),
        Answer::Internal(text) => ServiceError::Internal(text),
    })
}

/// Listens for requests to the partitions held, until `shutdown`.
pub(crate) async fn serve(
    service: Service,
    bus: Arc<dyn CoordinatorBus>,
    owned: OwnedPartitions,
    partitions: u16,
    shutdown: CancellationToken,
) {
    let mut listening: HashMap<PartitionId, CancellationToken> = HashMap::new();
    while !shutdown.is_cancelled() {
        for partition in (0..partitions).map(PartitionId) {
            match (owned.contains(partition), listening.contains_key(&partition)) {
                (true, false) => {
                    let stop = shutdown.child_token();
                    listening.insert(partition, stop.clone());
                    tokio::spawn(listen(service.clone(), bus.clone(), partition, stop));
                }
                (false, true) => {
                    if let Some(stop) = listening.remove(&partition) {
                        stop.cancel();
                    }
                }
                _ => {}
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn listen(service: Service, bus: Arc<dyn CoordinatorBus>, partition: PartitionId, stop: CancellationToken) {
    loop {
        let command = tokio::select! {
            () = stop.cancelled() => return,
            command = bus.commands(partition) => command,
        };
        match command {
            Ok(command) => {
                tokio::spawn(answer(service.clone(), command));
            }
            Err(error) => {
                tracing::debug!(%partition, %error, "commands were not pulled; trying again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        }
    }
}

async fn answer(service: Service, command: CommandRequest) {
    let result = match Forwarded::decode(&command.body) {
        Ok(forwarded) => service.carry_out(&command.tenant, forwarded).await,
        Err(error) => Err(ServiceError::Internal(format!("a request of another coordinator is not readable: {error}"))),
    };
    let body = answer_of(result).encode().unwrap_or_default();
    if let Err(error) = command.reply.reply(body.into()).await {
        tracing::debug!(%error, "an answer was not sent; the caller asks again under its key");
    }
}
