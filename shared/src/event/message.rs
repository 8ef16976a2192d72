//! Messages to a running execution: its inbox.
//!
//! Kinds, sources and order are those of the original specification.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::data::Data;

/// Most urgent first: control, contradicting evidence, evidence, urgent guidance, guidance, agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Asked of whoever works on the execution. Pausing, resuming and cancelling are not messages: they are done.
    #[serde(rename = "c")]
    Control {
        #[serde(rename = "a")]
        action: InboxAction,
        #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    #[serde(rename = "e")]
    Evidence {
        #[serde(rename = "s")]
        source: EvidenceSource,
        #[serde(rename = "t")]
        title: String,
        #[serde(rename = "d", default, skip_serializing_if = "Data::is_null")]
        content: Data,
        /// 0 to 1.
        #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
        confidence: Option<f64>,
        #[serde(rename = "i")]
        impact: EvidenceImpact,
    },
    #[serde(rename = "g")]
    Guidance {
        #[serde(rename = "f")]
        from: GuidanceSource,
        #[serde(rename = "t")]
        content: String,
        #[serde(rename = "d", default, skip_serializing_if = "Data::is_null")]
        context: Data,
        #[serde(rename = "p", default, skip_serializing_if = "is_medium")]
        priority: GuidancePriority,
    },
    /// From another agent.
    #[serde(rename = "a")]
    A2a {
        #[serde(rename = "f")]
        from_agent: String,
        #[serde(rename = "t")]
        message_type: String,
        #[serde(rename = "d", default, skip_serializing_if = "Data::is_null")]
        payload: Data,
    },
}

fn is_medium(priority: &GuidancePriority) -> bool {
    *priority == GuidancePriority::Medium
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$of])* $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The variant of this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|each| each.name() == name)
            }
        }
    )+};
}

words! {
    /// What is asked of whoever works on the execution.
    InboxAction {
        /// Save where you are.
        Checkpoint = "checkpoint",
        /// Make your context smaller.
        Compact = "compact",
    }
    /// Where evidence comes from.
    EvidenceSource { Discovery = "discovery", ToolResult = "tool_result", External = "external", Memory = "memory" }
    /// What evidence means for the plan.
    EvidenceImpact {
        Informational = "informational",
        RequiresReview = "requires_review",
        ContradictsPlan = "contradicts_plan",
    }
    /// Who guides.
    GuidanceSource { User = "user", System = "system", Agent = "agent" }
    /// How urgent guidance is.
    #[derive(Default)]
    GuidancePriority {
        Low = "low",
        #[default]
        Medium = "medium",
        High = "high",
    }
}

impl Message {
    /// The rank by which messages are delivered; first come, first served within one.
    pub const fn order(&self) -> u8 {
        match self {
            Message::Control { .. } => 0,
            Message::Evidence { impact: EvidenceImpact::ContradictsPlan, .. } => 1,
            Message::Evidence { .. } => 2,
            Message::Guidance { priority: GuidancePriority::High, .. } => 3,
            Message::Guidance { .. } => 4,
            Message::A2a { .. } => 5,
        }
    }

    pub const fn kind(&self) -> &'static str {
        match self {
            Message::Control { .. } => "control",
            Message::Evidence { .. } => "evidence",
            Message::Guidance { .. } => "guidance",
            Message::A2a { .. } => "a2a",
        }
    }

    /// The value of a user in it.
    pub const fn payload(&self) -> Option<&Data> {
        match self {
            Message::Control { .. } => None,
            Message::Evidence { content: value, .. }
            | Message::Guidance { context: value, .. }
            | Message::A2a { payload: value, .. } => Some(value),
        }
    }

    /// About as many as it takes.
    pub fn bytes(&self) -> usize {
        let text = match self {
            Message::Control { reason, .. } => reason.as_ref().map_or(0, String::len),
            Message::Evidence { title, .. } => title.len(),
            Message::Guidance { content, .. } => content.len(),
            Message::A2a { from_agent, message_type, .. } => from_agent.len() + message_type.len(),
        };
        text + self.payload().map_or(0, Data::len) + 100
    }

    pub(crate) const fn payload_mut(&mut self) -> Option<&mut Data> {
        match self {
            Message::Control { .. } => None,
            Message::Evidence { content: value, .. }
            | Message::Guidance { context: value, .. }
            | Message::A2a { payload: value, .. } => Some(value),
        }
    }

    /// As programs outside read it, under full names.
    pub fn to_json(&self) -> Value {
        match self {
            Message::Control { action, reason } => json!({"type": "control", "action": action, "reason": reason}),
            Message::Evidence { source, title, content, confidence, impact } => json!({
                "type": "evidence", "source": source, "title": title, "content": content, "confidence": confidence,
                "impact": impact,
            }),
            Message::Guidance { from, content, context, priority } => json!({
                "type": "guidance", "from": from, "content": content, "context": context, "priority": priority,
            }),
            Message::A2a { from_agent, message_type, payload } => json!({
                "type": "a2a", "from_agent": from_agent, "message_type": message_type, "payload": payload,
            }),
        }
    }
}
