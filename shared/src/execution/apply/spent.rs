//! How an execution is changed by what its steps use and find.

use super::{ApplyError, Fold};
use crate::cost::Money;
use crate::data::Data;
use crate::event::{GoalStatus, Violation};
use crate::execution::lifecycle::{ExecutionAction, ExecutionState, WaitReason};
use crate::execution::notes::{ends_search, same_work};
use crate::graph::Reserve;
use crate::id::ControlId;

/// Attempts that were given up by a deadline and may still tell what they have used.
const UNREPORTED: usize = 4096;

impl Fold<'_> {
    pub(super) fn used(
        &mut self,
        step: Option<u32>,
        prompt: u64,
        completion: u64,
        cost: Money,
    ) -> Result<(), ApplyError> {
        self.note(step)?;
        let usage = &mut self.execution.usage;
        usage.prompt_tokens = usage.prompt_tokens.saturating_add(prompt);
        usage.completion_tokens = usage.completion_tokens.saturating_add(completion);
        usage.cost = usage.cost.plus(cost);
        Ok(())
    }

    /// An attempt has ended without a report: what it has used may yet be told. Of more than so many, the oldest are
    /// forgotten.
    pub(super) fn given_up(&mut self, step: u32, attempt: u32, given_up: bool) {
        if given_up {
            let unreported = &mut self.execution.usage.unreported;
            unreported.insert((step, attempt));
            if unreported.len() > UNREPORTED {
                unreported.pop_first();
            }
        }
    }

    /// What an attempt has used is on record, and is not recorded again should it report once more. Without a number it is
    /// the present attempt, which told in time.
    pub(super) fn told(&mut self, step: Option<u32>, attempt: Option<u32>) -> Result<(), ApplyError> {
        let Some(ordinal) = step else { return Ok(()) };
        let current = self.step(ordinal)?.attempt;
        let attempt = attempt.unwrap_or(current);
        if attempt > current {
            return Err(self.wrong_attempt(ordinal, current, attempt));
        }
        self.execution.usage.unreported.remove(&(ordinal, attempt));
        if attempt == current {
            self.execution.steps[ordinal as usize].told = true;
        }
        Ok(())
    }

    pub(super) fn choice(&mut self, step: Option<u32>) -> Result<(), ApplyError> {
        self.note(step)?;
        let decisions = &mut self.execution.decisions;
        decisions.count += 1;
        decisions.last = self.sequence;
        Ok(())
    }

    pub(super) fn limit_warned(&mut self, limit: Violation, max: u64, day: Option<i64>) -> Result<(), ApplyError> {
        if let Some(day) = day {
            // The tenant's account is told of what was used when that is on record, which may be the end of the execution.
            self.execution.usage.warned_of_tenant.insert(limit, (day, max));
            return Ok(());
        }
        self.legal(ExecutionAction::StepStarted)?;
        self.execution.usage.warned.insert(limit);
        Ok(())
    }

    pub(super) fn limit_reached(&mut self, limit: Violation, held: bool, tenant: bool) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        if tenant {
            // What the execution itself may spend is another matter. Its wait for its steps ends here: what follows holds it
            // for another reason, or lets it wait again.
            if self.execution.waits_on_steps && matches!(self.execution.state, ExecutionState::Waiting(_)) {
                self.execution.state = ExecutionState::Running;
                self.execution.changed_at = self.at;
                self.execution.waits_on_steps = false;
            }
            return Ok(());
        }
        self.execution.usage.reached.insert(limit);
        self.execution.usage.short |= held;
        Ok(())
    }

    pub(super) fn budget_set(
        &mut self,
        control: ControlId,
        max_cost: Option<Money>,
        max_tokens: Option<u64>,
    ) -> Result<(), ApplyError> {
        self.remember(control);
        let usage = &mut self.execution.usage;
        usage.max_cost = max_cost.or(usage.max_cost);
        usage.max_tokens = max_tokens.or(usage.max_tokens);
        for limit in [Violation::CostLimit, Violation::TokenLimit] {
            usage.warned.remove(&limit);
            usage.reached.remove(&limit);
        }
        usage.short = false;
        // Paused while it was held for want of it: resuming finds nothing to wait for.
        if self.execution.paused_wait == Some(WaitReason::CostThreshold) && !self.execution.waits_on_steps {
            self.execution.paused_wait = None;
        }
        Ok(())
    }

    fn reserve_of(&self, ordinal: u32) -> Option<Reserve> {
        self.task_of(ordinal).map(|task| task.reserve).filter(|reserve| *reserve != Reserve::default())
    }

    /// A step is open: what it may need is set aside.
    pub(super) fn set_aside(&mut self, ordinal: u32) {
        if let Some(reserve) = self.reserve_of(ordinal) {
            let usage = &mut self.execution.usage;
            usage.reserved = usage.reserved.plus(reserve.cost);
            usage.reserved_tokens = usage.reserved_tokens.saturating_add(reserve.tokens);
        }
    }

    /// It has ended: what it did not need is there for others.
    pub(super) fn give_back(&mut self, ordinal: u32) {
        if let Some(reserve) = self.reserve_of(ordinal) {
            let usage = &mut self.execution.usage;
            usage.reserved = usage.reserved.minus(reserve.cost);
            usage.reserved_tokens = usage.reserved_tokens.saturating_sub(reserve.tokens);
        }
        self.execution.usage.short = false;
    }

    pub(super) fn found(
        &mut self,
        by: Option<u32>,
        name: &str,
        depth: u32,
        map: Option<u32>,
        input: &Data,
    ) -> Result<(), ApplyError> {
        self.note(by)?;
        let Some(map_step) = map else { return Ok(()) };
        let open = self.execution.open.contains(&map_step);
        let run = self.execution.maps.get_mut(&map_step).filter(|_| open);
        let Some((run, discovery)) = run.and_then(|run| {
            let discovery = run.discovery.take()?;
            Some((run, discovery))
        }) else {
            return self.nonsense("the map takes no more items");
        };
        let mut discovery = discovery;
        discovery.found += 1;
        discovery.depths.push(depth);
        *discovery.repeats.entry(same_work(name, input)).or_insert(0) += 1;
        run.discovery = Some(discovery);
        run.items.push(input.clone());
        run.total += 1;
        self.review_map(map_step);
        Ok(())
    }

    pub(super) fn goal(&mut self, step: Option<u32>, status: GoalStatus) -> Result<(), ApplyError> {
        self.note(step)?;
        let map = step.and_then(|step| self.execution.step(step)).and_then(|step| step.parent);
        if let (Some(map_step), true) = (map, ends_search(status)) {
            if let Some(discovery) = self.execution.maps.get_mut(&map_step).and_then(|run| run.discovery.as_deref_mut())
            {
                discovery.goal_met = true;
            }
            self.review_map(map_step);
        }
        Ok(())
    }
}
