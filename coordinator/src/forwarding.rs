//! Requests between coordinators: a request that reached one goes to the owner of its partition by the bus.
//!
//! It is answered only when what follows from it is durable, so the bus never holds the only copy of anything that was
//! acknowledged. Both ways are under a seal (`seals`): whoever may only publish on the bus cannot ask for anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stepstream_runtime::bus::{CommandRequest, CoordinatorBus};
use stepstream_shared::id::PartitionId;
use tokio_util::sync::CancellationToken;

use crate::ownership::OwnedPartitions;
use crate::service::Service;

/// How often the set of partitions is compared with what is listened for.
const LOOK: Duration = Duration::from_millis(250);

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
            biased;
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn listen(service: Service, bus: Arc<dyn CoordinatorBus>, partition: PartitionId, stop: CancellationToken) {
    loop {
        let command = tokio::select! {
            biased;
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
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        }
    }
}

async fn answer(service: Service, command: CommandRequest) {
    let body = service.passed_on(&command.tenant, &command.body).await;
    if let Err(error) = command.reply.reply(body.into()).await {
        tracing::debug!(%error, "an answer was not sent; the caller asks again under its key");
    }
}
