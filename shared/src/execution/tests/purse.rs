//! Limits that an execution is started with, and the purse that a family shares.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::scenario::*;
use crate::cost::Money;
use crate::event::{ChildEnding, Note, ParentLink, Share, Spent};
use crate::execution::{ChildSpec, Command, Execution, ExecutionState, StartRequest, Steering, WaitReason};
use crate::graph::{LimitOverrides, OnLimit};
use crate::id::ExecutionId;

fn used(micros: u64) -> Spent {
    Spent { prompt_tokens: 10, completion_tokens: 5, cost: Money::from_micros(micros) }
}

fn done(child: ExecutionId, micros: u64) -> Command {
    let ending = ChildEnding::Completed { output: data(&json!(1)) };
    Command::ChildEnded { child, ending, used: used(micros) }
}

fn usd(text: &str) -> Option<Money> {
    Some(text.parse().unwrap())
}

impl Scenario {
    fn wants(&self) -> Vec<ChildSpec> {
        self.execution.owed_children(&self.graph)
    }

    fn starts_with(&mut self, limits: LimitOverrides) -> &mut Self {
        let request = StartRequest { limits, ..self.request(&json!({})) };
        self.when(Command::Create(Box::new(request)))
    }
}

#[test]
fn limits_of_a_start_take_the_place_of_the_graphs_everywhere() {
    let chain = "limits: { max_steps: 100, cost_usd: \"1\" }\nnodes: { a: { task: t, retry: { max_attempts: 9, backoff: none }, next: { to: b } }, b: { task: t } }";
    let mut scenario = given(chain);
    scenario.starts_with(LimitOverrides { max_steps: Some(1), ..LimitOverrides::default() });
    scenario.completes("a").then_fails_with("step_limit");
    let mut scenario = given(chain);
    scenario.starts_with(LimitOverrides { wall_time_us: Some(1_000_000), ..LimitOverrides::default() });
    scenario.after(std::time::Duration::from_secs(2)).ticks().is(ExecutionState::Failed);
    let mut scenario = given(chain);
    scenario.starts_with(LimitOverrides { pause_after_failures: Some(1), ..LimitOverrides::default() });
    scenario.fails_with("a", error(crate::error::ErrorCategory::NetworkError)).is(ExecutionState::Paused);
    let mut scenario = given(chain);
    let limits = LimitOverrides { max_cost: usd("5"), on_limit: Some(OnLimit::Pause), ..LimitOverrides::default() };
    scenario.starts_with(limits);
    assert_eq!(scenario.execution.limits(&scenario.graph).max_cost, usd("5"));
    assert_eq!(scenario.execution.limits(&scenario.graph).max_steps, 100);
}

#[test]
fn a_bound_of_memory_goes_with_each_attempt() {
    let mut scenario = given("limits: { max_memory_mb: 64 }\nnodes: { a: { task: t } }");
    scenario.starts(json!({}));
    assert_eq!(scenario.owed().remove(0).max_memory_mb, Some(64));
    let mut scenario = given("limits: { max_memory_mb: 64 }\nnodes: { a: { task: t } }");
    scenario.starts_with(LimitOverrides { max_memory_mb: Some(128), ..LimitOverrides::default() });
    assert_eq!(scenario.owed().remove(0).max_memory_mb, Some(128));
}

#[test]
fn d37_a_child_is_started_with_what_its_spawn_says() {
    let mut scenario = given(
        "nodes: { k: { graph: g, spawn: { background: true, policies: { max_steps: 7, wall_time: 1h, on_limit: pause }, budget: { tokens: 50 } } } }",
    );
    scenario.starts(json!({}));
    let spec = scenario.wants().remove(0);
    assert_eq!((spec.limits.max_steps, spec.limits.wall_time_us), (Some(7), Some(3_600_000_000)));
    assert_eq!((spec.limits.on_limit, spec.share), (Some(OnLimit::Pause), Share { cost: None, tokens: Some(50) }));
}

#[test]
fn a_child_has_a_half_of_what_is_left_and_gives_back_what_it_did_not_need() {
    let mut scenario = given(
        "limits: { cost_usd: \"1.00\" }\nnodes: { k: { graph: g, next: { to: l } }, l: { graph: g, spawn: { allocation: rest } } }",
    );
    scenario.starts(json!({}));
    let spec = scenario.wants().remove(0);
    assert_eq!(spec.share, Share { cost: usd("0.50"), tokens: None });
    assert_eq!(scenario.execution.usage().reserved.micros(), 500_000);
    scenario.when(Command::ChildStarted { child: spec.child }).when(done(spec.child, 200_000));
    assert_eq!(scenario.execution.usage().cost.micros(), 200_000);
    assert_eq!(scenario.execution.usage().of_children, used(200_000));
    assert_eq!(scenario.wants().remove(0).share.cost, usd("0.80"));
}

