//! Executions that a step starts.

use serde_json::json;

use super::scenario::*;
use crate::data::Data;
use crate::error::ErrorCategory;
use crate::event::child::ChildEnding;
use crate::event::{ParentLink, ParentType, Share, Spent};
use crate::execution::{
    AfterEnd, ChildSpec, Command, ExecutionState, Rejection, Rest, StartRequest, Steering, WaitReason,
};
use crate::id::ExecutionId;

const ONE: &str = "nodes: { a: { task: t, next: { to: k } }, k: { graph: settle@2, with: { n: \"=steps.a.output\" }, next: [ { to: b }, { catch: any, to: sorry } ] }, b: { transform: \"=steps.k.output\" }, sorry: { transform: \"=error.code\" } }\noutput: \"=has(steps.b.output) ? steps.b.output : steps.sorry.output\"";

fn done(output: &serde_json::Value) -> ChildEnding {
    ChildEnding::Completed { output: data(output) }
}

impl Scenario {
    fn wanted(&self) -> Vec<ChildSpec> {
        self.execution.owed_children(&self.graph)
    }

    /// Whatever is wanted is started.
    #[track_caller]
    fn starts_children(&mut self) -> Vec<ExecutionId> {
        let wanted: Vec<ExecutionId> = self.wanted().into_iter().map(|spec| spec.child).collect();
        for child in &wanted {
            self.when(Command::ChildStarted { child: *child });
        }
        wanted
    }
}

#[test]
fn a_step_wants_a_child_waits_for_it_and_gives_what_it_gave() {
    let mut scenario = given(ONE);
    scenario.starts(json!({})).gives("a", json!(7)).is(ExecutionState::Waiting(WaitReason::SubAgent));
    scenario.records("step_started step_completed step_scheduled child_spawned step_waiting execution_waiting");
    let wanted = scenario.wanted();
    assert_eq!(
        (wanted[0].graph.as_str(), wanted[0].input.to_json(), wanted[0].depth),
        ("settle@2", json!({"n": 7}), 1)
    );
    let child = scenario.starts_children()[0];
    assert!(scenario.wanted().is_empty());
    assert_eq!(scenario.execution.awaited_children().collect::<Vec<_>>(), [child]);
    scenario
        .when(Command::ChildEnded { child, ending: done(&json!("settled")), used: Spent::default() })
        .then_gives(json!("settled"));
}

#[test]
fn what_is_told_twice_is_taken_once() {
    let mut scenario = given("nodes: { k: { graph: g, next: { to: b } }, b: { task: t } }");
    scenario.starts(json!({}));
    let child = scenario.starts_children()[0];
    assert!(matches!(scenario.refused(Command::ChildStarted { child }), Rejection::Refused(_)));
    scenario.when(Command::ChildEnded { child, ending: done(&json!(1)), used: Spent::default() });
    let again = Command::ChildEnded { child, ending: done(&json!(2)), used: Spent::default() };
    assert!(matches!(scenario.refused(again), Rejection::Refused(_)));
    let stranger = Command::ChildEnded {
        child: ExecutionId::from_bytes([9; 20]),
        ending: done(&json!(2)),
        used: Spent::default(),
    };
    assert!(matches!(scenario.refused(stranger), Rejection::Refused(_)));
}

#[test]
fn a_childs_end_may_be_told_before_its_beginning() {
    let mut scenario = given(ONE);
    scenario.starts(json!({})).completes("a");
    let child = scenario.wanted()[0].child;
    scenario.when(Command::ChildEnded { child, ending: done(&json!(1)), used: Spent::default() }).then_gives(json!(1));
}

#[test]
fn a_child_that_fails_or_is_cancelled_fails_its_step_and_an_edge_may_take_it() {
    let mut scenario = given(ONE);
    scenario.starts(json!({})).completes("a");
    let child = scenario.starts_children()[0];
    let ending = ChildEnding::Failed { error: error(ErrorCategory::NetworkError) };
    scenario.when(Command::ChildEnded { child, ending, used: Spent::default() }).is(ExecutionState::Failed);
    let mut scenario = given(ONE);
    scenario.starts(json!({})).completes("a");
    let child = scenario.starts_children()[0];
    let ending = ChildEnding::Cancelled { reason: "no more".to_owned() };
    scenario.when(Command::ChildEnded { child, ending, used: Spent::default() }).then_gives(json!("child_cancelled"));
}

