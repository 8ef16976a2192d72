//! How an execution is changed by its children.

use super::{ApplyError, Fold};
use crate::event::child::{CancellationPolicy, ChildState};
use crate::execution::lifecycle::ExecutionAction;
use crate::execution::state::ChildRun;
use crate::graph::{NodeIx, NodeKind};
use crate::id::ExecutionId;

impl Fold<'_> {
    pub(super) fn child_spawned(
        &mut self,
        step: u32,
        id: ExecutionId,
        graph: &str,
        background: bool,
        on_cancel: CancellationPolicy,
    ) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        let node = self.step(step)?.node;
        if !matches!(self.graph.node(NodeIx(node)).map(|node| &node.kind), Some(NodeKind::Graph(_))) {
            return self.nonsense("only a node of the kind `graph` has a child");
        }
        if self.execution.children.contains_key(&step) || !self.execution.open.contains(&step) {
            return self.nonsense("the step has its child");
        }
        let input = self.execution.given_to(step);
        let (graph, state) = (graph.to_owned(), ChildState::Wanted);
        self.execution.children.insert(step, ChildRun { id, graph, background, on_cancel, state, input });
        Ok(())
    }

    pub(super) fn child_started(&mut self, step: u32) -> Result<(), ApplyError> {
        match self.execution.children.get_mut(&step) {
            Some(child) if child.state == ChildState::Wanted => {
                child.state = ChildState::Running;
                child.input = crate::data::Data::null();
                Ok(())
            }
            _ => self.nonsense("the child was not to be started"),
        }
    }

    pub(super) fn child_finished(&mut self, step: u32, state: ChildState) -> Result<(), ApplyError> {
        match self.execution.children.get_mut(&step) {
            Some(child) if !child.state.is_over() && state.is_over() => {
                child.state = state;
                child.input = crate::data::Data::null();
                Ok(())
            }
            _ => self.nonsense("the child has ended, or has not"),
        }
    }
}
