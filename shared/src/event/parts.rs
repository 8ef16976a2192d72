//! What events are made of: where inputs come from, why steps were skipped, how executions end, who started them.

use serde::{Deserialize, Serialize};

use super::child::Share;
use crate::data::Data;
use crate::error::ExecutionError;
use crate::id::{ExecutionId, StepId};

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where a step's input comes from. A value that the log holds already is named, not copied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Input {
    #[default]
    #[serde(rename = "n")]
    None,
    #[serde(rename = "v")]
    Value(Data),
    /// The inputs of the execution.
    #[serde(rename = "i")]
    Inputs,
    /// The output of a step.
    #[serde(rename = "o")]
    Output(u32),
    /// The map's item at the step's index.
    #[serde(rename = "x")]
    Item,
    /// `{idempotency_key, attempt, input}` of the step that is in doubt: its idempotency key.
    #[serde(rename = "d")]
    Doubted(String),
    /// `{input, output}` of the step that is undone.
    #[serde(rename = "u")]
    Undone,
    /// The input of a step: of one that enters a graph, the inputs of that graph.
    #[serde(rename = "g")]
    Given(u32),
}

impl Input {
    pub fn is_none(&self) -> bool {
        matches!(self, Input::None)
    }
}

/// How an execution ends once everything is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    #[serde(rename = "f")]
    Failed {
        #[serde(rename = "e")]
        error: ExecutionError,
        /// The step that brought it down.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
    },
    #[serde(rename = "c")]
    Cancelled {
        #[serde(rename = "r")]
        reason: String,
    },
}

impl Ending {
    /// In words, for those who end with it.
    pub fn reason(&self) -> String {
        match self {
            Ending::Failed { error, .. } => format!("its parent failed: {}", error.message),
            Ending::Cancelled { reason } => reason.clone(),
        }
    }

    /// The state that it ends in.
    pub const fn name(&self) -> &'static str {
        match self {
            Ending::Failed { .. } => "Failed",
            Ending::Cancelled { .. } => "Cancelled",
        }
    }
}

/// How many undo steps ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Undone {
    #[serde(rename = "d", default, skip_serializing_if = "is_default")]
    pub done: u32,
    /// For good: what they should have undone may stand.
    #[serde(rename = "f", default, skip_serializing_if = "is_default")]
    pub failed: u32,
}

/// A step that is born skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewStep {
    #[serde(rename = "n")]
    pub node: u32,
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub iterations: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SkipReason {
    /// No edge to the node was taken.
    #[serde(rename = "n")]
    NotTaken,
    /// The execution failed while the step was open.
    #[serde(rename = "f")]
    ExecutionFailed,
    #[serde(rename = "c")]
    ExecutionCancelled,
    /// An `end` node completed the execution while the step was open.
    #[serde(rename = "e")]
    ExecutionEnded,
    /// Another item of the same map failed for good.
    #[serde(rename = "m")]
    MapFailed,
    /// The goal of the discovery that it belongs to is met.
    #[serde(rename = "g")]
    GoalMet,
    /// It ran only for a race that another branch has won.
    #[serde(rename = "l")]
    Lost,
    /// The graph that it is a step of was taken in by another one, and is over: it failed, or an `end` ended it.
    #[serde(rename = "s")]
    SubGraphOver,
    /// What it was to find out is known.
    #[serde(rename = "r")]
    Resolved,
}

impl SkipReason {
    pub const fn name(self) -> &'static str {
        match self {
            SkipReason::NotTaken => "not_taken",
            SkipReason::ExecutionFailed => "execution_failed",
            SkipReason::ExecutionCancelled => "execution_cancelled",
            SkipReason::ExecutionEnded => "execution_ended",
            SkipReason::MapFailed => "map_failed",
            SkipReason::GoalMet => "goal_met",
            SkipReason::Lost => "lost",
            SkipReason::SubGraphOver => "sub_graph_over",
            SkipReason::Resolved => "resolved",
        }
    }
}

/// What started an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentLink {
    #[serde(rename = "i")]
    pub parent_id: String,
    #[serde(rename = "t")]
    pub parent_type: ParentType,
    /// Whose step it is, of a child that is told of its end.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionId>,
    /// How deep the child lies under the execution that nobody started.
    #[serde(rename = "d", default, skip_serializing_if = "is_default")]
    pub depth: u32,
    /// What the child may spend of its parent's purse.
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    pub share: Share,
}

impl ParentLink {
    /// Of something that is no execution.
    pub fn of(parent_type: ParentType, parent_id: String) -> Self {
        ParentLink { parent_id, parent_type, execution: None, depth: 0, share: Share::default() }
    }

    /// Of a child that a step of another execution wants.
    pub fn of_step(parent: ExecutionId, step: StepId, depth: u32, share: Share) -> Self {
        ParentLink {
            parent_id: step.to_string(),
            parent_type: ParentType::StepExecution,
            execution: Some(parent),
            depth,
            share,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentType {
    UserMessage,
    ScheduleEvent,
    /// A step of another execution.
    StepExecution,
    /// Another execution as a whole.
    Execution,
    Webhook,
    A2aRequest,
    System,
    AssistantMessage,
    ThreadStart,
    ToolResult,
}

/// The log that this one continues: its own events begin after that place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    #[serde(rename = "x")]
    pub execution: ExecutionId,
    #[serde(rename = "n")]
    pub sequence: u64,
    #[serde(rename = "h", with = "serde_bytes")]
    pub hash: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepSourceType {
    #[default]
    InitialPlan,
    Discovered,
    Retry,
    UserGuidance,
    ToolResult,
    LlmOutput,
    A2aMessage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoalStatus {
    Met,
    NotMet,
    Progressing,
}