#[test]
fn a_background_child_is_not_waited_for_and_is_there_before_its_parent_ends() {
    let mut scenario =
        given("nodes: { k: { graph: g, spawn: { background: true } } }\noutput: \"=has(steps.k.output.execution_id)\"");
    scenario.starts(json!({"n": 1})).is(ExecutionState::Running).then("k ok");
    assert_eq!(scenario.wanted()[0].input.to_json(), json!({"n": 1}));
    scenario.starts_children();
    scenario.then_gives(json!(true));
}

#[test]
fn a_cancelled_parent_ends_when_its_children_have_ended() {
    let mut scenario = given(
        "nodes: { k: { graph: g }, w: { graph: g, spawn: { on_cancel: wait_for_children } }, d: { graph: g, spawn: { on_cancel: detach } } }",
    );
    scenario.starts(json!({}));
    let children = scenario.starts_children();
    scenario.asks("ada", Steering::Cancel { reason: "no more".to_owned() }).is(ExecutionState::Running);
    // In the order of names: d, k, w.
    assert_eq!(scenario.execution.cancelled_children(), [children[1]]);
    assert_eq!(scenario.execution.awaited_children().collect::<Vec<_>>(), [children[1], children[2]]);
    let ending = ChildEnding::Cancelled { reason: "no more".to_owned() };
    scenario
        .when(Command::ChildEnded { child: children[1], ending, used: Spent::default() })
        .is(ExecutionState::Running);
    scenario
        .when(Command::ChildEnded { child: children[2], ending: done(&json!(1)), used: Spent::default() })
        .is(ExecutionState::Cancelled);
    assert_eq!(scenario.execution.reason(), Some("no more"));
}

#[test]
fn a_child_that_was_wanted_when_its_parent_ends_is_made_only_to_be_cancelled() {
    let mut scenario = given("nodes: { k: { graph: g } }");
    scenario.starts(json!({})).asks("ada", Steering::Cancel { reason: "no more".to_owned() });
    let wanted = scenario.wanted();
    assert!(wanted[0].held, "it is there and does nothing");
    let child = scenario.starts_children()[0];
    assert_eq!(scenario.execution.cancelled_children(), [child]);
    let ending = ChildEnding::Cancelled { reason: "no more".to_owned() };
    scenario.when(Command::ChildEnded { child, ending, used: Spent::default() }).is(ExecutionState::Cancelled);
}

#[test]
fn executions_start_executions_so_deep_and_no_deeper() {
    let mut scenario = given("nodes: { k: { graph: g } }");
    let parent = ParentLink {
        parent_id: "step".to_owned(),
        parent_type: ParentType::StepExecution,
        execution: Some(ExecutionId::from_bytes([1; 20])),
        depth: 16,
        share: Share::default(),
    };
    let request = StartRequest { parent: Some(parent), ..scenario.request(&json!({})) };
    scenario.when(Command::Create(Box::new(request))).then_fails_with("child_depth_limit");
}

#[test]
fn a_paused_parent_starts_no_children_and_hears_of_those_there_are() {
    let mut scenario = given("nodes: { k: { graph: g, next: { to: l } }, l: { graph: g } }");
    scenario.starts(json!({}));
    let child = scenario.starts_children()[0];
    scenario.when(Command::Pause { reason: "lunch".to_owned() });
    scenario.when(Command::ChildEnded {
        child,
        ending: ChildEnding::Completed { output: Data::null() },
        used: Spent::default(),
    });
    assert!(scenario.wanted().is_empty());
    scenario.when(Command::Resume);
    assert_eq!(scenario.wanted().len(), 1);
}

#[test]
fn an_end_that_is_reached_while_a_child_is_wanted_comes_after_it_and_nothing_spins_meanwhile() {
    let graph = "nodes: { k: { graph: g, spawn: { background: true }, next: { to: z } }, z: { end: { output: 7 } } }";
    let mut scenario = given(graph);
    scenario.starts(json!({})).is(ExecutionState::Running).then("k ok");
    assert_eq!(scenario.execution.next_deadline(), None);
    scenario.starts_children();
    scenario.then_gives(json!(7));
}

