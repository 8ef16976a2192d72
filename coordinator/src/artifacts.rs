//! Bytes outside the log, as a coordinator deals with them: what it puts away at its edge, and what is collected.

mod collect;

use stepstream_runtime::artifact::ArtifactStore;
use stepstream_shared::artifact::DEFAULT_INLINE_BYTES;

pub use collect::{CollectError, Collected, collect};

/// The artifact store of a coordinator, and what it puts there.
#[derive(Debug, Clone)]
pub struct Artifacts {
    pub(crate) store: ArtifactStore,
    /// Inputs and signals larger than this are put away.
    pub(crate) inline_bytes: usize,
}

impl Artifacts {
    pub fn new(store: ArtifactStore) -> Self {
        Artifacts { store, inline_bytes: DEFAULT_INLINE_BYTES }
    }

    /// Values larger than this, in bytes as stored, are put away where nothing looks into them.
    pub fn inline_bytes(self, inline_bytes: usize) -> Self {
        Artifacts { inline_bytes, ..self }
    }
}
