//! A tenant that a worker serves, and its weight, as people write them.

use std::fmt;
use std::str::FromStr;

use stepstream_shared::fairness::{Weight, WeightError};
use stepstream_shared::id::{ParseIdError, TenantId};

/// `tenant_a`, or `tenant_a=3` for one that gets three times what a tenant without a weight gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantShare {
    pub tenant: TenantId,
    pub weight: Weight,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantShareError {
    #[error(transparent)]
    Tenant(#[from] ParseIdError),
    #[error(transparent)]
    Weight(#[from] WeightError),
}

impl FromStr for TenantShare {
    type Err = TenantShareError;

    fn from_str(text: &str) -> Result<Self, TenantShareError> {
        let (tenant, weight) = match text.split_once('=') {
            Some((tenant, weight)) => (tenant, weight.parse()?),
            None => (text, Weight::ONE),
        };
        Ok(TenantShare { tenant: tenant.parse()?, weight })
    }
}

impl fmt::Display for TenantShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight.is_one() {
            true => self.tenant.fmt(f),
            false => write!(f, "{}={}", self.tenant, self.weight),
        }
    }
}
