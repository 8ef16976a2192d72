//! Defects of the original implementation that can be shown in the core, each by its number: what it did wrong, and that
//! ours does not. The whole list is `docs/seed-defects.md`.

use std::time::Duration;

use serde_json::json;

use super::scenario::*;
use crate::cost::Money;
use crate::data::Data;
use crate::error::{BackoffStrategy, ErrorCategory, ErrorCode, ExecutionError, RetryPolicy};
use crate::event::{Actor, EventData, Note, StepSourceType, codec};
use crate::execution::{Command, Execution, ExecutionState, Rejection, StartRequest, Steering, StepState, WaitReason};
use crate::graph::{CompiledGraph, Source, compile};
use crate::id::{ExecutionId, StepId, TenantId};

const TWO: &str = "nodes: { a: { task: t, next: { to: b } }, b: { task: t } }";

fn problems(nodes: &str) -> String {
    let text = format!("stepstream: 1\nname: g\n{nodes}");
    compile(&Source { name: "g.yaml", text: &text }).err().map(|problems| problems.to_string()).unwrap_or_default()
}

/// The reducer read clocks: the same log gave another state each time.
#[test]
fn d01_the_same_log_gives_the_same_state_whenever_it_is_folded() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).after(Duration::from_secs(3)).begins("a").after(Duration::from_secs(5)).completes("a");
    let (first, second) = (scenario.refold(), scenario.refold());
    assert_eq!(first.state_hash(), second.state_hash());
    let step = first.step(0).unwrap();
    assert_eq!(step.ended_at().unwrap().since(step.started_at().unwrap()), Duration::from_secs(5), "as it was stamped");
}

/// What an execution waits for, and what came for it, was stored nowhere.
#[test]
fn d03_waits_and_inputs_are_stored_with_reason_and_payload() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).when(Command::Wait { reason: WaitReason::External });
    scenario.when(Command::Input { input: data(&json!("here")) });
    let stored: Vec<EventData> = scenario.stored().into_iter().map(|event| event.data).collect();
    let waits = |event: &EventData| matches!(event, EventData::ExecutionWaiting { reason: WaitReason::External, .. });
    let came = |event: &EventData| matches!(event, EventData::InputReceived { input, .. } if input.to_json() == "here");
    assert!(stored.iter().any(waits) && stored.iter().any(came), "{stored:?}");
}

/// A made-up schema version was replayed happily.
#[test]
fn d04_an_append_of_a_version_that_is_not_known_is_refused() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let head = codec::genesis(scenario.execution.tenant(), scenario.execution.id());
    let body = store(&head, &scenario.log[0]).body;
    assert!(codec::decode(&body).is_ok());
    let mut stored = rmpv::decode::read_value(&mut &body[..]).expect("an append is one value");
    let rmpv::Value::Map(fields) = &mut stored else { panic!("an append is a map: {stored:?}") };
    let (_, version) = fields.iter_mut().find(|(key, _)| key.as_str() == Some("v")).expect("with its version");
    *version = 99.into();
    let mut made_up = Vec::new();
    rmpv::encode::write_value(&mut made_up, &stored).unwrap();
    assert_eq!(codec::decode(&made_up), Err(codec::CodecError::Newer { found: 99, known: 1 }));
}

/// Results were taken for steps and executions that were over.
#[test]
fn d05_what_is_over_takes_no_result() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).gives("a", json!(1));
    let late = failed(0, 1, fatal());
    assert!(
        matches!(scenario.refused(late.clone()), Rejection::StaleAttempt { .. }),
        "Completed does not become Failed"
    );
    scenario.completes("b").is(ExecutionState::Completed);
    scenario.refused(late);
    scenario.refused(completed(1, 1, &json!("later")));
    assert_eq!(scenario.execution.step(0).unwrap().output().to_json(), json!(1));
}

