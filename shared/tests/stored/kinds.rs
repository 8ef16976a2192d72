//! One event of each kind, with every field that the kind has.

use serde_json::{Value, json};
use stepstream_shared::background::TargetType;
use stepstream_shared::cost::Money;
use stepstream_shared::data::Data;
use stepstream_shared::error::{ErrorCategory, ErrorCode, ExecutionError};
use stepstream_shared::event::message::{EvidenceImpact, EvidenceSource};
use stepstream_shared::event::{
    ApprovalPolicy, CancellationPolicy, ChildState, ControlAction, ControlOutcome, DeadReason, DecisionAlternative,
    DecisionInputs, DecisionRecord, DecisionType, DoubtCause, Ending, EventData, GoalStatus, Input, Message,
    ModelContext, NewStep, Origin, ParentLink, ParentType, Resolution, Share, SkipReason, Spent, StepSourceType,
    Violation, Wait,
};
use stepstream_shared::execution::WaitReason;
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::{ArtifactId, ControlId, ExecutionId};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::ClaimId;

fn data(value: Value) -> Data {
    Data::from_json(&value).unwrap()
}

fn error() -> ExecutionError {
    let mut error = ExecutionError::new(ErrorCategory::NetworkError, "the other side hung up");
    error.code = Some(ErrorCode::new("connection_reset"));
    error.http_status = Some(503);
    error.retry_after_ms = Some(2500);
    error.details = Some(data(json!({"host": "example.org", "tries": 3})));
    error
}

