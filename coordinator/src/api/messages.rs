//! Messages to a running execution: its inbox.

use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use stepstream_shared::event::Message;
use stepstream_shared::event::message::{
    EvidenceImpact, EvidenceSource, GuidancePriority, GuidanceSource, InboxAction,
};
use stepstream_shared::execution::Steering;
use utoipa::ToSchema;

use super::asking::{Asked, Asking, data};
use super::body::Json;
use super::problem::Problem;

/// A message, most urgent kinds first.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum MessageBody {
    Control {
        action: ControlWord,
        #[serde(default)]
        reason: Option<String>,
    },
    Evidence {
        /// discovery, tool_result, external or memory.
        #[serde(default = "from_outside")]
        #[schema(value_type = String, required = false)]
        source: EvidenceSource,
        title: String,
        #[serde(default)]
        #[schema(required = false)]
        content: Value,
        /// 0 to 1.
        #[serde(default)]
        confidence: Option<f64>,
        /// informational, requires_review or contradicts_plan.
        #[serde(default = "informational")]
        #[schema(value_type = String, required = false)]
        impact: EvidenceImpact,
    },
    Guidance {
        /// user, system or agent.
        #[serde(default = "a_user")]
        #[schema(value_type = String, required = false)]
        from: GuidanceSource,
        content: String,
        #[serde(default)]
        #[schema(required = false)]
        context: Value,
        /// low, medium or high.
        #[serde(default)]
        #[schema(value_type = String, required = false)]
        priority: GuidancePriority,
    },
    /// From another agent.
    A2a {
        /// Whoever asks, if it is not given.
        #[serde(default)]
        from_agent: Option<String>,
        message_type: String,
        #[serde(default)]
        #[schema(required = false)]
        payload: Value,
    },
}

/// What is asked of whoever works on the execution (checkpoint, compact), or of the execution itself.
#[derive(Deserialize, ToSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum ControlWord {
    Checkpoint,
    Compact,
    Pause,
    Resume,
    Cancel,
}

fn from_outside() -> EvidenceSource {
    EvidenceSource::External
}

fn informational() -> EvidenceImpact {
    EvidenceImpact::Informational
}

fn a_user() -> GuidanceSource {
    GuidanceSource::User
}

impl MessageBody {
    /// What it asks for. Pausing, resuming and cancelling are done at once and wait in no inbox.
    fn steering(self, by: &str) -> Result<Steering, Problem> {
        let message = match self {
            MessageBody::Control { action: ControlWord::Pause, reason } => {
                return Ok(Steering::Pause { reason: reason.unwrap_or_else(|| "paused by a message".to_owned()) });
            }
            MessageBody::Control { action: ControlWord::Resume, reason } => return Ok(Steering::Resume { reason }),
            MessageBody::Control { action: ControlWord::Cancel, reason } => {
                return Ok(Steering::Cancel { reason: reason.unwrap_or_else(|| "cancelled by a message".to_owned()) });
            }
            MessageBody::Control { action: ControlWord::Checkpoint, reason } => {
                Message::Control { action: InboxAction::Checkpoint, reason }
            }
            MessageBody::Control { action: ControlWord::Compact, reason } => {
                Message::Control { action: InboxAction::Compact, reason }
            }
            MessageBody::Evidence { source, title, content, confidence, impact } => {
                Message::Evidence { source, title, content: data(&content, "content")?, confidence, impact }
            }
            MessageBody::Guidance { from, content, context, priority } => {
                Message::Guidance { from, content, context: data(&context, "context")?, priority }
            }
            MessageBody::A2a { from_agent, message_type, payload } => Message::A2a {
                from_agent: from_agent.unwrap_or_else(|| by.to_owned()),
                message_type,
                payload: data(&payload, "payload")?,
            },
        };
        Ok(Steering::Send { message })
    }
}

/// Send a message to a running execution.
///
/// The next step whose task says `inbox: true` takes what has come, the most urgent first; expressions see the latest
/// guidance and evidence as `inbox`. `pause`, `resume` and `cancel` are carried out at once.
#[utoipa::path(
    post,
    path = "/v1/executions/{execution_id}/messages",
    operation_id = "sendMessage",
    tag = "steering",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    request_body = MessageBody,
    responses(
        (status = 202, description = "In the inbox, or done", body = Asked),
        (status = 400, description = "It is too long, or out of range", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "It is over", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The inbox is full", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn send(asking: Asking, Json(body): Json<MessageBody>) -> Result<Response, Problem> {
    let what = body.steering(&asking.by)?;
    asking.carry_out(what).await
}
