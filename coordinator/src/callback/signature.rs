//! Signatures by the Standard Webhooks specification, symmetric: `v1,` and the HMAC-SHA256 of id, time and body.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stepstream_shared::id::TenantId;

/// Sizes of a key, as the specification has them, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const PREFIX: &str = "whsec_";

/// Why a text is no secret. The text itself is never shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    #[error("a webhook secret starts with `{PREFIX}`")]
    Prefix,
    #[error("what follows `{PREFIX}` is not base64")]
    Encoding,
    #[error("the key of a webhook secret has 24 to 64 bytes, not {0}")]
    Length(usize),
    /// A padded key without its prefix looks like this, too.
    #[error("what stands before `=` is no tenant: a secret is `whsec_…` or `tenant_…=whsec_…`")]
    Tenant,
}

/// A key that callbacks are signed by.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl FromStr for Secret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(BadSecret::Prefix)?;
        let key = STANDARD.decode(encoded).map_err(|_| BadSecret::Encoding)?;
        if KEY_BYTES.contains(&key.len()) { Ok(Secret(key)) } else { Err(BadSecret::Length(key.len())) }
    }
}

impl Secret {
    /// The signature of a message, with its version. `timestamp` in whole seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// The keys of an installation: one for everybody, others for tenants. Several for the same sign side by side, so that a
/// key can be changed without a moment at which nobody can check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    everybody: Vec<Secret>,
    tenants: BTreeMap<TenantId, Vec<Secret>>,
}

impl Secrets {
    /// The keys that a tenant's callbacks are signed by: its own if it has any.
    pub fn of(&self, tenant: &TenantId) -> &[Secret] {
        self.tenants.get(tenant).unwrap_or(&self.everybody)
    }
}

/// `whsec_…` for everybody, `tenant_…=whsec_…` for one tenant, several separated by commas.
impl FromStr for Secrets {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let mut secrets = Secrets::default();
        for each in text.split(',').map(str::trim).filter(|each| !each.is_empty()) {
            match each.split_once('=').filter(|(name, _)| !name.starts_with(PREFIX)) {
                Some((tenant, secret)) => {
                    let id: TenantId = tenant.parse().map_err(|_| BadSecret::Tenant)?;
                    secrets.tenants.entry(id).or_default().push(secret.parse()?);
                }
                None => secrets.everybody.push(each.parse()?),
            }
        }
        Ok(secrets)
    }
}