pub(crate) fn all() -> Vec<EventData> {
    let text = str::to_owned;
    vec![
        EventData::ExecutionCreated {
            graph: GraphDigest::from_bytes([11; 20]),
            graph_name: text("review-orders"),
            inputs: data(json!({"url": "https://example.org", "n": [1, -2, 3.5, null, true]})),
            planning: true,
            parent: Some(Box::new(ParentLink {
                parent_id: text("step_1"),
                parent_type: ParentType::StepExecution,
                execution: None,
                depth: 0,
                share: Share::default(),
            })),
            origin: Some(Origin { execution: ExecutionId::from_bytes([12; 20]), sequence: 40, hash: vec![13; 32] }),
            request_hash: Some(vec![14; 32]),
            metadata: Some(data(json!({"team": "orders"}))),
            limits: Box::default(),
            background: None,
            governed: false,
        },
        EventData::BackgroundQueued {},
        EventData::TargetBindingApplied {
            target: TargetType::MemoryWrite,
            path: Some(text("orders.last")),
            value: data(json!("paid")),
            error: Some(text("there is no field `x`")),
        },
        EventData::BackgroundRetryScheduled {
            next: ExecutionId::from_bytes([23; 20]),
            due: Timestamp::from_micros(1_700_000_060_000_000),
        },
        EventData::BackgroundRetryStarted {},
        EventData::ParentTold {},
        EventData::CallbackAttempted {
            attempt: 2,
            status: Some(500),
            error: Some(text("answered 500")),
            due: Timestamp::from_micros(1_700_000_070_000_000),
        },
        EventData::CallbackDelivered { attempt: 3, status: Some(204) },
        EventData::CallbackGivenUp { attempt: 10, status: Some(410), error: Some(text("gone")) },
        EventData::CallbackRenewed { control: ControlId::from_bytes([24; 20]) },
        EventData::ExecutionStarted {},
        EventData::ExecutionPaused { reason: text("lunch"), breakpoint: None },
        EventData::ExecutionResumed {},
        EventData::ExecutionWaiting { reason: WaitReason::CostThreshold, step: None, control: None },
        EventData::InputReceived { input: data(json!({"approved": true})), step: None, control: None },
        EventData::ExecutionCompleted { output: data(json!(["done", 7])) },
        EventData::ExecutionFailed { error: error(), step: Some(3), undone: None },
        EventData::ExecutionCancelled { reason: text("no more"), undone: None },
        EventData::CompensationStarted { ending: Ending::Failed { error: error(), step: Some(3) } },
        EventData::StepScheduled {
            step: 300,
            node: 2,
            iterations: vec![1, 4],
            parent: Some(7),
            index: Some(290),
            input: Input::Value(data(json!({"item": "x"}))),
            undoes: None,
        },
        EventData::StepStarted { step: 3, attempt: 2, worker: text("worker-7f3a"), claim: ClaimId(u128::MAX / 3) },
        EventData::StepClaimed {
            step: 3,
            attempt: 2,
            worker: text("worker-7f3a"),
            claim: ClaimId(u128::MAX / 3),
            lease_ms: 30_000,
        },
        EventData::StepInDoubt { step: 3, attempt: 2, cause: DoubtCause::TimedOut },
        EventData::ReconciliationScheduled { step: 9, of: 3, key: text("exec_1/step_3") },
        EventData::StepResolved {
            step: 3,
            attempt: 2,
            resolution: Resolution::Retry,
            control: Some(ControlId::from_bytes([8; 20])),
            reconciliation: Some(9),
        },
        EventData::StepDeadLettered {
            step: 3,
            attempt: 4,
            reason: DeadReason::Exhausted,
            error: error(),
            duration_us: 17,
        },
        EventData::StepCompleted {
            step: 3,
            attempt: 2,
            output: data(json!({"score": 0.25})),
            duration_us: 1_234_567,
            taken: Some(vec![0, 2]),
            routing_error: Some(Box::new(error())),
        },
        EventData::StepFailed {
            step: 3,
            attempt: 4,
            error: error(),
            duration_us: 99,
            taken: Some(vec![1]),
            given_up: false,
        },
        EventData::StepRetryScheduled {
            step: 3,
            attempt: 1,
            error: error(),
            duration_us: 99,
            due: Timestamp::from_micros(1_700_000_060_000_000),
            given_up: false,
        },
        EventData::StepRescheduled { step: 3, attempt: 2 },
        EventData::StepSkipped {
            step: 4,
            reason: SkipReason::NotTaken,
            new: Some(NewStep { node: 5, iterations: vec![2] }),
        },
        EventData::UsageRecorded {
            step: Some(3),
            model: text("some-model"),
            prompt_tokens: 1200,
            completion_tokens: 80,
            cost: Money::from_micros(4_750),
            attempt: None,
        },
        EventData::LimitWarned { limit: Violation::CostLimit, current: 4_000_000, max: 5_000_000, day: None },
        EventData::LimitReached { limit: Violation::TokenLimit, current: 1_001, max: 1_000, held: true, tenant: false },
        EventData::BudgetSet {
            control: ControlId::from_bytes([20; 20]),
            max_cost: Some(Money::from_micros(7_000_000)),
            max_tokens: Some(5_000),
        },
        EventData::ExecutionQuiescent {},
        EventData::ControlRecorded {
            control: ControlId::from_bytes([16; 20]),
            action: ControlAction::Pause,
            outcome: ControlOutcome::Denied,
            reason: Some(text("lunch")),
        },
        EventData::BreakpointSet { node: 4, on: true, control: None },
        EventData::StepWaiting {
            step: 6,
            wait: Wait::Approval { assignees: vec![text("ada"), text("bob")], policy: ApprovalPolicy::Quorum(2) },
        },
        EventData::PermitGranted { step: 6, attempt: 2, from: Some(Timestamp::from_micros(1_700_000_060_000_000)) },
        EventData::ChildSpawned {
            step: 6,
            child: ExecutionId::from_bytes([22; 20]),
            graph: text("settle-orders@2"),
            background: true,
            on_cancel: CancellationPolicy::Detach,
            inherit_inbox: false,
            share: Share::default(),
        },
        EventData::ChildStarted { step: 6 },
        EventData::ChildFinished { step: 6, state: ChildState::Cancelled, used: Spent::default() },
        EventData::SignalReceived {
            control: ControlId::from_bytes([17; 20]),
            name: text("order.paid"),
            correlation: Some(text("4711")),
            payload: data(json!({"amount": 12})),
        },
        EventData::SignalDelivered { signal: 12, step: 6 },
        EventData::ApprovalDecided {
            control: ControlId::from_bytes([18; 20]),
            step: 6,
            by: text("ada"),
            approved: true,
            comment: Some(text("go on")),
            form: data(json!({"limit": 5})),
        },
        EventData::InboxReceived {
            control: ControlId::from_bytes([19; 20]),
            message: Message::Evidence {
                source: EvidenceSource::ToolResult,
                title: text("the file is gone"),
                content: data(json!({"path": "a.txt"})),
                confidence: Some(0.75),
                impact: EvidenceImpact::ContradictsPlan,
            },
            inherited: None,
        },
        EventData::InboxForwarded { step: 6, messages: vec![14, 300] },
        EventData::InboxDelivered { step: 6, messages: vec![14, 300] },
        EventData::MapExpanded { step: 5, items: data(json!([{"id": 1}, {"id": 2}])) },
        EventData::ArtifactStored {
            artifact: ArtifactId::from_bytes([15; 20]),
            step: Some(3),
            content_hash: text("blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            size_bytes: 1 << 40,
            record: None,
        },
        EventData::StepDiscovered {
            name: text("look-closer"),
            discovered_by: Some(3),
            source_type: StepSourceType::LlmOutput,
            reason: text("the report was thin"),
            depth: 2,
            map: None,
            input: Data::null(),
        },
        EventData::ToolCallStarted {
            step: Some(3),
            tool_call_id: text("call-1"),
            tool_name: text("search"),
            input: data(json!({"query": "tulips"})),
        },
        EventData::ToolCallCompleted {
            step: Some(3),
            tool_call_id: text("call-1"),
            output: data(json!(["a", "b"])),
            error: None,
        },
        EventData::DecisionRecorded {
            step: Some(3),
            record: Box::new(DecisionRecord {
                decision_type: DecisionType::ToolSelection,
                outcome: text("search the archive"),
                confidence: 0.75,
                inputs: DecisionInputs {
                    facts: vec![text("the index is old")],
                    constraints: vec![text("no network")],
                    evidence_ids: vec![text("ctrl_1")],
                },
                alternatives: vec![DecisionAlternative {
                    option: text("ask a person"),
                    score: 0.25,
                    rejected_reason: Some(text("it is night")),
                }],
                model_context: Some(ModelContext {
                    provider: text("house"),
                    model: text("small-model"),
                    version: Some(text("3")),
                    temperature: Some(0.5),
                    max_tokens: Some(400),
                }),
                reasoning: Some(text("the archive is near")),
            }),
        },
        EventData::StoreRestored { incarnation: 2 },
        EventData::CheckpointSaved { step: Some(3), checkpoint_id: text("cp-1"), state_hash: text("00ff") },
        EventData::GoalEvaluated {
            step: Some(3),
            goal_id: text("goal-1"),
            status: GoalStatus::NotMet,
            score: Some(0.5),
            reason: Some(text("half of it")),
        },
        EventData::Custom { step: Some(3), event_type: text("invoice.sent"), data: data(json!({"number": "4711"})) },
    ]
}

/// The stored tags of all kinds there are, as the decoder itself lists them.
pub(crate) fn tags() -> Vec<String> {
    let refused = serde_json::from_value::<EventData>(json!({"no such kind": {}})).unwrap_err().to_string();
    let (_, list) = refused.split_once("expected one of ").expect("serde lists the kinds it knows");
    list.split(", ").map(|tag| tag.split('`').nth(1).expect("a quoted tag").to_owned()).collect()
}
