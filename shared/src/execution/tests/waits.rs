//! Steps that wait for time, signals, people and programs.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::data::Data;
use crate::error::ErrorCategory;
use crate::execution::steering::KEPT_BYTES;
use crate::execution::{Command, Execution, ExecutionState, Refusal, Rejection, Steering, WaitReason};

const TIMER: &str =
    "nodes: { a: { task: t, next: { to: w } }, w: { wait: { timer: 10s }, next: { to: b } }, b: { task: t } }";

fn signal(name: &str, key: Option<&str>, payload: serde_json::Value) -> Steering {
    Steering::Signal { name: name.to_owned(), correlation: key.map(str::to_owned), payload: data(&payload) }
}

fn approve(step: &str) -> Steering {
    Steering::Decide { step: step.to_owned(), approve: true, comment: None, form: Data::null() }
}

fn reject(step: &str, why: &str) -> Steering {
    Steering::Decide { step: step.to_owned(), approve: false, comment: Some(why.to_owned()), form: Data::null() }
}

fn answer(step: &str, value: serde_json::Value) -> Steering {
    Steering::Answer { step: step.to_owned(), value: data(&value) }
}

fn refusal(rejection: Rejection) -> Refusal {
    match rejection {
        Rejection::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[test]
fn a_timer_holds_what_comes_after_it_and_nobody_works_meanwhile() {
    given(TIMER)
        .starts(json!({}))
        .completes("a")
        .records("step_started step_completed step_scheduled step_waiting execution_waiting")
        .is(ExecutionState::Waiting(WaitReason::Timer))
        .owes("")
        .after(Duration::from_secs(10))
        .ticks()
        .records("step_completed step_scheduled")
        .is(ExecutionState::Running)
        .then("a ok, w ok, b due")
        .completes("b")
        .is(ExecutionState::Completed);
}

#[test]
fn a_timer_never_fires_before_its_time() {
    let mut scenario = given(TIMER);
    scenario.starts(json!({})).completes("a").after(Duration::from_micros(9_999_999));
    assert_eq!(scenario.refused(tick()), Rejection::NotDue);
}

#[test]
fn what_remains_of_a_timer_is_kept_over_a_pause_and_a_moment_is_not_put_off() {
    let mut scenario = given(TIMER);
    scenario.starts(json!({})).completes("a").after(Duration::from_secs(4));
    scenario.when(Command::Pause { reason: "lunch".to_owned() }).after(Duration::from_secs(3600));
    scenario.when(Command::Resume).is(ExecutionState::Waiting(WaitReason::Timer)).after(Duration::from_secs(5));
    assert_eq!(scenario.refused(tick()), Rejection::NotDue);
    scenario.after(Duration::from_secs(1)).ticks().then("a ok, w ok, b due");

    let until = "nodes: { w: { wait: { until: \"=inputs.at\" } } }";
    let mut scenario = given(until);
    let at = scenario.now.after(Duration::from_secs(60)).to_string();
    scenario.starts(json!({ "at": at })).after(Duration::from_secs(10));
    scenario.when(Command::Pause { reason: "lunch".to_owned() }).after(Duration::from_secs(30)).when(Command::Resume);
    assert_eq!(scenario.refused(tick()), Rejection::NotDue);
    scenario.after(Duration::from_secs(20)).ticks().is(ExecutionState::Completed);
}

#[test]
fn a_timer_is_what_its_expression_gives_and_nonsense_fails_the_step() {
    let graph = "nodes: { w: { wait: { timer: \"=inputs.wait\" }, next: { catch: any, to: c } }, c: { transform: \"=error.code\" } }";
    given(graph).starts(json!({"wait": "1m30s"})).after(Duration::from_secs(90)).ticks().is(ExecutionState::Completed);
    given(graph).starts(json!({"wait": 2})).after(Duration::from_secs(2)).ticks().is(ExecutionState::Completed);
    for nonsense in [json!("soon"), json!(-1), json!(null), json!("9000d"), json!([])] {
        given(graph).starts(json!({ "wait": nonsense })).then_gives(json!("bad_wait"));
    }
}

const SIGNAL: &str = "output: \"=has(steps.b.output) ? steps.b.output : steps.late.output\"\nnodes: { w: { wait: { signal: { name: paid, correlation: \"=inputs.order\", payload: { type: object, required: [amount] } }, timeout: 1h }, \
     next: [ { to: b }, { catch: [Timeout], to: late } ] }, b: { transform: \"=steps.w.output.amount\" }, late: { transform: \"='late'\" } }";

#[test]
fn a_signal_ends_the_wait_that_names_it_and_no_other() {
    let mut scenario = given(SIGNAL);
    scenario.starts(json!({"order": "4711"})).is(ExecutionState::Waiting(WaitReason::Signal));
    scenario
        .asks("shop", signal("paid", Some("4712"), json!({"amount": 1})))
        .is(ExecutionState::Waiting(WaitReason::Signal));
    scenario.asks("shop", signal("paid", None, json!({"amount": 2}))).is(ExecutionState::Waiting(WaitReason::Signal));
    scenario.asks("shop", signal("paid", Some("4711"), json!({"amount": 3}))).then_gives(json!(3));
}

#[test]
fn a_signal_that_comes_before_its_wait_is_kept_for_it() {
    let early = "nodes: { a: { task: t, next: { to: w } }, w: { wait: { signal: go } } }";
    given(early)
        .starts(json!({}))
        .asks("ada", signal("go", None, json!({"n": 1})))
        .asks("ada", signal("go", None, json!({"n": 2})))
        .then("a due")
        .completes("a")
        .then_gives(json!({"n": 1}));
}

#[test]
fn a_signal_that_nothing_can_take_is_refused_and_changes_nothing() {
    let mut scenario = given(SIGNAL);
    scenario.starts(json!({"order": "1"}));
    let unknown = refusal(scenario.asks_in_vain("shop", signal("payed", None, json!({}))));
    assert_eq!(unknown, Refusal::UnknownSignal("payed".to_owned()));
    let bad = refusal(scenario.asks_in_vain("shop", signal("paid", Some("1"), json!({"n": 1}))));
    assert!(matches!(&bad, Refusal::BadForm(problems) if problems[0].contains("amount")), "{bad}");
}

#[test]
fn signals_that_nobody_takes_fill_what_is_kept_of_them() {
    let mut scenario = given("nodes: { a: { task: t, next: { to: w } }, w: { wait: { signal: go } } }");
    scenario.starts(json!({}));
    for n in 0..1000 {
        scenario.asks("ada", signal("go", None, json!(n)));
    }
    let full = refusal(scenario.asks_in_vain("ada", signal("go", None, json!(1000))));
    assert!(matches!(full, Refusal::Full { limit: 1000, .. }), "{full}");
}

#[test]
fn the_bytes_of_kept_signals_are_bounded_exactly_names_and_keys_included() {
    let mut scenario = given("nodes: { a: { task: t, next: { to: w } }, w: { wait: { signal: go } } }");
    scenario.starts(json!({}));
    let text = |bytes: usize| json!("x".repeat(bytes));
    // Three MiB twice, and what is missing to eight: a text of this length has five bytes more when it is stored.
    let (name, key, head, part) = (2, 4, 5, 3 * 1024 * 1024);
    for _ in 0..2 {
        scenario.asks("ada", signal("go", Some("four"), text(part)));
    }
    let left = KEPT_BYTES - 2 * (name + key + head + part);
    let room = left - name - head;
    let full = refusal(scenario.asks_in_vain("ada", signal("go", None, text(room + 1))));
    assert_eq!(
        full,
        Refusal::FullBytes { what: "what is kept of signals", found: KEPT_BYTES - left, limit: KEPT_BYTES }
    );
    scenario.asks("ada", signal("go", None, text(room)));
    assert!(matches!(refusal(scenario.asks_in_vain("ada", signal("go", None, json!(1)))), Refusal::FullBytes { .. }));
    // What a step has taken makes room, also after the state was kept as a snapshot.
    let kept = Execution::from_snapshot(&scenario.execution.to_snapshot()).unwrap();
    assert_eq!(kept, scenario.execution);
    scenario.completes("a").is(ExecutionState::Completed);
}

#[test]
fn a_wait_whose_time_is_over_fails_as_a_timeout_that_an_edge_can_take() {
    given(SIGNAL).starts(json!({"order": "1"})).after(Duration::from_secs(3600)).ticks().then_gives(json!("late"));
}

#[test]
fn a_request_that_is_repeated_is_done_once() {
    let mut scenario = given("nodes: { a: { task: t, next: { to: w } }, w: { wait: { signal: go } } }");
    scenario.starts(json!({}));
    let steer = scenario.ask("ada", signal("go", None, json!(1)));
    scenario.when(Command::Steer(Box::new(steer.clone())));
    assert_eq!(refusal(scenario.refused(Command::Steer(Box::new(steer)))), Refusal::Repeated);
    assert_eq!(scenario.execution.kept_signals().count(), 1);
}

const APPROVAL: &str = "output: \"=has(steps.b.output) ? steps.b.output : steps.no.output\"\nnodes: { w: { wait: { approval: { assignees: [ada, bob, cyd], POLICY, form: { type: object, required: [limit] } } }, \
     with: { asks: \"=inputs.what\" }, next: [ { to: b }, { catch: [PolicyViolation], to: no } ] }, b: { transform: \"=steps.w.output\" }, no: { transform: \"=error.message\" } }";

fn approval(policy: &str) -> Scenario {
    let mut scenario = given(&APPROVAL.replace("POLICY", policy));
    scenario.starts(json!({"what": "buy"})).is(ExecutionState::Waiting(WaitReason::Approval));
    scenario
}

fn with_form(step: &str) -> Steering {
    Steering::Decide { step: step.to_owned(), approve: true, comment: None, form: data(&json!({"limit": 5})) }
}

#[test]
fn the_first_decision_decides_unless_more_is_asked_for() {
    let mut scenario = approval("policy: any");
    scenario.asks("bob", with_form("w")).is(ExecutionState::Completed);
    let output = scenario.execution.output().to_json();
    assert_eq!((&output["form"]["limit"], &output["decisions"][0]["by"]), (&json!(5), &json!("bob")));
    approval("policy: any").asks("bob", reject("w", "too dear")).then_gives(json!("`bob` rejected `w`: too dear"));
}

#[test]
fn all_have_to_agree_where_all_are_asked_and_one_refusal_is_enough() {
    let mut scenario = approval("policy: all");
    scenario.asks("ada", with_form("w")).asks("bob", with_form("w")).is(ExecutionState::Waiting(WaitReason::Approval));
    scenario.asks("cyd", with_form("w")).is(ExecutionState::Completed);
    approval("policy: all").asks("ada", with_form("w")).asks("cyd", reject("w", "no")).is(ExecutionState::Completed);
}

#[test]
fn a_quorum_is_refused_as_soon_as_it_cannot_be_met() {
    let mut scenario = approval("quorum: 2");
    scenario.asks("ada", reject("w", "no")).is(ExecutionState::Waiting(WaitReason::Approval));
    scenario.asks("bob", with_form("w")).asks("cyd", with_form("w")).is(ExecutionState::Completed);
    approval("quorum: 2")
        .asks("ada", reject("w", "no"))
        .asks("bob", reject("w", "neither"))
        .then_gives(json!("`bob` rejected `w`: neither"));
}

#[test]
fn an_approval_by_the_wrong_person_a_wrong_form_or_a_second_time_is_refused() {
    let mut scenario = approval("policy: all");
    let wrong = refusal(scenario.asks_in_vain("eve", with_form("w")));
    assert_eq!(wrong.to_string(), "`eve` may not decide `w`; it is assigned to ada, bob, cyd");
    assert!(matches!(refusal(scenario.asks_in_vain("ada", approve("w"))), Refusal::BadForm(_)));
    scenario.asks("ada", with_form("w"));
    let second = refusal(scenario.asks_in_vain("ada", reject("w", "changed my mind")));
    assert_eq!(second, Refusal::DecidedAlready { by: "ada".to_owned() });
    assert_eq!(refusal(scenario.asks_in_vain("bob", approve("b"))), Refusal::NotWaiting("b".to_owned()));
    assert_eq!(refusal(scenario.asks_in_vain("bob", approve("x"))), Refusal::UnknownNode("x".to_owned()));
}

#[test]
fn a_decision_that_comes_early_approves_nothing() {
    let mut scenario = given("nodes: { a: { task: t, next: { to: w } }, w: { wait: { approval: true } } }");
    scenario.starts(json!({}));
    assert_eq!(refusal(scenario.asks_in_vain("ada", approve("w"))), Refusal::NotWaiting("w".to_owned()));
    scenario.completes("a").is(ExecutionState::Waiting(WaitReason::Approval));
    scenario.asks("ada", approve("w")).is(ExecutionState::Completed);
}

#[test]
fn a_step_is_named_by_its_node_or_by_its_id() {
    let mut scenario = given("nodes: { w: { wait: { approval: true } } }");
    scenario.starts(json!({}));
    let id = scenario.execution.step_id(0, "w").unwrap().to_string();
    scenario.asks("ada", approve(&id)).is(ExecutionState::Completed);
}

#[test]
fn what_is_said_to_one_round_of_a_loop_does_not_count_for_the_next() {
    let graph =
        "nodes: { w: { wait: { approval: true }, max_iterations: 3, next: { when: '=iteration < 3', to: w } } }";
    let mut scenario = given(graph);
    scenario.starts(json!({}));
    let round = |scenario: &Scenario| scenario.execution.step_id(scenario.find("w"), "w").unwrap();
    let first = round(&scenario).to_string();
    scenario.asks("ada", approve("w")).then("w@1 ok, w@2 waits");
    // Bob was shown the first round, and is late.
    assert_eq!(refusal(scenario.asks_in_vain("bob", approve(&first))), Refusal::NotWaiting(first));
    let second = round(&scenario);
    let which = Refusal::WhichRound { node: "w".to_owned(), waits: second };
    assert_eq!(refusal(scenario.asks_in_vain("bob", approve("w"))), which);
    scenario.asks("bob", approve(&second.to_string())).then("w@1 ok, w@2 ok, w@3 waits");
    let graph =
        "nodes: { w: { wait: { external: true }, max_iterations: 2, next: { when: '=iteration < 2', to: w } } }";
    let mut scenario = given(graph);
    scenario.starts(json!({})).asks("ci", answer("w", json!(1)));
    assert!(matches!(refusal(scenario.asks_in_vain("ci", answer("w", json!(1)))), Refusal::WhichRound { .. }));
    let gone = Steering::GiveUp { step: "w".to_owned(), error: error(ErrorCategory::NetworkError) };
    assert!(matches!(refusal(scenario.asks_in_vain("ci", gone)), Refusal::WhichRound { .. }));
}

#[test]
fn a_person_answers_and_a_program_reports() {
    let person = "nodes: { w: { wait: { input: { from: \"=inputs.who\", form: { type: integer } } } } }";
    let mut scenario = given(person);
    scenario.starts(json!({"who": ["ada"]})).is(ExecutionState::Waiting(WaitReason::UserInput));
    assert!(matches!(refusal(scenario.asks_in_vain("eve", answer("w", json!(1)))), Refusal::NotAssigned { .. }));
    assert!(matches!(refusal(scenario.asks_in_vain("ada", answer("w", json!("x")))), Refusal::BadForm(_)));
    scenario.asks("ada", answer("w", json!(7))).then_gives(json!(7));

    let program = "nodes: { w: { wait: { external: true }, next: [ { to: b }, { catch: any, to: b } ] }, b: { join: any, transform: \"=1\" } }";
    given(program)
        .starts(json!({}))
        .is(ExecutionState::Waiting(WaitReason::External))
        .asks("ci", answer("w", json!(7)))
        .then_gives(json!(1));
    let gone = Steering::GiveUp { step: "w".to_owned(), error: error(ErrorCategory::NetworkError) };
    given(program).starts(json!({})).asks("ci", gone).then("w failed, b ok");
}

#[test]
fn what_ends_one_kind_of_wait_does_not_end_another() {
    let mut scenario = given("nodes: { w: { wait: { signal: go } } }");
    scenario.starts(json!({}));
    let other = refusal(scenario.asks_in_vain("ada", approve("w")));
    assert_eq!(other.to_string(), "`w` waits for a signal, not for a decision");
    assert!(matches!(refusal(scenario.asks_in_vain("ada", answer("w", json!(1)))), Refusal::OtherWait { .. }));
    let input = Steering::Input { input: Data::null() };
    assert!(matches!(refusal(scenario.asks_in_vain("ada", input)), Refusal::WaitsForStep { .. }));
    let resume = Steering::Resume { reason: None };
    assert!(matches!(refusal(scenario.asks_in_vain("ada", resume)), Refusal::WaitsForStep { .. }));
    assert!(matches!(refusal(scenario.refused(Command::Input { input: Data::null() })), Refusal::WaitsForStep { .. }));
}

#[test]
fn other_branches_go_on_while_one_waits_and_the_execution_waits_when_all_do() {
    let graph =
        "nodes: { a: { task: t }, v: { wait: { signal: one } }, w: { wait: { approval: true } }, z: { task: t } }";
    let mut scenario = given(graph);
    scenario.starts(json!({})).is(ExecutionState::Running).owes("a z");
    scenario.completes("a").is(ExecutionState::Running).completes("z").is(ExecutionState::Waiting(WaitReason::Signal));
    scenario.asks("ada", signal("one", None, json!(1))).is(ExecutionState::Waiting(WaitReason::Approval));
    scenario.asks("ada", approve("w")).is(ExecutionState::Completed);
}

#[test]
fn what_is_waited_for_may_come_while_paused_and_nothing_is_waited_for_afterwards() {
    let graph = "nodes: { w: { wait: { signal: go }, next: { to: b } }, b: { task: t } }";
    given(graph)
        .starts(json!({}))
        .when(Command::Pause { reason: "lunch".to_owned() })
        .asks("ada", signal("go", None, json!(1)))
        .is(ExecutionState::Paused)
        .owes("")
        .when(Command::Resume)
        .is(ExecutionState::Running)
        .owes("b");
}

#[test]
fn a_wait_that_is_cancelled_is_over() {
    let mut scenario = given("nodes: { w: { wait: { signal: go } } }");
    scenario.starts(json!({})).asks("ada", Steering::Cancel { reason: "no more".to_owned() });
    scenario.records("control_recorded step_skipped execution_cancelled").is(ExecutionState::Cancelled);
    assert!(matches!(refusal(scenario.asks_in_vain("ada", signal("go", None, json!(1)))), Refusal::Over(_)));
    assert_eq!(scenario.execution.next_deadline(), None);
}

#[test]
fn a_loop_waits_anew_in_each_round() {
    let graph = "nodes: { w: { wait: { signal: go }, max_iterations: 3, next: [ { when: \"=output < 2\", to: w }, { when: \"=output >= 2\", to: b } ] }, b: { task: t } }";
    given(graph)
        .starts(json!({}))
        .asks("ada", signal("go", None, json!(0)))
        .asks("ada", signal("go", None, json!(1)))
        .asks("ada", signal("go", None, json!(2)))
        .then("w@1 ok, w@2 ok, w@3 ok, b due");
}

#[test]
fn a_signal_that_a_step_waits_for_is_never_too_many() {
    let mut scenario = given("nodes: { w: { wait: { signal: { name: go, correlation: \"=inputs.k\" } } } }");
    scenario.starts(json!({"k": "mine"}));
    for n in 0..1000 {
        scenario.asks("ada", signal("go", Some(&format!("x{n}")), json!(n)));
    }
    scenario.asks("ada", signal("go", Some("mine"), json!(1))).then_gives(json!(1));
}

#[test]
fn who_is_assigned_twice_has_one_vote_and_is_waited_for_once() {
    let graph = "nodes: { w: { wait: { approval: { assignees: \"=inputs.who\", policy: all } } } }";
    let mut scenario = given(graph);
    scenario.starts(json!({"who": ["ada", "bob", "ada"]})).asks("ada", approve("w")).asks("bob", approve("w"));
    scenario.is(ExecutionState::Completed);
    let two = "nodes: { w: { wait: { approval: { assignees: \"=inputs.who\", quorum: 2 } } } }";
    given(two).starts(json!({"who": ["ada", "ada"]})).then_fails_with("bad_wait");
}
