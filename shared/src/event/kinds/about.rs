//! What is said of every kind of event: its name, the step it is about, the values of users in it.

use super::EventData;
use crate::data::Data;
use crate::error::ExecutionError;
use crate::event::parts::{Ending, Input};

impl EventData {
    /// The name by which the kind is known outside, in snake case.
    pub const fn name(&self) -> &'static str {
        match self {
            EventData::ExecutionCreated { .. } => "execution_created",
            EventData::ExecutionStarted {} => "execution_started",
            EventData::ExecutionPaused { .. } => "execution_paused",
            EventData::ExecutionResumed {} => "execution_resumed",
            EventData::ExecutionWaiting { .. } => "execution_waiting",
            EventData::InputReceived { .. } => "input_received",
            EventData::ExecutionQuiescent {} => "execution_quiescent",
            EventData::StoreRestored { .. } => "store_restored",
            EventData::ControlRecorded { .. } => "control_recorded",
            EventData::BreakpointSet { .. } => "breakpoint_set",
            EventData::BackgroundQueued {} => "background_queued",
            EventData::TargetBindingApplied { .. } => "target_binding_applied",
            EventData::BackgroundRetryScheduled { .. } => "background_retry_scheduled",
            EventData::BackgroundRetryStarted {} => "background_retry_started",
            EventData::ParentTold {} => "parent_told",
            EventData::CallbackAttempted { .. } => "callback_attempted",
            EventData::CallbackDelivered { .. } => "callback_delivered",
            EventData::CallbackGivenUp { .. } => "callback_given_up",
            EventData::CallbackRenewed { .. } => "callback_renewed",
            EventData::ExecutionCompleted { .. } => "execution_completed",
            EventData::ExecutionFailed { .. } => "execution_failed",
            EventData::ExecutionCancelled { .. } => "execution_cancelled",
            EventData::CompensationStarted { .. } => "compensation_started",
            EventData::StepScheduled { .. } => "step_scheduled",
            EventData::StepStarted { .. } => "step_started",
            EventData::StepClaimed { .. } => "step_claimed",
            EventData::StepInDoubt { .. } => "step_in_doubt",
            EventData::ReconciliationScheduled { .. } => "reconciliation_scheduled",
            EventData::StepResolved { .. } => "step_resolved",
            EventData::StepDeadLettered { .. } => "step_dead_lettered",
            EventData::StepCompleted { .. } => "step_completed",
            EventData::StepFailed { .. } => "step_failed",
            EventData::StepRetryScheduled { .. } => "step_retry_scheduled",
            EventData::StepRescheduled { .. } => "step_rescheduled",
            EventData::StepSkipped { .. } => "step_skipped",
            EventData::StepWaiting { .. } => "step_waiting",
            EventData::PermitGranted { .. } => "permit_granted",
            EventData::ChildSpawned { .. } => "child_spawned",
            EventData::ChildStarted { .. } => "child_started",
            EventData::ChildFinished { .. } => "child_finished",
            EventData::SignalReceived { .. } => "signal_received",
            EventData::SignalDelivered { .. } => "signal_delivered",
            EventData::ApprovalDecided { .. } => "approval_decided",
            EventData::InboxReceived { .. } => "inbox_received",
            EventData::InboxDelivered { .. } => "inbox_delivered",
            EventData::InboxForwarded { .. } => "inbox_forwarded",
            EventData::MapExpanded { .. } => "map_expanded",
            EventData::ArtifactStored { .. } => "artifact_stored",
            EventData::StepDiscovered { .. } => "step_discovered",
            EventData::UsageRecorded { .. } => "usage_recorded",
            EventData::LimitWarned { .. } => "limit_warned",
            EventData::LimitReached { .. } => "limit_reached",
            EventData::BudgetSet { .. } => "budget_set",
            EventData::ToolCallStarted { .. } => "tool_call_started",
            EventData::ToolCallCompleted { .. } => "tool_call_completed",
            EventData::DecisionRecorded { .. } => "decision_recorded",
            EventData::CheckpointSaved { .. } => "checkpoint_saved",
            EventData::GoalEvaluated { .. } => "goal_evaluated",
            EventData::Custom { .. } => "custom",
        }
    }

    /// The step it is about.
    pub const fn step(&self) -> Option<u32> {
        match self {
            EventData::StepScheduled { step, .. }
            | EventData::StepStarted { step, .. }
            | EventData::StepClaimed { step, .. }
            | EventData::StepInDoubt { step, .. }
            | EventData::ReconciliationScheduled { step, .. }
            | EventData::StepResolved { step, .. }
            | EventData::StepDeadLettered { step, .. }
            | EventData::StepCompleted { step, .. }
            | EventData::StepFailed { step, .. }
            | EventData::StepRetryScheduled { step, .. }
            | EventData::StepRescheduled { step, .. }
            | EventData::StepSkipped { step, .. }
            | EventData::StepWaiting { step, .. }
            | EventData::PermitGranted { step, .. }
            | EventData::ChildSpawned { step, .. }
            | EventData::ChildStarted { step }
            | EventData::ChildFinished { step, .. }
            | EventData::SignalDelivered { step, .. }
            | EventData::ApprovalDecided { step, .. }
            | EventData::InboxDelivered { step, .. }
            | EventData::InboxForwarded { step, .. }
            | EventData::MapExpanded { step, .. } => Some(*step),
            EventData::ExecutionFailed { step, .. }
            | EventData::ExecutionWaiting { step, .. }
            | EventData::InputReceived { step, .. }
            | EventData::CompensationStarted { ending: Ending::Failed { step, .. } }
            | EventData::StepDiscovered { discovered_by: step, .. }
            | EventData::ArtifactStored { step, .. }
            | EventData::UsageRecorded { step, .. }
            | EventData::ToolCallStarted { step, .. }
            | EventData::ToolCallCompleted { step, .. }
            | EventData::DecisionRecorded { step, .. }
            | EventData::CheckpointSaved { step, .. }
            | EventData::GoalEvaluated { step, .. }
            | EventData::Custom { step, .. } => *step,
            EventData::ExecutionCreated { .. }
            | EventData::ExecutionStarted {}
            | EventData::ExecutionPaused { .. }
            | EventData::ExecutionResumed {}
            | EventData::ExecutionQuiescent {}
            | EventData::StoreRestored { .. }
            | EventData::ControlRecorded { .. }
            | EventData::BreakpointSet { .. }
            | EventData::SignalReceived { .. }
            | EventData::InboxReceived { .. }
            | EventData::LimitWarned { .. }
            | EventData::LimitReached { .. }
            | EventData::BudgetSet { .. }
            | EventData::BackgroundQueued {}
            | EventData::TargetBindingApplied { .. }
            | EventData::BackgroundRetryScheduled { .. }
            | EventData::BackgroundRetryStarted {}
            | EventData::ParentTold {}
            | EventData::CallbackAttempted { .. }
            | EventData::CallbackDelivered { .. }
            | EventData::CallbackGivenUp { .. }
            | EventData::CallbackRenewed { .. }
            | EventData::ExecutionCompleted { .. }
            | EventData::ExecutionCancelled { .. }
            | EventData::CompensationStarted { ending: Ending::Cancelled { .. } } => None,
        }
    }

    /// The values of users in this event: what is kept beside it, under a commitment, so that it can be erased.
    /// The order is part of the stored form.
    pub(crate) fn payloads(&mut self, mut visit: impl FnMut(&mut Data)) {
        let of_error = |error: &mut ExecutionError, visit: &mut dyn FnMut(&mut Data)| {
            if let Some(details) = &mut error.details {
                visit(details);
            }
        };
        match self {
            EventData::ExecutionCreated { inputs, metadata, .. } => {
                visit(inputs);
                if let Some(metadata) = metadata {
                    visit(metadata);
                }
            }
            EventData::InputReceived { input, .. } => visit(input),
            EventData::SignalReceived { payload, .. } => visit(payload),
            EventData::ApprovalDecided { form, .. } => visit(form),
            EventData::InboxReceived { message, .. } => {
                if let Some(value) = message.payload_mut() {
                    visit(value);
                }
            }
            EventData::TargetBindingApplied { value, .. } => visit(value),
            EventData::ExecutionCompleted { output } => visit(output),
            EventData::StepScheduled { input: Input::Value(input), .. } => visit(input),
            EventData::StepCompleted { output, routing_error, .. } => {
                visit(output);
                if let Some(error) = routing_error {
                    of_error(error, &mut visit);
                }
            }
            EventData::ExecutionFailed { error, .. }
            | EventData::CompensationStarted { ending: Ending::Failed { error, .. } }
            | EventData::StepFailed { error, .. }
            | EventData::StepDeadLettered { error, .. }
            | EventData::StepRetryScheduled { error, .. } => of_error(error, &mut visit),
            EventData::MapExpanded { items, .. } => visit(items),
            EventData::ToolCallStarted { input, .. } | EventData::StepDiscovered { input, .. } => visit(input),
            EventData::ToolCallCompleted { output, error, .. } => {
                visit(output);
                if let Some(error) = error {
                    of_error(error, &mut visit);
                }
            }
            EventData::Custom { data, .. } => visit(data),
            EventData::ArtifactStored { record: Some(record), .. } => visit(&mut record.metadata),
            EventData::BackgroundQueued {}
            | EventData::BackgroundRetryScheduled { .. }
            | EventData::BackgroundRetryStarted {}
            | EventData::ParentTold {}
            | EventData::CallbackAttempted { .. }
            | EventData::CallbackDelivered { .. }
            | EventData::CallbackGivenUp { .. }
            | EventData::CallbackRenewed { .. }
            | EventData::ExecutionStarted {}
            | EventData::ExecutionPaused { .. }
            | EventData::ExecutionResumed {}
            | EventData::ExecutionWaiting { .. }
            | EventData::ExecutionQuiescent {}
            | EventData::StoreRestored { .. }
            | EventData::ControlRecorded { .. }
            | EventData::BreakpointSet { .. }
            | EventData::StepWaiting { .. }
            | EventData::PermitGranted { .. }
            | EventData::ChildSpawned { .. }
            | EventData::ChildStarted { .. }
            | EventData::ChildFinished { .. }
            | EventData::SignalDelivered { .. }
            | EventData::InboxDelivered { .. }
            | EventData::InboxForwarded { .. }
            | EventData::ExecutionCancelled { .. }
            | EventData::CompensationStarted { ending: Ending::Cancelled { .. } }
            | EventData::StepScheduled { .. }
            | EventData::StepStarted { .. }
            | EventData::StepClaimed { .. }
            | EventData::StepInDoubt { .. }
            | EventData::ReconciliationScheduled { .. }
            | EventData::StepResolved { .. }
            | EventData::StepRescheduled { .. }
            | EventData::StepSkipped { .. }
            | EventData::ArtifactStored { record: None, .. }
            | EventData::UsageRecorded { .. }
            | EventData::LimitWarned { .. }
            | EventData::LimitReached { .. }
            | EventData::BudgetSet { .. }
            | EventData::DecisionRecorded { .. }
            | EventData::CheckpointSaved { .. }
            | EventData::GoalEvaluated { .. } => {}
        }
    }
}
