//! Events that put something on record and change nothing else.

use serde_json::json;

use super::scenario::*;
use crate::data::Data;
use crate::event::{EventData, GoalStatus, StepSourceType};
use crate::execution::{Command, Rejection, WaitReason};
use crate::id::ArtifactId;

fn notes(step: u32) -> Vec<EventData> {
    let some = Some(step);
    vec![
        EventData::ArtifactStored {
            artifact: ArtifactId::from_bytes([1; 20]),
            step,
            content_hash: "blake3:00".to_owned(),
            size_bytes: 3,
        },
        EventData::StepDiscovered {
            name: "found".to_owned(),
            discovered_by: some,
            source_type: StepSourceType::LlmOutput,
            reason: "why".to_owned(),
            depth: 1,
            map: None,
            input: Data::null(),
        },
        EventData::ToolCallStarted {
            step: some,
            tool_call_id: "1".to_owned(),
            tool_name: "search".to_owned(),
            input: data(&json!({"q": 1})),
        },
        EventData::ToolCallCompleted { step: some, tool_call_id: "1".to_owned(), output: data(&json!([1])) },
        EventData::CheckpointSaved { step: some, checkpoint_id: "c".to_owned(), state_hash: "00".to_owned() },
        EventData::GoalEvaluated {
            step: some,
            goal_id: "g".to_owned(),
            status: GoalStatus::Progressing,
            score: Some(0.5),
            reason: None,
        },
        EventData::Custom { step: some, event_type: "mine".to_owned(), data: data(&json!(null)) },
    ]
}

fn record(event: EventData) -> Command {
    Command::Record(Box::new(event))
}

#[test]
fn a_note_is_recorded_in_every_state_that_runs_or_is_held() {
    let mut scenario = given("nodes: { a: { task: t } }");
    scenario.starts(json!({}));
    for hold in
        [None, Some(Command::Wait { reason: WaitReason::Signal }), Some(Command::Pause { reason: "x".to_owned() })]
    {
        if let Some(hold) = hold {
            scenario.when(hold);
        }
        let state = scenario.execution.state();
        for note in notes(0) {
            let kind = note.name();
            scenario.when(record(note)).records(kind).is(state).then("a due");
        }
    }
}

#[test]
fn a_note_about_a_step_that_there_is_not_is_refused() {
    let mut scenario = given("nodes: { a: { task: t } }");
    scenario.starts(json!({}));
    for note in notes(1) {
        assert_eq!(scenario.refused(record(note)), Rejection::UnknownStep(1));
    }
}

#[test]
fn only_notes_are_recorded_by_request() {
    let mut scenario = given("nodes: { a: { task: t } }");
    scenario.starts(json!({}));
    let fabricated = [
        EventData::ExecutionCompleted { output: data(&json!("mine")) },
        EventData::ExecutionResumed {},
        EventData::StepCompleted {
            step: 0,
            attempt: 1,
            output: data(&json!(1)),
            duration_us: 0,
            taken: None,
            routing_error: None,
        },
        EventData::MapExpanded { step: 0, items: data(&json!([])) },
    ];
    for event in fabricated {
        let kind = event.name();
        assert_eq!(scenario.refused(record(event)), Rejection::NotRecordable(kind));
    }
}
