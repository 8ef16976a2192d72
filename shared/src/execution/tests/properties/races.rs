//! What races mean, said again in another way.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::super::scenario::Scenario;
use crate::event::EventData;
use crate::execution::Execution;
use crate::graph::{CompiledGraph, Join, LoopIx, NodeIx};

/// The races that a node runs for.
pub(super) fn run_for(graph: &CompiledGraph, node: u32) -> Vec<u32> {
    let races = || (0_u32..).zip(&graph.nodes).filter(|(_, each)| each.join == Join::Race);
    let has = |join: &crate::graph::Node, runner: u32| join.runners.contains(&NodeIx(runner));
    let mut found: Vec<u32> = races().filter(|(_, join)| has(join, node)).map(|(at, _)| at).collect();
    let mut next = 0;
    while let Some(at) = found.get(next).copied() {
        next += 1;
        // Who runs for the race at the head of a loop does not run for those inside.
        let outside = |join: &u32| {
            let home = loops_around_race(graph, at);
            loops_around_race(graph, *join).iter().all(|ix| home.contains(ix))
        };
        let further: Vec<u32> = races().filter(|(_, join)| has(join, at)).map(|(at, _)| at).filter(outside).collect();
        found.extend(further.into_iter().filter(|join| !found.contains(join)).collect::<Vec<_>>());
    }
    found
}

fn loops_around(graph: &CompiledGraph, node: u32) -> Vec<LoopIx> {
    let own = graph.nodes[node as usize].in_loop;
    std::iter::successors(own, |ix| graph.loops[ix.0 as usize].parent).collect()
}

/// The loops around a race and those who run for it: a loop that begins with one is behind it.
fn loops_around_race(graph: &CompiledGraph, join: u32) -> Vec<LoopIx> {
    let around = loops_around(graph, join);
    around.into_iter().filter(|ix| graph.loops[ix.0 as usize].header.0 != join).collect()
}

/// An edge, or the way from the last nodes of a graph that is taken in to the node that takes it in.
struct Way {
    from: u32,
    to: u32,
    back: Option<LoopIx>,
}

fn ways(graph: &CompiledGraph) -> Vec<Way> {
    let edges = graph.edges.iter().map(|edge| Way { from: edge.from.0, to: edge.to.0, back: edge.back });
    let last = (0_u32..).zip(&graph.nodes).filter(|(_, node)| node.out.is_empty());
    let out = last.filter_map(|(from, node)| Some(Way { from, to: graph.frame(node.frame?)?.exit.0, back: None }));
    edges.chain(out).collect()
}

/// Begins with whoever can reach the join and throws out whoever has an edge that leads elsewhere, until nobody does.
pub(super) fn runners_by_elimination(graph: &CompiledGraph, join: u32) -> Vec<u32> {
    let home = loops_around_race(graph, join);
    let ways = ways(graph);
    let mut left: Vec<bool> = (0..graph.nodes.len() as u32).map(|_| false).collect();
    loop {
        let reaches = |edge: &Way| {
            let another_round = edge.back.is_some_and(|back| edge.to == join || home.contains(&back));
            !another_round && (edge.to == join || left[edge.to as usize])
        };
        let more: Vec<u32> = ways.iter().filter(|edge| reaches(edge)).map(|edge| edge.from).collect();
        let before = left.iter().filter(|is| **is).count();
        for node in more {
            left[node as usize] = node != join && home.iter().all(|ix| loops_around(graph, node).contains(ix));
        }
        if left.iter().filter(|is| **is).count() == before {
            break;
        }
    }
    loop {
        let out = ways.iter().find(|edge| {
            let leads_on = edge.to == join || left[edge.to as usize];
            let another_round = edge.back.is_some_and(|back| edge.to == join || home.contains(&back));
            left[edge.from as usize] && (!leads_on || another_round)
        });
        match out {
            Some(edge) => left[edge.from as usize] = false,
            None => return (0..graph.nodes.len() as u32).filter(|node| left[*node as usize]).collect(),
        }
    }
}

/// How many loops are around a race: those count rounds, graphs that are taken in do not.
fn rounds_around(graph: &CompiledGraph, join: u32) -> usize {
    loops_around_race(graph, join).into_iter().filter(|ix| graph.loops[ix.0 as usize].frame.is_none()).count()
}

/// Folds the log and looks at each step that does anything: no race that it runs for may have run in this round.
pub(super) fn no_loser_goes_on(scenario: &Scenario) -> TestCaseResult {
    let graph = &scenario.graph;
    let mut execution = Execution::empty(scenario.execution.id(), scenario.execution.tenant().clone());
    // Rounds of the loops around a race, and the race: when it began to run.
    let mut decided: Vec<(u32, Vec<u32>)> = Vec::new();
    for event in scenario.events() {
        execution.apply(&scenario.graphs, &event).expect("a legal history folds");
        let Some(step) = event.data.step().and_then(|step| execution.step(step)) else { continue };
        let goes_on = matches!(
            event.data,
            EventData::StepScheduled { .. }
                | EventData::StepStarted { .. }
                | EventData::StepCompleted { .. }
                | EventData::StepFailed { .. }
                | EventData::StepRetryScheduled { .. }
                | EventData::StepRescheduled { .. }
                | EventData::MapExpanded { .. }
        );
        if !goes_on || step.is_aside() {
            continue;
        }
        for join in run_for(graph, step.node()) {
            let depth = rounds_around(graph, join);
            let round = step.iterations()[..depth].to_vec();
            prop_assert!(!decided.contains(&(join, round)), "{:?} after the race: {}", event.data, scenario.story());
        }
        if matches!(event.data, EventData::StepScheduled { .. })
            && graph.node(NodeIx(step.node())).is_some_and(|node| node.join == Join::Race)
        {
            let depth = rounds_around(graph, step.node());
            decided.push((step.node(), step.iterations()[..depth].to_vec()));
        }
    }
    Ok(())
}
