//! Maps whose items find more items.

use serde_json::json;

use super::scenario::*;
use crate::event::{GoalStatus, Note, StepSourceType};
use crate::execution::{Command, ExecutionState};

const LOOK: &str = "nodes: { look: { map: { over: [\"start\"], max_concurrency: 2, discover: { max_steps: 4, max_depth: 2, same_step_repeats: 1 } }, task: t } }";

fn found(name: &str) -> Note {
    let (name, input) = (name.to_owned(), data(&json!(name)));
    Note::Discovered { name, input, source: StepSourceType::LlmOutput, reason: "it looked promising".to_owned() }
}

fn goal(status: GoalStatus) -> Note {
    Note::Goal { id: "answer".to_owned(), status, score: Some(0.9), reason: None }
}

impl Scenario {
    /// A worker completes an item and notes this.
    #[track_caller]
    fn notes(&mut self, item: &str, notes: Vec<Note>) -> &mut Self {
        let result = Box::new(self.completed(item, &json!(item)));
        self.when(Command::Noted { notes, result })
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.log.last().unwrap().events.iter().map(crate::event::EventData::name).collect()
    }
}

#[test]
fn what_an_item_finds_is_worked_on_like_the_items_there_were() {
    let mut scenario = given(LOOK);
    scenario.starts(json!({})).notes("look[0]", vec![found("a"), found("b")]);
    scenario.records("step_started step_discovered step_discovered step_completed step_scheduled step_scheduled");
    scenario.then("look runs, look[0] ok, look[1] due, look[2] due");
    assert_eq!((scenario.input("look[1]"), scenario.input("look[2]")), (json!("a"), json!("b")));
    scenario.notes("look[1]", vec![found("c")]).completes("look[2]").completes("look[3]").is(ExecutionState::Completed);
    assert_eq!(scenario.execution.output().to_json(), json!(["look[0]", "look[1]", null, null]));
}

#[test]
fn an_item_that_fails_first_finds_its_work_when_it_succeeds() {
    let mut scenario = given(LOOK);
    scenario.starts(json!({}));
    let result = Box::new(scenario.failed("look[0]", error(crate::error::ErrorCategory::Timeout)));
    scenario.when(Command::Noted { notes: vec![found("a")], result });
    scenario.then("look runs, look[0] due").notes("look[0]", vec![found("a")]);
    scenario.then("look runs, look[0] ok, look[1] due");
}

#[test]
fn found_work_has_a_bound_of_number_depth_and_repetition_and_reaching_it_loses_nothing() {
    let mut scenario = given(LOOK);
    scenario.starts(json!({})).notes("look[0]", vec![found("a"), found("a"), found("b")]);
    assert_eq!(scenario.kinds().iter().filter(|kind| **kind == "limit_reached").count(), 1, "the same twice");
    scenario.notes("look[1]", vec![found("c")]).notes("look[3]", vec![found("d")]);
    assert!(scenario.kinds().contains(&"limit_reached"), "too deep");
    scenario.notes("look[2]", vec![found("e"), found("f")]);
    assert_eq!(scenario.kinds().iter().filter(|kind| **kind == "limit_reached").count(), 1, "too many");
    scenario.completes("look[4]").is(ExecutionState::Completed);
}

#[test]
fn a_goal_that_is_met_ends_the_search_and_one_that_is_not_does_not() {
    let mut scenario = given(LOOK);
    scenario.starts(json!({})).notes("look[0]", vec![found("a"), found("b"), goal(GoalStatus::Progressing)]);
    scenario.then("look runs, look[0] ok, look[1] due, look[2] due").notes("look[1]", vec![goal(GoalStatus::Met)]);
    scenario.then("look ok, look[0] ok, look[1] ok, look[2] skipped").is(ExecutionState::Completed);
}

#[test]
fn what_a_map_that_declares_no_discovery_finds_is_on_record_only() {
    let mut scenario = given("nodes: { look: { map: { over: [1] }, task: t } }");
    scenario.starts(json!({})).notes("look[0]", vec![found("a")]);
    scenario.records("step_started step_discovered step_completed step_completed execution_completed");
}

#[test]
fn notes_out_of_bounds_fail_the_step() {
    let long = Note::Custom { event_type: "x".repeat(300), data: data(&json!(1)) };
    given(LOOK).starts(json!({})).notes("look[0]", vec![long]).then_fails_with("bad_notes");
    given(LOOK).starts(json!({})).notes("look[0]", vec![found("a"); 300]).then_fails_with("bad_notes");
}

#[test]
fn a_goal_that_a_failed_attempt_claims_is_not_met() {
    let mut scenario =
        given("nodes: { look: { map: { over: [1, 2], collect: all_settled, discover: standard }, task: t } }");
    scenario.starts(json!({}));
    let result = Box::new(scenario.failed("look[0]", fatal()));
    scenario.when(Command::Noted { notes: vec![goal(GoalStatus::Met)], result });
    scenario.then("look runs, look[0] failed, look[1] due");
}
