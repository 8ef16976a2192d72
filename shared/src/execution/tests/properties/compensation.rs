//! What compensation means, read from the log alone.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::super::scenario::Scenario;
use crate::event::{EventData, Undone};
use crate::execution::ExecutionState;
use crate::graph::NodeKind;

/// Of an execution that is over.
pub(super) fn each_is_undone_once(scenario: &Scenario) -> TestCaseResult {
    let (execution, graph) = (&scenario.execution, &scenario.graph);
    let node_of = |step: u32| &graph.nodes[execution.steps()[step as usize].node() as usize];
    let undoes = |step: u32| execution.steps()[step as usize].undoes();
    let mut completed = Vec::new();
    let mut undone = Vec::new();
    let mut open = None;
    let mut ends: HashMap<u32, bool> = HashMap::new();
    let (mut began, mut counts) = (false, None);
    for event in scenario.events() {
        match event.data {
            EventData::CompensationStarted { .. } => {
                prop_assert!(!began, "it begins once");
                began = true;
            }
            EventData::StepScheduled { step, undoes: Some(of), .. } => {
                prop_assert!(began && open.is_none(), "one at a time: {}", scenario.story());
                open = Some(step);
                undone.push(of);
            }
            EventData::StepScheduled { .. } | EventData::MapExpanded { .. } => prop_assert!(!began),
            EventData::StepCompleted { step, .. } | EventData::StepFailed { step, .. } if undoes(step).is_some() => {
                prop_assert_eq!(open.take(), Some(step));
                ends.insert(step, matches!(event.data, EventData::StepCompleted { .. }));
            }
            EventData::StepCompleted { step, .. } => {
                let is_list = matches!(node_of(step).kind, NodeKind::Map(_))
                    && execution.steps()[step as usize].parent().is_none();
                prop_assert!(!began, "nothing of the graph goes on");
                if node_of(step).undo.is_some() && !is_list {
                    completed.push(step);
                }
            }
            EventData::ExecutionFailed { undone, .. } | EventData::ExecutionCancelled { undone, .. } => counts = undone,
            _ => {}
        }
    }
    if execution.state() == ExecutionState::Completed {
        prop_assert!(!began && undone.is_empty());
        return Ok(());
    }
    completed.reverse();
    prop_assert_eq!(&undone, &completed, "each, the last one first: {}", scenario.story());
    // It also begins where children have to end before their parent does.
    prop_assert!(began || completed.is_empty());
    prop_assert!(!began || !completed.is_empty() || execution.children().next().is_some());
    let done = ends.values().filter(|done| **done).count() as u32;
    let expected = began.then(|| Undone { done, failed: ends.len() as u32 - done });
    prop_assert_eq!(counts, expected);
    prop_assert_eq!(ends.len(), completed.len());
    prop_assert_eq!(execution.undo_left(), 0);
    Ok(())
}
