//! How an execution is changed by its children.

use super::{ApplyError, Fold};
use crate::event::child::{CancellationPolicy, ChildState, Spent};
use crate::execution::lifecycle::ExecutionAction;
use crate::execution::state::ChildRun;
use crate::graph::{NodeIx, NodeKind};

impl Fold<'_> {
    /// It is told what it is to be given by what the state holds.
    pub(super) fn child_spawned(&mut self, step: u32, spawned: ChildRun) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        let node = self.step(step)?.node;
        if !matches!(self.graph.node(NodeIx(node)).map(|node| &node.kind), Some(NodeKind::Graph(_))) {
            return self.nonsense("only a node of the kind `graph` has a child");
        }
        if self.execution.children.contains_key(&step) || !self.execution.open.contains(&step) {
            return self.nonsense("the step has its child");
        }
        let input = self.execution.given_to(step);
        let usage = &mut self.execution.usage;
        usage.reserved = usage.reserved.plus(spawned.share.cost.unwrap_or_default());
        usage.reserved_tokens = usage.reserved_tokens.saturating_add(spawned.share.tokens.unwrap_or_default());
        let inherits = spawned.inherit_inbox;
        self.execution.children.insert(step, ChildRun { input, ..spawned });
        if inherits {
            self.bequeath(step);
        }
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

    pub(super) fn child_finished(&mut self, step: u32, state: ChildState, used: Spent) -> Result<(), ApplyError> {
        let execution = &mut *self.execution;
        let Some(child) = execution.children.get_mut(&step).filter(|child| !child.state.is_over() && state.is_over())
        else {
            return self.nonsense("the child has ended, or has not");
        };
        if execution.state.is_terminal() && child.on_cancel != CancellationPolicy::CascadeCancel {
            return self.nonsense("nobody waits for the child any more");
        }
        child.state = state;
        child.input = crate::data::Data::null();
        child.used = used;
        let (share, owed) = (child.share, std::mem::take(&mut child.owed));
        let usage = &mut execution.usage;
        usage.reserved = usage.reserved.minus(share.cost.unwrap_or_default());
        usage.reserved_tokens = usage.reserved_tokens.saturating_sub(share.tokens.unwrap_or_default());
        usage.prompt_tokens = usage.prompt_tokens.saturating_add(used.prompt_tokens);
        usage.completion_tokens = usage.completion_tokens.saturating_add(used.completion_tokens);
        usage.cost = usage.cost.plus(used.cost);
        usage.of_children = usage.of_children.plus(used);
        usage.short = false;
        owed.into_iter().for_each(|message| self.execution.relayed_to_one(message));
        Ok(())
    }

    pub(super) fn parent_told(&mut self) -> Result<(), ApplyError> {
        if !self.execution.owes_its_parent() {
            return self.nonsense("nobody is to be told");
        }
        self.execution.parent_told = true;
        Ok(())
    }
}
