//! How a request names a graph: `graph_…`, `name` (the version registered last) or `name@version`.

use std::sync::Arc;

use stepstream_shared::graph::CompiledGraph;
use stepstream_shared::id::TenantId;

use super::Api;
use super::limits::REFERENCE_MAX_BYTES;
use super::problem::Problem;

/// The graph of that name, under this tenant.
pub(super) async fn find(api: &Api, tenant: &TenantId, reference: &str) -> Result<Arc<CompiledGraph>, Problem> {
    // Not every store can be asked for a text with control characters in it.
    if reference.is_empty() || reference.len() > REFERENCE_MAX_BYTES || reference.chars().any(char::is_control) {
        let detail = format!("a graph is named by 1 to {REFERENCE_MAX_BYTES} bytes without control characters");
        return Err(Problem::invalid_reference(detail));
    }
    Ok(api.service.reader().find_graph(tenant, reference).await?)
}