/// One step could start twice, and its first result was lost.
#[test]
fn d06_an_attempt_starts_once_and_a_log_that_says_otherwise_does_not_fold() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).begins("a");
    let again = scenario.started("a");
    assert!(matches!(scenario.refused(again), Rejection::AlreadyStarted { step: 0, attempt: 1 }));
    let mut events = scenario.events();
    let mut twice = events.last().unwrap().clone();
    twice.sequence += 1;
    events.push(twice);
    let (id, tenant) = (scenario.execution.id(), scenario.execution.tenant().clone());
    assert!(Execution::fold(id, tenant, &scenario.graphs, &events).is_err());
}

/// An execution completed while steps were running; failing and cancelling left them running for ever, without a reason.
#[test]
fn d07_nothing_is_open_when_an_execution_is_over_and_its_reason_stays() {
    let open = "nodes: { a: { task: t }, b: { task: t } }";
    let mut scenario = given(open);
    scenario.starts(json!({})).begins("a").completes("b").is(ExecutionState::Running);
    scenario.when(Command::Cancel { reason: "enough".to_owned() }).is(ExecutionState::Cancelled);
    assert_eq!(scenario.execution.open_steps().count(), 0);
    assert_eq!(scenario.execution.step(0).unwrap().state(), StepState::Skipped);
    assert_eq!(scenario.execution.reason(), Some("enough"));
    let mut scenario = given(open);
    scenario.starts(json!({})).begins("a").fails("b").is(ExecutionState::Failed);
    assert_eq!(scenario.execution.open_steps().count(), 0);
}

/// Planning, Pending and Skipped could not be reached.
#[test]
fn d08_planning_and_skipped_are_entered_and_left() {
    let mut scenario = given(
        "nodes: { a: { route: first, next: [ { when: '=true', to: b }, { to: c } ] }, b: { task: t }, c: { task: t } }",
    );
    let request = StartRequest { planning: true, ..scenario.request(&json!({})) };
    scenario.when(Command::Create(Box::new(request))).is(ExecutionState::Planning);
    scenario.when(Command::Start).is(ExecutionState::Running);
    assert!(scenario.execution.steps().iter().any(|step| step.state() == StepState::Skipped), "{}", scenario.story());
}

/// A pause failed the call, and nobody could resume.
#[test]
fn d17_a_pause_holds_what_follows_and_resuming_goes_on_with_it() {
    let mut scenario = given(TWO);
    scenario.starts(json!({})).when(Command::Pause { reason: "lunch".to_owned() }).completes("a");
    scenario.is(ExecutionState::Paused).owes("");
    scenario.when(Command::Resume).owes("b").completes("b").is(ExecutionState::Completed);
}

/// An untimely control message aborted the run.
#[test]
fn d18_an_untimely_control_is_denied_on_record_and_the_run_goes_on() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let steer = scenario.ask("ada", Steering::Resume { reason: None });
    scenario.when(Command::Steer(Box::new(steer))).records("control_recorded").is(ExecutionState::Running);
    assert!(scenario.log.last().unwrap().denied.is_some());
    scenario.completes("a").completes("b").is(ExecutionState::Completed);
}

/// Cycles through conditions were not found, and nothing bounded them.
#[test]
fn d19_a_cycle_without_a_bound_is_refused_also_through_a_condition() {
    let cycle =
        "nodes: { a: { task: t, next: [ { to: b } ] }, b: { task: t, next: [ { when: '=output == 1', to: a } ] } }";
    assert!(problems(cycle).contains("max_iterations"), "{}", problems(cycle));
}

/// A router that named an unknown node left the execution running.
#[test]
fn d20_an_edge_to_nowhere_is_refused_and_a_route_without_a_way_out_ends_the_execution() {
    assert!(problems("nodes: { a: { task: t, next: { to: nowhere } } }").contains("nowhere"));
    let mut scenario = given("nodes: { r: { route: first, next: [ { when: '=false', to: b } ] }, b: { task: t } }");
    scenario.starts(json!({})).is(ExecutionState::Failed);
}

