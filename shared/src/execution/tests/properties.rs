//! What holds of every execution of every graph, tried on random ones.

mod choices;
mod compensation;
mod control;
mod graphs;
mod races;
mod walks;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::scenario::*;
use crate::event::{Event, EventData, codec};
use crate::execution::{Execution, ExecutionState};
use crate::graph::Join;
use crate::id::ExecutionId;
use crate::wire::{Job, Outcome};
use choices::Choices;

/// Chance as data: shrinking it shrinks the graph and the history made of it.
fn chance() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(any::<u16>(), 0..600)
}

/// A random graph and a random history of it.
fn history(chance: &[u16], actions: u32) -> Result<Scenario, TestCaseError> {
    let mut choices = Choices::new(chance);
    let graph = graphs::any_graph(&mut choices)?;
    let mut scenario = given_graph(graph);
    walks::walk(&mut scenario, &mut choices, actions);
    Ok(scenario)
}

fn empty(scenario: &Scenario) -> Execution {
    Execution::empty(scenario.execution.id(), scenario.execution.tenant().clone())
}

fn fold(mut from: Execution, scenario: &Scenario, events: &[Event]) -> Execution {
    for event in events {
        from.apply(&scenario.graphs, event).expect("a legal history folds");
    }
    from
}

/// Cold, in two halves through a snapshot, through the stored form and through JSON.
fn folds_alike(scenario: &Scenario, cut: usize) -> TestCaseResult {
    let (events, hash) = (scenario.events(), scenario.execution.state_hash());
    prop_assert_eq!(fold(empty(scenario), scenario, &events).state_hash(), hash, "cold");

    let (first, second) = events.split_at(cut % (events.len() + 1));
    let half = fold(empty(scenario), scenario, first);
    let kept = Execution::from_snapshot(&half.to_snapshot()).expect("a snapshot is readable");
    prop_assert_eq!(&kept, &half, "a snapshot is the state");
    prop_assert_eq!(fold(kept, scenario, second).state_hash(), hash, "in two halves");

    let stored = scenario.stored();
    prop_assert_eq!(&stored, &events, "stored");
    prop_assert_eq!(fold(empty(scenario), scenario, &stored).state_hash(), hash, "stored");

    let through_json = events.iter().map(|event| {
        let text = serde_json::to_string(&event.data).expect("events are JSON-like");
        let data: EventData = serde_json::from_str(&text).expect("their JSON is readable");
        assert_eq!(data, event.data, "{text}");
        Event { data, ..event.clone() }
    });
    let through_json: Vec<Event> = through_json.collect();
    prop_assert_eq!(fold(empty(scenario), scenario, &through_json).state_hash(), hash, "through JSON");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    /// Every scenario checks after each command that deciding aside and in place agree, that what was decided can be
    /// applied, that a refusal changes nothing, and that a tick at the deadline makes progress.
    #[test]
    fn a_legal_history_folds_to_the_same_state_whichever_way(chance in chance(), cut in any::<usize>()) {
        let scenario = history(&chance, 40)?;
        folds_alike(&scenario, cut)?;
    }

    #[test]
    fn nothing_is_stuck(chance in chance()) {
        let mut scenario = history(&chance, 12)?;
        walks::drain(&mut scenario, &mut Choices::new(&chance));
        prop_assert!(scenario.execution.state().is_terminal(), "{}: {}", scenario.execution.state(), scenario.story());
        prop_assert_eq!(scenario.execution.open_steps().count(), 0);
        prop_assert_eq!(scenario.execution.next_deadline(), None);
        if scenario.execution.state() == ExecutionState::Completed {
            // Every node was reached or skipped, unless an `end` made it unnecessary.
            let ended = scenario.execution.steps().iter().any(|step| {
                matches!(scenario.graph.node(crate::graph::NodeIx(step.node())).unwrap().kind, crate::graph::NodeKind::End { .. })
                    && step.state() == crate::execution::StepState::Completed
            });
            // Neither were those of a graph that was taken in and ended before its time.
            for node in (0..scenario.graph.nodes.len() as u32).filter(|node| scenario.graph.nodes[*node as usize].frame.is_none()) {
                prop_assert!(ended || scenario.execution.steps().iter().any(|step| step.node() == node), "node {}", node);
            }
        }
    }

    /// A step ends once and nothing is heard of it afterwards, an attempt begins once, and an execution that is over
    /// stays as it is, whatever is asked.
    #[test]
    fn nothing_is_doubled_or_resurrected(chance in chance()) {
        let mut scenario = history(&chance, 30)?;
        walks::drain(&mut scenario, &mut Choices::new(&chance));
        walks::walk_on(&mut scenario, &mut Choices::new(&chance), 10);
        control::each_ends_once(&scenario.events())?;
    }

    /// Requests that make no sense are interleaved with those that do. Each is refused and changes nothing.
    #[test]
    fn bad_requests_change_nothing_wherever_it_stands(chance in chance()) {
        let mut choices = Choices::new(&chance);
        let graph = graphs::any_graph(&mut choices)?;
        let mut scenario = given_graph(graph);
        walks::walk(&mut scenario, &mut choices, 1);
        for _ in 0..12 {
            control::refuses_what_makes_no_sense(&mut scenario)?;
            walks::walk_on(&mut scenario, &mut choices, 3);
        }
    }

    #[test]
    fn what_completed_is_undone_once_and_only_before_a_bad_end(chance in chance()) {
        let mut scenario = history(&chance, 12)?;
        walks::drain(&mut scenario, &mut Choices::new(&chance));
        compensation::each_is_undone_once(&scenario)?;
    }

    /// Who runs for a race is who can reach nothing else before it, rounds of inner loops included.
    #[test]
    fn who_runs_for_a_race_is_who_leads_nowhere_else(chance in chance()) {
        let graph = graphs::any_graph(&mut Choices::new(&chance))?;
        for (at, join) in (0_u32..).zip(&graph.nodes).filter(|(_, node)| node.join == Join::Race) {
            let expected = races::runners_by_elimination(&graph, at);
            prop_assert!(!expected.is_empty(), "{}: {}", join.name, graph.canonical);
            let found = (0..graph.nodes.len() as u32).filter(|node| races::run_for(&graph, *node).contains(&at));
            prop_assert_eq!(found.collect::<Vec<_>>(), expected, "{}: {}", join.name, graph.canonical);
        }
    }

    /// Also of races inside loops and inside other races.
    #[test]
    fn no_step_of_a_loser_completes_after_its_race_is_decided(chance in chance()) {
        let mut scenario = history(&chance, 12)?;
        walks::drain(&mut scenario, &mut Choices::new(&chance));
        races::no_loser_goes_on(&scenario)?;
    }

    #[test]
    fn the_fold_survives_any_events_in_any_order(chance in chance(), order in prop::collection::vec((any::<prop::sample::Index>(), any::<[u32; 3]>(), any::<bool>()), 0..60)) {
        let scenario = history(&chance, 20)?;
        let events = scenario.events();
        if events.is_empty() {
            return Ok(());
        }
        let mut execution = empty(&scenario);
        let first = events[0].clone();
        execution.apply(&scenario.graphs, &first).expect("the first event");
        for (index, numbers, repair) in order {
            let data = walks::disturb(index.get(&events).data.clone(), numbers);
            let event = Event { sequence: execution.sequence() + 1, at: scenario.now, data };
            let before = execution.clone();
            // Neither a refusal nor going on after one may be a panic.
            if execution.apply(&scenario.graphs, &event).is_err() && repair {
                execution = before;
            }
        }
    }

    #[test]
    fn bytes_from_anywhere_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = (codec::decode(&bytes), Job::decode(&bytes), Outcome::decode(&bytes), Execution::from_snapshot(&bytes));
        let _ = codec::verify(&[0; 32], &bytes, &[0; 32]);
    }

    #[test]
    fn damaged_bytes_are_read_or_refused(chance in chance(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
        let scenario = history(&chance, 10)?;
        let head = codec::genesis(scenario.execution.tenant(), ExecutionId::from_bytes([7; 20]));
        let snapshot = scenario.execution.to_snapshot();
        let stored = scenario.log.first().map(|append| store(&head, append).body.to_vec());
        for mut bytes in stored.into_iter().chain([snapshot]) {
            for (at, value) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            let _ = (codec::decode(&bytes), Execution::from_snapshot(&bytes));
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = (codec::decode(&bytes), Execution::from_snapshot(&bytes));
        }
    }
}
