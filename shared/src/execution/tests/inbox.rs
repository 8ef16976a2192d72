//! Messages to a running execution.

use serde_json::json;

use super::scenario::*;
use crate::data::Data;
use crate::event::message::{EvidenceImpact, EvidenceSource, GuidancePriority, GuidanceSource, InboxAction, Message};
use crate::execution::{Command, Refusal, Rejection, Steering};

const TWO: &str = "nodes: { a: { task: t, next: { to: b } }, b: { task: t, inbox: true, with: { heard: \"=inbox.guidance.map(g, g.content)\" }, next: { to: c } }, c: { task: t, inbox: true } }";

fn guidance(text: &str, priority: GuidancePriority) -> Steering {
    let context = Data::null();
    Steering::Send {
        message: Message::Guidance { from: GuidanceSource::User, content: text.to_owned(), context, priority },
    }
}

fn evidence(title: &str, impact: EvidenceImpact) -> Steering {
    let content = data(&json!({"page": 3}));
    let source = EvidenceSource::Discovery;
    Steering::Send {
        message: Message::Evidence { source, title: title.to_owned(), content, confidence: Some(0.5), impact },
    }
}

fn a2a(from: &str) -> Steering {
    let (from_agent, message_type, payload) = (from.to_owned(), "hello".to_owned(), Data::null());
    Steering::Send { message: Message::A2a { from_agent, message_type, payload } }
}

fn compact() -> Steering {
    Steering::Send { message: Message::Control { action: InboxAction::Compact, reason: None } }
}

/// What the job of a step has of the inbox, in words.
fn given_to(scenario: &Scenario, node: &str) -> Vec<String> {
    let job = scenario.execution.job(&scenario.graph, scenario.find(node)).expect("a job");
    let list = job.inbox.to_json();
    let words = list.as_array().into_iter().flatten().map(|message| {
        let fields = ["title", "content", "from_agent", "action"];
        let word = fields.iter().find_map(|field| message[field].as_str());
        word.unwrap_or_default().to_owned()
    });
    words.collect()
}

#[test]
fn messages_go_to_the_step_that_asks_in_the_order_of_their_urgency_and_to_no_other() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    for message in [
        a2a("scout"),
        guidance("slowly", GuidancePriority::Medium),
        guidance("stop", GuidancePriority::High),
        evidence("fine", EvidenceImpact::Informational),
        guidance("gently", GuidancePriority::Low),
        evidence("wrong", EvidenceImpact::ContradictsPlan),
        compact(),
    ] {
        scenario.asks("ada", message);
    }
    assert_eq!(given_to(&scenario, "a"), Vec::<String>::new());
    scenario.completes("a").records("step_started step_completed step_scheduled inbox_delivered");
    assert_eq!(given_to(&scenario, "b"), ["compact", "wrong", "fine", "stop", "slowly", "gently", "scout"]);
    assert_eq!(scenario.input("b"), json!({"heard": ["slowly", "stop", "gently"]}));
    scenario.asks("ada", a2a("late")).completes("b");
    assert_eq!(given_to(&scenario, "c"), ["late"]);
    assert_eq!(scenario.execution.inbox().count(), 0);
}

#[test]
fn another_attempt_sees_what_the_first_one_saw() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).asks("ada", guidance("slowly", GuidancePriority::Medium)).completes("a");
    scenario.asks("ada", guidance("later", GuidancePriority::High));
    scenario.fails_with("b", error(crate::error::ErrorCategory::Timeout));
    assert_eq!(given_to(&scenario, "b"), ["slowly"]);
}

#[test]
fn a_message_that_is_sent_twice_is_received_once() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let steer = scenario.ask("ada", a2a("scout"));
    scenario.when(Command::Steer(Box::new(steer.clone())));
    assert_eq!(scenario.refused(Command::Steer(Box::new(steer))), Rejection::Refused(Refusal::Repeated));
}

#[test]
fn messages_out_of_bounds_are_refused() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let evidence = Message::Evidence {
        source: EvidenceSource::External,
        title: "sure".to_owned(),
        content: Data::null(),
        confidence: Some(1.5),
        impact: EvidenceImpact::RequiresReview,
    };
    let message = evidence.clone();
    assert!(matches!(
        scenario.asks_in_vain("ada", Steering::Send { message }),
        Rejection::Refused(Refusal::Range { .. })
    ));
    let long = guidance(&"x".repeat(20_000), GuidancePriority::Low);
    assert!(matches!(scenario.asks_in_vain("ada", long), Rejection::Refused(Refusal::Length { .. })));
    let Message::Evidence { source, title, content, impact, .. } = evidence else { panic!() };
    let message = Message::Evidence { source, title, content, confidence: Some(f64::NAN), impact };
    assert!(matches!(
        scenario.execution.clone().decide(
            &scenario.graphs,
            Command::Steer(Box::new(scenario.ask("ada", Steering::Send { message }))),
            scenario.now
        ),
        Err(Rejection::Refused(Refusal::Range { .. }))
    ));
}

#[test]
fn an_inbox_that_is_full_refuses_and_loses_nothing() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    for n in 0..1000 {
        scenario.asks("ada", a2a(&format!("agent-{n}")));
    }
    assert!(matches!(scenario.asks_in_vain("ada", a2a("one more")), Rejection::Refused(Refusal::Full { .. })));
    scenario.completes("a");
    assert_eq!(given_to(&scenario, "b").len(), 100, "as many as a job carries");
    assert_eq!(scenario.execution.inbox().count(), 900);
}

fn large(title: &str, bytes: usize) -> Steering {
    let content = data(&json!("x".repeat(bytes)));
    let (source, impact) = (EvidenceSource::External, EvidenceImpact::Informational);
    Steering::Send { message: Message::Evidence { source, title: title.to_owned(), content, confidence: None, impact } }
}

#[test]
fn a_step_is_given_as_much_as_its_job_carries_and_the_rest_stays() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    for n in 0..40 {
        scenario.asks("ada", large(&format!("t{n}"), 15_000));
    }
    scenario.completes("a");
    let given = given_to(&scenario, "b").len();
    assert!((10..20).contains(&given), "{given}");
    assert_eq!(scenario.execution.inbox().count(), 40 - given);
    assert!(matches!(
        scenario.asks_in_vain("ada", large("huge", 3_000_000)),
        Rejection::Refused(Refusal::Length { limit: 16_384, .. })
    ));
}

#[test]
fn as_much_as_may_be_heard_is_a_value_that_expressions_read() {
    let graph = "nodes: { a: { task: t, next: { to: b } }, b: { transform: \"=size(inbox.evidence)\" } }";
    let mut scenario = given(graph);
    scenario.starts(json!({}));
    for n in 0..150 {
        scenario.asks("ada", large(&format!("t{n}"), 16_000));
    }
    scenario.completes("a").then_gives(json!(100));
}

#[test]
fn where_no_step_takes_messages_guidance_is_heard_and_fills_nothing() {
    let mut scenario = given("nodes: { a: { task: t, next: { to: b } }, b: { transform: \"=size(inbox.guidance)\" } }");
    scenario.starts(json!({}));
    for n in 0..1100 {
        scenario.asks("ada", guidance(&format!("g{n}"), GuidancePriority::Medium));
    }
    assert_eq!(scenario.execution.inbox().count(), 0);
    assert_eq!(scenario.asks_in_vain("ada", a2a("scout")), Rejection::Refused(Refusal::NobodyTakes));
    scenario.completes("a").then_gives(json!(100));
}
