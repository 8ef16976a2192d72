//! What coordinators tell running workers: hints as JSON, which a worker in any language reads.

use serde::{Deserialize, Serialize};

use super::WireError;
use crate::id::ExecutionId;

/// Longest hint, in bytes.
const LONGEST: usize = 4096;

/// A hint that is not stored: who misses it asks the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Control {
    /// The execution was cancelled (or ended otherwise): its running attempts should stop.
    Cancel { execution: ExecutionId },
    /// One attempt was given up (timed out, superseded).
    Abandon { execution: ExecutionId, ordinal: u32, attempt: u32 },
}

impl Control {
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        serde_json::to_vec(self).map_err(|error| WireError::Malformed(error.to_string()))
    }

    /// # Errors
    /// When the bytes are no hint that this build knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > LONGEST {
            return Err(WireError::TooLarge { found: bytes.len(), limit: LONGEST });
        }
        serde_json::from_slice(bytes).map_err(|error| WireError::Malformed(error.to_string()))
    }
}