#[test]
fn the_child_of_a_branch_that_lost_is_cancelled_before_the_parent_completes() {
    let graph = "nodes: { a: { task: t, next: { to: j } }, k: { graph: g, next: { to: j } }, j: { join: race, transform: 7 } }\noutput: \"=steps.j.output\"";
    let mut scenario = given(graph);
    scenario.starts(json!({}));
    let child = scenario.starts_children()[0];
    scenario.completes("a").then("a ok, k skipped, j ok").is(ExecutionState::Running);
    assert_eq!(scenario.execution.cancelled_children(), [child]);
    assert_eq!(scenario.execution.awaited_children().collect::<Vec<_>>(), [child]);
    let ending = ChildEnding::Cancelled { reason: "lost".to_owned() };
    scenario.when(Command::ChildEnded { child, ending, used: Spent::default() }).then_gives(json!(7));
}

#[test]
fn what_an_end_leaves_behind_is_owed_until_it_has_ended() {
    let mut scenario = given("nodes: { k: { graph: g }, a: { task: t, next: { to: z } }, z: { end: { output: 7 } } }");
    scenario.starts(json!({}));
    let child = scenario.starts_children()[0];
    scenario.completes("a").then_gives(json!(7));
    assert_eq!(scenario.execution.cancelled_children(), [child]);
    assert_eq!(scenario.execution.rest(), Rest::Owes, "whoever drives it next cancels the child");
    let used = Spent { prompt_tokens: 5, ..Spent::default() };
    let ended = Command::ChildEnded { child, ending: ChildEnding::Cancelled { reason: "over".to_owned() }, used };
    scenario.when(ended.clone()).records("child_finished").is(ExecutionState::Completed);
    assert_eq!((scenario.execution.rest(), scenario.execution.usage().tokens()), (Rest::Over, 5));
    assert!(matches!(scenario.refused(ended), Rejection::Refused(_)), "it is told once");
}

#[test]
fn a_child_that_goes_on_after_its_parent_is_none_of_what_that_owes() {
    let detached = "nodes: { k: { graph: g, spawn: { on_cancel: detach } }, a: { task: t, next: { to: z } }, z: { end: { output: 7 } } }";
    let mut scenario = given(detached);
    scenario.starts(json!({}));
    let child = scenario.starts_children()[0];
    scenario.completes("a").then_gives(json!(7));
    assert_eq!(scenario.execution.rest(), Rest::Over);
    let ended = Command::ChildEnded { child, ending: done(&json!(1)), used: Spent::default() };
    assert!(matches!(scenario.refused(ended), Rejection::Refused(_)));
}

#[test]
fn a_parent_that_only_waits_for_children_rests() {
    let mut scenario = given("nodes: { k: { graph: g } }");
    scenario.starts(json!({}));
    assert_eq!(scenario.execution.rest(), Rest::Owes, "the child is to be started");
    scenario.starts_children();
    assert_eq!(scenario.execution.rest(), Rest::Command, "the child tells by itself that it has ended");
}

#[test]
fn a_child_that_has_ended_owes_its_parent_that_it_has() {
    let mut scenario = given("nodes: { a: { task: t } }");
    let parent = ParentLink {
        parent_id: "step".to_owned(),
        parent_type: ParentType::StepExecution,
        execution: Some(ExecutionId::from_bytes([1; 20])),
        depth: 1,
        share: Share::default(),
    };
    let request = StartRequest { parent: Some(parent), ..scenario.request(&json!({})) };
    scenario.when(Command::Create(Box::new(request)));
    let told = || Command::AfterEnd(Box::new(AfterEnd::ParentTold));
    assert!(matches!(scenario.refused(told()), Rejection::Refused(_)), "it goes on still");
    scenario.gives("a", json!(1)).is(ExecutionState::Completed);
    assert_eq!(scenario.execution.rest(), Rest::Owes);
    scenario.when(told()).records("parent_told");
    assert_eq!(scenario.execution.rest(), Rest::Over);
    assert!(matches!(scenario.refused(told()), Rejection::Refused(_)), "it is on record once");
}
