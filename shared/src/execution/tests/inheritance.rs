//! Inboxes that children inherit.

use serde_json::json;

use super::scenario::*;
use crate::event::message::{EvidenceImpact, EvidenceSource, GuidancePriority, GuidanceSource, InboxAction, Message};
use crate::event::{ChildEnding, ParentLink, Share, Spent};
use crate::execution::{Bequest, Command, ExecutionState, Refusal, Rejection, StartRequest, Steering};
use crate::id::{ExecutionId, StepId};

const PARENT: &str =
    "nodes: { k: { graph: g, spawn: { inherit_inbox: true }, next: { to: b } }, b: { task: t, inbox: true } }";
const TWO: &str = "nodes: { k: { graph: g, spawn: { inherit_inbox: true } }, l: { graph: g } }";

fn guidance(content: &str) -> Message {
    let (from, priority) = (GuidanceSource::User, GuidancePriority::Medium);
    Message::Guidance { from, content: content.to_owned(), context: data(&json!(null)), priority }
}

fn urgent(title: &str) -> Message {
    let (source, impact) = (EvidenceSource::External, EvidenceImpact::ContradictsPlan);
    Message::Evidence { source, title: title.to_owned(), content: data(&json!({})), confidence: None, impact }
}

fn agent() -> Message {
    Message::A2a { from_agent: "a".to_owned(), message_type: "hello".to_owned(), payload: data(&json!(1)) }
}

impl Scenario {
    fn sends(&mut self, message: Message) -> &mut Self {
        self.asks("ada", Steering::Send { message })
    }

    fn starts_child(&mut self) -> ExecutionId {
        let child = self.execution.owed_children(&self.graph)[0].child;
        self.when(Command::ChildStarted { child });
        child
    }

    /// What is owed to the only child, as sequences.
    fn on_the_way(&self) -> Vec<u64> {
        let owed = self.execution.owed_messages();
        owed.into_iter().flat_map(|bequest| bequest.messages).map(|(sequence, _)| sequence).collect()
    }
}

/// A child of the scenario with this id.
fn child_of(parent: &Scenario, id: ExecutionId, graph: &str) -> Scenario {
    let mut child = given(graph);
    child.execution = crate::execution::Execution::empty(id, child.execution.tenant().clone());
    let step = StepId::from_bytes([3; 20]);
    let link = ParentLink::of_step(parent.execution.id(), step, 1, Share::default());
    let request = StartRequest { parent: Some(link), ..child.request(&json!({})) };
    child.when(Command::Create(Box::new(request)));
    child
}

const WORKS: &str = "nodes: { w: { wait: { signal: go }, next: { to: a } }, a: { task: t, inbox: true } }";

#[test]
fn d53_a_child_gets_copies_and_its_parent_keeps_its_messages() {
    let mut parent = given(PARENT);
    parent.starts(json!({}));
    let id = parent.starts_child();
    parent.sends(guidance("one")).sends(urgent("two"));
    let Bequest { child, messages } = parent.execution.owed_messages().remove(0);
    assert_eq!((child, messages.len()), (id, 2));
    let mut child = child_of(&parent, id, WORKS);
    child.when(Command::Inherit { from: parent.execution.id(), messages });
    let sequences = parent.on_the_way();
    parent.when(Command::InboxForwarded { child: id, messages: sequences });
    assert!(parent.execution.owed_messages().is_empty());
    // Both have both, the more urgent one first.
    for of in [&parent, &child] {
        let held: Vec<&str> = of.execution.inbox().map(|(_, message)| message.kind()).collect();
        assert_eq!(held, ["evidence", "guidance"]);
    }
    let go = Steering::Signal { name: "go".to_owned(), correlation: None, payload: data(&json!(null)) };
    child.asks("ada", go);
    let job = child.owed().remove(0);
    assert_eq!(job.inbox.to_json()[0]["title"], json!("two"));
    let ended = ChildEnding::Completed { output: data(&json!(1)) };
    parent.when(Command::ChildEnded { child: id, ending: ended, used: Spent::default() });
    assert_eq!(parent.owed().remove(0).inbox.to_json()[0]["title"], json!("two"));
}

#[test]
fn d53_a_control_of_the_parent_is_the_parents_alone() {
    let mut parent = given(PARENT);
    parent.starts(json!({}));
    let child = parent.starts_child();
    parent.sends(Message::Control { action: InboxAction::Compact, reason: None });
    assert!(parent.execution.owed_messages().is_empty());
    parent.asks("ada", Steering::Cancel { reason: "no more".to_owned() });
    // By its cancellation policy, and by nothing else.
    assert_eq!(parent.execution.cancelled_children(), [child]);
}