/// Only the first edge was followed: one branch of a diamond never ran.
#[test]
fn d21_both_branches_of_a_diamond_run_before_their_join() {
    let mut scenario = given(
        "nodes: { a: { task: t, next: [ { to: l }, { to: r } ] }, l: { task: t, next: { to: z } }, r: { task: t, next: { to: z } }, z: { task: t } }",
    );
    scenario.starts(json!({})).completes("a").owes("l r").completes("l").owes("r").completes("r").owes("z");
}

/// Output that was no text was recorded as empty text, and every error became fatal.
#[test]
fn d22_outputs_keep_their_shape_and_errors_their_category() {
    let mut scenario = given("nodes: { a: { task: t, next: { to: b } }, b: { transform: '=steps.a.output.list[1]' } }");
    scenario.starts(json!({})).gives("a", json!({"list": [1, {"x": null}]})).then_gives(json!({"x": null}));
    let mut scenario = given("nodes: { a: { task: t, retry: { max_attempts: 1 } } }");
    scenario.starts(json!({})).fails_with("a", error(ErrorCategory::NetworkError)).then_fails_with("NetworkError");
}

/// `times(n)` ran n + 1 times, and a loop without a count was endless.
#[test]
fn d24_three_iterations_are_three() {
    let mut scenario = given(
        "nodes: { a: { task: t, max_iterations: 3, next: [ { when: '=true', to: a }, { catch: any, to: z } ] }, z: { transform: 1 } }",
    );
    scenario.starts(json!({})).completes("a").completes("a").completes("a");
    let runs = scenario.execution.steps().iter().filter(|step| !step.iterations().is_empty()).count();
    assert_eq!(runs, 3, "{}", scenario.story());
}

/// Nothing was ever tried again, and no key was carried.
#[test]
fn d27_a_retry_is_an_event_with_its_moment_and_the_key_is_the_same() {
    let mut scenario = given("nodes: { a: { task: t, retry: { max_attempts: 2, base: 5s, backoff: constant } } }");
    scenario.starts(json!({}));
    let key = |scenario: &Scenario| scenario.owed()[0].step;
    let first: StepId = key(&scenario);
    scenario.fails_with("a", error(ErrorCategory::NetworkError)).records("step_started step_retry_scheduled");
    assert_eq!(scenario.execution.next_deadline(), Some(scenario.now.after(Duration::from_secs(5))));
    scenario.after(Duration::from_secs(5)).ticks().records("step_rescheduled");
    assert_eq!(key(&scenario), first);
}

/// Codes were ignored, and an exponential delay wrapped to nothing from attempt 33 on.
#[test]
fn d28_the_code_decides_and_no_delay_wraps() {
    let refused = ExecutionError::new(ErrorCategory::LlmError, "no").with_code(ErrorCode::new("content_filtered"));
    assert!(!refused.is_retryable(), "by its code");
    assert!(error(ErrorCategory::LlmError).is_retryable(), "by its category");
    let policy = RetryPolicy { backoff: BackoffStrategy::Exponential, ..ErrorCategory::NetworkError.retry_policy() };
    let delays: Vec<Duration> = (1..=64).map(|attempt| policy.delay(attempt, 1.0)).collect();
    assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]) && !delays[33].is_zero(), "{delays:?}");
}

/// A limit of one step let two pass.
#[test]
fn d29_a_limit_of_one_step_lets_one_pass() {
    let mut scenario = given("limits: { max_steps: 1 }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t } }");
    scenario.starts(json!({})).completes("a").then("a ok").then_fails_with("step_limit");
}

/// Counters lived in a process: lost with it, blind to others, and they could wrap.
#[test]
fn d30_usage_is_a_fold_of_the_log_and_does_not_wrap() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let huge = Note::Usage { model: "m".to_owned(), prompt_tokens: u64::MAX, completion_tokens: 9, cost: None };
    let result = Box::new(scenario.completed("a", &json!(1)));
    scenario.when(Command::Noted { notes: vec![huge.clone(), huge], result });
    assert_eq!(scenario.refold().usage(), scenario.execution.usage());
    assert_eq!(scenario.execution.usage().tokens(), u64::MAX);
}

