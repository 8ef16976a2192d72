//! What an execution was allowed when it was begun in a data directory: resuming it needs no second permission.

use serde_json::json;
use stepstream_coordinator::Service;
use stepstream_shared::data::Data;
use stepstream_shared::event::EventData;
use stepstream_shared::execution::children::MAX_DEPTH;
use stepstream_shared::id::{ExecutionId, TenantId};

use crate::exit::{Exit, Problem};

const ALLOW_PROCESS: &str = "allow_process";

/// For the first event of an execution.
pub fn recorded(allow_process: bool) -> Result<Data, Problem> {
    let metadata = json!({ ALLOW_PROCESS: allow_process });
    Data::from_json(&metadata).map_err(|error| Problem::new(Exit::Refused, error.to_string()))
}

/// Whether whoever began the execution allowed it to run programs. What a step started has the rights of whoever began the
/// first of its family.
pub async fn given(service: &Service, tenant: &TenantId, execution: ExecutionId) -> Result<bool, Problem> {
    let mut execution = execution;
    for _ in 0..=MAX_DEPTH {
        let created = service.reader().first_event(tenant, execution).await?;
        let Some(EventData::ExecutionCreated { metadata, parent, .. }) = created else { return Ok(false) };
        match parent.and_then(|parent| parent.execution) {
            Some(parent) => execution = parent,
            None => return Ok(metadata.is_some_and(|metadata| metadata.to_json()[ALLOW_PROCESS] == json!(true))),
        }
    }
    Ok(false)
}