#[test]
fn what_nobody_had_taken_is_inherited_and_what_was_taken_is_not() {
    let graph = "nodes: { a: { task: t, inbox: true, next: { to: b } }, b: { task: t, next: { to: k } }, k: { graph: g, spawn: { inherit_inbox: true } } }";
    let mut scenario = given(graph);
    let request = StartRequest { planning: true, ..scenario.request(&json!({})) };
    scenario.when(Command::Create(Box::new(request))).sends(guidance("for a")).when(Command::Start).completes("a");
    scenario
        .sends(guidance("for nobody yet"))
        .sends(Message::Control { action: InboxAction::Checkpoint, reason: None });
    let (only, _) = scenario.execution.inbox().find(|(_, message)| message.kind() == "guidance").unwrap();
    scenario.completes("b");
    assert!(scenario.execution.owed_messages().is_empty(), "not before it is there");
    scenario.starts_child();
    assert_eq!(scenario.on_the_way(), [only]);
}

#[test]
fn what_is_brought_twice_counts_once_and_a_stranger_brings_nothing() {
    let mut parent = given(TWO);
    parent.starts(json!({}));
    let id = parent.starts_child();
    parent.sends(guidance("one")).sends(guidance("two"));
    let messages = parent.execution.owed_messages().remove(0).messages;
    let mut child = child_of(&parent, id, WORKS);
    let from = parent.execution.id();
    child.when(Command::Inherit { from, messages: messages[..1].to_vec() });
    child.when(Command::Inherit { from, messages: messages.clone() });
    assert_eq!(child.execution.inbox().count(), 2);
    let again = child.refused(Command::Inherit { from, messages: messages.clone() });
    assert!(matches!(again, Rejection::Refused(Refusal::Repeated)), "{again}");
    let stranger = Command::Inherit { from: ExecutionId::from_bytes([9; 20]), messages: vec![(99, agent())] };
    assert!(matches!(child.refused(stranger), Rejection::Refused(Refusal::NotItsParent(_))));
    let sequences: Vec<u64> = messages.iter().map(|(sequence, _)| *sequence).collect();
    parent.when(Command::InboxForwarded { child: id, messages: sequences.clone() });
    let again = parent.refused(Command::InboxForwarded { child: id, messages: sequences });
    assert!(matches!(again, Rejection::Refused(Refusal::Repeated)), "{again}");
}

#[test]
fn grandchildren_have_it_through_their_parent() {
    let mut parent = given(TWO);
    parent.starts(json!({}));
    let id = parent.starts_child();
    let mut child = child_of(&parent, id, TWO);
    let grandchild = child.starts_child();
    parent.sends(guidance("for all"));
    let messages = parent.execution.owed_messages().remove(0).messages;
    child.when(Command::Inherit { from: parent.execution.id(), messages });
    assert_eq!(child.execution.owed_messages()[0].child, grandchild);
}

#[test]
fn a_message_for_an_agent_is_taken_where_a_child_inherits_it_and_only_there() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let child = scenario.starts_child();
    scenario.sends(agent());
    assert_eq!((scenario.on_the_way().len(), scenario.execution.inbox().count()), (1, 0));
    let ending = ChildEnding::Completed { output: data(&json!(1)) };
    scenario.when(Command::ChildEnded { child, ending, used: Spent::default() });
    assert!(scenario.execution.owed_messages().is_empty(), "who has ended is given nothing");
    let refused = scenario.asks_in_vain("ada", Steering::Send { message: agent() });
    assert!(matches!(refused, Rejection::Refused(Refusal::NobodyTakes)), "{refused}");
}

#[test]
fn what_waits_for_children_is_bounded_and_a_paused_parent_hands_on() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    scenario.starts_child();
    scenario.when(Command::Pause { reason: "lunch".to_owned() });
    for n in 0..1000 {
        scenario.sends(guidance(&format!("{n}")));
    }
    assert_eq!(scenario.on_the_way().len(), 100, "of each child as much as one request carries");
    let refused = scenario.asks_in_vain("ada", Steering::Send { message: agent() });
    assert!(matches!(refused, Rejection::Refused(Refusal::Full { .. })), "{refused}");
    scenario.is(ExecutionState::Paused);
}

#[test]
fn a_child_whose_inbox_is_full_takes_nothing_of_it() {
    let mut parent = given(TWO);
    parent.starts(json!({}));
    let id = parent.starts_child();
    parent.sends(guidance("one"));
    let messages = parent.execution.owed_messages().remove(0).messages;
    let mut child = child_of(&parent, id, WORKS);
    for n in 0..1000 {
        child.sends(guidance(&format!("{n}")));
    }
    let full = child.refused(Command::Inherit { from: parent.execution.id(), messages });
    assert!(matches!(full, Rejection::Refused(Refusal::Full { .. })), "{full}");
}