#[test]
fn a_share_is_the_childs_budget_unless_its_own_is_smaller() {
    let share = Share { cost: usd("0.10"), tokens: Some(20) };
    let link = ParentLink::of_step(ExecutionId::from_bytes([1; 20]), crate::id::StepId::from_bytes([2; 20]), 1, share);
    let mut child = given(
        "limits: { cost_usd: \"9\", max_tokens: 15 }\nnodes: { a: { task: t, next: { to: b } }, b: { task: t } }",
    );
    let request = StartRequest { parent: Some(link), ..child.request(&json!({})) };
    child.when(Command::Create(Box::new(request)));
    let limits = child.execution.limits(&child.graph);
    assert_eq!((limits.max_cost, limits.max_tokens), (usd("0.10"), Some(15)));
    let result = Box::new(child.completed("a", &json!(1)));
    let cost = usd("0.10");
    let note = Note::Usage { model: "m".to_owned(), prompt_tokens: 1, completion_tokens: 1, cost };
    child.when(Command::Noted { notes: vec![note], result }).then_fails_with("cost_limit");
}

#[test]
fn without_room_a_child_waits_until_something_has_ended() {
    let graph = "limits: { cost_usd: \"1.00\" }\nnodes: { a: { task: t, reserve: { cost_usd: \"0.60\" } }, k: { graph: g, spawn: { budget: { cost_usd: \"0.50\" } } } }";
    let mut scenario = given(graph);
    scenario.starts(json!({}));
    assert!(scenario.wants().is_empty());
    scenario.completes("a");
    assert_eq!(scenario.wants().remove(0).share.cost, usd("0.50"));
}

#[test]
fn a_step_that_waits_for_a_background_childs_share_has_somebody_look_after_the_child() {
    let graph = "limits: { cost_usd: \"1.00\" }\nnodes: { k: { graph: g, spawn: { background: true, allocation: rest }, next: { to: a } }, a: { task: t, reserve: { cost_usd: \"0.10\" } } }";
    let mut scenario = given(graph);
    scenario.starts(json!({}));
    let child = scenario.wants().remove(0).child;
    scenario.when(Command::ChildStarted { child }).owes("");
    assert_eq!(scenario.execution.awaited_children().collect::<Vec<_>>(), [child]);
    scenario.when(done(child, 100_000)).owes("a");
}

#[test]
fn a_parent_whose_purse_is_used_up_by_a_child_does_what_its_graph_says() {
    let with = |on_limit: &str| {
        given(&format!(
            "limits: {{ cost_usd: \"1.00\", on_limit: {on_limit} }}\nnodes: {{ k: {{ graph: g, spawn: {{ allocation: rest }}, next: {{ to: a }} }}, a: {{ task: t }} }}"
        ))
    };
    let spend = |scenario: &mut Scenario| {
        scenario.starts(json!({}));
        let child = scenario.wants().remove(0).child;
        scenario.when(Command::ChildStarted { child }).when(done(child, 1_200_000));
    };
    let mut scenario = with("stop");
    spend(&mut scenario);
    scenario.then_fails_with("cost_limit");
    let mut scenario = with("approve");
    spend(&mut scenario);
    scenario.is(ExecutionState::Waiting(WaitReason::CostThreshold));
    let budget = Steering::Budget { max_cost: usd("2"), max_tokens: None };
    scenario.asks("ada", budget).owes("a");
}

#[test]
fn a_parent_that_ends_first_counts_the_share_as_used() {
    let graph =
        "limits: { cost_usd: \"1.00\", max_tokens: 100 }\nnodes: { k: { graph: g, spawn: { background: true } } }";
    let mut scenario = given(graph);
    scenario.starts(json!({}));
    let child = scenario.wants().remove(0).child;
    scenario.when(Command::ChildStarted { child }).is(ExecutionState::Completed);
    let spent = scenario.execution.spent();
    assert_eq!((spent.cost.micros(), spent.tokens()), (500_000, 50));
}

#[test]
fn what_children_use_raises_the_alert_of_their_parent() {
    let graph = "limits: { cost_alert_usd: \"0.50\" }\nnodes: { k: { graph: g, next: { to: a } }, a: { task: t } }";
    let mut scenario = given(graph);
    scenario.starts(json!({}));
    let child = scenario.wants().remove(0).child;
    scenario.when(Command::ChildStarted { child }).when(done(child, 600_000));
    scenario.is(ExecutionState::Waiting(WaitReason::CostThreshold)).owes("");
}

