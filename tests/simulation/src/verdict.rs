//! What must hold at the end: of every log, and of what is kept beside it.

use std::sync::Arc;

use stepstream_coordinator::ports::{Agenda, EventStore};
use stepstream_coordinator::reading::Reader;
use stepstream_shared::id::{ExecutionId, TenantId};

use crate::installation::Installation;
use crate::process::Process;
use crate::store::Connection;
use crate::world::World;

/// Reads every log from its beginning and compares. Faults are over.
pub async fn judge(installation: &Installation) {
    let (world, tenant) = (&installation.world, &installation.tenant);
    let auditor = Process::new("auditor".to_owned(), world.clone());
    let reader = Reader::new(Arc::new(Connection::new(auditor)));
    installation.remember(&reader);
    let executions = world.book().executions();
    for id in executions {
        if let Err(what) = one(world, &reader, tenant, id).await {
            world.book().broken.push(format!("{id}: {what}"));
        }
    }
    world.book().check_acknowledged();
}

async fn one(world: &World, reader: &Reader, tenant: &TenantId, id: ExecutionId) -> Result<(), String> {
    // Gaps, the chain, the fold, and the snapshot if there is one.
    let cold = reader.verify(tenant, id).await.map_err(|error| error.to_string())?;
    let hash = cold.execution.state_hash();
    world.note("auditor", "state", u64::from_le_bytes(hash[..8].try_into().unwrap_or_default()), || {
        format!("{id} {}", cold.execution.state().name())
    });
    let warm = reader.load_present(tenant, id).await.map_err(|error| error.to_string())?;
    if warm.execution.state_hash() != hash {
        return Err("what is folded from a snapshot is another state than what is folded from the log".to_owned());
    }
    // A snapshot made now, whatever stage it is in, gives the same state back.
    if !cold.execution.state().is_terminal() {
        reader.keep_snapshot(cold.clone()).await.map_err(|error| error.to_string())?;
        let kept = reader.load_present(tenant, id).await.map_err(|error| error.to_string())?;
        if kept.execution.state_hash() != hash {
            return Err("a snapshot gives another state back than the one it was made of".to_owned());
        }
    }
    let listed = world.store.find(tenant, id).await.map_err(|error| error.to_string())?;
    let shown = listed.map(|listed| listed.summary.state);
    if shown.as_deref() != Some(cold.execution.state().name()) {
        return Err(format!("it is listed as {shown:?} and is {}", cold.execution.state().name()));
    }
    let agenda = world.store.agenda(tenant, id).await.map_err(|error| error.to_string())?;
    if agenda != Agenda::from(cold.execution.rest()) {
        return Err(format!("it stands on the agenda as {agenda:?} and rests as {:?}", cold.execution.rest()));
    }
    Ok(())
}