/// A thousand calls at nine tenths of a cent cost nothing.
#[test]
fn d31_a_thousand_calls_at_less_than_a_cent_are_nine_dollars() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    for _ in 0..10 {
        let cost = Some(Money::from_micros(9_000));
        let used = Note::Usage { model: "m".to_owned(), prompt_tokens: 1, completion_tokens: 0, cost };
        let result =
            Box::new(scenario.failed("a", ExecutionError { retry_after_ms: Some(0), ..error(ErrorCategory::Timeout) }));
        let _ = scenario.attempt(Command::Noted { notes: vec![used; 100], result });
        while scenario.execution.next_deadline().is_some_and(|due| due > scenario.now) {
            scenario.now = scenario.execution.next_deadline().unwrap();
            let _ = scenario.attempt(tick());
        }
        if scenario.execution.state().is_terminal() {
            break;
        }
    }
    let usage = scenario.execution.usage();
    assert_eq!(usage.cost.micros(), usage.prompt_tokens * 9_000);
    assert!(usage.prompt_tokens >= 100, "{usage:?}");
    let thousand = (0..1000).fold(Money::ZERO, |sum, _| sum.plus(Money::from_micros(9_000)));
    assert_eq!(thousand.to_string(), "9.00");
}

/// The cost alert was fatal; once discovery was used up, ordinary steps were blocked too.
#[test]
fn d32_an_alert_asks_and_a_limit_of_discovery_blocks_discovery_only() {
    let mut scenario =
        given("limits: { cost_alert_usd: \"1.00\" }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t } }");
    scenario.starts(json!({}));
    let cost = Some(Money::from_micros(1_000_000));
    let used = Note::Usage { model: "m".to_owned(), prompt_tokens: 1, completion_tokens: 0, cost };
    let result = Box::new(scenario.completed("a", &json!(1)));
    scenario.when(Command::Noted { notes: vec![used], result }).is(ExecutionState::Waiting(WaitReason::CostThreshold));
    scenario.when(Command::Input { input: Data::null() }).completes("b").is(ExecutionState::Completed);

    let mut scenario = given(
        "nodes: { m: { map: { over: [0], discover: { max_steps: 1 } }, task: t, next: { to: b } }, b: { task: t } }",
    );
    scenario.starts(json!({}));
    let found = |name: &str| {
        let (name, input, reason) = (name.to_owned(), data(&json!(name)), String::new());
        Note::Discovered { name, input, source: StepSourceType::Discovered, reason }
    };
    let result = Box::new(scenario.completed("m[0]", &json!(1)));
    scenario.when(Command::Noted { notes: vec![found("x"), found("y")], result });
    scenario.completes("m[1]").completes("b").is(ExecutionState::Completed);
}

/// A decision that was sent early approved a later plan.
#[test]
fn d33_a_decision_that_comes_before_its_question_approves_nothing() {
    let mut scenario =
        given("nodes: { a: { task: t, next: { to: w } }, w: { wait: { approval: { assignees: [ada] } } } }");
    scenario.starts(json!({}));
    let yes = || Steering::Decide { step: "w".to_owned(), approve: true, comment: None, form: Data::null() };
    scenario.asks_in_vain("ada", yes());
    scenario.completes("a").is(ExecutionState::Waiting(WaitReason::Approval));
    scenario.asks_in_vain("eve", yes());
    scenario.asks("ada", yes()).is(ExecutionState::Completed);
}

/// Ids were never validated.
#[test]
fn d52_an_id_is_parsed_and_not_accepted() {
    for bad in ["", "../x", "exec_", "step_0000000000000000000000000000", "exec_00000000000000000000000000!"] {
        assert!(bad.parse::<ExecutionId>().is_err(), "{bad}");
        assert!(serde_json::from_value::<ExecutionId>(json!(bad)).is_err(), "{bad}");
    }
    for bad in ["tenant_", "tenant_../x", "tenant_a b"] {
        assert!(bad.parse::<TenantId>().is_err(), "{bad}");
    }
}