/// Executions of one family, whoever they are started by.
struct Family {
    members: BTreeMap<ExecutionId, Scenario>,
}

const MEMBER: &str = "limits: { on_limit: fail_step }\nnodes: { m: { map: { over: [1, 2, 3], max_concurrency: 2, collect: all_settled }, task: t, reserve: { cost_usd: \"0.07\" } }, k: { graph: g, next: [ { to: b }, { catch: any, to: b } ] }, l: { graph: g, spawn: { background: true, allocation: priority }, next: [ { to: b }, { catch: any, to: b } ] }, b: { join: all, route: all, next: [ { to: c } ] }, c: { task: t, reserve: { cost_usd: \"0.05\" }, next: [ { to: d }, { catch: any, to: d } ] }, d: { transform: 1 } }";

impl Family {
    /// What all of them have used themselves.
    fn spent(&self) -> u64 {
        let own = |member: &Scenario| {
            let usage = member.execution.usage();
            usage.cost.micros() - usage.of_children.cost.micros()
        };
        self.members.values().map(own).sum()
    }

    fn begins(&mut self, parent: ExecutionId, spec: ChildSpec) {
        let mut member = given(MEMBER);
        member.execution = Execution::empty(spec.child, member.execution.tenant().clone());
        let link = ParentLink::of_step(parent, spec.step, spec.depth, spec.share);
        let request = StartRequest { parent: Some(link), limits: spec.limits, ..member.request(&json!({})) };
        member.when(Command::Create(Box::new(request)));
        self.members.insert(spec.child, member);
    }

    /// Something that can be done now, chosen by a number. False when there is nothing.
    fn goes_on(&mut self, choice: usize) -> bool {
        /// Whose it is, and a child to begin, a step to end, or a child to hear of.
        type Possible = (ExecutionId, Option<ChildSpec>, Option<u32>, Option<ExecutionId>);
        let mut could: Vec<Possible> = Vec::new();
        for (id, member) in &self.members {
            if member.execution.state().is_terminal() {
                continue;
            }
            could.extend(member.wants().into_iter().map(|spec| (*id, Some(spec), None, None)));
            could.extend(member.owed().into_iter().map(|job| (*id, None, Some(job.ordinal), None)));
            let ended = member.execution.children().filter(|(_, child)| child.state().name() == "Running");
            let ended = ended.map(|(_, child)| child.id());
            let ended = ended.filter(|child| self.members[child].execution.state().is_terminal());
            could.extend(ended.map(|child| (*id, None, None, Some(child))));
        }
        if could.is_empty() {
            return false;
        }
        let at = choice % could.len();
        let (id, wanted, job, ended) = could.swap_remove(at);
        if let Some(spec) = wanted {
            let child = spec.child;
            self.begins(id, spec);
            self.members.get_mut(&id).unwrap().when(Command::ChildStarted { child });
        } else if let Some(child) = ended {
            let used = self.members[&child].execution.spent();
            let ending = ChildEnding::Completed { output: data(&json!(1)) };
            self.members.get_mut(&id).unwrap().when(Command::ChildEnded { child, ending, used });
        } else if let Some(ordinal) = job {
            let member = self.members.get_mut(&id).unwrap();
            let most = member.execution.task_of(&member.graph, ordinal).unwrap().reserve.cost.micros();
            let cost = Some(Money::from_micros(most * (choice as u64 % 5) / 4));
            let note = Note::Usage { model: "m".to_owned(), prompt_tokens: 1, completion_tokens: 1, cost };
            let result = Box::new(completed(ordinal, 1, &json!(1)));
            member.when(Command::Noted { notes: vec![note], result });
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Steps that reserve, and children that are given a share, never overshoot the purse at the head of the family.
    #[test]
    fn a_family_never_spends_more_than_its_purse(cents in 1_u64..300, choices in prop::collection::vec(0_usize..1000, 400)) {
        let mut head = given(MEMBER);
        let purse = cents * 10_000;
        let limits = LimitOverrides { max_cost: Some(Money::from_micros(purse)), ..LimitOverrides::default() };
        head.starts_with(limits);
        let id = head.execution.id();
        let mut family = Family { members: BTreeMap::from([(id, head)]) };
        for choice in choices {
            // A graph that starts itself is a wide tree: as many as are enough to see it.
            if family.members.len() > 40 || !family.goes_on(choice) {
                break;
            }
            prop_assert!(family.spent() <= purse, "{} of {purse}", family.spent());
            let told = family.members[&id].execution.usage();
            prop_assert!(told.cost.micros() + told.reserved.micros() <= purse);
        }
    }
}
