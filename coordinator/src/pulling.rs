//! Pulls outcomes and questions of workers from the bus for the engine, partition by partition.

use std::sync::Arc;
use std::time::Duration;

use stepstream_runtime::bus::CoordinatorBus;
use stepstream_shared::id::PartitionId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::Input;

/// Outcomes taken at a time: one group commit's worth.
const OUTCOMES_AT_A_TIME: usize = 256;
/// Rest after the bus failed.
const REST: Duration = Duration::from_millis(200);

/// Until `stop`: outcomes of a partition go to the engine, which acknowledges them when they are durable.
pub(crate) fn pull_outcomes(
    bus: Arc<dyn CoordinatorBus>,
    partition: PartitionId,
    engine: mpsc::Sender<Input>,
    stop: CancellationToken,
) {
    let engine = engine.downgrade();
    tokio::spawn(async move {
        loop {
            let pulled = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                pulled = bus.outcomes(partition, OUTCOMES_AT_A_TIME) => pulled,
            };
            match pulled {
                Ok(outcomes) => {
                    let Some(engine) = engine.upgrade() else { return };
                    if engine.send(Input::Outcomes(partition, outcomes)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%partition, %error, "outcomes were not pulled; trying again");
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(REST) => {}
                    }
                }
            }
        }
    });
}

/// Until `stop`: what workers ask about executions of a partition goes to the engine, which answers.
pub(crate) fn pull_questions(
    bus: Arc<dyn CoordinatorBus>,
    partition: PartitionId,
    engine: mpsc::Sender<Input>,
    stop: CancellationToken,
) {
    let engine = engine.downgrade();
    tokio::spawn(async move {
        loop {
            let asked = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                asked = bus.asked(partition, OUTCOMES_AT_A_TIME) => asked,
            };
            match asked {
                Ok(questions) => {
                    let Some(engine) = engine.upgrade() else { return };
                    if engine.send(Input::Questions(partition, questions)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%partition, %error, "no questions from the bus; trying again");
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(REST) => {}
                    }
                }
            }
        }
    });
}
