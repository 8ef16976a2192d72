//! What an execution was allowed when it was begun in a data directory: resuming it needs no second permission.

use serde_json::json;
use stepstream_coordinator::Service;
use stepstream_shared::data::Data;
use stepstream_shared::id::{ExecutionId, TenantId};

use crate::exit::{Exit, Problem};

const ALLOW_PROCESS: &str = "allow_process";

/// For the first event of an execution.
pub fn recorded(allow_process: bool) -> Result<Data, Problem> {
    let metadata = json!({ ALLOW_PROCESS: allow_process });
    Data::from_json(&metadata).map_err(|error| Problem::new(Exit::Refused, error.to_string()))
}

/// Whether whoever began the execution allowed it to run programs.
pub async fn given(service: &Service, tenant: &TenantId, execution: ExecutionId) -> Result<bool, Problem> {
    let events = service.events(tenant, execution, 0, 1).await?;
    Ok(events.first().is_some_and(|created| created["metadata"][ALLOW_PROCESS] == json!(true)))
}
