//! The actions of the original specification, each by the command or report that brings it: the state it leads to, the
//! event that keeps it under the original's name, and what of its payload the state keeps.

use serde_json::json;

use super::scenario::*;
use crate::error::ErrorCategory;
use crate::event::EventData;
use crate::execution::{Command, ExecutionState, StartRequest, StepState, WaitReason};

fn one() -> Scenario {
    let mut scenario = given("nodes: { a: { task: t, retry: { max_attempts: 1 } } }");
    scenario.starts(json!({"n": 1}));
    scenario
}

fn pause() -> Command {
    Command::Pause { reason: "lunch".to_owned() }
}

#[test]
fn start_is_execution_started_and_keeps_its_time() {
    let mut scenario = given("nodes: { a: { task: t } }");
    let request = StartRequest { planning: true, ..scenario.request(&json!({})) };
    scenario.when(Command::Create(Box::new(request))).is(ExecutionState::Planning);
    assert_eq!(scenario.execution.started_at(), None);
    scenario.after(std::time::Duration::from_secs(9)).when(Command::Start).records("execution_started step_scheduled");
    assert_eq!(
        (scenario.execution.state(), scenario.execution.started_at()),
        (ExecutionState::Running, Some(scenario.now))
    );
}

#[test]
fn step_started_is_on_record_with_its_worker_and_its_time() {
    let mut scenario = one();
    scenario.begins("a").records("step_started").is(ExecutionState::Running);
    let step = scenario.execution.step(0).unwrap();
    assert_eq!(
        (step.state(), step.worker(), step.started_at()),
        (StepState::Running, Some("worker-1"), Some(scenario.now))
    );
}

#[test]
fn step_completed_keeps_output_duration_and_end() {
    let mut scenario = one();
    scenario.begins("a").gives("a", json!({"x": [1, 2]})).records("step_completed execution_completed");
    let step = scenario.execution.step(0).unwrap();
    assert_eq!((step.state(), step.output().to_json()), (StepState::Completed, json!({"x": [1, 2]})));
    assert_eq!(step.ended_at(), Some(scenario.now));
    let duration = scenario.log.last().unwrap().events.iter().find_map(|event| match event {
        EventData::StepCompleted { duration_us, .. } => Some(*duration_us),
        _ => None,
    });
    assert_eq!(duration, Some(5));
}

#[test]
fn step_failed_keeps_the_error_with_its_category() {
    let mut scenario = one();
    scenario.begins("a").fails_with("a", error(ErrorCategory::NetworkError)).records("step_failed execution_failed");
    let step = scenario.execution.step(0).unwrap();
    assert_eq!((step.state(), step.error().unwrap().category), (StepState::Failed, ErrorCategory::NetworkError));
}

#[test]
fn pause_keeps_its_reason_and_resume_goes_on() {
    let mut scenario = one();
    scenario.when(pause()).records("execution_paused").is(ExecutionState::Paused).owes("");
    assert_eq!(scenario.execution.reason(), Some("lunch"));
    scenario.when(Command::Resume).records("execution_resumed").is(ExecutionState::Running).owes("a");
}

#[test]
fn wait_and_input_received_are_events_with_reason_and_payload() {
    let mut scenario = one();
    scenario.when(Command::Wait { reason: WaitReason::UserInput }).records("execution_waiting");
    scenario.is(ExecutionState::Waiting(WaitReason::UserInput));
    scenario.when(Command::Input { input: data(&json!({"answer": 42})) }).records("input_received");
    assert_eq!(scenario.execution.received().to_json(), json!({"answer": 42}));
    scenario.is(ExecutionState::Running);
}

#[test]
fn complete_fail_and_cancel_are_final_and_keep_why() {
    let mut done = one();
    done.gives("a", json!(7)).then_gives(json!(7));
    assert_eq!(done.execution.ended_at(), Some(done.now));
    let mut failed = one();
    failed.when(Command::Fail { error: fatal() }).records("step_skipped execution_failed").is(ExecutionState::Failed);
    assert_eq!(failed.execution.error(), Some(&fatal()));
    let mut cancelled = one();
    cancelled.when(Command::Cancel { reason: "enough".to_owned() }).records("step_skipped execution_cancelled");
    assert_eq!(cancelled.execution.reason(), Some("enough"));
    for mut over in [done, failed, cancelled] {
        let state = over.execution.state();
        for command in [pause(), Command::Resume, Command::Start, Command::Cancel { reason: "x".to_owned() }] {
            over.refused(command);
        }
        over.is(state);
    }
}

#[test]
fn a_refused_action_emits_nothing() {
    let mut scenario = one();
    let before = (scenario.execution.state_hash(), scenario.log.len());
    for command in
        [Command::Resume, Command::Start, Command::Input { input: data(&json!(1)) }, completed(7, 1, &json!(1))]
    {
        scenario.refused(command);
    }
    assert_eq!((scenario.execution.state_hash(), scenario.log.len()), before);
}
