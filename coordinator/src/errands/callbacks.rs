//! Runs callbacks, which are as slow as those who are called.

use std::collections::HashMap;

use stepstream_shared::id::TenantId;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::turns::{Limits, Turns};
use super::{AT_A_TIME, ERRANDS, Errand, attempt};
use crate::service::Service;

/// Slots that one tenant's callbacks may take at the same time: a quarter of all.
const CALLBACKS_OF_A_TENANT: usize = AT_A_TIME / 4;
/// Callbacks of one tenant that wait for a slot; more are asked for again by the executions that owe them.
const WAITING_OF_A_TENANT: usize = 256;

/// Makes callbacks until `shutdown`; those that are left are owed still.
pub(crate) async fn run_callbacks(service: Service, mut errands: mpsc::Receiver<Errand>, shutdown: CancellationToken) {
    let mut turns = Turns::new(Limits {
        running: AT_A_TIME,
        running_each: CALLBACKS_OF_A_TENANT,
        waiting: ERRANDS,
        waiting_each: WAITING_OF_A_TENANT,
    });
    let mut tasks = JoinSet::new();
    let mut tenants: HashMap<Id, TenantId> = HashMap::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = tasks.join_next_with_id() => {
                // One that panicked has had its slot, too.
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                if let Some(tenant) = tenants.remove(&id) {
                    turns.done(&tenant);
                }
            }
            errand = errands.recv() => {
                let Some(errand) = errand else { break };
                let (tenant, parent) = (errand.tenant.clone(), errand.parent);
                if !turns.offer(&tenant, errand) {
                    tracing::debug!(%tenant, %parent, "a callback has to wait; too many of its tenant do");
                }
            }
        }
        while let Some((tenant, errand)) = turns.next() {
            let service = service.clone();
            let task = tasks.spawn(async move { attempt(&service, errand).await });
            tenants.insert(task.id(), tenant);
        }
    }
    tasks.detach_all(); // What is being said may still be recorded.
}
