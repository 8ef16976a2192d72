//! What the stock callable `http` may reach.

use clap::Args;
use stepstream_runtime::reach::{Allowed, BadAllowance, BadScope, Reach, Scope};

const REACH: &str = "STEPSTREAM_HTTP_REACH";
const ALLOW: &str = "STEPSTREAM_HTTP_ALLOW";

/// The options about the network, the same wherever a worker runs.
#[derive(Debug, Clone, Default, Args)]
pub struct HttpArgs {
    /// What the callable `http` may reach: anything, public (addresses of the Internet only), or nothing
    #[arg(long, value_name = "SCOPE", env = REACH, default_value_t)]
    http_reach: Scope,

    /// Reach this host, address or network whatever --http-reach says, such as 10.1.0.0/16; several separated by commas
    #[arg(long, value_name = "HOST|CIDR", env = ALLOW, value_delimiter = ',')]
    http_allow: Vec<Allowed>,
}

/// What is wrong with a variable of the environment.
#[derive(Debug, thiserror::Error)]
pub enum BadHttpArgs {
    #[error("{REACH}: {0}")]
    Scope(#[from] BadScope),
    #[error("{ALLOW}: {0}")]
    Allowance(#[from] BadAllowance),
}

impl HttpArgs {
    /// From the environment alone, for commands that have no such flags.
    ///
    /// # Errors
    /// For what is no scope, and what is neither a host nor a network.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, BadHttpArgs> {
        let given = |name: &str| env(name).filter(|text| !text.is_empty());
        let http_reach = given(REACH).map_or(Ok(Scope::default()), |text| text.parse())?;
        let list = given(ALLOW).unwrap_or_default();
        let list = list.split(',').map(str::trim).filter(|each| !each.is_empty());
        Ok(HttpArgs { http_reach, http_allow: list.map(str::parse).collect::<Result<_, _>>()? })
    }

    pub fn reach(&self) -> Reach {
        Reach::new(self.http_reach, self.http_allow.clone(), "--http-allow")
    }
}
