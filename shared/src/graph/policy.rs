//! The presets for executions that run for long, by the names and numbers of the original specification.

use std::time::Duration;

use super::compiled::Discover;
use crate::cost::Money;

/// Deepest discovery.
pub(crate) const MAX_DEPTH: u32 = 1000;
/// Most items that a map may find.
pub(crate) const MAX_FOUND: u32 = 100_000;

/// How closely an execution that runs for long is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LongRunningPolicy {
    #[default]
    Standard,
    Extended,
    Unlimited,
    Disabled,
}

impl LongRunningPolicy {
    pub const ALL: [LongRunningPolicy; 4] = [
        LongRunningPolicy::Standard,
        LongRunningPolicy::Extended,
        LongRunningPolicy::Unlimited,
        LongRunningPolicy::Disabled,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            LongRunningPolicy::Standard => "standard",
            LongRunningPolicy::Extended => "extended",
            LongRunningPolicy::Unlimited => "unlimited",
            LongRunningPolicy::Disabled => "disabled",
        }
    }

    /// How much the items of a map may add to it. Where the policy sets no bound, that of the installation holds.
    pub const fn discover(self) -> Discover {
        match self {
            LongRunningPolicy::Standard => Discover { max_steps: 50, max_depth: 5, same_step_repeats: 3 },
            LongRunningPolicy::Extended => Discover { max_steps: 300, max_depth: 10, same_step_repeats: 5 },
            LongRunningPolicy::Unlimited | LongRunningPolicy::Disabled => {
                Discover { max_steps: MAX_FOUND, max_depth: MAX_DEPTH, same_step_repeats: MAX_FOUND }
            }
        }
    }

    /// Somebody is asked once this much is spent.
    pub const fn cost_alert(self) -> Option<Money> {
        let dollars = match self {
            LongRunningPolicy::Standard => 5,
            LongRunningPolicy::Extended => 50,
            LongRunningPolicy::Unlimited => 100,
            LongRunningPolicy::Disabled => return None,
        };
        Some(Money::from_micros(dollars * 1_000_000))
    }

    /// How long nothing may happen while it runs.
    pub const fn idle_timeout(self) -> Option<Duration> {
        let seconds = match self {
            LongRunningPolicy::Standard => 1_800,
            LongRunningPolicy::Extended => 14_400,
            LongRunningPolicy::Unlimited => 86_400,
            LongRunningPolicy::Disabled => return None,
        };
        Some(Duration::from_secs(seconds))
    }
}
