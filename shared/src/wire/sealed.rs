//! What coordinators say to each other, under a seal: whoever may publish on the bus cannot ask in their name.
//!
//! The key is derived from the store's, so that every coordinator of a store has it and nobody else. A request is sealed
//! for a tenant, with a fresh id and a time, by which the other side tells a copy of it; its answer is sealed for that
//! id.

use serde::{Deserialize, Serialize};

use super::{ENVELOPE_BYTES, Mac, MacKey, PROTOCOL, WireError, decode_up_to, encode};
use crate::id::TenantId;
use crate::time::Timestamp;

/// Room for the seal itself, in bytes.
const SEAL_BYTES: usize = 1024;
const LIMIT: usize = crate::data::MAX_BYTES + ENVELOPE_BYTES + SEAL_BYTES;

/// Names one sending of one request: never the same twice.
pub type SealId = [u8; 16];

/// The key of the seals.
#[derive(Clone)]
pub struct SealKey(MacKey);

/// A request with its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub protocol: u8,
    #[serde(with = "serde_bytes")]
    pub id: SealId,
    /// When it was sent, in Unix microseconds.
    pub at: i64,
    mac: Mac,
    /// Readable by nobody before the proof holds.
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct SealedAnswer {
    protocol: u8,
    mac: Mac,
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

impl SealKey {
    pub fn of(key: &MacKey) -> Self {
        SealKey(MacKey(blake3::derive_key("stepstream 2026 requests between coordinators", &key.0)))
    }

    fn request_mac(&self, tenant: &TenantId, id: SealId, at: i64, body: &[u8]) -> Mac {
        let tenant = tenant.as_str().as_bytes();
        self.0.tag(b"request 1", &[&id, &at.to_le_bytes(), &(tenant.len() as u64).to_le_bytes(), tenant, body])
    }

    fn answer_mac(&self, id: SealId, body: &[u8]) -> Mac {
        self.0.tag(b"answer 1", &[&id, body])
    }

    /// A request for a tenant, sent under this id now.
    pub fn seal(&self, tenant: &TenantId, id: SealId, now: Timestamp, body: Vec<u8>) -> Sealed {
        let at = now.as_micros();
        Sealed { protocol: PROTOCOL, id, at, mac: self.request_mac(tenant, id, at, &body), body }
    }

    /// What was asked, if a coordinator of this store asked it for this tenant.
    pub fn open(&self, tenant: &TenantId, sealed: Sealed) -> Option<Vec<u8>> {
        let expected = self.request_mac(tenant, sealed.id, sealed.at, &sealed.body);
        expected.is(&sealed.mac).then_some(sealed.body)
    }

    /// The answer to the request of this id.
    pub fn seal_answer(&self, id: SealId, body: Vec<u8>) -> Result<Vec<u8>, WireError> {
        encode(&SealedAnswer { protocol: PROTOCOL, mac: self.answer_mac(id, &body), body })
    }

    /// What was answered, if a coordinator of this store answered the request of this id.
    ///
    /// # Errors
    /// When the bytes are no sealed answer; `Ok(None)` where the seal is not ours.
    pub fn open_answer(&self, id: SealId, bytes: &[u8]) -> Result<Option<Vec<u8>>, WireError> {
        let sealed = decode_up_to(LIMIT, bytes, |sealed: &SealedAnswer| sealed.protocol)?;
        Ok(self.answer_mac(id, &sealed.body).is(&sealed.mac).then_some(sealed.body))
    }
}

impl Sealed {
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        encode(self)
    }

    /// # Errors
    /// When the bytes are no sealed request, or one of a newer coordinator. Says nothing about its proof.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        decode_up_to(LIMIT, bytes, |sealed: &Sealed| sealed.protocol)
    }
}
