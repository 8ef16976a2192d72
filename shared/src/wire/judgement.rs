//! What a coordinator says to a worker that has asked and waits for the answer.

use serde::{Deserialize, Serialize};

use super::{PROTOCOL, Token, WireError, decode_up_to, encode};

/// Longest judgement, in bytes.
const LONGEST: usize = 4096;

/// Whether what a worker asked was granted: its claim, or the end that it reports. It says at which place of the log that
/// was judged, because a coordinator that lost its partition and does not know yet may judge from an old view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    pub protocol: u8,
    /// Of the store.
    pub incarnation: u64,
    /// Sequence of the last event that was known to whoever judged.
    pub position: u64,
    /// Durable before it is said. False: the attempt is somebody else's, or over.
    pub granted: bool,
}

impl Judgement {
    /// Whether a worker believes it that knows of `position` in the log. A yes is always true; a no counts only from
    /// somebody who knows at least as much.
    pub fn counts(&self, token: &Token, position: u64) -> bool {
        self.granted || (self.incarnation, self.position) >= (token.incarnation, position)
    }

    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        encode(self)
    }

    /// # Errors
    /// When the bytes are no judgement, or one of a newer protocol.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode_up_to(LONGEST, bytes, |judgement: &Judgement| judgement.protocol)
    }

    pub fn new(incarnation: u64, position: u64, granted: bool) -> Self {
        Judgement { protocol: PROTOCOL, incarnation, position, granted }
    }
}
