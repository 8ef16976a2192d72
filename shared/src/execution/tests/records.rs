//! Events that put something on record and change nothing else.

use serde_json::json;

use super::scenario::*;
use crate::data::Data;
use crate::event::decision::{MAX_GROUNDS, decision_id};
use crate::event::{
    DecisionAlternative, DecisionRecord, DecisionType, EventData, GoalStatus, ModelContext, Note, StepSourceType,
};
use crate::execution::{Command, Rejection, WaitReason};
use crate::id::ArtifactId;

fn notes(step: u32) -> Vec<EventData> {
    let some = Some(step);
    vec![
        EventData::ArtifactStored {
            artifact: ArtifactId::from_bytes([1; 20]),
            step: some,
            content_hash: "blake3:00".to_owned(),
            size_bytes: 3,
            record: None,
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
        EventData::ToolCallCompleted {
            step: some,
            tool_call_id: "1".to_owned(),
            output: data(&json!([1])),
            error: None,
        },
        EventData::DecisionRecorded { step: some, record: Box::new(decided()) },
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

fn decided() -> DecisionRecord {
    DecisionRecord::new(DecisionType::Routing, "left", 0.5)
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

#[test]
fn decisions_are_counted_and_the_last_one_can_be_found() {
    let mut scenario = given("nodes: { a: { task: t } }");
    scenario.starts(json!({}));
    assert_eq!((scenario.execution.decisions().count, scenario.execution.decisions().last), (0, 0));
    let result = Box::new(scenario.completed("a", &json!(1)));
    let notes = vec![Note::Decision(Box::new(decided())), Note::Decision(Box::new(decided()))];
    scenario.when(Command::Noted { notes, result });
    scenario.records("step_started decision_recorded decision_recorded step_completed execution_completed");
    let decisions = scenario.execution.decisions();
    assert_eq!((decisions.count, decisions.last), (2, 6));
    let id = scenario.execution.id();
    assert_ne!(decision_id(id, 5), decision_id(id, 6));
    assert!(decision_id(id, 6).to_string().starts_with("dec_"));
}

#[test]
fn a_decision_with_shares_out_of_range_or_too_many_grounds_is_refused() {
    let mut all = decided();
    assert_eq!(all.problem(), None);
    all.confidence = 1.0;
    all.inputs.facts = vec!["f".to_owned(); MAX_GROUNDS];
    all.alternatives = vec![DecisionAlternative { option: "right".to_owned(), score: 0.0, rejected_reason: None }];
    all.model_context = Some(ModelContext {
        provider: "p".to_owned(),
        model: "m".to_owned(),
        version: None,
        temperature: Some(0.0),
        max_tokens: None,
    });
    assert_eq!(all.problem(), None);
    let spoilt: [fn(&mut DecisionRecord); 9] = [
        |record| record.confidence = 1.01,
        |record| record.confidence = f64::NAN,
        |record| record.alternatives[0].score = -0.1,
        |record| record.model_context.as_mut().unwrap().temperature = Some(f64::INFINITY),
        |record| record.inputs.facts.push("f".to_owned()),
        |record| record.inputs.constraints = vec![String::new()],
        |record| record.outcome.clear(),
        |record| record.reasoning = Some("x".repeat(5000)),
        |record| record.model_context.as_mut().unwrap().provider.clear(),
    ];
    for spoil in spoilt {
        let mut record = all.clone();
        spoil(&mut record);
        assert!(record.problem().is_some(), "{record:?}");
        let mut scenario = given("nodes: { a: { task: t } }");
        scenario.starts(json!({}));
        let result = Box::new(scenario.completed("a", &json!(1)));
        scenario.when(Command::Noted { notes: vec![Note::Decision(Box::new(record))], result });
        scenario.then_fails_with("bad_notes");
    }
}

#[test]
fn a_call_of_a_tool_that_failed_is_on_record_as_such_and_the_attempt_goes_on() {
    let mut scenario = given("nodes: { a: { task: t } }");
    scenario.starts(json!({}));
    let result = Box::new(scenario.completed("a", &json!(1)));
    let failure = Some(Box::new(error(crate::error::ErrorCategory::ToolError)));
    let call = Note::ToolCall {
        id: "1".to_owned(),
        name: "search".to_owned(),
        input: Data::null(),
        output: Data::null(),
        error: failure.clone(),
    };
    scenario.when(Command::Noted { notes: vec![call], result }).is(crate::execution::ExecutionState::Completed);
    let recorded = scenario.log.last().unwrap().events.iter().find_map(|event| match event {
        EventData::ToolCallCompleted { error, .. } => Some(error.clone()),
        _ => None,
    });
    assert_eq!(recorded, Some(failure));
}
