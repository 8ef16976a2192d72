//! What the engine tells whoever watches.

use stepstream_shared::id::{ExecutionId, TenantId};

/// An execution's log has grown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub sequence: u64,
    pub terminal: bool,
}
