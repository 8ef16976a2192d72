//! The options of callbacks, the same wherever a coordinator runs.

use clap::Args;
use stepstream_runtime::reach::{Allowed, BadAllowance};

use crate::callback::{BadSecret, CallbackOptions, Secrets};

/// Whom executions in the background may call back, and how that is signed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Callbacks")]
pub struct CallbackArgs {
    /// Key that callbacks are signed by, as Standard Webhooks have it: `whsec_…`, or `tenant_…=whsec_…` for one tenant;
    /// several separated by commas. Without one, executions with a callback URL are refused
    #[arg(long, value_name = "SECRET", env = "STEPSTREAM_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<String>,

    /// Call this host, address or network although it is not public, such as 10.1.0.0/16; several separated by commas
    #[arg(long, value_name = "HOST|CIDR", env = "STEPSTREAM_CALLBACK_ALLOW", value_delimiter = ',')]
    callback_allow: Vec<String>,

    /// Call plain http:// URLs, too
    #[arg(long, env = "STEPSTREAM_CALLBACK_ALLOW_HTTP")]
    callback_allow_http: bool,
}

/// What is wrong with these options.
#[derive(Debug, thiserror::Error)]
pub enum BadCallbackArgs {
    #[error("--webhook-secret: {0}")]
    Secret(#[from] BadSecret),
    #[error("--callback-allow: {0}")]
    Allowance(#[from] BadAllowance),
}

impl CallbackArgs {
    /// From the environment alone, for commands that have no such flags.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let list = env("STEPSTREAM_CALLBACK_ALLOW").unwrap_or_default();
        CallbackArgs {
            webhook_secret: env("STEPSTREAM_WEBHOOK_SECRET"),
            callback_allow: list.split(',').filter(|each| !each.is_empty()).map(str::to_owned).collect(),
            callback_allow_http: env("STEPSTREAM_CALLBACK_ALLOW_HTTP")
                .is_some_and(|value| matches!(value.as_str(), "1" | "true" | "yes" | "on")),
        }
    }

    /// # Errors
    /// For a secret that is none, and for what is neither a host nor a network. Secrets are not shown.
    pub fn options(&self) -> Result<CallbackOptions, BadCallbackArgs> {
        let secrets: Secrets = self.webhook_secret.as_deref().unwrap_or_default().parse()?;
        let allow = self.callback_allow.iter().map(|each| each.trim().parse::<Allowed>()).collect::<Result<_, _>>()?;
        Ok(CallbackOptions { secrets, allow_http: self.callback_allow_http, allow })
    }
}