/// The parent of a nested execution claimed to be a step, and the first event did not name it.
#[test]
fn d57_the_first_event_names_the_parent_and_what_it_is() {
    use crate::event::{ParentLink, ParentType};
    let mut scenario = given(TWO);
    let parent = ParentLink {
        parent_id: "step_x".to_owned(),
        parent_type: ParentType::StepExecution,
        execution: Some(ExecutionId::from_bytes([9; 20])),
        depth: 1,
        share: crate::event::Share::default(),
    };
    let request = StartRequest { parent: Some(parent.clone()), ..scenario.request(&json!({})) };
    scenario.when(Command::Create(Box::new(request)));
    let EventData::ExecutionCreated { parent: recorded, .. } = &scenario.events()[0].data else { panic!("the first") };
    assert_eq!((recorded.as_deref(), scenario.execution.parent()), (Some(&parent), Some(&parent)));
}

/// Unknown fields were accepted in silence, and conditions were mocks.
#[test]
fn d58_a_document_is_read_strictly_and_its_conditions_are_evaluated() {
    assert!(problems("nodes: { a: { task: t, retries: 3 } }").contains("retries"));
    let mut scenario = given(
        "nodes: { a: { task: t, next: [ { when: '=output > 2', to: b }, { when: '=output <= 2', to: c } ] }, b: { task: t }, c: { task: t } }",
    );
    scenario.starts(json!({})).gives("a", json!(2)).owes("c");
}

/// The entry followed the order of a hash map.
#[test]
fn d59_where_a_graph_begins_does_not_depend_on_chance() {
    let starts = || -> (Vec<u32>, String) {
        let graph: CompiledGraph = compile(&Source {
            name: "g.yaml",
            text: "stepstream: 1\nname: g\nnodes: { z: { task: t }, m: { task: t, next: { to: a } }, a: { task: t } }",
        })
        .unwrap();
        (graph.start.iter().map(|ix| ix.0).collect(), graph.digest.to_string())
    };
    let first = starts();
    assert!((0..20).all(|_| starts() == first), "{first:?}");
    assert_eq!(first.0.len(), 2);
}

/// Anybody could change an execution past the reducer.
#[test]
fn d62_what_is_recorded_by_request_is_a_note_and_never_a_transition() {
    let mut scenario = given(TWO);
    scenario.starts(json!({}));
    let forged = EventData::ExecutionCompleted { output: data(&json!("mine")) };
    assert!(matches!(
        scenario.refused(Command::Record(Box::new(forged))),
        Rejection::NotRecordable("execution_completed")
    ));
    assert_eq!(Actor::default(), Actor::System);
}

/// "Hash stable" checked no hash.
#[test]
fn d63_a_crash_after_any_append_folds_to_the_state_that_was() {
    let mut scenario = given(TWO);
    let mut hashes = Vec::new();
    let commands: [fn(&Scenario) -> Command; 4] = [
        |scenario| Command::Create(Box::new(scenario.request(&json!({})))),
        |scenario| scenario.started("a"),
        |scenario| scenario.completed("a", &json!(1)),
        |scenario| scenario.completed("b", &json!(2)),
    ];
    for command in commands {
        let command = command(&scenario);
        scenario.when(command);
        hashes.push((scenario.execution.sequence(), scenario.execution.state_hash()));
    }
    let events = scenario.stored();
    for (sequence, hash) in hashes {
        let (id, tenant) = (scenario.execution.id(), scenario.execution.tenant().clone());
        let folded = Execution::fold(id, tenant, &scenario.graphs, &events[..sequence as usize]).unwrap();
        assert_eq!(folded.state_hash(), hash, "after {sequence} events");
    }
}
