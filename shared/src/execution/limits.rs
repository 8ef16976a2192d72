//! What an execution may spend: set aside before a step is scheduled, settled by what it reports.
//!
//! A step is scheduled only if what is spent, what is set aside for open steps and what it may need itself fit into the
//! budget, so that a thousand steps at once cannot overshoot it. Where only what is set aside is in the way, nothing is
//! scheduled until something that is open has ended; where what is spent is, the graph says what becomes of the
//! execution.

use super::decide::{Decision, Rejection};
use super::lifecycle::{ExecutionState, WaitReason};
use super::steering::Refusal;
use crate::cost::Money;
use crate::error::{ErrorCode, ExecutionError};
use crate::event::{EventData, Violation};
use crate::graph::{OnLimit, Reserve};
use crate::id::ControlId;

/// A limit, and how far it is used.
struct Measured {
    limit: Violation,
    /// Spent for good.
    spent: u64,
    /// Set aside for open steps.
    reserved: u64,
    max: u64,
}

/// Whether a step can be scheduled.
pub(super) enum Room {
    Enough,
    /// Not now: something open has to end first, and will say so.
    Later,
    /// Not at all. The execution was held or ended, or the step fails with this.
    No(Option<ExecutionError>),
}

impl Decision<'_> {
    fn measured(&self) -> [Option<Measured>; 2] {
        let (usage, limits) = (&self.execution.usage, self.execution.limits(self.graph));
        let cost = limits.max_cost.map(|max| Measured {
            limit: Violation::CostLimit,
            spent: usage.cost.micros(),
            reserved: usage.reserved.micros(),
            max: max.micros(),
        });
        let tokens = limits.max_tokens.map(|max| Measured {
            limit: Violation::TokenLimit,
            spent: usage.tokens(),
            reserved: usage.reserved_tokens,
            max,
        });
        [cost, tokens]
    }

    /// Whether the budget has room for one more step that needs so much.
    pub(super) fn room_for(&mut self, reserve: Reserve) -> Result<Room, Rejection> {
        for measured in self.measured().into_iter().flatten() {
            let needs = match measured.limit {
                Violation::CostLimit => reserve.cost.micros(),
                _ => reserve.tokens,
            };
            // What reserves nothing may run until the budget is used up.
            let least = needs.max(1);
            let Measured { limit, spent, reserved, max } = measured;
            if spent.saturating_add(least) > max {
                return self.breach(limit, spent.saturating_add(needs), max).map(Room::No);
            }
            if needs > 0 && spent.saturating_add(reserved).saturating_add(needs) > max {
                let current = spent.saturating_add(reserved).saturating_add(needs);
                self.emit(EventData::LimitReached { limit, current, max, held: true, tenant: false })?;
                return Ok(Room::Later);
            }
        }
        Ok(Room::Enough)
    }

    /// What is spent has used the budget up: as [`Self::breach`].
    pub(super) fn overspent(&mut self) -> Result<Option<ExecutionError>, Rejection> {
        for Measured { limit, spent, max, .. } in self.measured().into_iter().flatten() {
            if spent >= max {
                return self.breach(limit, spent, max);
            }
        }
        Ok(None)
    }

    /// A limit is in the way for good, unless somebody raises it. The error, where the step is to fail with it.
    pub(super) fn breach(
        &mut self,
        limit: Violation,
        current: u64,
        max: u64,
    ) -> Result<Option<ExecutionError>, Rejection> {
        let on_limit = self.execution.limits(self.graph).on_limit;
        let error = limit_error(limit, current, max);
        if self.execution.state != ExecutionState::Running && on_limit != OnLimit::FailStep {
            return Ok(None); // Whoever lets it go on finds the limit again.
        }
        self.emit(EventData::LimitReached { limit, current, max, held: false, tenant: false })?;
        match on_limit {
            // No step is about to run in an execution in which nothing happens.
            OnLimit::FailStep if limit == Violation::IdleTimeout => self.fail_execution(error, None)?,
            OnLimit::FailStep => return Ok(Some(error)),
            OnLimit::Stop => self.fail_execution(error, None)?,
            OnLimit::Pause => self.pause(error.message)?,
            OnLimit::Approve => {
                // Another budget mends the one; that it may go on is all that can be said of the other.
                let idle = limit == Violation::IdleTimeout;
                let reason = if idle { WaitReason::Approval } else { WaitReason::CostThreshold };
                self.emit(EventData::ExecutionWaiting { reason, step: None, control: None })?;
            }
        }
        Ok(None)
    }

    /// Warns of a limit that is nearly used up, once.
    pub(super) fn warn_once(&mut self, limit: Violation, current: u64, max: u64) -> Result<(), Rejection> {
        let near = u128::from(current) * 100 >= u128::from(max) * u128::from(self.execution.limits(self.graph).warn_at);
        if near && !self.execution.usage.warned.contains(&limit) {
            self.emit(EventData::LimitWarned { limit, current, max, day: None })?;
        }
        Ok(())
    }

    /// What this execution has used has brought its tenant's budget of a day to where the tenant wants it told: once for
    /// each day and budget. The execution may be over.
    pub(super) fn tenant_warned(
        &mut self,
        limit: Violation,
        current: u64,
        max: u64,
        day: i64,
    ) -> Result<(), Rejection> {
        if self.execution.usage.warned_of_tenant.get(&limit) == Some(&(day, max)) {
            return Err(Refusal::Repeated.into());
        }
        self.emit(EventData::LimitWarned { limit, current, max, day: Some(day) })
    }

    /// Whether one more step may be scheduled. Warns of what the document allows; the installation's own bound is far.
    pub(super) fn may_have_step(&mut self, ordinal: u32, map_step: Option<u32>) -> Result<bool, Rejection> {
        let max = self.execution.limits(self.graph).max_steps;
        let (current, limit) = (u64::from(ordinal) + 1, Violation::StepLimit);
        if ordinal >= max {
            self.emit(EventData::LimitReached { limit, current, max: u64::from(max), held: false, tenant: false })?;
            self.fail_execution(limit_error(limit, current, u64::from(max)), map_step)?;
            return Ok(false);
        }
        if max < crate::graph::MAX_STEPS {
            self.warn_once(limit, current, u64::from(max))?;
        }
        Ok(true)
    }

    /// Warns when most of the wall time is over: with the first decision behind that moment, because a timer of its own
    /// would wake every execution for it.
    pub(super) fn look_at_the_clock(&mut self) -> Result<(), Rejection> {
        let (Some(limit), Some(started)) = (self.execution.limits(self.graph).wall_time, self.execution.started_at)
        else {
            return Ok(());
        };
        if self.execution.state.is_terminal() || self.execution.compensation.is_some() {
            return Ok(());
        }
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let run = self.execution.own_time(self.at).since(started);
        if run >= limit {
            return Ok(()); // It is about to be stopped.
        }
        self.warn_once(Violation::WallTimeLimit, millis(run), millis(limit))
    }

    /// The execution has run for as long as it may.
    pub(super) fn out_of_time(&mut self) -> Result<(), Rejection> {
        let max = self.execution.limits(self.graph).wall_time.unwrap_or_default();
        let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
        let (limit, current) = (Violation::WallTimeLimit, max);
        self.emit(EventData::LimitReached { limit, current, max, held: false, tenant: false })?;
        self.fail_execution(limit_error(limit, current, max), None)
    }

    /// A step has reported what it used: warned of once, asked about once.
    pub(super) fn look_at_usage(&mut self) -> Result<(), Rejection> {
        let limits = self.execution.limits(self.graph);
        for Measured { limit, spent, max, .. } in self.measured().into_iter().flatten() {
            self.warn_once(limit, spent, max)?;
        }
        let (limit, current) = (Violation::CostThreshold, self.execution.usage.cost.micros());
        if let Some(alert) = limits.cost_alert
            && current >= alert.micros()
            && self.execution.state == ExecutionState::Running
            && self.execution.compensation.is_none()
            && !self.execution.usage.reached.contains(&limit)
        {
            self.emit(EventData::LimitReached { limit, current, max: alert.micros(), held: false, tenant: false })?;
            self.emit(EventData::ExecutionWaiting { reason: WaitReason::CostThreshold, step: None, control: None })?;
        }
        Ok(())
    }

    /// Gives the execution another budget; one that was held for want of it goes on.
    pub(super) fn set_budget(
        &mut self,
        control: ControlId,
        max_cost: Option<Money>,
        max_tokens: Option<u64>,
    ) -> Result<(), Rejection> {
        self.not_over()?;
        if max_cost.is_none() && max_tokens.is_none() {
            return Err(Refusal::Range { what: "the budget", why: "it sets neither money nor tokens" }.into());
        }
        self.emit(EventData::BudgetSet { control, max_cost, max_tokens })?;
        let held = self.execution.state == ExecutionState::Waiting(WaitReason::CostThreshold)
            && !self.execution.waits_on_steps;
        if held {
            self.emit(EventData::InputReceived { input: crate::data::Data::null(), step: None, control: None })?;
        }
        Ok(())
    }
}

fn limit_error(limit: Violation, current: u64, max: u64) -> ExecutionError {
    let message = match limit {
        Violation::CostLimit | Violation::CostThreshold => {
            let (current, max) = (Money::from_micros(current), Money::from_micros(max));
            format!("the execution would spend {current} USD of {max} USD (limits.cost_usd)")
        }
        Violation::TokenLimit => format!("the execution would use {current} of {max} tokens (limits.max_tokens)"),
        Violation::StepLimit => format!("the execution reached its limit of {max} steps (limits.max_steps)"),
        Violation::WallTimeLimit => "the execution ran longer than its wall_time limit".to_owned(),
        Violation::IdleTimeout => {
            format!("nothing has happened for {current} ms; {max} ms are allowed (limits.idle_timeout)")
        }
        other => format!("{}: {current} of {max}", other.name()),
    };
    ExecutionError::new(limit.category(), message).with_code(ErrorCode::new(limit.name()))
}
