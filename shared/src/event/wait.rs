//! What a step waits for, as it was decided when the wait began.

use serde::{Deserialize, Serialize};

use super::doubt::{DeadLetter, Doubt};
use super::permit::PermitAsk;
use crate::execution::WaitReason;
use crate::id::ExecutionId;
use crate::time::Timestamp;

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// For so long, in microseconds of the execution's own time, which stands still while it is paused.
    #[serde(rename = "t")]
    Timer {
        #[serde(rename = "f")]
        for_us: u64,
    },
    /// Until a moment, whatever happens meanwhile.
    #[serde(rename = "u")]
    Until {
        #[serde(rename = "a")]
        at: Timestamp,
    },
    #[serde(rename = "s")]
    Signal {
        #[serde(rename = "n")]
        name: String,
        /// The signal must bring the same; absent: it must bring none.
        #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
        correlation: Option<String>,
    },
    #[serde(rename = "a")]
    Approval {
        /// Who may decide; empty: anybody.
        #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
        assignees: Vec<String>,
        #[serde(rename = "p", default, skip_serializing_if = "is_any")]
        policy: ApprovalPolicy,
    },
    /// What somebody has to say.
    #[serde(rename = "i")]
    UserInput {
        /// Who may say it; empty: anybody.
        #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
        from: Vec<String>,
    },
    /// Another execution, which this step has wanted.
    #[serde(rename = "c")]
    Child {
        #[serde(rename = "x")]
        execution: ExecutionId,
    },
    /// A program outside reports when it is done.
    #[serde(rename = "x")]
    External {},
    /// What the attempt shares with other executions; no worker is asked for it before.
    #[serde(rename = "p")]
    Permit(PermitAsk),
    /// Somebody, or its `reconcile`, says what became of the attempt.
    #[serde(rename = "d")]
    Doubt(Box<Doubt>),
    /// Somebody redrives it, or says how it ends.
    #[serde(rename = "l")]
    DeadLetter(DeadLetter),
}

fn is_any(policy: &ApprovalPolicy) -> bool {
    *policy == ApprovalPolicy::Any
}

/// Who must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ApprovalPolicy {
    /// The first decision decides.
    #[default]
    #[serde(rename = "y")]
    Any,
    /// Everybody assigned has to agree.
    #[serde(rename = "a")]
    All,
    /// So many have to agree. Refused as soon as that cannot be reached; where anybody may decide, by as many refusals.
    #[serde(rename = "q")]
    Quorum(u32),
}

impl Wait {
    pub const fn reason(&self) -> WaitReason {
        match self {
            Wait::Timer { .. } | Wait::Until { .. } => WaitReason::Timer,
            Wait::Signal { .. } => WaitReason::Signal,
            Wait::Approval { .. } => WaitReason::Approval,
            Wait::UserInput { .. } => WaitReason::UserInput,
            Wait::Child { .. } => WaitReason::SubAgent,
            Wait::External {} => WaitReason::External,
            Wait::Permit(_) => WaitReason::RateLimit,
            Wait::Doubt(_) => WaitReason::InDoubt,
            Wait::DeadLetter(_) => WaitReason::DeadLetter,
        }
    }
}
